"""Encryption at rest: AES-256-GCM under one key, from a systemd credential or a private file.

An envelope is `JFE` + version (1 byte) + key id (4 bytes) + nonce (12 bytes) + ciphertext and tag
(NIST SP 800-38D, 96-bit random nonces). The header and the caller's context are authenticated, so
that a blob moved to another row or another file does not open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    MissingDependencyError,
    SecretBrokenError,
    SecretMissingError,
)
from jetson_face.util.files import sync_folder
from jetson_face.util.redact import PLACE, remember

KEY_BYTES = 32
KEY_NAME = "gallery.key"
_MAGIC = b"JFE\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEADER_BYTES = len(_MAGIC) + _KEY_ID_BYTES
_TAG_BYTES = 16
_SECRET_MAX = 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class AesGcm:
    """Seals and opens bytes with one key; every envelope has its own random nonce.

    key: 32 bytes. origin: where the key came from, for messages only.
    Raises GalleryError for a key of another length, MissingDependencyError without `cryptography`.
    """

    def __init__(self, key: bytes, *, origin: str = "the given key") -> None:
        if len(key) != KEY_BYTES:
            raise GalleryError(
                f"{origin}: a key is {KEY_BYTES} bytes, this is {len(key)}; make one with "
                f"`head -c {KEY_BYTES} /dev/urandom`"
            )
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise MissingDependencyError(
                "encryption at rest needs `cryptography`: pip install cryptography"
            ) from error
        self._aead = AESGCM(key)
        # A key of its own: what a digest shows must not touch what the cipher hides.
        self._digest_key = hmac.digest(key, b"jetson-face keyed digests", "sha256")
        self._header = _MAGIC + hashlib.sha256(b"jetson-face key id" + key).digest()[:_KEY_ID_BYTES]
        self.origin = origin

    def encrypt(self, plain: bytes, context: bytes) -> bytes:
        """The envelope of `plain`; it opens only with the same key and the same `context`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, plain, self._header + context)
        return self._header + nonce + sealed

    def decrypt(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed.

        Raises GalleryError for another key, GalleryCorruptError for anything else that does not
        open: not an envelope, cut short, changed, or sealed for another context.
        """
        from cryptography.exceptions import InvalidTag

        if not is_sealed(sealed):
            raise GalleryCorruptError("not an encrypted record, or damaged; restore it from backup")
        if sealed[:_HEADER_BYTES] != self._header:
            raise GalleryError(
                f"encrypted with another key than {self.origin}: put the key that it was made "
                f"with back in place, or enrol again"
            )
        body = _HEADER_BYTES + _NONCE_BYTES
        try:
            return self._aead.decrypt(
                sealed[_HEADER_BYTES:body], sealed[body:], self._header + context
            )
        except InvalidTag:
            raise GalleryCorruptError(
                "an encrypted record was changed or moved; restore it from backup"
            ) from None

    def mac(self, data: bytes) -> bytes:
        """A keyed digest of 32 bytes (BLAKE2b, RFC 7693; HMAC takes three times as long)."""
        return hashlib.blake2b(data, key=self._digest_key, digest_size=32).digest()


def is_sealed(data: bytes) -> bool:
    """Whether `data` has the form of an envelope of this version."""
    return data.startswith(_MAGIC) and len(data) >= _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES


def open_cipher(
    state_dir: Path, environ: Mapping[str, str] = os.environ, *, create: bool = False
) -> AesGcm:
    """The cipher of this installation.

    The key is the systemd credential `gallery.key` where the service was given one, else
    `STATE_DIR/gallery.key`. create: make it (mode 0600) where there is none: only for who is about
    to seal the first thing with it, as a new key opens nothing that is there.
    Raises GalleryError where there is none, or for one that others may read, or that is no key.
    """
    if credentials := environ.get("CREDENTIALS_DIRECTORY"):
        path = Path(credentials) / KEY_NAME
        if path.exists():
            # systemd grants the service's user through an ACL, which shows as group bits.
            return AesGcm(_parse_key(_handed_over(path), path), origin=str(path))
    path = state_dir / KEY_NAME
    if not path.exists():
        if not create:
            raise GalleryError(
                f"{path}: the key is not there, and without it nothing that was encrypted can be "
                f"read: put it back from where you keep it, or give the right `state_dir`"
            )
        create_key(path)
    return open_private_cipher(path)


def credential(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """A secret that systemd handed over (`LoadCredential=NAME:PATH`), without its line end.

    From now on it is hidden in whatever the program says. Raises SecretMissingError where there is
    none, SecretBrokenError for a file that holds no secret of one line; neither quotes it.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SecretMissingError(
            f"the credential {name!r} is the service's: run this as `sudo jetson-face service exec "
            f"...`, or set CREDENTIALS_DIRECTORY to a folder that holds a file of this name"
        )
    try:
        if name.startswith("."):
            raise FileNotFoundError
        with (Path(folder) / name).open("rb") as file:
            data = file.read(_SECRET_MAX + 1)
    except FileNotFoundError:
        raise SecretMissingError(
            f"there is no credential {name!r}: write the secret, one line, into "
            f"/etc/jetson-face/{name}, run `sudo systemctl edit jetson-face`, add the line "
            f"LoadCredential={name}:/etc/jetson-face/{name} under [Service], and restart the "
            "service"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name cannot be a file's"
        raise SecretBrokenError(f"the credential {name!r} cannot be read: {why}") from None
    return _one_line(name, data)


def bearer_token(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """A credential that is sent in a header: letters, digits and signs of ASCII (RFC 6750).

    Raises what `credential` raises.
    """
    token = credential(name, environ)
    if not all("!" <= letter <= "~" for letter in token):
        raise _broken(name, "has a blank or a letter that no token can have")
    return token


def _one_line(name: str, data: bytes) -> str:
    """The secret in a credential's bytes."""
    if len(data) > _SECRET_MAX:
        raise _broken(name, f"is longer than {_SECRET_MAX} bytes")
    try:
        secret = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise _broken(name, "is not UTF-8 text") from None
    remember(secret, *secret.splitlines())
    if not secret:
        raise _broken(name, "is empty")
    if lines := len(secret.splitlines()) - 1:
        raise _broken(name, f"has {lines + 1} lines")
    if _CONTROL.search(secret):
        raise _broken(name, "has control characters")
    return secret


def _broken(name: str, why: str) -> SecretBrokenError:
    return SecretBrokenError(
        f"the credential {name!r} {why}: write the secret, one line and nothing else, into "
        f"/etc/jetson-face/{name} and restart the service"
    )


def fill_credentials(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """`text` with each `{credential:NAME}` replaced by that secret, escaped for a URI."""
    return PLACE.sub(lambda match: quote(credential(match[1], environ), safe=""), text)


def credentials_in(text: str) -> list[str]:
    """The names of the credentials that `text` has places for."""
    return PLACE.findall(text)


def create_key(path: Path) -> None:
    """Write a new random key, mode 0600, folder 0700; a key that is there already stays.

    Raises GalleryError where it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                # A link, unlike a rename, never replaces the key another process just made.
                os.link(draft, path)
            except FileExistsError:
                return
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise GalleryError(
            f"{path}: the key cannot be written: {error.strerror}; make the folder writable for "
            f"this user, or set another `state_dir`"
        ) from error


def open_private_cipher(path: Path) -> AesGcm:
    """The cipher of a key file. Raises GalleryError for one that is not there, that others may
    read, or that is no key."""
    return AesGcm(_parse_key(read_private(path), path), origin=str(path))


def read_private(path: Path) -> bytes:
    """What is in a secret's file. Raises GalleryError where it cannot be read, or by others."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            data = file.read(4096)
    except OSError as error:
        raise GalleryError(
            f"{path}: the key cannot be read: {error.strerror}; run as the user that owns it"
        ) from error
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077:
        raise GalleryError(
            f"{path}: others may read this key (mode {mode:04o}); run: chmod 600 {path}"
        )
    if facts.st_uid not in (os.geteuid(), 0):
        raise GalleryError(
            f"{path}: this key belongs to user {facts.st_uid}; run: chown {os.geteuid()} {path}"
        )
    return data


def _handed_over(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GalleryError(f"{path}: the key cannot be read: {error.strerror or error}") from error


def _parse_key(data: bytes, path: Path) -> bytes:
    if len(data) == KEY_BYTES:
        return data
    try:
        key = bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise GalleryError(
            f"{path}: not a key: {KEY_BYTES} raw bytes or {2 * KEY_BYTES} hex digits are needed, "
            f"this file has {len(data)} bytes; restore it from backup"
        )
    return key
