"""How good a picture of a face is, without a network: size, sharpness, light, pose, detector score.

Used to refuse photos at enrolment, to weigh frames of a track, and to skip faces not worth
embedding. Everything is measured on the aligned crop and the five points.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from jetson_face.core.types import F32, BoolArray, Detections, ImageU8

_SIDE = 64
"""Crops are measured at this size, whatever the template: sharpness depends on scale."""
_INNER = slice(8, 56)
"""Rows and columns of the measured part: the face without its surroundings."""
_SKEW_MAX = 0.4
"""Area between the lines of eyes and mouth, by the spread of the points, of a frontal face whose
mouth stands upright."""


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Where a part of the quality is named as a reason. Each part is 0.5 at its limit.

    size_px_min: shorter side of the box, pixels. sharpness_min: see `Quality.sharpness`.
    brightness_min, brightness_max: mean luma, 0 to 255. contrast_min: standard deviation of luma.
    turn_max: see `Quality.turn`. roll_max: degrees.
    """

    size_px_min: float = 40.0
    sharpness_min: float = 0.12
    brightness_min: float = 40.0
    brightness_max: float = 215.0
    contrast_min: float = 11.0
    turn_max: float = 0.38
    roll_max: float = 45.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One face's quality. score: [0, 1]. reasons: what is wrong, worst first; may be empty."""

    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """Quality of N faces as parallel arrays (N,) float32.

    score: [0, 1], product of all parts. parts: (N, len(REASONS)) in [0, 1], one column a reason.
    size_px: shorter side of the box.
    sharpness: standard deviation of the Laplacian over that of the luma, of the crop at 64 px; 0.3
        to 0.8 on LFW, 0.1 for the same blurred by 4 px.
    brightness, contrast: mean and standard deviation of luma, 0 to 255.
    turn: how far the nose lies from the middle of the face, in distances from eyes to mouth: 0
        frontal, 0.5 about 45 degrees.
    roll: degrees, head tilted to the image's right positive.
    """

    score: F32
    parts: F32
    size_px: F32
    sharpness: F32
    brightness: F32
    contrast: F32
    turn: F32
    roll: F32

    def __len__(self) -> int:
        return len(self.score)

    def verdict(self, row: int = 0) -> Verdict:
        """Score and reasons of one face: the parts at or below a half."""
        parts = self.parts[row]
        worst = [i for i in np.argsort(parts, kind="stable") if parts[i] < 0.5]
        return Verdict(float(self.score[row]), tuple(REASONS[i] for i in worst))


REASONS = ("too_small", "blurred", "dark", "bright", "flat", "turned", "tilted", "unsure")
"""Reason codes, in the order of `Quality.parts`."""


class QualityGate:
    """Measures faces against limits. landmarks_min: see `plausible`. detection_min: [0, 1], least
    score of the detector, in the mean of a face's looks, for it to count."""

    def __init__(
        self,
        limits: QualityLimits | None = None,
        *,
        landmarks_min: float = 0.0,
        detection_min: float = 0.0,
    ) -> None:
        self.limits = limits or QualityLimits()
        self.landmarks_min, self.detection_min = landmarks_min, detection_min

    def plausible(self, faces: Detections) -> BoolArray:
        """(N,) which detections may be faces, by their landmarks; see `measure_landmarks`."""
        return np.asarray(measure_landmarks(faces.landmarks) >= self.landmarks_min, np.bool_)

    def assess(self, crops: ImageU8, faces: Detections) -> Quality:
        """Quality of faces by their aligned crops (N, S, S, 3) BGR, in the order of `faces`."""
        limits = self.limits
        size = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1, initial=np.inf)
        brightness, contrast, sharpness = measure_crops(crops)
        turn, roll = measure_pose(faces.landmarks)
        parts = np.stack(
            [
                _rising(size, limits.size_px_min),
                _rising(sharpness, limits.sharpness_min),
                _rising(brightness, limits.brightness_min),
                _rising(255 - brightness, 255 - limits.brightness_max),
                _rising(contrast, limits.contrast_min),
                _falling(turn, limits.turn_max),
                _falling(np.abs(roll), limits.roll_max),
                _rising(faces.scores, 0.6),
            ],
            axis=1,
        )
        return Quality(parts.prod(axis=1), parts, size, sharpness, brightness, contrast, turn, roll)

    def scores(self, crops: ImageU8, faces: Detections) -> F32:
        """`assess`, the scores only: (N,) in [0, 1]."""
        return self.assess(crops, faces).score

    def verdict(self, crops: ImageU8, faces: Detections) -> Verdict:
        """`assess` for the first face, as score and reasons; what is not plausible scores 0."""
        if not self.plausible(faces[:1])[0]:
            return Verdict(0.0, ("not_a_face",))
        return self.assess(crops, faces).verdict(0)


