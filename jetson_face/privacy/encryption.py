"""Encryption at rest: AES-256-GCM under one key, from a systemd credential or a private file.

An envelope is `JFE` + version (1 byte) + key id (4 bytes) + nonce (12 bytes) + ciphertext and tag
(NIST SP 800-38D, 96-bit random nonces). The header and the caller's context are authenticated, so
that a blob moved to another row or another file does not open.
"""

from __future__ import annotations

import contextlib
import hashlib
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
    SecretMissingError,
)

KEY_BYTES = 32
KEY_NAME = "gallery.key"
_MAGIC = b"JFE\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEADER_BYTES = len(_MAGIC) + _KEY_ID_BYTES
_TAG_BYTES = 16
_PLACE = re.compile(r"\{credential:([\w.-]{1,40})\}")


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


def is_sealed(data: bytes) -> bool:
    """Whether `data` has the form of an envelope of this version."""
    return data.startswith(_MAGIC) and len(data) >= _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES


def open_cipher(state_dir: Path, environ: Mapping[str, str] = os.environ) -> AesGcm:
    """The cipher of this installation.

    The key is the systemd credential `gallery.key` where the service was given one, else
    `STATE_DIR/gallery.key`, made on first use with mode 0600.
    Raises GalleryError for a key file that others may read, or that is no key.
    """
    if credentials := environ.get("CREDENTIALS_DIRECTORY"):
        path = Path(credentials) / KEY_NAME
        if path.exists():
            # systemd grants the service's user through an ACL, which shows as group bits.
            return AesGcm(_parse_key(path.read_bytes(), path), origin=str(path))
    path = state_dir / KEY_NAME
    if not path.exists():
        create_key(path)
    return AesGcm(_read_private_key(path), origin=str(path))


def credential(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """A secret that systemd handed over (`LoadCredential=NAME:PATH`), without its line end.

    Raises SecretMissingError where there is none, or nothing in it.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SecretMissingError(
            f"the credential {name!r} is the service's: run this as `sudo jetson-face service exec "
            f"...`, or set CREDENTIALS_DIRECTORY to a folder that holds a file of this name"
        )
    with contextlib.suppress(OSError, ValueError):
        if not name.startswith("."):
            secret = (Path(folder) / name).read_text("utf-8").rstrip("\r\n")
            if secret:
                return secret
            raise SecretMissingError(
                f"the credential {name!r} is empty: write the secret into /etc/jetson-face/{name} "
                f"and restart the service"
            )
    raise SecretMissingError(
        f"there is no credential {name!r}: add `LoadCredential={name}:/etc/jetson-face/{name}` "
        f"with `systemctl edit jetson-face`, or write the secret into the configuration"
    )


def fill_credentials(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """`text` with each `{credential:NAME}` replaced by that secret, escaped for a URI."""
    return _PLACE.sub(lambda match: quote(credential(match[1], environ), safe=""), text)


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
        _sync_folder(path.parent)
    except OSError as error:
        raise GalleryError(
            f"{path}: the key cannot be written: {error.strerror}; make the folder writable for "
            f"this user, or set another `state_dir`"
        ) from error


def _read_private_key(path: Path) -> bytes:
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
    return _parse_key(data, path)


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


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
