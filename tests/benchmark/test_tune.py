"""The search on simulated machines, and the editing of a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from jetson_face.benchmark.tune.edit import set_values
from jetson_face.benchmark.tune.search import (
    EVERY,
    Choice,
    Space,
    TuneGoal,
    TuneTrial,
    late,
    search,
    slow,
    space_of,
)
from jetson_face.config import load_config
from jetson_face.core.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FRAME = (1280, 720)


def machine(
    speed: float, *, name_s: float = 0.1, faces: Callable[[int], float] = lambda every: 3.0
) -> Callable[[Choice], TuneTrial]:
    """A search costs area of the picture over area of the smallest face; a name waits for it."""

    def measure(choice: Choice) -> TuneTrial:
        longest = choice.size or FRAME[0]
        search_ms = 0.05 * (longest / choice.min_face_px) ** 2 / speed
        ms = 2 / speed + search_ms / choice.every
        fps = min(25.0, 1000 / ms)
        named = name_s + choice.every / 25
        cpu = min(25 * ms, 1000) / 2000  # not fps * ms: busy must be one number, whatever ms is
        return TuneTrial(choice, fps, search_ms + 2, cpu, faces(choice.every), named, 0.9)

    return measure


def space(goal: TuneGoal, **more: bool) -> Space:
    return space_of(FRAME, 25, goal, min_face_px=40, **more)  # type: ignore[arg-type]


def chosen(goal: TuneGoal, measure: Callable[[Choice], TuneTrial]) -> Choice:
    outcome = search(goal, space(goal), measure)
    assert outcome.best is not None
    return outcome.best.choice


def test_the_space_is_finest_first_and_makes_sense() -> None:
    found = space(TuneGoal())
    assert found.details[0] == (40, None)
    assert found.every == (1, 2, 3, 5, 8, 12)
    faces = [face for face, _ in found.details]
    assert faces == sorted(faces)
    for face, size in found.details:
        assert size is None or (size < 1280 and face * size / 1280 >= 12)
    assert (40, 320) not in found.details
    assert (80, 320) in found.details
    assert {face for face, _ in space(TuneGoal(), fixed_min_face=True).details} == {40}


@pytest.mark.parametrize(
    ("fps", "wait_s", "every"),
    [
        (2, 0.1, (1,)),
        (30, 0.5, (1, 2, 3, 5, 8, 12, 15)),  # the most seldom that may be, too
        (60, 1.0, EVERY),
    ],
)
def test_the_rates_reach_to_the_longest_wait(
    fps: float, wait_s: float, every: tuple[int, ...]
) -> None:
    assert space_of((640, 480), fps, TuneGoal(wait_max_s=wait_s), min_face_px=40).every == every


def test_no_face_is_larger_than_a_detector_takes() -> None:
    space = space_of(FRAME, 25, TuneGoal(), min_face_px=1500)
    assert sorted({face for face, _ in space.details}) == [1500, 1875, 2000]


def test_what_is_met_by_several_rates_is_done_with_the_least_processor_time() -> None:
    goal, measure = TuneGoal(decision_fps_min=25, cpu_max=0.6), machine(1.6)
    outcome = search(goal, space(goal), measure)
    assert outcome.best is not None
    assert outcome.best.choice == Choice(12, None, 40)
    often = measure(Choice(1, None, 40))
    assert not slow(goal, often)
    assert not late(goal, often)
    assert often.cpu > 3 * outcome.best.cpu
    chosen, other = outcome.why
    assert "of the 6 sampling rates that meet it, the least processor time" in chosen
    assert "1 in 1 meets it, too, with CPU 42 %; a new face waits 0.04 s" in other
    assert "--wait 0.04" in other
    assert [trial.choice.every for trial in outcome.trials] == [12, 8, 5, 3, 2, 1]
    assert outcome.verdicts == [[]] * 6


def test_who_wants_faces_found_sooner_gets_it() -> None:
    measure = machine(1.6)
    assert chosen(TuneGoal(cpu_max=0.6, wait_max_s=0.04), measure).every == 1
    assert chosen(TuneGoal(cpu_max=0.6, wait_max_s=0.21), measure).every == 5


def test_of_two_that_cost_the_same_the_more_frequent_search_is_taken() -> None:
    # A fast machine: 1 in 12 takes 0.1 % of it, 1 in 1 0.6 %.
    assert chosen(TuneGoal(decision_fps_min=25), machine(100)).every == 1


def test_a_rate_at_which_faces_are_lost_saves_nothing() -> None:
    goal = TuneGoal(cpu_max=0.9)
    lossy = machine(1.6, faces=lambda every: 3.0 if every <= 5 else 2.8)
    outcome = search(goal, space(goal), lossy)
    assert outcome.best is not None
    assert outcome.best.choice.every == 5
    assert outcome.verdicts[:3] == [["finds 93 % of the faces"], ["finds 93 % of the faces"], []]
    assert chosen(goal, machine(1.6, faces=lambda every: 3.0 if every <= 5 else 2.9)).every == 12


def test_a_slower_machine_searches_less_often_before_it_gives_up_detail() -> None:
    goal = TuneGoal(decision_fps_min=20)
    choice = chosen(goal, machine(0.5))
    assert (choice.size, choice.min_face_px) == (None, 40)
    assert slow(goal, machine(0.5)(Choice(1, None, 40)))


def test_frame_age_costs_detail_since_a_search_is_as_long_as_it_is() -> None:
    goal = TuneGoal(age_ms_max=15)
    outcome = search(goal, space(goal), machine(1))
    assert outcome.best is not None
    assert outcome.best.choice.size is not None
    assert outcome.best.age_ms <= 15
    assert outcome.why[0].startswith("in more detail (")


def test_a_time_to_name_is_met_by_searching_more_often_at_less_detail() -> None:
    goal = TuneGoal(decision_fps_min=24, time_to_name_max_s=0.15)
    outcome = search(goal, space(goal), machine(1))
    assert outcome.best is not None
    assert outcome.best.choice.every == 1
    assert any("named after" in said for verdict in outcome.verdicts for said in verdict)


def test_frames_that_are_dropped_make_a_new_face_wait_longer() -> None:
    # 10 frames a second are decided of 25: one search in 12 of those is one in 1.2 s.
    def measure(choice: Choice) -> TuneTrial:
        return TuneTrial(choice, 10.0, 50, 0.5 + 0.4 / choice.every)

    assert chosen(TuneGoal(cpu_max=0.95), measure).every == 5


def test_an_impossible_goal_is_said_and_costs_one_trial_a_detail() -> None:
    goal = TuneGoal(cpu_max=0.0001)
    found = space(goal)
    outcome = search(goal, found, machine(1))
    assert outcome.best is None
    assert len(outcome.trials) == len(found.details)
    assert "ask for less" in outcome.why[-1]


@example(0.5, 1.0, 105.0, 0.5)  # more CPU than 0.5 there is not
@given(st.floats(0.05, 50), st.floats(1, 25), st.floats(10, 500), st.floats(0.05, 1))
def test_what_is_found_meets_the_goal_at_the_finest_detail_that_can_for_the_least_cpu(
    speed: float, fps: float, age: float, cpu: float
) -> None:
    goal = TuneGoal(decision_fps_min=fps, age_ms_max=age, cpu_max=cpu)
    found, measure = space(goal), machine(speed)
    outcome = search(goal, found, measure)
    meeting = [
        trial
        for face, size in found.details
        for trial in map(measure, (Choice(n, size, face) for n in found.every))
        if not slow(goal, trial) and not late(goal, trial)
    ]
    if not meeting:
        assert outcome.best is None
        return
    assert outcome.best in meeting
    alike = [t for t in meeting if t.choice.detail == meeting[0].choice.detail]
    assert outcome.best.choice.detail == alike[0].choice.detail
    assert outcome.best.cpu <= min(trial.cpu for trial in alike) + 0.01


@pytest.mark.parametrize(
    ("goal", "count"),
    [
        (TuneGoal(), 0),
        (TuneGoal(decision_fps_min=10, age_ms_max=100, cpu_max=0.5), 0),
        (TuneGoal(decision_fps_min=10.1, age_ms_max=99, cpu_max=0.49), 3),
    ],
)
def test_slow(goal: TuneGoal, count: int) -> None:
    assert len(slow(goal, TuneTrial(Choice(1, None, 40), 10, 100, 0.5))) == count


def test_late() -> None:
    never = TuneTrial(Choice(1, None, 40), 10, 100, 0.5, 1.0, math.inf)
    goal = TuneGoal(time_to_name_max_s=1)
    assert late(goal, never) == ["half are never named, 1 s wanted"]
    assert late(goal, replace(never, time_to_name_s=1.0)) == []
    assert late(goal, replace(never, time_to_name_s=1.5)) == ["named after 1.50 s, 1 s wanted"]
    assert late(goal, replace(never, time_to_name_s=None)) == []
    assert late(goal, TuneTrial(Choice(5, None, 40), 9.6, 100, 0.5)) == []
    (said,) = late(goal, TuneTrial(Choice(5, None, 40), 9, 100, 0.5))
    assert said == "a new face waits 0.56 s, 0.50 s wanted"
    assert late(goal, TuneTrial(Choice(5, None, 40), 0, 100, 0.5))


WANTED: dict[tuple[str, ...], Any] = {
    ("sampling", "interval"): 7,
    ("detector", "max_side_px"): None,
}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "sampling: {interval: 7}\ndetector: {max_side_px: null}\n"),
        (
            "log_level: INFO",
            "log_level: INFO\nsampling: {interval: 7}\ndetector: {max_side_px: null}\n",
        ),
        (
            "# mine\nsampling: {interval: 5}  # often\ndetector:\n  max_side_px: 640 # small\n",
            "# mine\nsampling: {interval: 7}  # often\ndetector:\n  max_side_px: null # small\n",
        ),
        (
            "sampling: auto # a\ndetector: {type: mtcnn}\n",
            "sampling: {interval: 7} # a\ndetector: {max_side_px: null, type: mtcnn}\n",
        ),
        (
            "detector:\n    type: mtcnn\n    # c\nsampling: {}\n",
            "detector:\n    max_side_px: null\n    type: mtcnn\n    # c\nsampling: {interval: 7}\n",
        ),
        (
            "sampling:\ndetector:\n  type: mtcnn\n",
            "sampling: {interval: 7}\ndetector:\n  max_side_px: null\n  type: mtcnn\n",
        ),
    ],
)
def test_values_are_set_in_place(before: str, after: str) -> None:
    assert set_values(before, WANTED) == after


BLOCK = """\
sources:  # two
  - uri: '0'
    name: door  # front
  # the yard
  - uri: '1'
