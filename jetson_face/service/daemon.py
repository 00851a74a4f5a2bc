"""The service from its start to its end."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from jetson_face.capture.source import Source
from jetson_face.config import Config
from jetson_face.core.errors import OutputError
from jetson_face.core.version import __version__
from jetson_face.events.delivery import Deliverer
from jetson_face.events.making import EventMaker
from jetson_face.events.mqtt_states import StatePublisher
from jetson_face.events.recorder import EventRecorder
from jetson_face.factory.parts import live_policy, open_sources, run_facts
from jetson_face.factory.plugins import build_sinks
from jetson_face.live import LivePipeline
from jetson_face.output.run_report import RunReport
from jetson_face.service import pages, plumbing
from jetson_face.service.bookkeeping import Bookkeeping
from jetson_face.service.canary import ServiceCanary
from jetson_face.service.control.gate import ControlGate
from jetson_face.service.drift import ServiceDrift
from jetson_face.service.erasure import audit_log
from jetson_face.service.events import EventTap, EventWriter, OnItsWay, tell_end
from jetson_face.service.health_day import HealthDay
from jetson_face.service.history import HistoryPages, open_history
from jetson_face.service.notify import (
    Health,
    HealthVerdict,
    Notifier,
    watchdog_interval_s,
)
from jetson_face.service.recent import RecentErrors
from jetson_face.service.reception import Reception
from jetson_face.service.reload import Reloader, check_reloadable, needs_new_loop
from jetson_face.service.signals import Signals
from jetson_face.service.states import build_states, start_states
from jetson_face.service.status_server import StatusServer
from jetson_face.service.swap import HotSwap, build_deck
from jetson_face.service.timers import run_timers
from jetson_face.service.watching import Watching
from jetson_face.util.channels import BoundedQueue
from jetson_face.util.files import write_file
from jetson_face.util.metrics import to_prometheus

logger = logging.getLogger(__name__)

_EVENT_QUEUE = 10_000
_LOOK_EVERY_S = 0.4


class Daemon:
    """One service. Built complete, run once, closed."""

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        recent: RecentErrors,
        signals: Signals,
        control: Sequence[str] = (),
    ) -> None:
        self.config = config
        self._recent, self._signals = recent, signals
        self._started = time.monotonic()
        self._notifier = Notifier.from_environ()
        interval = watchdog_interval_s()
        self._feed_every_s = interval / 4 if interval else 5.0
        self._told_ready = self._told_stuck = self._reloading = False
        self._looked = self._fed = 0.0
        self._verdict = HealthVerdict(False, True, "starting")
        self._watching = Watching(lambda: self._swap.deck.parts)
        self._health = self._new_health()
        self._reloader = Reloader(load, self._apply)
        self._next_sources: list[Source] | None = None
        self._pipeline: LivePipeline | None = None
        self._deliverers: list[Deliverer] = []
        self._history = HistoryPages()
        self._states: StatePublisher | None = None
        self._day = HealthDay(config.state_dir, recent, self.document)
        # First: plans may be built for minutes, and who asks meanwhile gets "starting".
        server = StatusServer(
            pages.routes(
                self.document, self._now, self._metrics_text, self._reload, self._look_at_gallery
            ),
            unix=config.status_socket,
            port=config.service.status_port,
            folders={
                "/events/": self._history.page,
                "/health/": self._day.page,
                **self._watching.folders,
            },
        )
        self._reception = Reception(server)
        self._notifier.send(STATUS="starting: loading the networks")
        try:
            self._swap = HotSwap(build_deck(config))
            self._outbox, self._snapshots = plumbing.open_outbox(config)
            self._history.history = open_history(config, self._outbox.age)
            self._recorder = EventRecorder(self._outbox, self._history.history)
            self._canary = ServiceCanary(self._swap, self._recorder, audit_log(config))
            self._drift = ServiceDrift(self._swap, self._recorder)
            self._bookkeeping = Bookkeeping(config, self._swap, self._recorder, self._day)
            self._review_writer = plumbing.open_review_writer(
                config, self._outbox.age, lambda: self._swap.deck.parts.embedder.similarity_min
            )
            self._unknown = plumbing.open_unknowns(lambda: self._swap.deck, self._outbox.age)
        except BaseException:
            self._reception.close()
            raise
        self._queue: BoundedQueue[OnItsWay] = BoundedQueue(_EVENT_QUEUE, "events")
        self._kept = (self._snapshots, self._review_writer, self._unknown)
        self._writer = EventWriter(self._queue, self._recorder, *self._kept)
        self._gate = ControlGate(config.control_socket, control)

    def run(self) -> None:
        """Run loop after loop until told to stop, or until every source ended."""
        self._signals.started = True
        while True:
            sources = self._next_sources or open_sources(self.config)
            self._next_sources = None
            self._run_loop(sources)
            if self._signals.end or self._next_sources is None:
                return
            logger.info("loop_restarted reason=reload")

    def close(self) -> None:
        """Everything that waits goes to the disk; harmless when repeated."""
        self._notifier.stopping()
        self._gate.close()
        self._writer.drain()
        self._bookkeeping.close()
        self._recorder.close()
        for file in (self._review_writer, self._unknown):
            if file is not None:
                file.close()
        for source in self._next_sources or ():
            source.close()
        self._reception.close()
        self._swap.close()

    def _run_loop(self, sources: list[Source]) -> None:
        config = self.config
        before = {d.name: d for d in self._deliverers}
        self._deliverers = plumbing.build_deliverers(config, self._outbox)
        for deliverer in self._deliverers:
            if deliverer.name in before:
                deliverer.go_on_from(before[deliverer.name])
        self._health = self._new_health()
        live = {source.info.name for source in sources if source.info.is_live}
        states = self._states = start_states(
            config.service.home_assistant,
            [source.info.name for source in sources],
            lambda: self._swap.deck.people.names,
            self._recorder.history,
        )
        self._writer.tell = None if states is None else states.tell
        knows = None if self._unknown is None else self._unknown.knows
        maker = EventMaker(live, enrolled=lambda: self._swap.deck.people.ids, remembered=knows)
        told, written = threading.Event(), threading.Event()
        pipeline = LivePipeline(
            sources,
            lambda info: EventTap(
                self._swap.recognizer(info),
                self._queue,
                maker,
                crops=config.service.crops,
                history=self._recorder.history is not None and config.report.history_crops,
                broker=states is not None and states.snapshots,
                review=config.service.review,
                seen=(self._drift.see, self._watching.offer),
                withholds=lambda: bool(self._swap.deck.people.snapshot.withheld),
                unknown=self._unknown,
            ),
            build_sinks(config),
            policy=live_policy(config),
            facts=lambda: run_facts(self.config, self._swap.every),
            stages={
                "events": partial(self._writer.run, told=told, done=written),
                "reload": self._reloader.run,
                "timers": partial(run_timers, self._recorder, self._kept, self._bookkeeping),
                **({} if states is None else {"states": states.run}),
                **{f"deliver-{d.name}": partial(d.run, after=written) for d in self._deliverers},
            },
            between_frames=self._canary,
            wakes=(
                self._writer.wake,
                self._reloader.wake,
                *(() if states is None else (states.wake,)),
            ),
            at_end=partial(tell_end, maker, self._queue, told),
        )
        self._pipeline = pipeline
        self._swap.clear()
        try:
            pipeline.run(self._tick)
        finally:
            self._writer.drain()
            self._save(pipeline.report())

    def _tick(self) -> None:
        """In the main thread, twice a second and after signals."""
        assert self._pipeline is not None
        self._reception.check()
        self._gate.check()
        if self._signals.end:
            self._pipeline.stop()
            return
        if self._signals.reload:
            self._signals.reload = False
            self._reload()
        if self._reloading and not self._reloader.busy:
            self._reloading = False
            if self._told_ready:
                self._notifier.ready(self._verdict.status)
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        verdict = self._health.observe(now, self._pipeline.progress)
        self._verdict = self._canary.judge(verdict)
        self._tell(now)

    def _tell(self, now: float) -> None:
        verdict = self._verdict
        if verdict.ready and not self._told_ready:
            self._told_ready = True
            self._notifier.ready(verdict.status)
            logger.info("ready after_s=%.1f status=%s", now - self._started, verdict.status)
        if not verdict.alive and not self._told_stuck:
            logger.error("stuck status=%s", verdict.status)
        self._told_stuck = not verdict.alive
        if verdict.alive and now - self._fed >= self._feed_every_s:
            self._fed = now
            self._notifier.alive(verdict.status)

    def _new_health(self) -> Health:
        wanted = self.config.service
        # A camera that fell silent says so after its read time-out: until then nobody is stuck.
        silent_s = 2 * max(source.read_timeout_s for source in self.config.sources) + 2
        return Health(max(wanted.stall_s, silent_s), wanted.start_s, time.monotonic())

    def _reload(self) -> int:
        if not self._reloading:
            self._reloading = True
            if self._told_ready:
                self._notifier.reloading()
        return self._reloader.request()

    def _apply(self, new: Config) -> str:
        """In the reload thread. Everything that can fail comes before anything changes."""
        old = self.config
        check_reloadable(old, new)
        deck = build_deck(new, self._swap.deck)
        sources: list[Source] | None = None
        try:
            if needs_new_loop(old, new):
                plumbing.check_sinks(new)
                build_states(new.service.home_assistant, [], dict, None)
                build_sinks(new)
                sources = open_sources(new)
        except BaseException:
            deck.close(unless=self._swap.deck)
            raise
        self._swap.put(deck)
        self.config = new
        logging.getLogger("jetson_face").setLevel(new.log_level)
        if sources is None:
            return "reloaded" if new != old else "nothing changed; the gallery was read again"
        self._next_sources = sources
        assert self._pipeline is not None
        self._pipeline.stop()
        return "reloaded; sources or sinks start again"

    def _save(self, report: RunReport) -> None:
        text = json.dumps(report.to_json(), indent=2) + "\n"
        for path, mode in (
            (self.config.state_dir / "last_report.json", 0o600),
            (self.config.report.json_file, 0o644),
        ):
            if path is not None:
                try:
                    write_file(path, text, mode=mode)
                except OutputError as error:
                    logger.error("report_not_written error=%s", error)

    def _now(self) -> HealthVerdict:
        """The verdict for who asks; before the first loop it counts the seconds."""
        if self._pipeline is not None:
            return self._verdict
        waited = time.monotonic() - self._started
        return HealthVerdict(False, True, f"starting for {waited:.0f} s: loading the networks")

    def document(self) -> dict[str, Any]:
        """The page `/status`."""
        verdict = self._now()
        document: dict[str, Any] = {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "ready": verdict.ready,
            "alive": verdict.alive,
            "status": verdict.status,
            "reload": asdict(self._reloader.state),
            "last_errors": self._recent.list(),
        }
        pipeline = self._pipeline
        if pipeline is None:
            return document
        deck, state = self._swap.deck, self._outbox.state()
        report = pipeline.report()
        return document | {
            "cameras": pages.cameras(report),
            "engines": pages.engines(deck.config, deck.parts),
            "canary": self._canary.document(),
            "similarity": self._drift.document(),
            "gallery": pages.gallery(deck.people) | {"threshold": pages.threshold(deck)},
            "rates": pages.rates(pipeline.metrics.snapshot()),
            "stages_p95_ms": {s.name: round(s.p95_ms, 2) for s in report.stages},
            "queues": {"events": self._queue.waiting},
            "outbox": pages.outbox(state),
            "history": self._history.document(),
            **self._bookkeeping.document(),
            "home_assistant": self._states.document() if self._states is not None else {},
            "sinks": pages.sinks(self._deliverers, state),
            "board": pages.board(),
            "fleet": pages.fleet(deck.config),
            "review": self._review_writer.state() if self._review_writer is not None else {},
            "unknown": self._unknown.state() if self._unknown is not None else {},
            "last_decisions": pages.decisions(self._writer.decisions, deck.people.ids),
        }

    def _look_at_gallery(self) -> dict[str, Any] | None:
        """Read the gallery now, between two frames; who was erased from it is then forgotten. None
        while there is nothing that could name anybody."""
        if self._pipeline is None:
            return None
        self._swap.use(lambda deck: deck.people.look())
        return pages.gallery(self._swap.deck.people)

    def _metrics_text(self) -> str:
        pipeline = self._pipeline
        if pipeline is None:
            return to_prometheus(pages.health_metrics(self._now()))
        service = pages.service_metrics(
            self._outbox.state(),
            self._deliverers,
            pipeline.report(),
            self._verdict,
            self._review_writer.state() if self._review_writer is not None else {},
        )
        return to_prometheus(self._canary.metrics(), pipeline.metrics.snapshot(), service)
