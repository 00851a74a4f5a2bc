"""The governor on scripted figures and on a simulated machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.core.types import Frame, Report, Spared
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.rate_controlled import GovernedRecognizer
from jetson_face.recognition.rate_controller import (
    Bounds,
    Governor,
    IntervalChange,
    RateGoal,
    RateMeasurement,
)

S = 1_000_000_000


def governor(goal: RateGoal | None = None, every: int = 5, **changes: int) -> Governor:
    bounds = Bounds(changes.pop("least", 1), changes.pop("most", 30))
    return Governor(goal or RateGoal(age_ms_max=100), bounds, every, **changes)


def aged(age_ms: float) -> RateMeasurement:
    return RateMeasurement(decision_fps=25, capture_fps=25, age_ms=age_ms)


def changes(of: Governor, figures: list[RateMeasurement], *, step_s: float = 5) -> list[int | None]:
    """`every` after each update, None where the governor said nothing."""
    said = [of.update(m, round(i * step_s * S)) for i, m in enumerate(figures)]
    return [None if change is None else change.every for change in said]


@pytest.mark.parametrize(
    ("age", "every"),
    [
        pytest.param(50, 5, id="at ease"),
        pytest.param(100, 5, id="at the limit"),
        pytest.param(103, 5, id="the meter's jitter"),
        pytest.param(110, 6, id="just missed: one step"),
        pytest.param(150, 8, id="missed by half: half more"),
        pytest.param(1000, 10, id="never more than twice at once"),
    ],
)
def test_a_missed_goal_acts_at_once_and_by_as_much_as_it_is_missed(age: float, every: int) -> None:
    of = governor()
    of.update(aged(age), 0)
    assert of.every == every


def test_room_must_last_before_it_is_used() -> None:
    assert changes(governor(), [aged(50)] * 3) == [None, None, 4]
    assert changes(governor(), [aged(110), *[aged(50)] * 3]) == [6, None, None, 5]
    assert changes(governor(), [*[aged(110)] * 2, *[aged(50)] * 3]) == [6, 7, None, None, 6]
    # What is missed at the bound ends the calm as well.
    at_bound = [aged(50)] * 2 + [aged(200)] + [aged(50)] * 3
    assert changes(governor(every=30), at_bound) == [None, None, None, None, None, 29]
    assert changes(governor(), [aged(50), aged(50), aged(80), aged(50), aged(50)]) == [None] * 5


def test_between_room_and_limit_nothing_moves() -> None:
    assert changes(governor(), [aged(80), aged(99), aged(75)] * 10) == [None] * 30
    assert changes(governor(), [aged(75)] * 10) == [None] * 10


def test_no_change_during_the_cooldown() -> None:
    of = governor(cooldown_ns=4 * S)
    assert of.update(aged(150), 9 * S) is not None
    assert of.update(aged(150), 13 * S - 1) is None
    assert of.update(aged(150), 13 * S) is not None
    up = governor(cooldown_ns=4 * S, calm_updates=1)
    assert up.update(aged(50), 9 * S) is not None
    assert up.update(aged(150), 13 * S - 1) is None
    assert up.update(aged(150), 13 * S) is not None


def test_a_step_that_led_to_a_miss_is_tried_ever_less_often() -> None:
    of, tried = governor(calm_updates=1), []
    for i in range(200):
        tight = of.every < 5
        change = of.update(aged(150 if tight else 50), i * 5 * S)
        if change is not None and change.every == 4:
            tried.append(i)
    gaps = [b - a for a, b in pairwise(tried)]
    # Each time twice as many updates at ease, and one back.
    assert gaps[:5] == [5, 9, 17, 33, 65]


def test_at_the_bound_it_says_so_seldom_and_names_the_way_out() -> None:
    of = governor(every=30)
    assert of.update(aged(200), 50 * S) == IntervalChange(
        None,
        "goal missed: frame age p95 200 ms, at most 100 wanted, and the sampling rate is at its "
        "bound, 1 in 30: lower detector.max_side_px, raise detector.min_face_px, or run "
        "`jetson-face tune`",
    )
    assert of.update(aged(200), 60 * S) is None
    assert of.update(aged(90), 70 * S) is None
    assert of.update(aged(200), 649 * S) is None
    assert of.update(aged(200), 650 * S) is not None


def test_searching_less_is_no_remedy_when_it_is_not_the_cause() -> None:
    of = governor()
    slow = RateMeasurement(decision_fps=5, capture_fps=25, age_ms=900, search_share=0.0545)
    assert of.update(slow, 0) == IntervalChange(
        None,
        "goal missed: frame age p95 900 ms, at most 100 wanted, but searching is only 5 % of the "
        "work: lower fusion.max_per_frame, raise fusion.embed_interval, or choose a faster "
        "embedder",
    )
    assert of.update(slow, 10 * S) is None, "said already"
    assert of.every == 5
    assert of.update(replace(slow, search_share=0.1), 20 * S) is not None
    assert of.every == 10


@pytest.mark.parametrize(("every", "kept"), [(1, 2), (50, 10), (5, 5)])
def test_the_start_is_kept_within_the_bounds(every: int, kept: int) -> None:
    assert governor(every=every, least=2, most=10).every == kept


def test_it_never_leaves_the_bounds() -> None:
    assert changes(governor(every=2, least=2), [aged(10)] * 9) == [None] * 9
    assert changes(governor(every=9, most=10), [aged(900)] * 3) == [10, None, None]


@pytest.mark.parametrize(
    ("measured", "every"),
    [
        pytest.param(RateMeasurement(10, 30), 10, id="half of what is wanted"),
        pytest.param(RateMeasurement(19.6, 20), 5, id="as fast as the camera"),
        pytest.param(RateMeasurement(19, 30, busy=1.0), 6, id="a bit slow, and busy"),
        pytest.param(RateMeasurement(0, 30), 10, id="nothing decided"),
        pytest.param(RateMeasurement(0, 0), 5, id="no camera: no goal"),
    ],
)
def test_decision_rate(measured: RateMeasurement, every: int) -> None:
    of = governor(RateGoal(decision_fps_min=20))
    of.update(measured, 0)
    assert of.every == every


def test_less_than_one_decision_a_second_can_be_a_goal() -> None:
    assert changes(governor(RateGoal(decision_fps_min=0.5)), [RateMeasurement(0.45, 10)]) == [6]


def test_idle_time_is_room_even_when_the_camera_limits_the_rate() -> None:
    goal = RateGoal(decision_fps_min=25)
    assert changes(governor(goal), [RateMeasurement(25, 25, busy=0.4)] * 3)[-1] == 4
    just_keeps_up = RateMeasurement(19, 20, busy=0.4)
    assert changes(governor(goal), [just_keeps_up] * 3)[-1] == 4
    assert changes(governor(goal), [RateMeasurement(25, 25, busy=0.9)] * 9) == [None] * 9


def test_cpu() -> None:
    goal = RateGoal(cpu_max=0.5)
    assert changes(governor(goal), [RateMeasurement(25, cpu=0.6)]) == [6]
    assert changes(governor(goal), [RateMeasurement(25, cpu=0.2)] * 3)[-1] == 4


def test_the_worst_of_several_goals_decides_and_is_named() -> None:
    of = governor(RateGoal(decision_fps_min=20, age_ms_max=100, cpu_max=0.9))
    change = of.update(RateMeasurement(18, 30, age_ms=180, cpu=0.5), 0)
    assert change == IntervalChange(
        9, "sampling 1 in 5 -> 1 in 9: goal missed: frame age p95 180 ms, at most 100 wanted"
    )


@pytest.mark.parametrize(
    ("goal", "measured", "why"),
    [
        (RateGoal(cpu_max=0.5), RateMeasurement(25, cpu=0.604),
         "1 in 7: goal missed: CPU 61 %, at most 50 % wanted"),
        (RateGoal(cpu_max=0.5), RateMeasurement(25, cpu=0.2),
         "1 in 4: there is room: CPU 20 %, at most 50 % wanted"),
        (RateGoal(decision_fps_min=10), RateMeasurement(9.64, 30),
         "1 in 6: goal missed: decision rate 9.6/s, at least 10.0 wanted"),
        (RateGoal(decision_fps_min=25), RateMeasurement(25, 25, busy=0.4),
         "1 in 4: there is room: decision rate 25.0/s, at least 23.8 wanted, 62.5 possible"),
    ],
)  # fmt: skip
def test_the_log_says_why(goal: RateGoal, measured: RateMeasurement, why: str) -> None:
    of = governor(goal)
    (said,) = (change for i in range(3) if (change := of.update(measured, i * S)) is not None)
    assert said.why == f"sampling 1 in 5 -> {why}"


def test_what_cannot_be_measured_changes_nothing() -> None:
    assert changes(governor(), [RateMeasurement(25)] * 5) == [None] * 5
    assert changes(governor(), [RateMeasurement(25, cpu=0.9)] * 5) == [None] * 5  # no goal for it


@pytest.mark.parametrize("bounds", [(0, 5), (5, 4)])
def test_impossible_bounds_are_refused(bounds: tuple[int, int]) -> None:
    assert Bounds(4, 4).most == 4
    with pytest.raises(ValueError, match="bounds"):
        Bounds(*bounds)


@pytest.mark.parametrize("goal", [{}, {"cpu_max": 0}, {"age_ms_max": -1}])
def test_impossible_goals_are_refused(goal: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="goal"):
        RateGoal(**goal)


@given(
    detect=st.floats(5, 200),
    rest=st.floats(0.5, 30),
    start=st.integers(1, 30),
)
def test_on_a_steady_machine_it_settles_where_the_goal_holds(
    detect: float, rest: float, start: int
) -> None:
    """Age on average: the camera's share of a search, plus the rest."""

    def age(every: int) -> float:
        return rest + detect / every

    of, seen = governor(every=start), []
    for i in range(400):
        of.update(aged(age(of.every)), i * 5 * S)
        seen.append(of.every)
    settled = seen[-100:]
    if age(30) <= 100:
        assert np.mean([age(every) <= 103 for every in settled]) > 0.9
    else:
        assert set(settled) == {30}
    assert max(settled) - min(settled) <= 1 or age(max(settled)) > 75


