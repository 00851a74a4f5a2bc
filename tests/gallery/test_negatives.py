"""A face that is not somebody is held against that somebody, and nobody else."""

from __future__ import annotations

import numpy as np

from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, Person
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.gallery.negatives import Negatives

SPACE = EmbeddingSpace("made", "0" * 64, 3)
ADA, BOB = Person("1", "Ada"), Person("2", "Bob")


def unit(*values: float) -> F32:
    vector = np.array([*values, *[0.0] * (3 - len(values))], np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def nearest(probe: F32, negatives: Negatives | None) -> tuple[str, float]:
    people = GallerySnapshot(SPACE, np.stack([unit(1), unit(0, 1)]), np.arange(2), (ADA, BOB))
    (match,) = Matcher(people, negatives=negatives).match(Embeddings(probe[None], SPACE))
    assert match.person is not None
    return match.person.name, round(match.similarity, 2)


LOOKALIKE = unit(1, 0.2, 1)


def test_who_looks_like_the_rejected_face_is_no_longer_that_person() -> None:
    held = Negatives(LOOKALIKE[None], ("1",), 0.5)
    assert nearest(unit(1, 0.2, 0.9), None)[0] == "Ada"
    assert nearest(unit(1, 0.2, 0.9), held)[0] == "Bob"
    # herself is more like herself
    assert nearest(unit(1, 0.2, 0.1), held) == nearest(unit(1, 0.2, 0.1), None)


def test_it_says_nothing_of_others_nor_of_faces_unlike_it() -> None:
    held = Negatives(LOOKALIKE[None], ("2",), 0.5)
    assert nearest(unit(1, 0.2, 0.9), held)[0] == "Ada"
    far = Negatives(LOOKALIKE[None], ("1",), 0.999)
    assert nearest(unit(1, 0.2, 0.7), far)[0] == "Ada"
    gone = Negatives(LOOKALIKE[None], ("3",), 0.5)
    assert nearest(unit(1, 0.2, 0.9), gone)[0] == "Ada"
