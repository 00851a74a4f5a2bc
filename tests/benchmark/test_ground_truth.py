"""Comparing a run with what was really there."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from jetson_face.benchmark.ground_truth import (
    Accuracy,
    GroundTruth,
    Tally,
    TrueFace,
    match_faces,
    read_ground_truth,
    write_ground_truth,
)
from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.types import Box, Person, Report, Sighting

LEFT: Box = (0, 0, 100, 100)
RIGHT: Box = (300, 0, 400, 100)
ANN, BOB = Person("1", "Ann"), Person("2", "Bob")


def sighting(box: Box, person: Person | None = None, track: int = 1) -> Sighting:
    state = "pending" if person is None else "known"
    return Sighting(track, box, state, person, None, 1)  # type: ignore[arg-type]


def report(seq: int, *sightings: Sighting) -> Report:
    return Report("clip", seq, seq * 40_000_000, 0.0, (640, 480), sightings, {}, searched=True)


def ground_truth(*frames: tuple[TrueFace, ...]) -> GroundTruth:
    return GroundTruth(size=(640, 480), fps=10, enrol={"Ann": (), "Bob": ()}, frames=frames)


def ann(box: Box = LEFT, *, actor: int = 0, visible: float = 1.0) -> TrueFace:
    return TrueFace(actor=actor, name="Ann", box=box, visible=visible)


def stranger(box: Box = RIGHT, *, actor: int = 1) -> TrueFace:
    return TrueFace(actor=actor, name=None, box=box)


def result(labels: GroundTruth, *reports: Report) -> Accuracy:
    tally = Tally(labels)
    for one in reports:
        tally.add(one)
    return tally.result()


def test_the_best_overlap_is_matched_first_and_each_only_once() -> None:
    near, nearer = sighting((0, 0, 90, 90), track=1), sighting((0, 0, 98, 98), track=2)
    assert match_faces([near, nearer], [ann()]) == {0: nearer}
    assert match_faces([near, nearer], [ann(), ann((0, 0, 91, 91))]) == {0: nearer, 1: near}


@pytest.mark.parametrize(
    ("box", "matched"), [((0, 0, 100, 31), True), ((0, 0, 100, 29), False), (RIGHT, False)]
)
def test_too_little_overlap_is_no_match(box: Box, matched: bool) -> None:
    assert bool(match_faces([sighting(box)], [ann()])) is matched


def test_nothing_matches_nothing() -> None:
    assert match_faces([], [ann()]) == {}
    assert match_faces([sighting(LEFT)], []) == {}


def test_a_run_that_is_always_right() -> None:
    labels = ground_truth((ann(), stranger()), (ann(), stranger()))
    right = [report(i, sighting(LEFT, ANN), sighting(RIGHT)) for i in range(2)]
    assert result(labels, *right) == Accuracy(1.0, 1.0, 0.0, 0.0, 0, 0.0, 2)


def test_time_to_name_counts_from_the_first_visible_frame() -> None:
    labels = ground_truth((), (ann(visible=0.2),), (ann(),), (ann(),), (ann(),), (ann(),))
    named = [report(i, sighting(LEFT, ANN if i >= 5 else None)) for i in range(1, 6)]
    got = result(labels, *named)
    assert got.time_to_name_s == pytest.approx(0.3)
    assert got.named == pytest.approx(1 / 4)
    assert got.found == 1.0


def test_lateness_is_part_of_the_time_to_name() -> None:
    tally = Tally(ground_truth((ann(),)))
    tally.add(report(0, sighting(LEFT, ANN)), late_s=0.25)
    assert tally.result().time_to_name_s == 0.25


def test_someone_never_named_makes_the_median_infinite_from_half_on() -> None:
    labels = ground_truth((ann(), ann(RIGHT, actor=1)))
    got = result(labels, report(0, sighting(LEFT, ANN), sighting(RIGHT)))
    assert got.time_to_name_s == math.inf
    assert got.never_named == 1


@pytest.mark.parametrize(
    ("seen", "people"),
    [
        pytest.param(sighting(LEFT, BOB), 0.5, id="another person's name"),
        pytest.param(sighting(RIGHT, ANN), 0.5, id="a stranger gets a name"),
        pytest.param(sighting((500, 300, 600, 400), ANN), 0.0, id="a name on the wall"),
    ],
)
def test_false_names(seen: Sighting, people: float) -> None:
    got = result(ground_truth((ann(), stranger())), report(0, seen))
    assert got.false_names == 1.0
    assert got.false_people == people
    assert got.named == 0.0


def test_a_hidden_face_counts_neither_way() -> None:
    labels = ground_truth((ann(visible=0.4),))
    for seen in ((), (sighting(LEFT, ANN),), (sighting(LEFT, BOB),)):
        assert result(labels, report(0, *seen)) == Accuracy(0, 0, 0, 0, 0, None, 0)


def test_a_person_who_returns_is_another_appearance() -> None:
    labels = ground_truth((ann(),), (), (ann(actor=5),))
    got = result(labels, report(0, sighting(LEFT, ANN)), report(2, sighting(LEFT)))
    assert (got.appearances, got.never_named) == (2, 1)


def test_strangers_alone_have_no_time_to_name() -> None:
    assert result(ground_truth((stranger(),)), report(0)).time_to_name_s is None


def test_a_frame_beyond_the_ground_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="another clip"):
        result(ground_truth((ann(),)), report(1))


def test_files_keep_everything_and_photos_are_relative_to_the_file(tmp_path: Path) -> None:
    labels = GroundTruth(
        size=(64, 48), fps=25, seed=3, enrol={"Ann": ("a/1.jpg",)}, frames=((ann(),),)
    )
    write_ground_truth(tmp_path / "t.json", labels)
    back = read_ground_truth(tmp_path / "t.json")
    assert back.enrol == {"Ann": (str(tmp_path / "a/1.jpg"),)}
    assert back.frames == labels.frames
    assert (back.size, back.fps, back.seed) == ((64, 48), 25, 3)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "not the ground truth"),
        ('{"size": [1, 2], "fps": 0, "frames": []}', "fps"),
        ("[]", "ground truth"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputBrokenError, match=part):
        read_ground_truth(tmp_path / "t.json")


def test_a_missing_file_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="clips make"):
        read_ground_truth(tmp_path / "none.json")
