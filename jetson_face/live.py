"""The live loop: cameras, recogniser and sinks, each in a thread, joined by channels.

    capture (a thread each) --LatestSlot or queue--> recogniser (one thread) --queue--> sink (each)

A live source's newest frame counts and the frames it replaces are counted; a file waits for its
reader and loses nothing. The policy follows the source, not a flag.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from jetson_face.capture.source import EndOfSource, FrameBroken, Source, SourceInfo, SourceState
from jetson_face.core.errors import UsageError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Frame, Report
from jetson_face.output.meters import RunMeter, SourceFacts
from jetson_face.output.run_report import RunFacts, RunReport, log_line
from jetson_face.output.sink import Sink
from jetson_face.recognition.steps import Finished, decide_together, steps_of
from jetson_face.util.channels import BoundedQueue, Channel, FanIn
from jetson_face.util.metrics import Metrics
from jetson_face.util.stages import StageGroup

log = logging.getLogger(__name__)
_READ_S = 2.0
"""How long a capture thread waits for a frame at most; closing its source ends the wait."""
_TICK_S = 0.5
Item: TypeAlias = tuple[Report, Frame | None]
Stage: TypeAlias = Callable[[threading.Event], None]


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """frame_queue: frames that a file decodes ahead. report_queue, picture_queue: what waits for a
    sink without and with pictures (a full HD frame is 6 MB). together: the waiting frames of so
    many sources are begun at once, so that a detector can search them in one run. max_age_ms: by
    source name; a live frame that is older when its turn comes is dropped. frames: stop each source
    after so many.
    """

    frame_queue: int = 4
    together: int = 1
    report_queue: int = 256
    picture_queue: int = 4
    max_age_ms: Mapping[str, float] = field(default_factory=dict)
    frames: int | None = None
    log_every_s: float = 5.0


class LivePipeline:
    """Runs sources through recognisers into sinks until they end, fail, or `stop` is called.

    recognizer_factory: called in the recogniser's thread, once for each source. stages: further
    loops of the same run (deliveries), `name -> loop(stop)`; a loop ends when the event is set.
    facts: asked for each report, since the sampling rate may change while it runs.
    between_frames: called in the recogniser's thread after each frame, while none is in work, with
    `clock_ns`'s time; what it raises ends the run. at_end: called there after the last one. wakes:
    called at the end, to wake `stages` that wait for something else.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        recognizer_factory: Callable[[SourceInfo], FrameProcessor],
        sinks: Sequence[Sink] = (),
        *,
        policy: LivePolicy | None = None,
        metrics: Metrics | None = None,
        facts: Callable[[], RunFacts] = RunFacts,
        stages: Mapping[str, Stage] | None = None,
        between_frames: Callable[[int], None] | None = None,
        wakes: Sequence[Callable[[], None]] = (),
        at_end: Callable[[], None] | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._sources = {source.info.name: source for source in sources}
        if not sources or len(self._sources) != len(sources):
            raise UsageError("a run needs sources, each with a name of its own")
        if len({sink.name for sink in sinks}) != len(sinks):
            raise UsageError("every sink needs a name of its own")
        self.metrics = metrics or Metrics(clock_ns)
        self._factory, self._sinks, self._facts = recognizer_factory, sinks, facts
        self._policy, self._clock_ns = policy or LivePolicy(), clock_ns
        self._between_frames, self._at_end = between_frames, at_end
        self._meter = RunMeter(self.metrics, wall())
        self._group = StageGroup()
        self._frames: FanIn[Frame] = FanIn()
        self._queues: dict[str, BoundedQueue[Item]] = {}
        self._any_live = any(source.info.is_live for source in sources)
        self._stopping = self._over = False
        self._logged: RunReport | None = None
        self._log_at_ns = clock_ns() + round(self._policy.log_every_s * 1e9)
        self._is_live = {name: source.info.is_live for name, source in self._sources.items()}
        self._ready = threading.Event()
        self._add_stages(stages or {})
        for wake in (*wakes, *(source.close for source in sources)):
            self._group.on_cancel(wake)

    def run(self, on_tick: Callable[[], None] | None = None) -> RunReport:
        """Run to the end; `on_tick` is called in this thread twice a second and after signals.

        Raises whatever a source, the recogniser or a sink raised; `report` holds then too.
        """

        def tick() -> None:
            if self._stopping and not self._group.stop.is_set():
                self._group.cancel()
            self._log_if_due()
            if on_tick is not None:
                on_tick()

        try:
            self._group.run(tick, tick_s=min(_TICK_S, self._policy.log_every_s))
        finally:
            self._over = True
            for source in self._sources.values():
                source.close()
            final = self.report()
            log.info("run_ended %s", log_line(None, final))
        return final

    def stop(self) -> None:
        """End soon, with the full report; from any thread and from signal handlers."""
        # Only a flag: a handler that took locks could interrupt their holder.
        self._stopping = True
        self._group.ring()

    @property
    def runs_here(self) -> bool:
        """Whether the caller is in one of the run's threads, as a sink's `write` is."""
        return self._group.runs_here

    def report(self) -> RunReport:
        """The report so far; from any thread."""
        facts: dict[str, SourceFacts] = {}
        for channel in self._frames.channels:
            meter = self._meter.source(channel.name)
            if channel.dropped:
                meter.drop_total("newer", channel.dropped)
            if self._over:
                left = meter.captured_count - meter.processed_count
                left -= sum(c.value for k, c in meter.dropped.items() if k != "stopped")
                if left > 0:
                    meter.drop_total("stopped", left)
            facts[channel.name] = _facts_of(self._sources[channel.name])
        drops = {name: queue.dropped for name, queue in self._queues.items()}
        return self._meter.report(self._facts(), facts, drops)

    @property
    def progress(self) -> Mapping[str, tuple[SourceState, int, int]]:
        """By source: its state, frames captured, frames decided; cheap, for watchdogs."""
        return {
            name: (
                source.health.state,
                self._meter.source(name).captured_count,
                self._meter.source(name).processed_count,
            )
            for name, source in self._sources.items()
        }

    def _log_if_due(self) -> None:
        now_ns = self._clock_ns()
        if now_ns < self._log_at_ns:
            return
        self._log_at_ns = now_ns + round(self._policy.log_every_s * 1e9)
        now = self.report()
        if now.elapsed_s > 0:
            log.info("running %s", log_line(self._logged, now))
            self._logged = now

    def _capture(self, source: Source, channel: Channel[Frame], stop: threading.Event) -> None:
        """A capture thread's loop."""
        info = source.info
        meter, most = self._meter.source(info.name), self._policy.frames
        self._ready.wait()  # models first: frames decoded meanwhile would be old
        self._meter.begin(self._clock_ns())
        try:
            while not stop.is_set() and (most is None or meter.captured_count < most):
                start = self._clock_ns()
                try:
                    frame = source.read(_READ_S)
                except (TimeoutError, FrameBroken):
                    continue
                except EndOfSource:
                    return
                end = self._clock_ns()
                meter.captured(end)
                if not info.is_live:
                    # A live source's read is mostly waiting for the camera.
                    self._meter.work(f"capture-{info.name}", end - start)
                    self._meter.stage("capture", (end - start) / 1e6)
                channel.put(frame)
        finally:
            source.close()

    def _recognise(self, stop: threading.Event) -> None:
        """The recogniser thread's loop: the only one that touches the accelerator."""
        try:
            recognizers = {
                name: self._factory(source.info) for name, source in self._sources.items()
            }
        finally:
            self._ready.set()
        try:
            self._recognise_all(recognizers)
        finally:
            if self._at_end is not None:
                self._at_end()

    def _recognise_all(self, recognizers: Mapping[str, FrameProcessor]) -> None:
        queues = [(self._queues[sink.name], sink.wants_frame) for sink in self._sinks]
        while True:
            came = self._frames.get_round(self._policy.together)
            frames = [frame for frame in came if not self._is_stale(frame)]
            begun = [steps_of(recognizers[frame.source], frame) for frame in frames]
            ends: list[int] = []
            for each in decide_together(begun, self._clock_ns):
                ends.append(self._clock_ns())
                self._measure(frames[each.place].source, each, ends[-1])
                for queue, wants_frame in queues:
                    queue.put((each.report, frames[each.place] if wants_frame else None))
            if self._between_frames is not None:
                for end in ends:
                    self._between_frames(end)

    def _is_stale(self, frame: Frame) -> bool:
        """Whether it is too old to be decided, which is counted."""
        limit_ms = self._policy.max_age_ms.get(frame.source)
        if not self._is_live[frame.source] or limit_ms is None:
            return False
        stale = self._clock_ns() - frame.captured_ns > limit_ms * 1e6
        if stale:
            self._meter.source(frame.source).drop("stale")
        return stale

    def _measure(self, source: str, decided: Finished, end_ns: int) -> None:
        report, live = decided.report, self._is_live[source]
        self._meter.source(source).decided(report, end_ns, is_live=live)
        for stage, ms in report.stages_ms.items():
            self._meter.stage(stage, ms)
        self._meter.stage("process", decided.own_ns / 1e6)
        self._meter.work("recognise", decided.own_ns)
        self._meter.reach(end_ns)

    def _write(self, sink: Sink, queue: BoundedQueue[Item], stop: threading.Event) -> None:
        """A sink thread's loop."""
        stage, written = f"sink-{sink.name}", self._meter.sink(sink.name)
        try:
            sink.open()
            while True:
                report, frame = queue.get()
                start = self._clock_ns()
                sink.write(report, frame)
                del frame  # or the next wait would keep the picture's memory
                end = self._clock_ns()
                written.add()
                self._meter.work(stage, end - start)
                self._meter.stage(stage, (end - start) / 1e6)
                self._meter.reach(end)
        finally:
            sink.close()

    def _add_stages(self, stages: Mapping[str, Stage]) -> None:
        for name, source in self._sources.items():
            channel: Channel[Frame] = (
                self._frames.add_slot(name)
                if source.info.is_live
                # Pictures that stand alone may be ten times as large as a video's frames.
                else self._frames.add_queue(
                    1 if source.info.stills else self._policy.frame_queue, name
                )
            )
            self._group.add(
                f"capture-{name}",
                partial(self._capture, source, channel),
                writes=(channel,),
            )
            self._meter.source(name)
        for sink in self._sinks:
            size = self._policy.picture_queue if sink.wants_frame else self._policy.report_queue
            queue: BoundedQueue[Item] = BoundedQueue(size, sink.name, drop_oldest=self._any_live)
            self._queues[sink.name] = queue
            self._group.add(f"sink-{sink.name}", partial(self._write, sink, queue), reads=(queue,))
        self._group.add(
            "recognise",
            self._recognise,
            reads=(self._frames,),
            writes=tuple(self._queues.values()),
        )
        for name, loop in stages.items():
            self._group.add(name, loop, background=True)


def _facts_of(source: Source) -> SourceFacts:
    info, health = source.info, source.health
    return SourceFacts(
        uri=info.uri,
        is_live=info.is_live,
        width=info.width,
        height=info.height,
        nominal_fps=info.fps,
        state=health.state,
        faults=health.counts,
        last_error=health.last_error,
    )
