"""A track is one person: cuts end it, and a face that contradicts it begins another, at once."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.core.types import Frame, ImageU8, Report
from jetson_face.recognition.scene_cut import FaceAppearances, SceneCuts
from tests.recognition.test_recognizer import A_BLUE, A_GREEN, A_RED, GREEN, RED, Rig, Scene, said

RED_PLACE = A_RED[0]


def room(seed: int, *, gain: float = 1.0, shift: int = 0) -> ImageU8:
    """A picture of coloured fields with noise."""
    random = np.random.default_rng(seed)
    fields = random.integers(20, 220, (6, 8, 3)).astype(np.float32)
    image = np.roll(np.kron(fields, np.ones((40, 40, 1))), shift, axis=1) * gain
    noise = np.random.default_rng(seed + shift).normal(0, 6, image.shape)
    made: ImageU8 = np.clip(image + noise, 0, 255).astype(np.uint8)
    return made


def cuts_in(*images: ImageU8) -> list[bool]:
    cuts = SceneCuts()
    return [cuts.is_cut(image) for image in images]


def test_another_room_is_a_cut_and_noise_a_pan_or_a_passer_by_is_none() -> None:
    passed = room(1)
    passed[60:200, 40:130] = 90
    assert cuts_in(room(1), room(1), room(1, shift=1), passed) == [False] * 4
    assert cuts_in(room(1), room(2), room(2), room(3)) == [False, True, False, True]


@pytest.mark.parametrize("gain", [0.9, 1.08])
def test_a_light_that_changes_a_little_is_no_cut(gain: float) -> None:
    assert cuts_in(room(1), room(1, gain=gain)) == [False, False]


def test_a_face_is_doubted_where_its_pixels_change_not_where_it_moves_a_little() -> None:
    appearances, image = FaceAppearances(), room(4)
    one = np.array([7], np.int64)
    assert not appearances.changed(image, one, np.array([[40, 40, 200, 200]], np.float32))[0]
    assert not appearances.changed(image, one, np.array([[42, 40, 202, 201]], np.float32))[0]
    assert appearances.changed(room(5), one, np.array([[42, 40, 202, 201]], np.float32))[0]
    appearances.keep_only(set())
    assert not appearances.changed(image, one, np.array([[40, 40, 200, 200]], np.float32))[0]


@pytest.mark.parametrize(
    ("before", "now", "doubted"),
    [(72, 75, False), (75, 72, False), (73, 76, False), (76, 73, False), (73, 77, True)],
)
def test_a_face_may_change_by_four_percent_of_the_brighter_of_two(
    before: int, now: int, *, doubted: bool
) -> None:
    appearances, one = FaceAppearances(), np.array([7], np.int64)
    box = np.array([[-5, -5, 60, 60]], np.float32)
    for level, found in ((before, False), (now, doubted)):
        image: ImageU8 = np.full((50, 50, 3), level, np.uint8)
        assert appearances.changed(image, one, box).tolist() == [found]


def test_another_face_in_the_same_place_gets_a_new_track_without_a_name_at_once() -> None:
    swapped: Scene = [(RED_PLACE, GREEN)]
    reports = Rig(every=20, embed_interval=20).see(*[[A_RED]] * 6, *[swapped] * 3)
    assert said(reports[5]) == [(1, "known", "Ada", False)]
    assert [said(report) for report in reports[6:]] == [
        [(2, "pending", None, False)],
        [(2, "known", "Bob", True)],
        [(2, "known", "Bob", False)],
    ]
    assert 1 not in reports[6].unseen


def test_nothing_of_the_ended_track_is_averaged_or_asked() -> None:
    rig = Rig(every=20, embed_interval=20, review_margin=0.9)
    first = rig.see(*[[A_RED]] * 6, [(RED_PLACE, A_BLUE[1])])[-1]
    assert first.sightings[0].frames == 1
    assert first.review_candidates == ()


def at(seq: int, image: ImageU8) -> Frame:
    return Frame(image, seq, seq * 40_000_000, 0.0, "test")


def with_face(background: ImageU8, colour: tuple[int, int, int]) -> ImageU8:
    image: ImageU8 = background.copy()
    x0, y0, x1, y1 = RED_PLACE
    image[y0:y1, x0:x1] = colour
    return image


@pytest.mark.parametrize(("cuts", "after"), [(SceneCuts(), 2), (None, 1)])
def test_a_cut_ends_all_tracks_even_of_the_same_person(cuts: SceneCuts | None, after: int) -> None:
    rig = Rig(every=20)
    rig.recognizer.finder._cuts = cuts
    reports: list[Report] = []
    for seq in range(12):
        scene = with_face(room(1 if seq < 6 else 2), RED)
        reports.append(rig.recognizer.process(at(seq, scene)))
    assert [s.track for s in reports[5].sightings] == [1]
    assert [s.track for s in reports[6].sightings] == [after]
    assert reports[6].searched is (cuts is not None)


def test_the_face_beside_keeps_its_track_and_name() -> None:
    swapped: Scene = [(RED_PLACE, A_BLUE[1]), A_GREEN]
    reports = Rig(every=20, embed_interval=20).see(*[[A_RED, A_GREEN]] * 6, swapped)
    assert [entry[1:3] for entry in said(reports[6])] == [("pending", None), ("known", "Bob")]
