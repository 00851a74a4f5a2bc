"""A frame's way through a recogniser, stopped where the whole picture is to be searched.

So the pictures of several cameras that wait at the same time can be searched in one run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Detections, Frame, Pixels, Report
from jetson_face.detection.detector import Detector, LargeFirst, SearchMany, SecondLook, picture_for
from jetson_face.recognition.stopwatch import Stopwatch

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class WantedSearch:
    """A frame that is to be searched as a whole before its recogniser goes on.

    look: the detector, where rough landmarks will do; large: where large faces will. watch: of the
    frame. others_ns: once it was searched, the time since then that went into other frames.
    """

    frame: Frame
    detector: Detector
    look: SecondLook | None
    watch: Stopwatch
    large: LargeFirst | None = None
    others_ns: int = 0

    @property
    def picture(self) -> Pixels:
        """What is searched."""
        return picture_for(self.detector, self.frame)

    @property
    def many(self) -> SearchMany | None:
        """What can search it together with others; None where nothing can."""
        able = self.look or self.large
        return able if isinstance(able, SearchMany) else None

    def alone(self) -> Detections:
        """Search it."""
        with self.watch("detect"):
            if self.large is not None:
                return self.large.search_large(self.picture)
            if self.look is not None:
                return self.look.search(self.picture)
            return self.detector.detect(self.picture)


Steps: TypeAlias = Generator[WantedSearch, Detections, T]
"""Yields each search that is wanted, is sent what was found, and returns what it is for."""


class Stepping(ABC):
    """A FrameProcessor that can be stopped at its searches."""

    @abstractmethod
    def steps(self, frame: Frame) -> Steps[Report]:
        """The report of a frame. One frame of a source is begun after the other's end."""

    def process(self, frame: Frame) -> Report:
        """See FrameProcessor."""
        return alone(self.steps(frame))


def steps_of(processor: FrameProcessor, frame: Frame) -> Steps[Report]:
    """The steps of any processor; one that cannot be stopped does all in one."""
    if isinstance(processor, Stepping):
        return (yield from processor.steps(frame))
    return processor.process(frame)


def alone(steps: Steps[T]) -> T:
    """What comes out when each picture is searched by itself."""
    with closing(steps):
        return _end_of(steps, None)


def without_others(steps: Steps[T]) -> Steps[tuple[T, int]]:
    """With the nanoseconds that went into other frames meanwhile."""
    others_ns, found = 0, None
    with closing(steps):
        while True:
            try:
                wanted = _go_on(steps, found)
            except StopIteration as end:
                return end.value, others_ns
            found = yield wanted
            others_ns += wanted.others_ns


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """frame: its place among those that were begun. own_ns: what it took, without the others."""

    place: int
    report: Report
    own_ns: int


@dataclass(slots=True, eq=False)
class _Stopped:
    place: int
    steps: Steps[Report]
    wanted: WantedSearch
    spent_ns: int
    since_ns: int


def decide_together(
    every: Sequence[Steps[Report]], clock_ns: Callable[[], int]
) -> Iterator[Finished]:
    """Frames of different sources to their ends, as they come to it; those that want a search of
    one size by one detector get it in one run, if it can do that."""
    with ExitStack() as stack:
        for steps in every:
            stack.enter_context(closing(steps))
        stopped: list[_Stopped] = []
        for place, steps in enumerate(every):
            began_ns = clock_ns()
            try:
                wanted = next(steps)
            except StopIteration as end:
                yield Finished(place, end.value, clock_ns() - began_ns)
                continue
            now_ns = clock_ns()
            stopped.append(_Stopped(place, steps, wanted, now_ns - began_ns, now_ns))
        for group in _groups(stopped):
            yield from _search(group, clock_ns)


def _search(group: Sequence[_Stopped], clock_ns: Callable[[], int]) -> Iterator[Finished]:
    """Search the pictures of a group, and take each frame to its end."""
    began_ns = clock_ns()
    many = group[0].wanted.many
    if many is None or len(group) == 1:
        found = [each.wanted.alone() for each in group]
    else:
        pictures = [each.wanted.picture for each in group]
        found = many.search_many(pictures, large=group[0].wanted.large is not None)
    share_ns = (clock_ns() - began_ns) // len(group)
    for each, faces in zip(group, found, strict=True):
        if len(group) > 1:
            each.wanted.watch.add("detect", share_ns)
        resumed_ns = clock_ns()
        each.wanted.others_ns = resumed_ns - each.since_ns - share_ns
        report = _end_of(each.steps, faces)
        yield Finished(each.place, report, each.spent_ns + share_ns + clock_ns() - resumed_ns)


def _groups(stopped: Sequence[_Stopped]) -> list[list[_Stopped]]:
    """Those that are searched in one run each."""
    groups: list[list[_Stopped]] = []
    for each in stopped:
        for group in groups:
            if _fits(each.wanted, group[0].wanted, len(group)):
                group.append(each)
                break
        else:
            groups.append([each])
    return groups


def _fits(wanted: WantedSearch, other: WantedSearch, count: int) -> bool:
    """Whether it can be searched in one run with `count` more as the other."""
    many = wanted.many
    return (
        many is not None
        and many is other.many
        and wanted.large is other.large
        and wanted.frame.pixels.shape == other.frame.pixels.shape
        and count < many.together(wanted.frame.size)
    )


def _go_on(steps: Steps[T], found: Detections | None) -> WantedSearch:
    """Begin with None, and send what was found."""
    return next(steps) if found is None else steps.send(found)


def _end_of(steps: Steps[T], found: Detections | None) -> T:
    """Send what was found, and search alone what is wanted after that."""
    try:
        while True:
            found = _go_on(steps, found).alone()
    except StopIteration as end:
        value: T = end.value
        return value
