"""Frames of several cameras begun together: one run of the detector, and each its own time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jetson_face.core.types import Detections, Frame, Pixels, Report
from jetson_face.recognition.rate_controlled import GovernedRecognizer
from jetson_face.recognition.steps import (
    Finished,
    Stepping,
    Steps,
    WantedSearch,
    decide_together,
    steps_of,
    without_others,
)
from jetson_face.recognition.stopwatch import Stopwatch
from tests.recognition.test_finder_rough import Rough, finder_of
from tests.recognition.test_rate_controller import Asked
from tests.recognition.test_recognizer import A_GREEN, A_RED, MS, Rig, Scene, frame, said


class Many(Rough):
    """Searches `most` pictures in one run, which takes 8 ms of a clock that is played."""

    def __init__(self, most: int = 4) -> None:
        super().__init__()
        self.most, self.now = most, 700 * MS
        self.runs: list[tuple[int, bool]] = []

    def search_many(self, images: Sequence[Pixels], *, large: bool = False) -> list[Detections]:
        self.runs.append((len(images), large))
        self.now += 8 * MS
        return [(self.search_large if large else self.search)(image) for image in images]

    def together(self, size: tuple[int, int]) -> int:
        return self.most if size == (320, 240) else 1


def rigs(detector: Rough, number: int, every: int = 2) -> list[Rig]:
    made = [Rig(detector=detector) for _ in range(number)]
    for rig in made:
        rig.recognizer.finder = finder_of(detector, every, small_every=2)
    return made


def begun(some: Sequence[Rig], seq: int, *scenes: Scene) -> list[Steps[Report]]:
    return [
        rig.recognizer.steps(frame(seq, scene)) for rig, scene in zip(some, scenes, strict=True)
    ]


def standing() -> int:
    return 0


def decided(every: Sequence[Steps[Report]]) -> list[Report]:
    done = {each.place: each.report for each in decide_together(every, standing)}
    return [done[place] for place in range(len(every))]


def test_searches_that_are_wanted_at_once_are_one_run_and_find_the_same() -> None:
    detector = Many()
    together, apart = rigs(detector, 3), rigs(Rough(), 3)
    scenes: tuple[Scene, ...] = ([A_RED], [A_GREEN], [A_RED, A_GREEN])
    for seq in range(6):
        reports = decided(begun(together, seq, *scenes))
        for report, rig, scene in zip(reports, apart, scenes, strict=True):
            alone = rig.recognizer.process(frame(seq, scene))
            assert said(report) == said(alone)
            assert [s.box for s in report.sightings] == [s.box for s in alone.sightings]
            assert report.searched == alone.searched
    # Frames 0 and 4 are searched for all faces, frame 2 for large ones.
    assert detector.runs == [(3, False), (3, True), (3, False)]


def test_who_wants_no_search_comes_first_and_is_not_searched() -> None:
    detector = Many()
    ahead, behind, third = rigs(detector, 3, every=3)
    ahead.recognizer.process(frame(0, [A_RED]))
    steps = [
        behind.recognizer.steps(frame(0, [A_RED])),
        ahead.recognizer.steps(frame(1, [A_RED])),
        third.recognizer.steps(frame(0, [A_RED])),
    ]
    done = list(decide_together(steps, standing))
    assert [each.place for each in done] == [1, 0, 2]
    assert [each.report.searched for each in done] == [False, True, True]
    assert detector.runs == [(2, False)]


def test_no_more_than_the_detector_takes_and_no_pictures_of_another_size() -> None:
    detector = Many(most=2)
    steps = begun(rigs(detector, 3), 0, [A_RED], [A_RED], [A_RED])
    assert len(decided(steps)) == 3
    assert detector.runs == [(2, False)]
    detector = Many()
    one, two, three = rigs(detector, 3)
    sizes = [(320, 240), (160, 120), (320, 240)]
    mixed = [
        rig.recognizer.steps(frame(0, [A_RED], size=size))
        for rig, size in zip((one, two, three), sizes, strict=True)
    ]
    assert len(decided(mixed)) == 3
    assert detector.runs == [(2, False)]


def test_a_detector_that_cannot_and_two_detectors_search_each_alone() -> None:
    plain = Rough()
    assert [len(r.sightings) for r in decided(begun(rigs(plain, 2), 0, [A_RED], [A_RED]))] == [1, 1]
    two = [Many(), Many()]
    some = [Rig(detector=detector, every=2) for detector in two]
    assert len(decided(begun(some, 0, [A_RED], [A_RED]))) == 2
    assert [detector.runs for detector in two] == [[], []]


def test_each_frame_counts_its_share_of_the_run_and_not_the_others_time() -> None:
    detector = Many()

    class Slow(Stepping):
        """Takes 5 ms before its search and 1 after it."""

        def __init__(self, rig: Rig) -> None:
            self._rig = rig

        def steps(self, frame: Frame) -> Steps[Report]:
            detector.now += 5 * MS
            report = yield from self._rig.recognizer.steps(frame)
            detector.now += 1 * MS
            return report

    some = [Slow(rig) for rig in rigs(detector, 4)]
    done = list(
        decide_together([one.steps(frame(0, [A_RED])) for one in some], lambda: detector.now)
    )
    assert [each.own_ns / MS for each in done] == [5 + 2 + 1] * 4
    # The rig's own timer ticks a millisecond a look; the run is not measured by it.
    assert [each.report.stages_ms["detect"] for each in done] == [2.0] * 4
    pair = [Slow(rig).steps(frame(0, [A_RED])) for rig in rigs(detector, 2)]
    done = list(decide_together(pair, lambda: detector.now))
    assert [each.own_ns / MS for each in done] == [5 + 4 + 1] * 2
    assert [each.report.stages_ms["detect"] for each in done] == [4.0] * 2

    def search(image: Pixels) -> Detections:
        detector.now += 4 * MS
        return Rough.search(detector, image)

    detector.search = search  # type: ignore[method-assign]
    (rig,) = rigs(detector, 1)
    (done_alone,) = decide_together([Slow(rig).steps(frame(0, [A_RED]))], lambda: detector.now)
    assert done_alone.report.stages_ms["detect"] == 1.0, "by the rig's timer, and once"
    assert done_alone.own_ns / MS == 5 + 4 + 1


def test_what_is_followed_counts_its_own_time() -> None:
    detector = Many()
    (rig,) = rigs(detector, 1)
    rig.recognizer.process(frame(0, [A_RED]))

    class Slow(Stepping):
        def steps(self, frame: Frame) -> Steps[Report]:
            detector.now += 3 * MS
            return (yield from rig.recognizer.steps(frame))

    (done,) = decide_together([Slow().steps(frame(1, [A_RED]))], lambda: detector.now)
    assert (done.report.searched, done.own_ns / MS) == (False, 3)


def test_the_others_time_of_all_searches_of_a_frame_counts() -> None:
    detector = Many()

    def twice() -> Steps[str]:
        for _ in range(2):
            yield WantedSearch(frame(0, [A_RED]), detector, detector, Stopwatch(standing))
        return "done"

    steps = without_others(twice())
    next(steps).others_ns = 3
    wanted = steps.send(Detections.empty())
    wanted.others_ns = 4
    with pytest.raises(StopIteration) as end:
        steps.send(Detections.empty())
    assert end.value.value == ("done", 7)


def test_a_governor_measures_its_own_camera() -> None:
    detector = Many()
    some = [
        GovernedRecognizer(
            rig.recognizer, rig.recognizer.finder.interval, Asked(), clock_ns=lambda: detector.now
        )
        for rig in rigs(detector, 4)
    ]
    steps = [one.steps(frame(0, [A_RED])) for one in some]
    list(decide_together(steps, lambda: detector.now))
    assert [one._worked_ns / MS for one in some] == [2, 2, 2, 2]
    some[0].process(frame(40, [A_RED]))  # alone, which takes no time of this clock
    assert some[0]._worked_ns / MS == 2


def test_one_that_cannot_be_stopped_is_processed_in_one() -> None:
    rig = Rig()

    class Plain:
        def process(self, frame: Frame) -> Report:
            return rig.recognizer.process(frame)

    (done,) = decide_together([steps_of(Plain(), frame(0, [A_RED]))], standing)
    assert isinstance(done, Finished)
    assert len(done.report.sightings) == 1


@pytest.mark.parametrize("where", ["search", "alone", "consumer"])
def test_what_fails_leaves_nothing_held(where: str) -> None:
    left: list[int] = []

    class Held(Stepping):
        def __init__(self, number: int, rig: Rig) -> None:
            self._number, self._rig = number, rig

        def steps(self, frame: Frame) -> Steps[Report]:
            try:
                return (yield from self._rig.recognizer.steps(frame))
            finally:
                left.append(self._number)

    class Broken(Many):
        def search_many(self, images: Sequence[Pixels], *, large: bool = False) -> list[Detections]:
            raise RuntimeError("broken")

        def search(self, image: Pixels) -> Detections:
            raise RuntimeError("broken")

    detector = Many() if where == "consumer" else Broken(1 if where == "alone" else 4)
    some = [Held(n, rig) for n, rig in enumerate(rigs(detector, 3))]

    def run() -> None:
        for _ in decide_together([one.steps(frame(0, [A_RED])) for one in some], standing):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run()
    assert sorted(left) == [0, 1, 2]


def test_a_search_alone_that_fails_leaves_nothing_held() -> None:
    left: list[int] = []

    class Broken(Rough):
        def search(self, image: Pixels) -> Detections:
            raise RuntimeError("broken")

    class Held(Stepping):
        def steps(self, frame: Frame) -> Steps[Report]:
            try:
                return (yield from rig.recognizer.steps(frame))
            finally:
                left.append(1)

    (rig,) = rigs(Broken(), 1)
    with pytest.raises(RuntimeError, match="broken"):
        Held().process(frame(0, [A_RED]))
    assert left == [1]


def test_the_same_stage_twice_adds_up_wherever_it_was_measured() -> None:
    ticks = iter([0, 2 * MS])
    watch = Stopwatch(lambda: next(ticks))
    with watch("detect"):
        pass
    watch.add("detect", 3 * MS)
    watch.add("track", 1 * MS)
    assert watch.ms == {"detect": 5.0, "track": 1.0}
