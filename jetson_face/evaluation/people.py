"""Folders of people, and how they are divided into enrolled pictures, probes and strangers.

Two layouts: PERSON/picture.jpg, and PERSON/videoV/frameK.jpg. The pictures of one folder below a
person are one *session*; a picture right below its person is a session of its own. Probes never
share a session with what is enrolled. Every choice is made by a hash of the names and a seed, so
that the same folder gives the same division on every machine, and one more person moves nobody.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.util.images import SUFFIXES

_ENROL_MAX = 20


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of one person. name: its path below the folder, with forward slashes."""

    person: str
    session: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Division:
    """Who is enrolled with what, and what is asked. enrolled: by person, in order of use."""

    enrolled: Mapping[str, tuple[Shot, ...]]
    probes: tuple[Shot, ...]
    strangers: tuple[Shot, ...]

    @property
    def shots(self) -> tuple[Shot, ...]:
        """Every picture that is used, once."""
        return (
            *(shot for shots in self.enrolled.values() for shot in shots),
            *self.probes,
            *self.strangers,
        )

    def facts(self) -> dict[str, object]:
        """Counts for a report."""
        return {
            "enrolled_people": len(self.enrolled),
            "enrolled_pictures": sum(len(shots) for shots in self.enrolled.values()),
            "probes": len(self.probes),
            "strangers": len({shot.person for shot in self.strangers}),
            "stranger_probes": len(self.strangers),
        }


def read_people(folder: Path, *, each_picture: bool = False) -> dict[str, list[Shot]]:
    """The pictures of every person below `folder`, in the order of their names' numbers.

    each_picture: every one is a session of its own, whatever folders lie between.
    Raises InputMissingError without the folder, InputBrokenError where it has no pictures.
    """
    if not folder.is_dir():
        raise InputMissingError(f"{folder}: no such folder: name a folder with one folder a person")
    people: dict[str, list[Shot]] = {}
    for home in sorted(path for path in folder.iterdir() if path.is_dir()):
        shots = [
            Shot(
                home.name,
                _session(path, home, each_picture),
                path.relative_to(folder).as_posix(),
                path,
            )
            for path in home.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        ]
        if shots:
            people[home.name] = sorted(shots, key=lambda shot: _natural(shot.name))
    if not people:
        raise InputBrokenError(
            f"{folder}: no pictures: expected PERSON/picture.jpg or PERSON/videoV/frameK.jpg"
        )
    return people


def divide(
    people: Mapping[str, Sequence[Shot]],
    *,
    strangers: float = 0.5,
    enrol_most: bool = False,
    seed: int = 1,
) -> Division:
    """Divide people into enrolled ones and strangers, and the enrolled ones' pictures.

    A share `strangers` of the people with several sessions, and everybody with one session only,
    stays a stranger. Of the others one video is enrolled and the other videos are probes; of
    single pictures half, at most 20, are enrolled; enrol_most: four in five.
    Raises InputBrokenError if nobody would be enrolled, or nobody be a stranger.
    """
    enrolled: dict[str, tuple[Shot, ...]] = {}
    probes: list[Shot] = []
    unknown: list[Shot] = []
    for person, shots in people.items():
        sessions: dict[str, list[Shot]] = {}
        for shot in shots:
            sessions.setdefault(shot.session, []).append(shot)
        if len(sessions) < 2 or fraction(f"stranger/{person}", seed) < strangers:
            unknown.extend(shots)
            continue
        order = sorted(sessions, key=lambda name: fraction(f"{person}/{name}", seed))
        videos = len(sessions) < len(shots)
        share = len(order) - -(-len(order) // 5) if enrol_most else len(order) // 2
        taken = 1 if videos else min(_ENROL_MAX, share)
        chosen = [shot for name in order[:taken] for shot in sessions[name]]
        enrolled[person] = tuple(chosen[:_ENROL_MAX])
        probes.extend(shot for name in order[taken:] for shot in sessions[name])
    if not enrolled or not unknown:
        raise InputBrokenError(
            f"{len(enrolled)} people to enrol and {len(unknown)} strangers' pictures: both are "
            "needed; people need two videos or two pictures to be enrolled and asked about"
        )
    return Division(enrolled, tuple(probes), tuple(unknown))


def fraction(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed only."""
    digest = hashlib.sha256(f"{seed}/{text}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def by_hash(names: Sequence[str], seed: int) -> list[str]:
    """The names in an order that depends on nothing but themselves and the seed."""
    return sorted(names, key=lambda name: (fraction(name, seed), name))


def _session(path: Path, home: Path, each_picture: bool) -> str:
    """The folder below the person, or the picture itself where it lies right there."""
    inside = path.relative_to(home)
    return inside.as_posix() if each_picture else inside.parts[0]


def _natural(name: str) -> list[tuple[int, str]]:
    """frame10 after frame9."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
