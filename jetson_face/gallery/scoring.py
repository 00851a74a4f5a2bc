"""One score a person from the cosines of several templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from jetson_face.core.types import F32, I64

SCORE_MIN: Mapping[str, float | None] = MappingProxyType(
    {"cosine": None, "knn": None, "svm": 0.0, "softmax": 0.5, "siamese": 0.5}
)
"""The score at or above which a face is that person, by method; None: the network's own cosine.

svm: tanh of the decision value, whose training pictures lie at +-0.76. softmax, siamese: a
probability.
"""


@dataclass(frozen=True, slots=True, eq=False)
class PersonLayout:
    """Which templates are whose. starts: (P,) the first of each person. lengths: (P,)."""

    starts: I64
    lengths: I64

    @classmethod
    def of(cls, person_index: I64) -> PersonLayout:
        """person_index: (M,) ascending, without gaps."""
        starts = np.flatnonzero(np.diff(person_index, prepend=-1))
        return cls(starts, np.diff(np.append(starts, len(person_index))))

    def top(self, cosines: F32, top_k: int) -> F32:
        """Mean of the k largest in each person's stretch of columns: (N, M) to (N, P).

        One pass a rank: take each stretch's largest, then blank it. Equal templates (the same
        vector twice) fall in one pass and count once.
        """
        best = np.maximum.reduceat(cosines, self.starts, axis=1)
        top_k = min(top_k, int(self.lengths.max(initial=1)))
        if top_k == 1:
            return best
        total, count = best.copy(), np.ones_like(best)
        for _ in range(top_k - 1):
            spread = np.repeat(best, self.lengths, axis=1)
            cosines = np.where(cosines >= spread, -np.inf, cosines)
            best = np.maximum.reduceat(cosines, self.starts, axis=1)
            there = np.isfinite(best)
            total += np.where(there, best, 0)
            count += there
        return np.asarray(total / count, np.float32)
