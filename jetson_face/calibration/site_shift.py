"""What a site's faces say of its threshold where they are too few to set one: the network's
impostor curve, moved as a whole.

A rate of 1 % needs 100 people to be seen at all, one of 10 % needs ten. Light and lens move both
alike, so what the laxer rates need more or less than the curve says, the strict one does too. Of
that difference counts what chance does not explain (an empirical Bayes estimate; B. Efron,
C. Morris, Journal of the American Statistical Association 70, 1975): few people move the curve
little, nobody leaves it where it is.
"""

from __future__ import annotations

import numpy as np

from jetson_face.calibration.fpir import F64, Scores
from jetson_face.calibration.impostor_curve import GallerySize, ImpostorCurve

LEVELS = (0.2, 0.1, 0.05)
"""FPIRs at which the site is compared with the curve."""
PEOPLE_MIN = 10
_AT_LEVEL_MIN = 1
"""People of whom the level's share is expected to be named, for the level to count."""
_GROUPS = 10
_BETWEEN_SITES = 0.02
"""Standard deviation of such differences between kinds of pictures, cosine: photos lie 0.005 above
the SqueezeNet's curve, frames of videos among frames of videos 0.02 above."""


def site_shift(
    strangers: Scores, curve: ImpostorCurve, gallery: GallerySize, frames: int = 1
) -> float:
    """The cosine to add to the curve's thresholds of this gallery; 0 with fewer than PEOPLE_MIN.

    strangers: scored with no margin between people asked for. frames: averaged of each.
    """
    people = np.unique(strangers.person)
    if len(people) < PEOPLE_MIN:
        return 0.0
    levels = [level for level in LEVELS if level * len(people) >= _AT_LEVEL_MIN]
    expected = np.array([curve.threshold(level, gallery, frames) for level in levels])

    def difference(score: F64) -> float:
        return float(np.mean(np.quantile(score, 1 - np.array(levels)) - expected))

    group = np.searchsorted(people, strangers.person) % _GROUPS
    without = np.array([difference(strangers.score[group != out]) for out in range(_GROUPS)])
    chance = (_GROUPS - 1) * float(without.var())  # delete-a-group jackknife
    share = _BETWEEN_SITES**2 / (_BETWEEN_SITES**2 + chance)
    return share * difference(strangers.score)