@dataclass
class FakeMachine:
    """Decides a frame in `ms`, a search in `search_ms` more; its own clock moves with it. quiet:
    nothing moves, and nine searches of ten are left out."""

    interval: DetectionInterval
    ms: float = 5
    search_ms: float = 200
    now_ns: int = 0
    quiet: bool = False
    due: int = 0

    def process(self, frame: Frame) -> Report:
        searched = self.interval.next()
        self.due += searched
        spared: Spared = "all" if searched and self.quiet and self.due % 10 else ""
        searched &= not spared
        self.now_ns += round((self.ms + searched * self.search_ms) * 1e6)
        stages = {"detect": self.search_ms} if searched else {}
        return Report(
            "cam", frame.seq, frame.captured_ns, 0, (4, 4), (), stages, searched, spared=spared
        )


def play(machine: FakeMachine, governed: GovernedRecognizer, seconds: float, fps: float) -> float:
    """Frames of a camera, the newest each time; returns the share of frames that were decided."""
    image, end = np.zeros((4, 4, 3), np.uint8), machine.now_ns + seconds * S
    first = int(machine.now_ns * fps / S)
    taken, decided = first - 1, 0
    while machine.now_ns < end:
        seq = max(int(machine.now_ns * fps / S), taken + 1)
        captured = round(seq * S / fps)
        machine.now_ns = max(machine.now_ns, captured)
        governed.process(Frame(image, seq, captured, 0.0, "cam"))
        taken, decided = seq, decided + 1
    return decided / (taken - first + 1)


