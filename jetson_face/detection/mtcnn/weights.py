"""Weights of the three MTCNN networks, read from the files of the pip package `mtcnn`.

Each file is an LZ4 frame around a joblib pickle of a list of float32 arrays. Nothing is unpickled:
the stream's opcodes are listed, never run, only to find where each array's raw bytes lie. The
package itself is not imported (it would import TensorFlow).
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Sequence

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.types import F32
from jetson_face.util.optional import needs

_MAGIC = b"\x04\x22\x4d\x18"
_SIZE_MAX = 64 << 20


def read_arrays(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[F32]:
    """The float32 arrays of a joblib file (LZ4 frame), which must have exactly these shapes.

    Raises ModelError where the file is anything else, MissingDependencyError.
    """
    try:
        stream = _decompressed(data) if data[:4] == _MAGIC else data
        return _find_arrays(stream, shapes)
    except (ValueError, IndexError, RuntimeError) as exc:
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


def _decompressed(frame: bytes) -> bytes:
    with needs("reading MTCNN's weights needs the lz4 package: pip install 'jetson-face[pc]'"):
        import lz4.frame
    reader = lz4.frame.LZ4FrameDecompressor()
    content = reader.decompress(frame, max_length=_SIZE_MAX)
    if not reader.eof:
        raise ValueError("the LZ4 frame is truncated or too large")
    return bytes(content)
