"""Vectors and portraits as bytes at rest: checksummed, and enciphered where a cipher is given."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Protocol

from jetson_face.core.errors import GalleryError
from jetson_face.gallery import schema

_CHECK = b"jetson-face gallery"
_CRC_BYTES = 4


class Cipher(Protocol):
    """Seals bytes at rest (`jetson_face.privacy.encryption.AesGcm`).

    The context says what the bytes belong to and must be the same both ways (associated data).
    `decrypt` raises GalleryError for another key or damaged bytes.
    """

    def encrypt(self, plain: bytes, context: bytes, /) -> bytes: ...
    def decrypt(self, sealed: bytes, context: bytes, /) -> bytes: ...


class Sealer:
    """Seals what belongs to one template, so that it cannot be moved to another unseen."""

    def __init__(self, path: Path, cipher: Cipher | None) -> None:
        self._path = path
        self._cipher = cipher

    def meta(self) -> dict[str, str | int | bytes]:
        """What a new gallery remembers of its cipher, for `check`."""
        check = b"" if self._cipher is None else self._cipher.encrypt(_CHECK, _CHECK)
        return {"cipher_check": check}

    def check(self, remembered: object) -> None:
        """Refuse a gallery that was made with another key, or with none. Raises GalleryError."""
        check = remembered if isinstance(remembered, bytes) else b""
        if self._cipher is None and check:
            raise GalleryError(f"{self._path}: it is encrypted: give the key it was made with")
        if self._cipher is None:
            return
        if not check:
            raise GalleryError(
                f"{self._path}: the gallery is not encrypted but encryption is on: turn it off for "
                "this gallery, or enrol into a new one"
            )
        self._decrypted(check, _CHECK)

    def seal(self, data: bytes, template: str, kind: str) -> bytes:
        """The bytes to store for `kind` (vector, portrait, landmarks) of a template."""
        context = f"{template}/{kind}".encode()
        sealed = data if self._cipher is None else self._cipher.encrypt(data, context)
        return sealed + _crc(sealed, context)

    def open(self, blob: bytes, template: str, kind: str) -> bytes:
        """What `seal` was given. Raises GalleryCorruptError when a bit of it changed."""
        context = f"{template}/{kind}".encode()
        sealed, crc = blob[:-_CRC_BYTES], blob[-_CRC_BYTES:]
        if crc != _crc(sealed, context):
            raise schema.corrupt(self._path, f"checksum of the {kind} of template {template}")
        return self._decrypted(sealed, context)

    def _decrypted(self, sealed: bytes, context: bytes) -> bytes:
        if self._cipher is None:
            return sealed
        try:
            return self._cipher.decrypt(sealed, context)
        except GalleryError as error:
            raise type(error)(f"{self._path}: {error}") from None


def _crc(sealed: bytes, context: bytes) -> bytes:
    """SQLite keeps no checksums: without this a flipped bit in a vector would only match badly."""
    return struct.pack("<I", zlib.crc32(sealed, zlib.crc32(context)))