def test_a_governed_recogniser_reaches_its_decision_rate_and_explains(
    caplog: pytest.LogCaptureFixture,
) -> None:
    interval = DetectionInterval(2)
    machine = FakeMachine(interval)
    of = governor(RateGoal(decision_fps_min=20), every=2)
    governed = GovernedRecognizer(machine, interval, of, clock_ns=lambda: machine.now_ns)
    with caplog.at_level(logging.INFO, logger="jetson_face.recognition.rate_controlled"):
        play(machine, governed, 60, 25)
    # A search costs 5 frames: 0.8 of 25/s are decided from about one search in 16 on.
    assert 14 <= interval.every_n <= 20
    first = "cam: sampling 1 in 2 -> 1 in 4: goal missed: decision rate 8.0/s, at least 20.0 wanted"
    assert caplog.messages[0] == first
    assert play(machine, governed, 20, 25) == pytest.approx(0.8, abs=0.06)


def test_a_governed_recogniser_searches_every_frame_where_there_is_room() -> None:
    interval = DetectionInterval(6)
    machine = FakeMachine(interval, ms=2, search_ms=8)
    of = governor(RateGoal(decision_fps_min=20, age_ms_max=100), every=6)
    governed = GovernedRecognizer(machine, interval, of, clock_ns=lambda: machine.now_ns)
    play(machine, governed, 120, 25)
    assert interval.every_n == 1


