"""Weights of the three MTCNN networks, read from the files of the pip package `mtcnn`.

Each file is an LZ4 frame around a joblib pickle of a list of float32 arrays. Nothing is unpickled:
the stream's opcodes are listed, never run, only to find where each array's raw bytes lie. The
package itself is not imported (it would import TensorFlow).
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Sequence

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.types import F32

_MAGIC = b"\x04\x22\x4d\x18"
_SIZE_MAX = 64 << 20


def read_arrays(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[F32]:
    """The float32 arrays of a joblib file (LZ4 frame), which must have exactly these shapes.

    Raises ModelError where the file is anything else.
    """
    try:
        stream = decompress_lz4(data) if data[:4] == _MAGIC else data
        return _find_arrays(stream, shapes)
    except (ValueError, IndexError, struct.error) as exc:
        raise ModelError(f"not the weights that were expected: {exc}") from exc


def _find_arrays(stream: bytes, shapes: Sequence[tuple[int, ...]]) -> list[F32]:
    """joblib puts an array's bytes behind the opcode that ends its header: SETITEMS, BUILD, then
    one byte with the length of the padding, the padding, and the raw values."""
    file = io.BytesIO(stream)
    arrays: list[F32] = []
    previous = ""
    for opcode, _, _ in pickletools.genops(file):
        if previous == "SETITEMS" and opcode.name == "BUILD":
            if len(arrays) == len(shapes):
                raise ValueError(f"more than {len(shapes)} arrays")
            shape = shapes[len(arrays)]
            padding = file.read(1)[0]
            file.seek(padding, io.SEEK_CUR)
            raw = file.read(4 * int(np.prod(shape)))
            arrays.append(np.frombuffer(raw, "<f4").reshape(shape).astype(np.float32))
            if not np.isfinite(arrays[-1]).all():
                raise ValueError(f"array {len(arrays) - 1} is not finite")
        previous = opcode.name
    if len(arrays) != len(shapes):
        raise ValueError(f"{len(arrays)} arrays, expected {len(shapes)}")
    return arrays


def decompress_lz4(data: bytes) -> bytes:
    """The content of one LZ4 frame (LZ4 frame format 1.6.x, without a dictionary).

    Checksums are not read: the caller has checked the file's SHA-256. Raises ValueError.
    """
    if data[:4] != _MAGIC or data[4] >> 6 != 1:
        raise ValueError("not an LZ4 frame")
    flags = data[4]
    if flags & 0x01:
        raise ValueError("LZ4 frames with a dictionary are not supported")
    at = 7 + (8 if flags & 0x08 else 0)
    block_checksum = 4 if flags & 0x10 else 0
    out = bytearray()
    while True:
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if size == 0:
            return bytes(out)
        length = size & 0x7FFFFFFF
        block = data[at : at + length]
        if len(block) != length:
            raise ValueError("the LZ4 frame is truncated")
        if size >> 31:
            out += block
        else:
            _decompress_block(block, out)
        if len(out) > _SIZE_MAX:
            raise ValueError("the LZ4 frame is too large")
        at += length + block_checksum


def _decompress_block(block: bytes, out: bytearray) -> None:
    """Append one block's content; matches may reach back into the blocks before it."""
    at, end = 0, len(block)
    while at < end:
        token = block[at]
        at += 1
        literals, at = _length(block, at, token >> 4)
        out += block[at : at + literals]
        at += literals
        if at >= end:
            return  # the last sequence has no match
        offset = block[at] | block[at + 1] << 8
        size, at = _length(block, at + 2, token & 15)
        size += 4
        start = len(out) - offset
        if offset == 0 or start < 0:
            raise ValueError("an LZ4 match reaches before the beginning")
        if offset >= size:
            out += out[start : start + size]
        else:  # the match overlaps what it makes: a repeated pattern
            out += (bytes(out[start:]) * (size // offset + 1))[:size]


def _length(block: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble == 15:
        while True:
            more = block[at]
            at += 1
            nibble += more
            if more != 255:
                break
    return nibble, at
