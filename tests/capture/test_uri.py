"""URIs: what they mean, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.capture.opening import open_source
from jetson_face.capture.uri import parse_uri
from jetson_face.core.errors import InputMissingError, UsageError
from jetson_face.util.redact import redact

SECRETS = [
    ("rtsp://admin:s3cret@10.0.0.5:554/ch1", "rtsp://***@10.0.0.5:554/ch1"),
    ("rtsp://admin:p@ss/w0rd@cam/1", "rtsp://***@cam/1"),
    ("rtsp://onlyuser@cam/1", "rtsp://***@cam/1"),
    ("rtsp://cam:554/ch1", "rtsp://cam:554/ch1"),
    ("http://cam/video?user=me&pwd=s3cret&res=4", "http://cam/video?user=***&pwd=***&res=4"),
    ("http://cam/video?token=s3cret", "http://cam/video?token=***"),
    (
        "gst:rtspsrc location=rtsp://u:p@h/x user-id=me user-pw=s3cret ! decodebin",
        "gst:rtspsrc location=rtsp://***@h/x user-id=*** user-pw=*** ! decodebin",
    ),
    ('gst:rtspsrc user-pw="a b" ! x', "gst:rtspsrc user-pw=*** ! x"),
    ("rtsp://cam/user=admin_password=s3cret_channel=1", "rtsp://cam/user=***"),
    ("/videos/door.mp4", "/videos/door.mp4"),
    ("rtsp://cam/live/admin/s3cret/0", "rtsp://cam/live/admin/***/0"),
    ("http://cam/s.cgi?loginuse=me&loginpas=s3cret", "http://cam/s.cgi?loginuse=***&loginpas=***"),
    ("v4l2:///dev/video0", "v4l2:///dev/video0"),
]


@pytest.mark.parametrize(("text", "shown"), SECRETS, ids=[shown for _, shown in SECRETS])
def test_credentials_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert parse_uri(text).shown == shown
    assert redact(f"cannot open {text} now") == f"cannot open {shown} now"
    assert "s3cret" not in repr(parse_uri(text))


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<>'\""), min_size=6
    )
)
def test_no_password_survives_redaction(password: str) -> None:
    uri = parse_uri(f"rtsp://admin:{password}@camera.example/stream")
    assert uri.shown == "rtsp://***@camera.example/stream"


@pytest.mark.parametrize(
    "message",
    [
        "401 for user admin with p%40ssw0rd",
        "401 for user admin with p@ssw0rd",
        "could not open rtsp://admin:p%40ssw0rd@cam/1",
        "could not open /live/admin/p%40ssw0rd/0",
    ],
)
def test_a_library_message_is_cleaned_in_every_spelling(message: str) -> None:
    clean = parse_uri("rtsp://admin:p%40ssw0rd@cam/1").clean(message)
    assert "ssw0rd" not in clean


@pytest.mark.parametrize(
    ("text", "scheme", "target"),
    [
        ("0", "v4l2", "0"),
        ("v4l2:///dev/video2", "v4l2", "/dev/video2"),
        ("csi://1", "csi", "1"),
        ("RTSP://cam/1", "rtsp", "cam/1"),
        ("film.mp4", "path", "film.mp4"),
        ("/a folder/with: colon", "path", "/a folder/with: colon"),
        ("file:///a%20b/c.mp4", "file", "/a b/c.mp4"),
        ("file://localhost/c.mp4", "file", "/c.mp4"),
        ("gst:videotestsrc ! x", "gst", "videotestsrc ! x"),
        ("test://?frames=3", "test", ""),
        ("test://?frames=3&live=1", "test", ""),
    ],
)
def test_parsing(text: str, scheme: str, target: str) -> None:
    uri = parse_uri(text)
    assert (uri.scheme, uri.target) == (scheme, target)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "got nothing"),
        ("foo://x", "unknown scheme 'foo'"),
        ("rtsp:admin:s3cret@cam/1", r"`rtsp:` wants two slashes, as in rtsp://"),
        ("csi:0", r"`csi:` wants two slashes, as in csi://"),
    ],
)
def test_nonsense_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_uri(text)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_unknown_scheme_does_not_show_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        parse_uri("rstp://me:s3cret@cam/1")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("rtsp://adm:plain@cam:554/1", "rtsp://adm:plain@cam:554/1"),
        ("rtsp://adm:p@ss@cam/1", "rtsp://adm:p%40ss@cam/1"),
        ("rtsp://adm:p%40ss@cam/1", "rtsp://adm:p%40ss@cam/1"),
        ("rtsp://adm:p%e4s@cam/1", "rtsp://adm:p%E4s@cam/1"),
        ("rtsp://adm:a#1@cam/1", "rtsp://adm:a%231@cam/1"),
        ("rtsp://adm:a/b?c@cam:554/1?x=y", "rtsp://adm:a%2Fb%3Fc@cam:554/1?x=y"),
        ("rtsp://adm:100%@[fe80::1]:554/1", "rtsp://adm:100%25@[fe80::1]:554/1"),
        ("rtsp://adm:a:b@cam/1", "rtsp://adm:a%3Ab@cam/1"),
        ("rtsp://ad m@cam/1", "rtsp://ad%20m@cam/1"),
        # Without a user an @ is of the path, the query or a password that stands there.
        ("rtsp://cam/live@2", "rtsp://cam/live@2"),
        ("rtsp://cam:554/user=me_password=p@s", "rtsp://cam:554/user=me_password=p@s"),
        ("rtsp://[fe80::1]/live@2", "rtsp://[fe80::1]/live@2"),
        ("rtsp://adm:pw@cam/live@2", "rtsp://adm:pw@cam/live@2"),
        ("http://cam:8080?to=me@home", "http://cam:8080?to=me@home"),
    ],
)
def test_odd_characters_of_a_password_are_escaped_for_libraries(text: str, address: str) -> None:
    assert parse_uri(text).address == address


@pytest.mark.parametrize("kind", ["", "sequence:"])
def test_a_home_folder_may_stand_for_itself_and_one_of_nobody_is_missing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_uri(f"{kind}~/film").path == tmp_path / "film"
    with pytest.raises(InputMissingError, match=r"^~nobody-of-that-name/film: no such"):
        open_source(f"{kind}~nobody-of-that-name/film")
