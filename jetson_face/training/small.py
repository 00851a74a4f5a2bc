"""Sets of aligned faces for the tables' networks: some people of a zip, or all of its faces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jetson_face.core.errors import InputBrokenError, UsageError
from jetson_face.core.types import I64, ImageU8
from jetson_face.embedding.align import TEMPLATES, warp_faces
from jetson_face.training import data

if TYPE_CHECKING:
    from jetson_face.training.transfer_settings import TransferConfig

_MEASURED = 100
"""People whose photos are divided, where there are more."""


@dataclass(frozen=True, slots=True, eq=False)
class SmallSet:
    """Aligned faces (N, S, S, 3) uint8 RGB, labels (N,), -1 unknown, and what the set is called.

    teacher: (N, D) unit vectors of a teacher, or None.
    """

    faces: ImageU8
    labels: I64
    origin: str
    teacher: npt.NDArray[np.float16] | None = None

    @property
    def people(self) -> int:
        """How many."""
        return int(self.labels.max()) + 1

    @property
    def known(self) -> int:
        """Faces whose person is known."""
        return int((self.labels >= 0).sum())

    def rows(self, chosen: npt.NDArray[np.bool_] | I64) -> SmallSet:
        """Some of the faces."""
        teacher = None if self.teacher is None else self.teacher[chosen]
        return SmallSet(self.faces[chosen], self.labels[chosen], self.origin, teacher)

    def divided(self, seed: int) -> tuple[SmallSet, SmallSet]:
        """For training, and one photo in four, at least one, for testing: of everybody, or of the
        100 people with most photos."""
        rng = np.random.default_rng(seed)
        tested = np.zeros(len(self.labels), np.bool_)
        for person in self.most(2, _MEASURED):
            rows = rng.permutation(np.flatnonzero(self.labels == person))
            tested[rows[: max(len(rows) // 4, 1)]] = True
        return self.rows(~tested), self.rows(tested)

    def measured(self, held: SmallSet) -> SmallSet:
        """Of the training part: photos of the people that are tested, at most ten of each."""
        rows = [np.flatnonzero(self.labels == p)[:10] for p in np.unique(held.labels)]
        return self.rows(np.concatenate(rows))

    def most(self, photos: int, people: int) -> list[int]:
        """At most so many people who have so many photos or more, those with most first."""
        counts = np.bincount(self.labels[self.labels >= 0])
        order = sorted(np.flatnonzero(counts >= photos), key=lambda p: (-int(counts[p]), int(p)))
        return [int(person) for person in order[:people]]

    def renumbered(self) -> SmallSet:
        """The same faces; the people who are left are counted from 0 on."""
        labels = self.labels.copy()
        _, labels[labels >= 0] = np.unique(labels[labels >= 0], return_inverse=True)
        return replace(self, labels=labels)


def from_zip(config: TransferConfig) -> SmallSet:
    """The set that a recipe names, aligned as the recipe says.

    Raises UsageError on an alignment that there is not, InputMissingError and InputBrokenError on
    the files.
    """
    if config.packed is None:
        raise UsageError("the recipe names no faces: give `packed`, or use --finetune PEOPLE")
    if config.alignment not in TEMPLATES:
        raise UsageError(f"no alignment {config.alignment!r}; there are {', '.join(TEMPLATES)}")
    if config.people:
        given = read_packed(data.find(config.packed), config.people, config.photos)
    else:
        given = read_all(config)
    if config.alignment == "arcface112":
        return given
    # the packed crops follow that template: one map leads from it to any other
    points, target = TEMPLATES["arcface112"].array[None], TEMPLATES[config.alignment]
    faces = np.empty((len(given.faces), target.size, target.size, 3), np.uint8)
    for row, face in enumerate(given.faces):
        faces[row] = warp_faces(face, points, target)[0]
    return replace(given, faces=faces)


def read_all(config: TransferConfig) -> SmallSet:
    """Every face of the zip, those of unknown people too, and the teacher's vectors."""
    from jetson_face.training.settings import DataSettings

    assert config.packed is not None
    how = DataSettings(packed=config.packed, teacher=config.teacher, cache=config.cache)
    given = data.load(how, config.dim)
    whole = SmallSet(given.faces, given.labels, config.packed.name, given.teacher)
    if config.faces is None or config.faces >= len(whole.labels):
        return whole
    counts = np.append(np.bincount(given.labels[given.labels >= 0]), 0)  # the last: unknown
    order = np.lexsort((given.labels, -counts[given.labels]))[: config.faces]
    return whole.rows(np.sort(order)).renumbered()


def read_packed(path: Path, people: int, photos: int) -> SmallSet:
    """The people with most photos of a zip with labels.csv; only theirs are decoded.

    Raises InputBrokenError where it has no labelled people.
    """
    names, owners, read = data.from_zip(path)
    by_person: dict[str, list[str]] = {}
    for name, owner in zip(names, owners, strict=True):
        if owner:
            by_person.setdefault(owner, []).append(name)
    order = sorted(by_person, key=lambda who: (-len(by_person[who]), who))[:people]
    order = [who for who in order if len(by_person[who]) >= 2]
    if len(order) < 2:
        raise InputBrokenError(f"{path}: no two people with two photos each in labels.csv")
    faces, labels = [], []
    for number, who in enumerate(order):
        for name in by_person[who][:photos]:
            faces.append(data.decode_face(read(name), f"{path}: {name}"))
            labels.append(number)
    return SmallSet(np.array(faces, np.uint8), np.array(labels, np.int64), path.name)