def measure_crops(crops: ImageU8) -> tuple[F32, F32, F32]:
    """Brightness, contrast and sharpness (N,) of aligned crops; see `Quality`."""
    luma = np.empty((len(crops), _SIDE, _SIDE), np.float32)
    for i, crop in enumerate(crops):
        grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
        luma[i] = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    inner = luma[:, _INNER, _INNER]
    brightness = inner.mean(axis=(1, 2))
    contrast = inner.std(axis=(1, 2))
    laplacian = (
        inner[:, :-2, 1:-1]
        + inner[:, 2:, 1:-1]
        + inner[:, 1:-1, :-2]
        + inner[:, 1:-1, 2:]
        - 4 * inner[:, 1:-1, 1:-1]
    )
    # + 1: a flat crop is not sharp, however little noise it has.
    sharpness = laplacian.std(axis=(1, 2)) / (contrast + 1)
    return brightness, contrast, np.asarray(sharpness, np.float32)


def measure_pose(landmarks: F32) -> tuple[F32, F32]:
    """Turn and roll (N,) of points (N, 5, 2); see `Quality`. NaN points count as turned away."""
    eyes = _between(landmarks[:, 0], landmarks[:, 1])
    mouth = _between(landmarks[:, 3], landmarks[:, 4])
    across = landmarks[:, 1] - landmarks[:, 0]
    roll = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    down = mouth - eyes
    length = np.maximum(np.hypot(down[:, 0], down[:, 1]), 1e-3)
    nose = landmarks[:, 2] - (eyes + mouth) / 2
    # Distance of the nose from the line between the eyes' middle and the mouth's.
    turn = np.abs(nose[:, 0] * down[:, 1] - nose[:, 1] * down[:, 0]) / length**2
    return (
        np.asarray(np.nan_to_num(turn, nan=9.0), np.float32),
        np.asarray(np.nan_to_num(roll, nan=180.0), np.float32),
    )


def measure_landmarks(landmarks: F32) -> F32:
    """How well points (N, 5, 2) fit a face in any pose: (N,) in [0, 1], 1 exactly; 0 of NaN and of
    five equal points.

    From wherever a face is seen, the lines of its eyes and of its mouth stay parallel: a profile
    fits as well as a frontal face, and a smile as well as none. The nose lies between them, and
    what is left is on the left.
    """
    eyes, mouth = landmarks[:, 1] - landmarks[:, 0], landmarks[:, 4] - landmarks[:, 3]
    middle = _between(landmarks[:, 0], landmarks[:, 1])
    down = _between(landmarks[:, 3], landmarks[:, 4]) - middle
    length = np.maximum((down**2).sum(axis=1), 1e-6)
    spread = ((landmarks - landmarks.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))
    skew = np.abs(_cross(eyes, mouth)) / np.where(spread > 1e-6, spread, np.nan)
    drop = ((landmarks[:, 2] - middle) * down).sum(axis=1) / length
    swapped = np.maximum(-_cross(eyes + mouth, down) / length, 0)
    fit = np.clip(1 - skew / _SKEW_MAX - np.maximum(np.abs(drop - 0.5) - 0.5, 0) - swapped, 0, 1)
    return np.asarray(np.nan_to_num(fit, nan=0.0), np.float32)


def _between(a: F32, b: F32) -> F32:
    """The points half-way between two (N, 2)."""
    return np.asarray((a + b) / 2, np.float32)  # a mean() over two takes five times as long


def _cross(a: F32, b: F32) -> F32:
    """The area that two vectors span (N, 2), with its sign: (N,)."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], np.float32)


def _rising(value: F32, half: float) -> F32:
    """0 at 0, 0.5 at `half`, towards 1 above: v^3 / (v^3 + half^3)."""
    cubed = np.maximum(value, 0).astype(np.float64) ** 3
    return np.asarray(np.where(np.isinf(cubed), 1.0, cubed / (cubed + half**3)), np.float32)


def _falling(value: F32, half: float) -> F32:
    """1 at 0, 0.5 at `half`, towards 0 above."""
    return np.asarray(1.0 - _rising(value, half), np.float32)
