"""Roles that several layers share: what processes frames, and what encrypts bytes at rest."""

from __future__ import annotations

from typing import Protocol

from jetson_face.core.types import Frame, Report


class FrameProcessor(Protocol):
    """One frame of one source in, its report out; the frames of a source come in order."""

    def process(self, frame: Frame) -> Report: ...


class Cipher(Protocol):
    """Encrypts bytes at rest (`jetson_face.privacy.encryption.AesGcm`).

    The context says what the bytes belong to and must be the same both ways (associated data).
    `decrypt` raises GalleryError for another key or damaged bytes. `mac`: a keyed digest of 32
    bytes: who has no key can neither make it nor try what it was made from.
    """

    def encrypt(self, plain: bytes, context: bytes, /) -> bytes: ...
    def decrypt(self, sealed: bytes, context: bytes, /) -> bytes: ...
    def mac(self, data: bytes, /) -> bytes: ...
