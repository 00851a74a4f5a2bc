"""Who plays in a clip: people and strangers from a folder, with photos to enrol and to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jetson_face.core.errors import InputMissingError, UsageError
from jetson_face.gallery.enroll import photos_by_folder
from jetson_face.gallery.names import valid_name


@dataclass(frozen=True, slots=True)
class Member:
    """One person of the cast. name: None for a stranger, who has nothing to enrol.

    show: photos for the clip; enrol: photos for the gallery. No photo is in both.
    """

    name: str | None
    show: tuple[Path, ...]
    enrol: tuple[Path, ...] = ()


def people_in(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The pictures of each person's sub-folder. Raises InputMissingError, EnrollmentError,
    NameInvalidError."""
    people = {valid_name(home.name): photos for home, photos in photos_by_folder(folder).items()}
    found = {name: tuple(photos) for name, photos in people.items() if photos}
    if not found:
        raise InputMissingError(f"{folder}: no pictures in its folders: expected PERSON/photo.jpg")
    return found


def choose_cast(
    people: dict[str, tuple[Path, ...]],
    *,
    known: int,
    strangers: int,
    enrol: int,
    seed: int,
) -> tuple[Member, ...]:
    """Draw `known` people to enrol and `strangers`, the same ones for the same seed.

    enrol: photos of each known person for the gallery; all others may be shown. Identical files
    (by content) are taken once, so that no photo is on both sides.
    Raises UsageError where the folder has too few people or photos.
    """
    random = np.random.default_rng(seed)
    distinct = {name: _distinct(photos) for name, photos in sorted(people.items())}
    enough = [name for name, photos in distinct.items() if len(photos) > enrol]
    if len(enough) < known:
        raise UsageError(
            f"only {len(enough)} people have {enrol + 1} or more different photos, {known} were "
            "asked for: give more photos, fewer people or a smaller --enrol"
        )
    names = [enough[i] for i in random.permutation(len(enough))[:known]]
    rest = [name for name in distinct if name not in names]
    if len(rest) < strangers:
        raise UsageError(f"only {len(rest)} people are left for {strangers} strangers: give more")
    members = []
    for name in names:
        photos = [distinct[name][i] for i in random.permutation(len(distinct[name]))]
        members.append(Member(name, tuple(photos[enrol:]), tuple(photos[:enrol])))
    for index in random.permutation(len(rest))[:strangers]:
        members.append(Member(None, distinct[rest[index]]))
    return tuple(members)


def _distinct(photos: tuple[Path, ...]) -> tuple[Path, ...]:
    return tuple({photo.read_bytes(): photo for photo in reversed(photos)}.values())[::-1]
