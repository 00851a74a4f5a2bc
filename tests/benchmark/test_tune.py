"""The search on simulated machines, and the editing of a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from jetson_face.benchmark.tune.edit import set_values
from jetson_face.benchmark.tune.search import (
    EVERY,
    Choice,
    Goal,
    Space,
    Trial,
    misses,
    names_late,
    search,
    space_of,
)
from jetson_face.config import load_config
from jetson_face.core.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FRAME = (1280, 720)


def machine(speed: float, *, name_s: float = 0.1) -> Callable[[Choice], Trial]:
    """A search costs area of the picture over area of the smallest face; a name waits for it."""

    def measure(choice: Choice) -> Trial:
        longest = choice.size or FRAME[0]
        search_ms = 0.05 * (longest / choice.min_face_px) ** 2 / speed
        ms = 2 / speed + search_ms / choice.every
        fps = min(25.0, 1000 / ms)
        late = name_s + choice.every / 25
        cpu = min(25 * ms, 1000) / 2000  # not fps * ms: busy must be one number, whatever ms is
        return Trial(choice, fps, search_ms + 2, cpu, late, 0.9)

    return measure


def space(goal: Goal, **more: bool) -> Space:
    return space_of(FRAME, 25, goal, min_face_px=40, **more)  # type: ignore[arg-type]


def test_the_space_is_finest_first_and_makes_sense() -> None:
    found = space(Goal())
    assert found.details[0] == (40, None)
    assert found.every == (1, 2, 3, 4, 5, 6, 8, 10, 12)
    faces = [face for face, _ in found.details]
    assert faces == sorted(faces)
    for face, size in found.details:
        assert size is None or (size < 1280 and face * size / 1280 >= 12)
    assert (40, 320) not in found.details
    assert (80, 320) in found.details
    assert {face for face, _ in space(Goal(), fixed_min_face=True).details} == {40}
    assert space_of((640, 480), 2, Goal(wait_max_s=0.1), min_face_px=40).every == (1,)


def test_a_fast_machine_gets_everything() -> None:
    goal = Goal(decision_fps_min=25)
    outcome = search(goal, space(goal), machine(100))
    assert outcome.best is not None
    assert outcome.best.choice == Choice(1, None, 40)
    assert "meets the goal" in outcome.why[-1]


def test_a_slower_machine_searches_less_often_before_it_gives_up_detail() -> None:
    goal = Goal(decision_fps_min=20)
    outcome = search(goal, space(goal), machine(1))
    assert outcome.best is not None
    choice = outcome.best.choice
    assert (choice.size, choice.min_face_px) == (None, 40)
    measure = machine(1)
    assert not misses(goal, outcome.best)
    finer = EVERY[EVERY.index(choice.every) - 1]
    assert misses(goal, measure(Choice(finer, None, 40)))


def test_frame_age_costs_detail_since_a_search_is_as_long_as_it_is() -> None:
    goal = Goal(age_ms_max=15)
    outcome = search(goal, space(goal), machine(1))
    assert outcome.best is not None
    assert outcome.best.choice.size is not None
    assert outcome.best.age_ms <= 15
    assert any("too slow at any sampling" in line for line in outcome.why)


def test_a_time_to_name_is_met_by_searching_more_often_at_less_detail() -> None:
    goal = Goal(decision_fps_min=24, time_to_name_max_s=0.15)
    outcome = search(goal, space(goal), machine(1))
    assert outcome.best is not None
    assert outcome.best.choice.every == 1
    assert any("fast enough, but named after" in line for line in outcome.why)


def test_an_impossible_goal_is_said_and_costs_one_trial_a_detail() -> None:
    goal = Goal(cpu_max=0.0001)
    found = space(goal)
    outcome = search(goal, found, machine(1))
    assert outcome.best is None
    assert len(outcome.trials) == len(found.details)
    assert "ask for less" in outcome.why[-1]


@example(0.5, 1.0, 105.0, 0.5)  # more CPU than 0.5 there is not
@given(st.floats(0.05, 50), st.floats(1, 25), st.floats(10, 500), st.floats(0.05, 1))
def test_what_is_found_meets_the_goal_and_is_the_first_that_does(
    speed: float, fps: float, age: float, cpu: float
) -> None:
    goal = Goal(decision_fps_min=fps, age_ms_max=age, cpu_max=cpu)
    found, measure = space(goal), machine(speed)
    outcome = search(goal, found, measure)
    every_choice = [Choice(n, size, face) for face, size in found.details for n in found.every]
    first = next((c for c in every_choice if not misses(goal, measure(c))), None)
    assert (None if outcome.best is None else outcome.best.choice) == first
    assert len(outcome.trials) <= len(found.details) + 4


@pytest.mark.parametrize(
    ("goal", "count"),
    [
        (Goal(), 0),
        (Goal(decision_fps_min=10, age_ms_max=100, cpu_max=0.5), 0),
        (Goal(decision_fps_min=10.1, age_ms_max=99, cpu_max=0.49), 3),
    ],
)
def test_misses(goal: Goal, count: int) -> None:
    assert len(misses(goal, Trial(Choice(1, None, 40), 10, 100, 0.5))) == count


def test_never_named_is_late_and_unlabelled_is_not() -> None:
    goal = Goal(time_to_name_max_s=1)
    trial = Trial(Choice(1, None, 40), 10, 100, 0.5, math.inf)
    assert "never named" in (names_late(goal, trial) or "")
    assert names_late(goal, Trial(Choice(1, None, 40), 10, 100, 0.5)) is None


WANTED = {("sampling", "every"): 7, ("detector", "max_side_px"): None}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "sampling: {every: 7}\ndetector: {max_side_px: null}\n"),
        (
            "log_level: INFO",
            "log_level: INFO\nsampling: {every: 7}\ndetector: {max_side_px: null}\n",
        ),
        (
            "# mine\nsampling: {every: 5}  # often\ndetector:\n  max_side_px: 640 # small\n",
            "# mine\nsampling: {every: 7}  # often\ndetector:\n  max_side_px: null # small\n",
        ),
        (
            "sampling: auto # a\ndetector: {type: mtcnn}\n",
            "sampling: {every: 7} # a\ndetector: {max_side_px: null, type: mtcnn}\n",
        ),
        (
            "detector:\n    type: mtcnn\n    # c\nsampling: {}\n",
            "detector:\n    max_side_px: null\n    type: mtcnn\n    # c\nsampling: {every: 7}\n",
        ),
        (
            "sampling:\ndetector:\n  type: mtcnn\n",
            "sampling: {every: 7}\ndetector:\n  max_side_px: null\n  type: mtcnn\n",
        ),
    ],
)
def test_values_are_set_in_place(before: str, after: str) -> None:
    assert set_values(before, WANTED) == after


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_can_be_edited(path: Path) -> None:
    text = path.read_text("utf-8")
    edited = yaml.safe_load(set_values(text, WANTED))
    assert edited["sampling"]["every"] == 7
    assert edited["detector"]["max_side_px"] is None
    plain = yaml.safe_load(text)
    for key in plain.keys() - {"sampling", "detector"}:
        assert edited[key] == plain[key]
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [
        line for line in set_values(text, WANTED).splitlines() if line.startswith("#")
    ] == comments


@pytest.mark.parametrize("text", ["- a\n", "{a: 1}\n", "a: [\n", "text\n"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        set_values(text, WANTED)


def test_the_edited_default_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(set_values("", WANTED))
    assert load_config(path).sampling.every == 7
