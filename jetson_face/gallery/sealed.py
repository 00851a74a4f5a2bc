"""What a gallery keeps, as bytes at rest: checksummed, and enciphered where a cipher is given."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

from jetson_face.core.errors import GalleryError
from jetson_face.core.protocols import Cipher
from jetson_face.gallery import schema

_CHECK = b"jetson-face gallery"
_CRC_BYTES = 4
_TAG_BYTES = 16


class Sealer:
    """Seals what belongs to one row of one gallery, so that it cannot be moved elsewhere unseen.

    gallery: its id, "" for what is bound to its row alone. Without a cipher the checksums and
    digests find damage, not a forger.
    """

    def __init__(self, path: Path, cipher: Cipher | None, gallery: str = "") -> None:
        self._path = path
        self._cipher = cipher
        self.gallery = gallery

    def bound(self, gallery: str) -> Sealer:
        """The same for another gallery, "" for what is bound to its row alone."""
        return Sealer(self._path, self._cipher, gallery)

    def check_text(self) -> bytes:
        """What a new gallery remembers of its cipher, for `check`."""
        return b"" if self._cipher is None else self._cipher.encrypt(_CHECK, _CHECK)

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

    def seal(self, data: bytes, kind: str, *row: str) -> bytes:
        """The bytes to store. kind: what they are (`vector`). row: all that they belong to."""
        context = self._context(kind, row)
        sealed = data if self._cipher is None else self._cipher.encrypt(data, context)
        return sealed + _crc(sealed, context)

    def open(self, blob: bytes, kind: str, *row: str) -> bytes:
        """What `seal` was given. Raises GalleryCorruptError when it or its row changed."""
        if not isinstance(blob, bytes) or not all(isinstance(part, str) for part in row):
            raise schema.corrupt(self._path, f"the type of a {kind}")
        context = self._context(kind, row)
        sealed, crc = blob[:-_CRC_BYTES], blob[-_CRC_BYTES:]
        if crc != _crc(sealed, context):
            raise schema.corrupt(self._path, f"checksum of the {' of '.join((kind, *row[:1]))}")
        return self._decrypted(sealed, context)

    def tag(self, kind: str, text: str) -> bytes:
        """16 bytes that stand for a text: equal for equal ones, and telling nothing else of it."""
        return self.digest(kind.encode(), text.encode())[:_TAG_BYTES]

    def digest(self, *parts: bytes) -> bytes:
        """A keyed digest of 32 bytes of these parts, in this order."""
        # How long each part is comes first: so no other parts make the same bytes.
        data = struct.pack(f"<{len(parts)}I", *map(len, parts)) + b"".join(parts)
        if self._cipher is None:
            return hashlib.blake2b(data, person=b"jetson-face", digest_size=32).digest()
        return self._cipher.mac(data)

    def _context(self, kind: str, row: tuple[str, ...]) -> bytes:
        bound = (self.gallery,) if self.gallery else ()
        return "/".join((*bound, *row, kind)).encode()

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
