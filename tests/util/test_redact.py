"""What people may read: no secret of an address survives, and nothing steers a terminal."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.util.redact import (
    Known,
    clean,
    redact,
    redact_address,
    redact_values,
    secrets_in,
    visible,
)

# How cameras, recorders, storage services and webhooks put a secret into an address; the secret
# is always s3cret-PW, or aB3dE5fG7hI9jK1l where its form is what gives it away.
ADDRESSES = [
    "rtsp://admin:s3cret-PW@10.0.0.5:554/ch1",
    "rtsp://s3cret-PW@10.0.0.5/ch1",
    "rtsp:admin:s3cret-PW@10.0.0.5/ch1",
    "rtsp:/admin:s3cret-PW@10.0.0.5/ch1",
    "admin:s3cret-PW@10.0.0.5/ch1",
    "rtsp://admin:s3cret-PW with blanks@10.0.0.5/ch1",
    "rtsp://cam/live/admin/s3cret-PW/0",
    "rtsp://cam/0/admin:s3cret-PW/main",
    "rtsp://cam/user=admin_password=s3cret-PW_channel=1_stream=0.sdp",
    "rtsp://cam/user=admin&password=s3cret-PW&channel=1&stream=0.sdp?",
    "rtsp://cam/cam/realmonitor?channel=1&subtype=00&authbasic=s3cret-PW",
    "rtsps://10.0.0.1:7441/aB3dE5fG7hI9jK1l?enableSrtp",
    "http://cam/cgi-bin/snapshot.cgi?loginuse=admin&loginpas=s3cret-PW",
    "http://cam/cgi-bin/snapshot.cgi?chn=1&u=admin&p=s3cret-PW",
    "http://cam/cgi-bin/CGIProxy.fcgi?cmd=snapPicture2&usr=admin&pwd=s3cret-PW&",
    "http://cam/cgi-bin/encoder?USER=Admin&PWD=s3cret-PW&SNAPSHOT",
    "http://cam/snapshot.jpg?account=admin&password=s3cret-PW",
    "http://cam/image.jpg?usr=admin&psw=s3cret-PW",
    "http://cam/image.jpg?user=admin&pw=s3cret-PW",
    "http://cam/image.jpg?userpwd=admin:s3cret-PW",
    "http://cam/image.jpg?pswd=s3cret-PW#x",
    "http://cam/image.jpg?authkey=s3cret-PW",
    "http://cam/onvif-http/snapshot?auth=s3cret-PW",
    "http://nvr/zm/cgi-bin/nph-zms?monitor=1&user=me&pass=s3cret-PW",
    "http://nas/webapi/entry.cgi?api=SYNO&_sid=s3cret-PW",
    "http://nas/webapi/entry.cgi?StmKey=s3cret-PW",
    "http://cam/video?some_vendors_own_word=s3cret-PW",
    "http://cam/video?s3cret-PW",
    "http://cam/live?stream=aB3dE5fG7hI9jK1l",
    "http://cam/video;user=admin;password=s3cret-PW",
    "http://cam/video#access_token=s3cret-PW",
    "https://store.blob.core.windows.net/c/x.mp4?sv=2024&se=1&sig=s3cret-PW",
    "https://bucket.s3.amazonaws.com/x.mp4?X-Amz-Credential=A&X-Amz-Signature=s3cret-PW",
    "https://cdn/x.m3u8?Policy=s3cret-PW&Key-Pair-Id=K",
    "https://ha.local/api/webhook/s3cret-PW",
    "https://discord.com/api/webhooks/1234/s3cret-PW",
    "https://hooks.slack.com/services/T01/B02/aB3dE5fG7hI9jK1lmN2o",
    "https://api.telegram.org/bot1234:s3cret-PW/sendMessage",
    "https://maker.ifttt.com/trigger/door/with/key/s3cret-PW",
    "https://n8n.local/webhook/6f1b2c3d-0000-4000-8000-aabbccddeeff",
    "https://user:s3cret-PW@host.example/hook",
    "mqtts://user:s3cret-PW@broker:8883/topic",
    "gst:rtspsrc location=rtsp://u:s3cret-PW@h/x ! decodebin",
    "gst:rtspsrc location=rtsp://h/x user-id=me user-pw=s3cret-PW ! decodebin",
    'gst:rtspsrc user-pw="s3cret-PW with blanks" ! x',
    "gst:srtsrc passphrase=s3cret-PW ! x",
    "gst:souphttpsrc proxy-pw=s3cret-PW proxy-id=me ! x",
]  # fmt: skip
SECRETS = ("s3cret", "aB3dE5fG7hI9jK1l", "6f1b2c3d")


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_secret_of_an_address_is_shown(address: str) -> None:
    told = [redact_address(address), repr(redact_values({"a": [address]}))]
    if " with blanks" not in address:
        # In a sentence a blank ends an address: there the values that are known must do.
        told += [
            redact(f"cannot open {address} now"),
            redact(f"cannot open {address!r}: {{'uri': {address!r}}}"),
            redact(f"({address}), and {address}."),
            redact(f"--set sources.0.uri={address}"),
        ]
    for text in told:
        assert not any(secret in text for secret in SECRETS), text
        assert "***" in text


# What cameras' addresses look like without secrets, most common first.
HARMLESS = [
    "rtsp://cam:554/11",
    "http://cam/tmpfs/auto.jpg",
    "rtsp://cam/Streaming/Channels/101",
    "http://cam/cgi-bin/snapshot.cgi?1",
    "http://cam/video.cgi?resolution=640x480",
    "http://cam/jpg/image.jpg?size=3",
    "http://cam/snap.jpg?JpegCam=2",
    "http://cam/videostream.cgi?rate=11&resolution=8",
    "rtsp://cam:10554/tcp/av0_0",
    "http://cam/video.mjpg?q=30&fps=33&id=0.5",
    "http://cam/axis-cgi/mjpg/video.cgi?date=1&clock=1&camera=1&resolution=640x480&compression=25",
    "rtsp://cam/axis-media/media.amp?videocodec=h264",
    "rtsp://cam/h264Preview_01_main",
    "rtsp://cam/HighResolutionVideo",
    "http://cam/cgi-bin/guest/Video.cgi?media=JPEG&channel=1",
    "rtsp://cam/cam/realmonitor?channel=1&subtype=0",
    "http://cam/cgi-bin/video.cgi?msubmenu=mjpg",
    "rtsp://[fe80::1]:554/live/ch0",
    "/videos/admin/door.mp4",
    "file:///home/admin/videos/door.mp4",
    "test://?live=1&frames=100&faces=people",
    "v4l2:///dev/video0",
    "gst:v4l2src device=/dev/video0 ! videoscale ! video/x-raw,width=640",
]


@pytest.mark.parametrize("address", HARMLESS)
def test_what_is_no_secret_is_shown(address: str) -> None:
    assert redact_address(address) == redact(address) == address
    assert redact(f"cannot open {address} now") == f"cannot open {address} now"
    assert secrets_in(address) == frozenset()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{'user': 'me', 'password': 's3cret'}", "{'user': ***, 'password': ***}"),
        ('{"psw": "s3cret", "x": 1}', '{"psw": ***, "x": 1}'),
        ("Illegal header value b'Bearer s3cret'", "Illegal header value b'Bearer ***"),
        ("Authorization: Basic czNjcmV0", "Authorization: Basic ***"),
        ("check address, user and password, please", "check address, user and password, please"),
        ("sink_down sink=webhook error=h: OSError", "sink_down sink=webhook error=h: OSError"),
        ("author=Ada passed=3 compass", "author=Ada passed=3 compass"),
    ],
)
def test_secrets_in_other_texts(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:{credential:cam.pw}@h/1", "rtsp://***:{credential:cam.pw}@h/1"),
        ("http://h/x?pwd={credential:cam.pw}", "http://h/x?pwd={credential:cam.pw}"),
        ("http://h/api/webhook/{credential:hook}", "http://h/api/webhook/{credential:hook}"),
    ],
)
def test_what_stands_for_a_credential_is_shown(address: str, shown: str) -> None:
    assert redact_address(address) == redact(address) == shown
    assert redact(f"({address}).") == f"({shown})."
    assert secrets_in(address) == frozenset()


def test_a_value_of_a_query_may_begin_with_an_at() -> None:
    assert redact("http://camera.example/video?channel=1&zq=@s3cret/x&fps=5") == "http://***@***"


def test_where_a_credential_lies_is_shown_and_nothing_else_of_it() -> None:
    line = "LoadCredential=mqtt.password:/etc/jetson-face/mqtt.password"
    assert redact(f"add `{line}`, and restart") == f"add `{line}`, and restart"
    for other in (
        "LoadCredential=s3cret",
        "LoadCredential=mqtt.password:/etc/jetson-face/s3cret",
        "LoadCredential=mqtt.password:s3cret",
        "SetCredential=mqtt.password:/etc/jetson-face/mqtt.password",
        "credential=s3cret:/etc/jetson-face/s3cret",
    ):
        assert redact(other).endswith("Credential=***") or redact(other) == "credential=***"


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_was_hidden_stays_as_it_is(address: str) -> None:
    # An error's text passes here where it is made, in the log and on the status page.
    shown = redact_address(address)
    assert redact(shown) == shown
    assert secrets_in(shown) == frozenset()


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=6, max_size=40)


@given(WORDS)
def test_no_password_before_an_at_survives(password: str) -> None:
    assert redact_address(f"rtsp://admin:{password}@camera.example/1") == (
        "rtsp://***@camera.example/1"
    )
    assert redact(f"cannot open 'rtsp://admin:{password}@camera.example/1' now") == (
        "cannot open 'rtsp://***@camera.example/1' now"
    )


@given(
    st.from_regex(r"[a-z]{3,8}", fullmatch=True).map(lambda word: word + "xq"),
    st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&;#"), min_size=6
    ),
)
def test_no_value_of_an_unknown_key_survives(key: str, value: str) -> None:
    assert value not in redact_address(f"http://camera.example/video?channel=1&{key}={value}&fps=5")


@given(st.text(max_size=300))
def test_any_text_is_taken(text: str) -> None:
    clean(text)
    redact_address(text)
    assert visible(redact(text)).replace("\u200c", "").replace("\u200d", "").isprintable()


@pytest.mark.parametrize(
    "text",
    ["a-" * 50_000, "://" * 50_000, "pw='" * 50_000, "(a:" * 50_000, "a=b&" * 50_000,
     "/admin" * 50_000, "http://h/?" + "x" * 200_000, "user" * 50_000, "x@" * 50_000,
     "' pwd ' : '" * 20_000, "authorization " * 20_000],
)  # fmt: skip
def test_a_long_text_takes_no_long_time(text: str) -> None:
    started = time.process_time()
    redact(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("one\ntwo\r", "one\\ntwo\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("bad\udcff.jpg", "bad\\udcff.jpg"),
        ("نام\u200cخانوادگی", "نام\u200cخانوادگی"),
    ],
)
def test_nothing_steers_a_terminal(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert clean(text) == shown


def test_a_cut_text_was_cleaned_before() -> None:
    # Cut first, the @ would be gone, and the password would look like a port.
    assert "s3cret" not in clean(f"cannot open rtsp://admin:s3cret{'x' * 200}@cam/1", 60)
    assert len(clean("x" * 200, 60)) == 60


def test_a_known_secret_is_hidden_in_every_spelling() -> None:
    known = Known()
    known.add(["p@ss w\\rd\u00fc1", "7411"])
    for text in ("p@ss w\\rd\u00fc1", "p%40ss%20w%5Crd%C3%BC1", repr("p@ss w\\rd\u00fc1")[1:-1]):
        assert known.hide(f"got <{text}>") == "got <***>"
    # A short one is a part of many a number.
    assert known.hide("7411 of 74110 and 7411.") == "*** of 74110 and ***."
    known.add(["abc"])
    assert known.hide("abc") == "abc"