# how often
sampling:
  auto:
    cpu_max: 0.5
  # end
log_level: |
  INFO
"""


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        (("sources", "1", "uri"), "rtsp://a/b", "uri: '1'", "uri: rtsp://a/b"),
        (("sources", "0", "max_age_ms"), 9, "- uri: '0'", "- max_age_ms: 9\n    uri: '0'"),
        (
            ("sources",),
            [{"uri": "2"}],
            "- uri: '0'\n    name: door  # front\n  # the yard\n  - uri: '1'\n",
            "[{uri: '2'}]\n",
        ),
        (("sampling", "auto", "cpu_max"), None, "0.5", "null"),
        (("sampling", "auto"), {"age_ms_max": 9.5}, "cpu_max: 0.5", "{age_ms_max: 9.5}"),
        (("log_level",), "DEBUG", "|\n  INFO", "DEBUG"),
        (("fusion", "strategy"), "vote", "  INFO\n", "  INFO\nfusion: {strategy: vote}\n"),
    ],
)
def test_any_value_is_set_in_place(
    key: tuple[str, ...], value: object, before: str, after: str
) -> None:
    assert BLOCK.count(before) == 1
    assert set_values(BLOCK, {key: value}) == BLOCK.replace(before, after)
    yaml.safe_load(set_values(BLOCK, {key: value}))


def test_a_list_that_is_shorter_is_refused() -> None:
    with pytest.raises(ConfigError, match="'2' is not an item of a list of 2"):
        set_values(BLOCK, {("sources", "2", "uri"): "3"})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_can_be_edited(path: Path) -> None:
    text = path.read_text("utf-8")
    edited = yaml.safe_load(set_values(text, WANTED))
    assert edited["sampling"]["interval"] == 7
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
    assert load_config(path).sampling.interval == 7
