"""Decided frames one after another: between the threads of a run and a `for` loop."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from jetson_face.api.face import Face, face_of
from jetson_face.capture.source import Source
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Frame, Report
from jetson_face.live import LivePipeline
from jetson_face.output.run_report import RunReport
from jetson_face.util.channels import BoundedQueue, Closed, Courier, StillBusyError

log = logging.getLogger(__name__)
_AHEAD = 4
"""Frames of a file that are decided before they are asked for."""
_END_S = 15.0
Decided: TypeAlias = tuple[Frame, tuple[Face, ...]]


class Handover:
    """Where the recogniser's thread leaves what it decided, and the loop takes it.

    live: the recogniser waits for the loop to ask before it takes the next frame, so that it is the
    newest one; otherwise it goes on for a few frames. lock: held while networks run.
    """

    def __init__(self, *, live: bool, lock: threading.RLock) -> None:
        self._decided: BoundedQueue[Decided] = BoundedQueue(_AHEAD, "watch")
        self._turns: BoundedQueue[None] | None = BoundedQueue(1, "turn") if live else None
        self._lock = lock
        self._asked = False

    def around(self, inner: FrameProcessor) -> FrameProcessor:
        """The recogniser of one source, with what it says left here."""
        return _Leaving(inner, self._decided, self._lock)

    def between(self, look_after: Callable[[int], None]) -> Callable[[int], None]:
        """For the recogniser's thread after each frame: `look_after` the networks, then wait."""

        def between_frames(now_ns: int) -> None:
            with self._lock:
                look_after(now_ns)
            if self._turns is not None:
                self._turns.get()

        return between_frames

    def take(self) -> Decided:
        """The next frame. Raises Closed at the end."""
        if self._turns is not None and self._asked:
            with suppress(Closed):  # what was decided before the end is still to be had
                self._turns.put(None)
        self._asked = True
        return self._decided.get()

    def close(self) -> None:
        """End it from either side."""
        self._decided.close()
        if self._turns is not None:
            self._turns.close()


@dataclass(frozen=True, slots=True)
class _Leaving:
    inner: FrameProcessor
    decided: BoundedQueue[Decided]
    lock: threading.RLock

    def process(self, frame: Frame) -> Report:
        with self.lock:
            report = self.inner.process(frame)
        faces = tuple(
            face_of(sighting, track=sighting.track, changed=sighting.changed)
            for sighting in report.sightings
        )
        self.decided.put((frame, faces))
        return report


class _WatchRun:
    """A pipeline in a thread of its own. Knows nothing of the `Watch`, which may be forgotten."""

    def __init__(
        self, pipeline: LivePipeline, handover: Handover, sources: Sequence[Source]
    ) -> None:
        self.pipeline, self.handover, self._sources = pipeline, handover, sources
        self.done = threading.Event()
        self.error: BaseException | None = None
        self._courier: Courier[None] | None = None

    def start(self) -> None:
        """Harmless when repeated."""
        if self._courier is None:
            self._courier = Courier("watch")
            with suppress(StillBusyError):
                self._courier.fetch(self._body, timeout_s=0)

    def end(self) -> None:
        """Close everything, and wait for it; harmless when repeated.

        A sink, source or detector that calls this is not waited for: it is what has to end.
        """
        self.pipeline.stop()
        self.handover.close()
        if self._courier is None:
            for source in self._sources:
                source.close()
            return
        if not self.pipeline.runs_here and not self.done.wait(_END_S):
            log.error("watch_not_ended after_s=%g", _END_S)
        self._courier.close()

    def _body(self) -> None:
        try:
            self.pipeline.run()
        except BaseException as error:
            self.error = error
        finally:
            self.handover.close()
            self.done.set()


class Watch(Iterator[Decided]):
    """What `Recognizer.watch` gives: an iterator of `(frame, faces)`, and a context manager.

    Threads start with the first frame asked for. They end, and the source is closed, when the
    iterator is used up, closed, or no longer referred to (as after `break`).
    """

    def __init__(
        self,
        pipeline: LivePipeline,
        handover: Handover,
        sources: Sequence[Source],
        *,
        owner: object,
    ) -> None:
        self._run = _WatchRun(pipeline, handover, sources)
        self._owner = owner  # its networks must outlive the threads
        # Also at the interpreter's end, while threads still run.
        self._finalizer = weakref.finalize(self, self._run.end)

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Decided:
        if not self._finalizer.alive:
            raise StopIteration
        self._run.start()
        with suppress(Closed):
            return self._run.handover.take()
        self.close()
        raise StopIteration

    def report(self) -> RunReport:
        """Rates, drops and times so far, as `jetson-face run` reports them; also after the end."""
        return self._run.pipeline.report()

    def close(self) -> None:
        """End the threads and close the source; from any thread, harmless when repeated.

        Raises what ended the run, where something of it failed.
        """
        if self._finalizer.alive:
            self._finalizer()
            if self._run.error is not None:
                raise self._run.error

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        close_behind(self.close, error)


def close_behind(close: Callable[[], None], error: BaseException | None) -> None:
    """Close at the end of a `with` block; what is on its way out of it matters more than what
    closing raises, which is logged then."""
    try:
        close()
    except Exception:
        if error is None:
            raise
        log.exception("close_failed")
