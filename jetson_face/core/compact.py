"""Templates with a byte a number, and how far a cosine computed from them may be off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.types import F32

I8 = NDArray[np.int8]

_BLOCK = 2048
"""Rows that are widened to float32 at once: 1 MB, which stays in the processor's cache. 2,000,000
templates of 128 numbers take 51 ms of processor time so, 61 ms with 512 rows."""
SLACK = np.float32(1e-5)
"""What adding 512 products in float32 may be off by, of unit vectors."""


@dataclass(frozen=True, slots=True, eq=False)
class CompactTemplates:
    """Templates with a byte a number. codes: (N, dim) int8. scale: (N,), codes times scale is the
    template. error: (N,) an upper bound of the length of what that leaves out."""

    codes: I8
    scale: F32
    error: F32


def compact(templates: F32) -> CompactTemplates:
    """(N, dim) float32 templates by their largest number."""
    wide = templates.astype(np.float64)
    scale = np.maximum(np.abs(wide).max(axis=1, initial=0.0), 1e-12) / 127
    scale = scale.astype(np.float32)
    codes = np.clip(np.rint(wide / scale[:, None]), -127, 127).astype(np.int8)
    left = np.linalg.norm(wide - codes * scale[:, None].astype(np.float64), axis=1)
    # rounded up: whoever relies on it must never leave out a template that belongs in
    error = np.nextafter((left * (1 + 1e-6)).astype(np.float32), np.float32(np.inf))
    return CompactTemplates(codes, scale, error)


def cosines(codes: I8, scale: F32, probes: F32) -> F32:
    """Of unit probes (P, dim) to compact templates: (P, N), each off by at most the template's
    `error` and SLACK."""
    found = np.empty((len(probes), len(codes)), np.float32)
    wide = np.empty((_BLOCK, codes.shape[1]), np.float32)
    asked = np.ascontiguousarray(probes.T)
    for begin in range(0, len(codes), _BLOCK):
        rows = codes[begin : begin + _BLOCK]
        part = wide[: len(rows)]
        np.copyto(part, rows)
        if len(probes) == 1:
            np.dot(part, probes[0], out=found[0, begin : begin + len(rows)])
        else:
            found[:, begin : begin + len(rows)] = (part @ asked).T
    found *= scale
    return found
