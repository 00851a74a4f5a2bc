"""What is really in a labelled clip, frame by frame, and how a run compares with it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.geometry import iou_matrix
from jetson_face.core.types import Report, Sighting
from jetson_face.util.files import write_file

IOU_MIN = 0.3
"""Detectors draw boxes of different tightness: forehead in or out alone costs a third."""
VISIBLE_MIN = 0.5
"""A face of which less can be seen is neither missed nor held against anybody."""


class _LabelPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrueFace(_LabelPart):
    """One face of one frame.

    actor: the appearance it belongs to: one person from entering to leaving. name: None for a
    stranger. box: xyxy pixels. visible: share of the face inside the frame and uncovered.
    """

    actor: int = Field(ge=0)
    name: str | None
    box: tuple[float, float, float, float]
    visible: float = Field(1.0, ge=0, le=1)


class GroundTruth(_LabelPart):
    """A clip's labels.

    enrol: the photos that make each person known; none of them is in the clip unless
    `photos_shared` says so. frames: the faces of each frame, in order.
    """

    size: tuple[int, int]
    fps: float = Field(gt=0)
    seed: int | None = None
    enrol: dict[str, tuple[str, ...]] = {}
    photos_shared: bool = False
    frames: tuple[tuple[TrueFace, ...], ...]


def read_ground_truth(path: Path) -> GroundTruth:
    """The labels in a JSON file; relative photos are relative to its folder.

    Raises InputMissingError, and InputBrokenError where the file is not a clip's ground truth.
    """
    try:
        ground_truth = GroundTruth.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputMissingError(
            f"{path}: no such file; `jetson-face clips make` writes it beside the clip"
        ) from None
    except OSError as error:
        raise InputBrokenError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        at = ".".join(map(str, fault["loc"])) or "document"
        raise InputBrokenError(
            f"{path}: not the ground truth of a clip: {at}: {fault['msg']}"
        ) from None
    enrol = {
        name: tuple(str(path.parent / photo) for photo in photos)
        for name, photos in ground_truth.enrol.items()
    }
    return ground_truth.model_copy(update={"enrol": enrol})


def write_ground_truth(path: Path, ground_truth: GroundTruth) -> None:
    """Write the labels as JSON, whole or not at all. Raises OutputError."""
    write_file(path, ground_truth.model_dump_json() + "\n")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How right a run was.

    found: share of the visible face-frames that had a box. named: share of the visible face-frames
    of enrolled people with the right name. false_names: share of the sightings with a name whose
    name was wrong (another person, a stranger, no face at all). false_people: share of the
    appearances that ever bore a wrong name. never_named: enrolled appearances that never got their
    name. time_to_name_s: median over the enrolled appearances, from first visible to the first
    right name, seconds of clip; infinite while more than half of them never were named; None
    without enrolled people. appearances: all that were ever visible.
    """

    found: float
    named: float
    false_names: float
    false_people: float
    never_named: int
    time_to_name_s: float | None
    appearances: int


class Tally:
    """Compares the reports of a run with the ground truth; a report's `seq` is its frame."""

    def __init__(self, ground_truth: GroundTruth, *, iou_min: float = IOU_MIN) -> None:
        self._ground_truth = ground_truth
        self._iou_min = iou_min
        self._counts: Counter[str] = Counter()
        self._seen: dict[int, int] = {}
        self._named_at: dict[int, float] = {}
        self._enrolled: set[int] = set()
        self._misidentified: set[int] = set()
        for index, faces in enumerate(ground_truth.frames):
            for face in faces:
                if face.visible >= VISIBLE_MIN:
                    self._seen.setdefault(face.actor, index)
                    if face.name in ground_truth.enrol:
                        self._enrolled.add(face.actor)

    def add(self, report: Report, *, late_s: float = 0.0) -> None:
        """Count one report. late_s: how old its frame was when it was decided.

        Raises ValueError for a frame that the ground truth does not have.
        """
        if report.seq >= len(self._ground_truth.frames):
            raise ValueError(
                f"frame {report.seq} has no ground truth: it is of "
                f"{len(self._ground_truth.frames)} frames; is it another clip's?"
            )
        faces = self._ground_truth.frames[report.seq]
        pairs = match_faces(report.sightings, faces, iou_min=self._iou_min)
        for index, face in enumerate(faces):
            if face.visible >= VISIBLE_MIN:
                sighting = pairs.get(index)
                self._face(face, sighting, report.seq, late_s)
        taken = {id(sighting) for sighting in pairs.values()}
        for sighting in report.sightings:
            if id(sighting) not in taken and sighting.state == "known":
                self._counts["names"] += 1
                self._counts["false"] += 1

    def _face(self, face: TrueFace, sighting: Sighting | None, seq: int, late_s: float) -> None:
        known = face.name in self._ground_truth.enrol
        self._counts["faces"] += 1
        self._counts["nameable"] += known
        if sighting is None:
            return
        self._counts["found"] += 1
        if sighting.state != "known" or sighting.person is None:
            return
        self._counts["names"] += 1
        if known and sighting.person.name == face.name:
            self._counts["right"] += 1
            waited = (seq - self._seen[face.actor]) / self._ground_truth.fps + late_s
            self._named_at.setdefault(face.actor, waited)
        else:
            self._counts["false"] += 1
            self._misidentified.add(face.actor)

    def result(self) -> Accuracy:
        """The figures so far; a share of nothing is 0."""
        counts = self._counts
        waits = [self._named_at.get(actor, float("inf")) for actor in self._enrolled]
        return Accuracy(
            found=_share(counts["found"], counts["faces"]),
            named=_share(counts["right"], counts["nameable"]),
            false_names=_share(counts["false"], counts["names"]),
            false_people=_share(len(self._misidentified), len(self._seen)),
            never_named=sum(actor not in self._named_at for actor in self._enrolled),
            time_to_name_s=statistics.median(waits) if waits else None,
            appearances=len(self._seen),
        )


def match_faces(
    sightings: Iterable[Sighting], faces: Iterable[TrueFace], *, iou_min: float = IOU_MIN
) -> Mapping[int, Sighting]:
    """Which sighting shows which true face (by its index), best overlap first, each at most once.

    Hardly visible faces take part, so that a box on one is not held to be on nobody.
    """
    seen, true = list(sightings), list(faces)
    if not seen or not true:
        return {}
    overlap = iou_matrix(
        np.array([face.box for face in true], np.float32),
        np.array([sighting.box for sighting in seen], np.float32),
    )
    pairs: dict[int, Sighting] = {}
    taken: set[int] = set()
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        row, column = divmod(int(flat), len(seen))
        if overlap[row, column] < iou_min:
            break
        if row not in pairs and column not in taken:
            pairs[row] = seen[column]
            taken.add(column)
    return pairs


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
