"""Boxes and planar transforms, vectorised; pure functions on float arrays.

A box is x1, y1, x2, y2 in pixels with x2 >= x1 and y2 >= y1; its width is x2 - x1.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from jetson_face.core.types import F32, I64

Overlap = Literal["union", "min"]


def iou_pairs(a: F32, b: F32) -> F32:
    """Overlap of each box of `a` (N, 4) with the one of `b` in its row: (N,) in [0, 1]."""
    return _overlap(a, b, "union")


def iou_matrix(a: F32, b: F32 | None = None, *, over: Overlap = "union") -> F32:
    """Overlap of each box of `a` (N, 4) with each of `b` (M, 4; default `a`): (N, M) in [0, 1].

    over: divide the intersection by the union, or by the smaller of the two areas (a small box
    inside a large one is then 1). Boxes with no area overlap nothing: 0.
    """
    b = a if b is None else b
    return _overlap(a[:, None], b[None, :], over)


def _overlap(a: F32, b: F32, over: Overlap) -> F32:
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area_a, area_b = areas(a), areas(b)
    whole = area_a + area_b - shared if over == "union" else np.minimum(area_a, area_b)
    share = np.divide(shared, whole, out=np.zeros(shared.shape, np.float32), where=whole > 0)
    # In float32 a union can round to less than its part.
    return np.asarray(np.minimum(share, 1.0, out=share), np.float32)


def areas(boxes: F32) -> F32:
    """Area of each box (..., 4), square pixels: (...)."""
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]), np.float32)


def clip_boxes(boxes: F32, width: float, height: float) -> F32:
    """The boxes (N, 4) cut to `width` x `height` pixels; one wholly outside has no area."""
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(np.asarray(boxes, np.float32), 0, limits)


def square_boxes(boxes: F32) -> F32:
    """Each box (N, 4) grown about its centre to a square of its longer side."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.max(boxes[:, 2:] - boxes[:, :2], axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def nms(boxes: F32, scores: F32, overlap_max: float, *, over: Overlap = "union") -> I64:
    """Greedy non-maximum suppression: indices of the boxes that stay, best score first.

    A box goes when it overlaps a better one that stays by more than `overlap_max`. Equal scores
    keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    above = iou_matrix(boxes[order], over=over) > overlap_max
    alive = np.ones(len(order), np.bool_)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~above[i, i + 1 :]
    return np.asarray(order[alive], np.int64)


def similarity_transforms(points: F32, target: F32) -> F32:
    """Least-squares rotation + uniform scale + shift from each point set to `target`.

    points: (N, K, 2); target: (K, 2) or (N, K, 2). Returns (N, 2, 3) float32 matrices M with
    M @ (x, y, 1) near the target, never a reflection. This is Umeyama (1991), eq. 40-42, which in
    the plane is a complex regression: with centred p and q, (a + ib) = sum(conj(p) q) / sum|p|^2.
    Raises ValueError on points that are not finite or all equal.
    """
    points = np.asarray(points, np.float64)
    target = np.broadcast_to(np.asarray(target, np.float64), points.shape)
    if not np.isfinite(points).all():
        raise ValueError("points of a similarity transform must be finite")
    mean_p, mean_q = points.mean(axis=1), target.mean(axis=1)
    p, q = points - mean_p[:, None], target - mean_q[:, None]
    spread = (p**2).sum(axis=(1, 2))
    if (spread <= 0).any():
        raise ValueError("points of a similarity transform must not all be equal")
    a = (p * q).sum(axis=(1, 2)) / spread
    b = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(axis=1) / spread
    out = np.empty((len(points), 2, 3), np.float64)
    out[:, 0, 0], out[:, 0, 1], out[:, 1, 0], out[:, 1, 1] = a, -b, b, a
    out[:, :, 2] = mean_q - np.einsum("nij,nj->ni", out[:, :, :2], mean_p)
    return out.astype(np.float32)


def affine_transforms(points: F32, target: F32) -> F32:
    """The affine map of each three points (N, 3, 2) onto `target` (3, 2): (N, 2, 3) matrices.

    Points (almost) on one line have none: they get their similarity transform. Raises ValueError
    as `similarity_transforms`.
    """
    out = similarity_transforms(points, target)
    for row, three in enumerate(np.asarray(points, np.float64)):
        across, down = three[1] - three[0], three[2] - three[0]
        area = abs(across[0] * down[1] - across[1] * down[0])
        if area > 0.05 * float(across @ across):
            known = np.concatenate([three, np.ones((3, 1))], axis=1)
            out[row] = np.linalg.solve(known, np.asarray(target, np.float64)).T
    return out


def apply_transforms(matrices: F32, points: F32) -> F32:
    """Each (2, 3) matrix of `matrices` (N, 2, 3) applied to its points (N, K, 2): (N, K, 2)."""
    moved = np.einsum("nij,nkj->nki", matrices[:, :, :2], points) + matrices[:, None, :, 2]
    return np.asarray(moved, np.float32)


def transform_scales(matrices: F32) -> F32:
    """Pixels of target per pixel of source of each similarity matrix (N, 2, 3): (N,)."""
    return np.hypot(matrices[:, 0, 0], matrices[:, 1, 0]).astype(np.float32)