@pytest.mark.parametrize("goal", [RateGoal(decision_fps_min=20), RateGoal(age_ms_max=150)])
def test_searches_that_were_left_out_do_not_make_room(goal: RateGoal) -> None:
    """Otherwise every frame would be searched at night, until somebody comes."""
    interval = DetectionInterval(10)
    machine = FakeMachine(interval, ms=2)
    of = governor(goal, every=10)
    governed = GovernedRecognizer(machine, interval, of, clock_ns=lambda: machine.now_ns)
    play(machine, governed, 200, 25)
    busy = interval.every_n
    machine.quiet = True
    play(machine, governed, 200, 25)
    assert 9 < 0.7 * busy <= interval.every_n <= 1.4 * busy


class Asked(Governor):
    """Notes what it is asked with, and changes nothing."""

    def __init__(self) -> None:
        super().__init__(RateGoal(age_ms_max=100), Bounds(1, 30), 20)
        self.measured: list[RateMeasurement] = []

    def update(self, measured: RateMeasurement, now_ns: int) -> IntervalChange | None:
        self.measured.append(measured)
        return None


@pytest.mark.parametrize("period", [{}, {"period_s": 2.08}])
def test_what_is_measured_is_of_the_frames_since_the_last_question(
    period: dict[str, float],
) -> None:
    """Ten frames a second at 20 ms each, of which every 20th is searched in 60 ms more. Of the 6th,
    and of the 26th, the camera's driver was 300 ms late."""
    interval, asked = DetectionInterval(20), Asked()
    machine = FakeMachine(interval, ms=20, search_ms=60)
    governed = GovernedRecognizer(
        machine,
        interval,
        asked,
        clock_ns=lambda: machine.now_ns,
        cpu_share=lambda: 0.25 * machine.now_ns / S,
        **period,
    )
    image = np.zeros((4, 4, 3), np.uint8)
    for seq in range(42):
        machine.now_ns = round(seq * S / 10)
        late = 300_000_000 if seq in (5, 25) else 0
        governed.process(Frame(image, seq, machine.now_ns - late, 0.0, "cam"))
    first, *later = asked.measured
    assert astuple(first) == pytest.approx(
        (21 / 2.08, 21 / 2.08, 0.54 / 2.08, 0.12 / 0.54, 80.0, 0.25)
    )
    for second in later:
        assert astuple(second) == pytest.approx(
            (21 / 2.02, 21 / 2.02, 0.48 / 2.02, 0.06 / 0.48, 80.0, 0.25)
        )
    assert len(later) == (0 if period else 1)


def test_cpu_is_measured_between_the_questions() -> None:
    interval = DetectionInterval(5)
    machine = FakeMachine(interval)
    governed = GovernedRecognizer(
        machine,
        interval,
        governor(RateGoal(cpu_max=0.5)),
        clock_ns=lambda: machine.now_ns,
        cpu_share=lambda: 0.9 * machine.now_ns / S,
    )
    play(machine, governed, 5, 25)
    assert interval.every_n > 5


def test_a_bound_that_is_reached_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    interval = DetectionInterval(3)
    machine = FakeMachine(interval, ms=100, search_ms=300)
    of = governor(RateGoal(age_ms_max=100), every=3, most=3)
    governed = GovernedRecognizer(machine, interval, of, clock_ns=lambda: machine.now_ns)
    play(machine, governed, 20, 25)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith("cam: goal missed: frame age p95 400 ms, ")


