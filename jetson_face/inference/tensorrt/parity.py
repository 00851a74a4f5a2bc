"""The parity gate: does a plan answer as ONNX Runtime does, where it matters?

Same boxes and landmarks within a pixel, the same vector but for rounding, the same decision at the
threshold, the same ranking of people. Pure: the runners are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.core.types import F32, Detections, ImageU8
from jetson_face.inference.backend import Array, Backend

PIXELS_MAX = 1.0
"""Boxes and landmarks; pixels of the picture."""
COSINE_MIN = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.98}
"""Least cosine between a plan's vector and the reference's."""


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One check. limit: the least good value; `at_most` says on which side of it good is."""

    network: str
    check: str
    measured: float
    limit: float
    at_most: bool

    @property
    def passed(self) -> bool:
        """NaN never passes."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Every check of one plan, or of several."""

    rows: tuple[ParityRow, ...]

    @property
    def passed(self) -> bool:
        """All passed, and there was at least one."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    def first_failure(self) -> str:
        """The first check that failed, in words."""
        for row in self.rows:
            if not row.passed:
                return f"{row.check} {row.measured:.5g}, wanted {_limit(row)}"
        return "nothing was compared" if not self.rows else "none"

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as plain values."""
        return [{**asdict(row), "passed": row.passed} for row in self.rows]

    def table(self) -> str:
        """The rows as text, one a line."""
        lines = [f"{'network':<10} {'check':<34} {'measured':>12} {'limit':>12}  result"]
        for row in self.rows:
            lines.append(
                f"{row.network:<10} {row.check:<34} {row.measured:>12.6g} {_limit(row):>12}  "
                f"{'ok' if row.passed else 'FAILED'}"
            )
        return "\n".join(lines)

    def __add__(self, other: ParityReport) -> ParityReport:
        return ParityReport(self.rows + other.rows)


def tensor_parity(
    network: str,
    precision: str,
    reference: Backend,
    candidate: Backend,
    feeds: Sequence[Mapping[str, Array]],
) -> ParityReport:
    """Raw outputs of two runners of one network on the same inputs.

    Each output is compared as one vector over all of `feeds`, by cosine. Raises EngineError where
    their outputs differ in name or shape.
    """
    cosine_min = COSINE_MIN[precision]
    rows = []
    kept: dict[str, list[tuple[Array, Array]]] = {}
    for feed in feeds:
        wanted = {name: np.array(value) for name, value in reference.run(feed).items()}
        got = candidate.run(feed)
        _same_outputs(network, wanted, got)
        for name, value in wanted.items():
            kept.setdefault(name, []).append((value.ravel(), np.array(got[name]).ravel()))
    for name, pairs in sorted(kept.items()):
        a, b = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
        rows.append(ParityRow(network, f"{name}: cosine", _cosine(a, b), cosine_min, False))
    return ParityReport(tuple(rows))


def detection_parity(
    reference: Callable[[ImageU8], Detections],
    candidate: Callable[[ImageU8], Detections],
    images: Sequence[ImageU8],
    *,
    network: str = "mtcnn",
) -> ParityReport:
    """Faces that two detectors find in the same pictures.

    Faces are paired by the nearest box centre, not by order: two scores that differ in the last
    bit may swap. Raises EngineError where the reference finds no face: then nothing is compared.
    """
    missing, boxes, landmarks, faces = 0, 0.0, 0.0, 0
    for image in images:
        wanted, got = reference(image), candidate(image)
        faces += len(wanted)
        missing += abs(len(wanted) - len(got))
        pairs = _pair(wanted.boxes, got.boxes)
        missing += len(pairs) - len({j for _, j in pairs})  # one face answering for two
        for i, j in pairs:
            boxes = max(boxes, float(np.abs(wanted.boxes[i] - got.boxes[j]).max()))
            shift = np.abs(wanted.landmarks[i] - got.landmarks[j])
            landmarks = max(landmarks, float(np.nan_to_num(shift, nan=np.inf).max()))
    if faces == 0:
        raise EngineError("the golden pictures hold no face: parity of the detector says nothing")
    return ParityReport(
        (
            ParityRow(network, "faces missing or extra", missing, 0, True),
            ParityRow(network, "boxes, largest shift (px)", boxes, PIXELS_MAX, True),
            ParityRow(network, "landmarks, largest shift (px)", landmarks, PIXELS_MAX, True),
        )
    )


def embedding_parity(
    reference: Callable[[ImageU8], F32],
    candidate: Callable[[ImageU8], F32],
    crops: ImageU8,
    *,
    similarity_min: float,
    precision: str,
    network: str = "embed",
) -> ParityReport:
    """Unit vectors that two embedders give for the same aligned faces, and what follows of them.

    crops: (N, S, S, 3) uint8 BGR, N >= 3, several people. Every face is the probe once against all
    others: the decision is whether the cosine reaches `similarity_min`, the ranking is the order of
    the others. A swap counts only where the reference's cosines differ by more than the rounding
    that the precision is allowed anyway, 1 - COSINE_MIN.
    """
    wanted = np.array(reference(crops), np.float64)
    got = np.array(candidate(crops), np.float64)
    if wanted.shape != got.shape or len(wanted) < 3:
        raise EngineError(
            f"{network}: vectors {wanted.shape} and {got.shape}: need 3 or more alike"
        )
    cosine_min = COSINE_MIN[precision]
    # min() would skip NaN
    least = float(np.min([_cosine(a, b) for a, b in zip(wanted, got, strict=True)]))
    ref, new = wanted @ wanted.T, got @ got.T
    pairs = np.triu_indices(len(wanted), 1)
    flipped = int(np.sum((ref[pairs] >= similarity_min) != (new[pairs] >= similarity_min)))
    return ParityReport(
        (
            ParityRow(network, "vectors, least cosine", least, cosine_min, False),
            ParityRow(network, "decisions that changed", flipped, 0, True),
            ParityRow(network, "rankings that changed", _swaps(ref, new, 1 - cosine_min), 0, True),
        )
    )


def _swaps(reference: Array, candidate: Array, tie: float) -> int:
    """Probes for which some pair of others stands in another order, ties apart."""
    changed = 0
    for probe in range(len(reference)):
        others = np.arange(len(reference)) != probe
        a, b = reference[probe, others], candidate[probe, others]
        before = a[:, None] - a[None, :] > tie
        after = b[:, None] - b[None, :] > 0
        changed += bool(np.any(before & ~after))
    return changed


def _pair(wanted: F32, got: F32) -> list[tuple[int, int]]:
    """For each wanted box the index of the nearest one found."""
    if len(got) == 0:
        return []
    a = (wanted[:, :2] + wanted[:, 2:]) / 2
    b = (got[:, :2] + got[:, 2:]) / 2
    distance = np.linalg.norm(a[:, None] - b[None, :], axis=2)
    return [(i, int(distance[i].argmin())) for i in range(len(wanted))]


def _same_outputs(network: str, wanted: Mapping[str, Array], got: Mapping[str, Array]) -> None:
    a = {name: value.shape for name, value in wanted.items()}
    b = {name: value.shape for name, value in got.items()}
    if a != b:
        raise EngineError(f"{network}: the plan's outputs are {b}, the reference's {a}")


def _cosine(a: Array, b: Array) -> float:
    """1 for two zero vectors, NaN where anything is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("nan")
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return float(a @ b) / norms


def _limit(row: ParityRow) -> str:
    return f"{'<=' if row.at_most else '>='} {row.limit:g}"
