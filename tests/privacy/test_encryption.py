"""Encryption at rest: what opens, what does not, and what is said then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    SecretBrokenError,
    SecretMissingError,
)
from jetson_face.privacy.encryption import (
    KEY_BYTES,
    AesGcm,
    bearer_token,
    create_key,
    credential,
    fill_credentials,
    is_sealed,
    open_cipher,
)
from jetson_face.util.redact import clean, redact

KEY = bytes(range(KEY_BYTES))
CIPHER = AesGcm(KEY)


@given(st.binary(max_size=2000), st.binary(max_size=50))
def test_what_was_sealed_opens_with_its_context(plain: bytes, context: bytes) -> None:
    sealed = CIPHER.encrypt(plain, context)
    assert is_sealed(sealed)
    assert AesGcm(KEY).decrypt(sealed, context) == plain
    assert len(plain) < 8 or plain not in sealed


@given(st.binary(min_size=1, max_size=100), st.integers(min_value=0), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(plain: bytes, place: int, bit: int) -> None:
    sealed = bytearray(CIPHER.encrypt(plain, b"row 1"))
    sealed[place % len(sealed)] ^= 1 << bit
    with pytest.raises(GalleryError):
        CIPHER.decrypt(bytes(sealed), b"row 1")


@given(st.binary(max_size=200))
def test_bytes_of_no_envelope_are_our_own_error(data: bytes) -> None:
    with pytest.raises(GalleryCorruptError, match="not an encrypted record"):
        CIPHER.decrypt(data, b"")


def test_a_record_moved_to_another_row_does_not_open() -> None:
    sealed = CIPHER.encrypt(b"template", b"person 1")
    with pytest.raises(GalleryCorruptError, match="changed or moved"):
        CIPHER.decrypt(sealed, b"person 2")


def test_two_seals_of_one_text_differ() -> None:
    assert CIPHER.encrypt(b"same", b"") != CIPHER.encrypt(b"same", b"")


def test_another_key_is_named_as_such() -> None:
    other = AesGcm(b"x" * KEY_BYTES, origin="/box/gallery.key")
    with pytest.raises(GalleryError, match=r"another key than /box/gallery\.key") as caught:
        other.decrypt(CIPHER.encrypt(b"template", b""), b"")
    assert not isinstance(caught.value, GalleryCorruptError)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(GalleryError, match="a key is 32 bytes"):
        AesGcm(bytes(length))


def test_the_first_use_makes_a_private_key_and_the_second_reads_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    sealed = open_cipher(state, {}, create=True).encrypt(b"template", b"c")
    key = state / "gallery.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in state.iterdir()] == ["gallery.key"]
    assert open_cipher(state, {}).decrypt(sealed, b"c") == b"template"


def test_a_key_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=r"gallery\.key: the key is not there"):
        open_cipher(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_a_digest_needs_the_key() -> None:
    assert CIPHER.mac(b"ann") == AesGcm(KEY).mac(b"ann") != AesGcm(b"x" * 32).mac(b"ann")
    assert len(CIPHER.mac(b"ann")) == 32


def test_a_key_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "gallery.key"
    create_key(path)
    before = path.read_bytes()
    create_key(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_may_touch_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "gallery.key"
    create_key(path)
    path.chmod(mode)
    with pytest.raises(GalleryError, match=f"chmod 600 {path}"):
        open_cipher(tmp_path, {})


def test_the_credential_wins_over_the_file(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "gallery.key").write_text(KEY.hex() + "\n")
    sealed = open_cipher(tmp_path, {"CREDENTIALS_DIRECTORY": str(credentials)}).encrypt(b"a", b"")
    assert CIPHER.decrypt(sealed, b"") == b"a"
    assert not (tmp_path / "gallery.key").exists()


def test_credentials_without_our_key_leave_the_file(tmp_path: Path) -> None:
    cipher = open_cipher(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}, create=True)
    assert cipher.origin == str(tmp_path / "gallery.key")


@pytest.mark.parametrize("content", [b"", b"short", b"z" * 64, b"\xff" * 64, b"0" * 63], ids=repr)
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gallery.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(GalleryError, match=r"gallery\.key: not a key"):
        open_cipher(tmp_path, {})


def test_a_folder_in_place_of_a_key_that_was_handed_over_is_our_own_error(tmp_path: Path) -> None:
    (tmp_path / "gallery.key").mkdir()
    with pytest.raises(GalleryError, match=r"gallery\.key: the key cannot be read: Is a directory"):
        open_cipher(tmp_path / "state", {"CREDENTIALS_DIRECTORY": str(tmp_path)}, create=True)


def test_a_folder_in_place_of_the_key_is_our_own_error(tmp_path: Path) -> None:
    (tmp_path / "gallery.key").mkdir()
    with pytest.raises(GalleryError, match="cannot be read"):
        open_cipher(tmp_path, {})


def test_a_state_folder_that_cannot_be_made_is_our_own_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryError, match="cannot be written"):
        open_cipher(tmp_path / "file" / "state", {}, create=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gallery.key"
    create_key(path)
    os.chown(path, 12345, 12345)
    with pytest.raises(GalleryError, match="belongs to user 12345"):
        open_cipher(tmp_path, {})


def test_credentials_fill_their_places_escaped(tmp_path: Path) -> None:
    (tmp_path / "camera.password").write_text("p@ss/wörd\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    uri = "rtsp://admin:{credential:camera.password}@10.0.0.5/{x}"
    assert fill_credentials(uri, environ) == "rtsp://admin:p%40ss%2Fw%C3%B6rd@10.0.0.5/{x}"
    assert credential("camera.password", environ) == "p@ss/wörd"


@pytest.mark.parametrize("name", ["missing", "..", ".hidden"])
def test_a_credential_that_is_missing_says_how_to_add_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecretMissingError) as caught:
        credential(name, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    line = f"add the line LoadCredential={name}:/etc/jetson-face/{name} under [Service]"
    assert line in str(caught.value)


def test_what_is_to_be_typed_survives_the_filter_for_secrets(tmp_path: Path) -> None:
    with pytest.raises(SecretMissingError) as caught:
        credential("mqtt.password", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert clean(str(caught.value)) == str(caught.value)


def test_outside_the_service_the_line_says_how_to_get_its_credentials() -> None:
    with pytest.raises(SecretMissingError, match=r"run this as `sudo jetson-face service exec"):
        fill_credentials("rtsp://a:{credential:camera.password}@10.0.0.5/", {})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3cret-token\nsecond-line\n", "has 2 lines"),
        ("s3cret-token\u2028second-line".encode(), "has 2 lines"),
        (b"s3cret-token\xff", "is not UTF-8 text"),
        (b"s3cret\0token", "has control characters"),
        (b"s3cret\x1b[2Jtoken", "has control characters"),
        (b"s3cret-token" * 1000, "is longer than 8192 bytes"),
    ],
    ids=["nothing", "line-end", "two-lines", "separator", "latin-1", "nul", "escape", "long"],
)
def test_a_file_that_holds_no_secret_is_told_by_its_name_in_one_line(
    tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / "hook.token").write_bytes(content)
    with pytest.raises(SecretBrokenError) as caught:
        credential("hook.token", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    text = str(caught.value)
    assert text.startswith(f"the credential 'hook.token' {why}: write the secret, one line")
    assert text.isprintable()
    assert not any(word in text for word in ("s3cret", "second", "token-"))


def test_a_folder_and_a_name_that_no_file_has_are_our_own_errors(tmp_path: Path) -> None:
    (tmp_path / "hook.token").mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    with pytest.raises(SecretBrokenError, match="cannot be read: Is a directory"):
        credential("hook.token", environ)
    with pytest.raises(SecretBrokenError, match="cannot be read"):
        credential("a\0b", environ)


@pytest.mark.parametrize("token", ["s3cret token", "s3crét", "s3cret\xa0token"])
def test_a_token_that_no_header_can_have_is_refused(tmp_path: Path, token: str) -> None:
    (tmp_path / "hook.token").write_text(token)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    # As a password it is good.
    assert credential("hook.token", environ) == token
    with pytest.raises(SecretBrokenError, match=r"'hook.token' has a blank or a letter") as caught:
        bearer_token("hook.token", environ)
    assert "s3cr" not in str(caught.value)


def test_a_credential_is_hidden_wherever_it_turns_up(tmp_path: Path) -> None:
    (tmp_path / "hook.token").write_text("zq-only-of-this-test/1\n")
    assert credential("hook.token", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert redact("got b'zq-only-of-this-test/1' and zq-only-of-this-test%2F1") == (
        "got b'***' and ***"
    )
