"""Teacher vectors from a stronger embedding given as an ONNX file, computed once and kept."""

from __future__ import annotations

import io
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.errors import ConfigError
from jetson_face.core.types import F32, ImageU8
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.util.files import write_file

if TYPE_CHECKING:
    from jetson_face.training.settings import TeacherOnnx


def teacher_vectors(
    how: TeacherOnnx, model: Path, faces: ImageU8, dim: int, cache: Path
) -> NDArray[np.float16]:
    """Unit vectors (N, dim) of faces (N, 112, 112, 3) uint8 RGB; picture and mirror image averaged.

    More than ``dim`` dimensions are rotated to ``dim`` by principal components (kept cosines).

    Raises:
        ConfigError: the network gives fewer than ``dim`` numbers.
    """
    key = sha256(model.read_bytes() + repr((how, len(faces), dim)).encode()).hexdigest()[:16]
    path = cache / f"teacher_{key}.npy"
    if path.exists():
        return np.asarray(np.load(path, allow_pickle=False))
    with closing(OnnxBackend(model)) as backend:
        parts = [_embed(backend, how, faces[i : i + 64]) for i in range(0, len(faces), 64)]
    vectors = reduce_dimensions(np.concatenate(parts), dim).astype(np.float16)
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    write_file(path, buffer.getvalue())
    return vectors


def _embed(backend: OnnxBackend, how: TeacherOnnx, faces: ImageU8) -> F32:
    pictures = faces if how.colour == "RGB" else faces[..., ::-1]
    pixels = ((pictures.astype(np.float32) - how.mean) / how.std).transpose(0, 3, 1, 2)
    name, output = next(iter(backend.inputs)), next(iter(backend.outputs))
    straight = backend.run({name: np.ascontiguousarray(pixels)})[output].copy()
    mirrored = backend.run({name: np.ascontiguousarray(pixels[..., ::-1])})[output]
    both = _unit(straight) + _unit(mirrored)
    return _unit(both)


def _unit(vectors: F32) -> F32:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def reduce_dimensions(vectors: F32, dim: int) -> F32:
    """Rotate unit vectors (N, D) onto their ``dim`` strongest directions, and make them unit again.

    Not centred: the cosines between faces are what is to be kept. Raises ConfigError when D < dim.
    """
    if vectors.shape[1] < dim:
        raise ConfigError(f"the teacher gives {vectors.shape[1]} numbers; the net wants {dim}")
    if vectors.shape[1] == dim:
        return vectors
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    return _unit(vectors @ axes[:, ::-1][:, :dim])