def test_a_search_that_was_left_out_counts_as_one_of_the_whole_frame() -> None:
    """Ten frames a second, searched one in two: 20 ms, and 60 more where all of it is searched, 10
    more where a part is."""
    asked, now = Asked(), [0]

    class Machine:
        """Whole at frames 0, 2, 20; the others a part or nothing, in turns."""

        def process(self, frame: Frame) -> Report:
            whole = frame.seq in (0, 2, 20)
            spared: Spared = "" if whole or frame.seq % 2 else "part" if frame.seq % 4 else "all"
            ms = 60 if whole else 10 if spared == "part" else 0
            now[0] += round((20 + ms) * 1e6)
            stages = {"detect": float(ms)} if ms else {}
            return Report(
                "cam", frame.seq, frame.captured_ns, 0, (4, 4), (), stages, whole, spared=spared
            )

    governed = GovernedRecognizer(
        Machine(), DetectionInterval(2), asked, clock_ns=lambda: now[0],
        cpu_share=lambda: 0.25 * now[0] / S, period_s=1.999,
    )  # fmt: skip
    image = np.zeros((4, 4, 3), np.uint8)
    for seq in range(21):
        now[0] = round(seq * S / 10)
        governed.process(Frame(image, seq, now[0], 0.0, "cam"))
    (first,) = asked.measured
    worked, spared = 21 * 0.02 + 3 * 0.06 + 4 * 0.01, 4 * 0.05 + 4 * 0.06
    assert first.busy == pytest.approx((worked + spared) / 2.08)
    assert first.search_share == pytest.approx(11 * 0.06 / (worked + spared))
    assert first.age_ms == pytest.approx(80)
    assert first.cpu == pytest.approx(0.25 * (worked + spared) / worked)


class Played:
    """Takes (milliseconds of the search, how much of it was left out) for each frame, and 20 ms."""

    def __init__(self, *frames: tuple[float, Spared]) -> None:
        self._frames = list(frames)
        self.now_ns = 0

    def process(self, frame: Frame) -> Report:
        ms, spared = self._frames.pop(0)
        self.now_ns += round((20 + ms) * 1e6)
        stages = {"detect": ms} if ms else {}
        searched = bool(ms) and not spared
        return Report(
            "cam", frame.seq, frame.captured_ns, 0, (4, 4), (), stages, searched, spared=spared
        )


def measured(
    played: Played, frames: Sequence[tuple[int, float]], fps: float, period_s: float
) -> list[RateMeasurement]:
    """What is asked when these frames, number and milliseconds that the driver was late, come."""
    asked, image = Asked(), np.zeros((4, 4, 3), np.uint8)
    governed = GovernedRecognizer(
        played, DetectionInterval(1), asked, clock_ns=lambda: played.now_ns, period_s=period_s
    )
    for seq, late_ms in frames:
        played.now_ns = round(seq * S / fps)
        captured = played.now_ns - round(late_ms * 1e6)
        governed.process(Frame(image, seq, captured, 0.0, "cam"))
    return asked.measured


def test_a_search_that_was_left_out_would_have_cost_frames_that_came_meanwhile() -> None:
    """Two frames a second, a search takes 980 ms: for each that was left out another frame would
    have been replaced by a newer one."""
    played = Played((980, ""), (980, ""), (0, "all"), (0, "all"))
    (only,) = measured(played, [(0, 0), (2, 0), (4, 0), (5, 100)], 2, 2.5)
    late = 2 * (6 / 2.52 * 1.0 - 1)
    seconds = 2.52 * (1 + late / 4)
    assert astuple(only) == pytest.approx(
        (4 / seconds, 6 / 2.52, 4.0 / seconds, 3.92 / 4.0, 1100.0, None)
    )


def test_no_work_of_a_moment_fills_more_than_all_of_it() -> None:
    played = Played((60, ""), (70, ""), (0, "all"), (0, "all"))
    first, second = measured(played, [(0, 0), (1, 0), (2, 0), (3, 0)], 10, 0.11)
    assert first.busy == pytest.approx((80 + 90) / 190)
    assert second.busy == 1.0


def test_a_part_that_took_longer_than_the_whole_costs_nothing_more() -> None:
    played = Played((50, ""), (50, ""), (70, "part"))
    (only,) = measured(played, [(0, 0), (1, 0), (2, 0)], 10, 0.25)
    assert only.busy == pytest.approx((70 + 70 + 90) / 290)
    assert only.age_ms == pytest.approx(90)


def test_what_a_search_takes_is_the_median_of_the_last_nine() -> None:
    slow: tuple[float, Spared] = (60, "")
    quick: tuple[float, Spared] = (20, "")
    found = measured(
        Played(*[slow] * 12, *[quick] * 9, (0, "all")), [(seq, 0) for seq in range(22)], 10, 2.1
    )
    assert found[-1].busy == pytest.approx((12 * 80 + 9 * 40 + 20 + 20) / 2120)
