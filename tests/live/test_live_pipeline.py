"""The live loop: whole files, newest live frames, counted drops, failures surface, prompt stop."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jetson_face.capture.opening import open_source
from jetson_face.capture.reconnect import ReconnectingSource
from jetson_face.capture.source import EndOfSource, Source, SourceHealth, SourceInfo
from jetson_face.core.errors import InputBrokenError, OutputError, SourceError, UsageError
from jetson_face.core.types import Detections, Frame, ImageU8, Person, Report, Sighting
from jetson_face.events.jsonl import JsonlSink
from jetson_face.live import LivePipeline, LivePolicy
from jetson_face.output.console import ConsoleSink
from jetson_face.output.run_report import RunFacts
from jetson_face.recognition.steps import Stepping, Steps, WantedSearch
from jetson_face.recognition.stopwatch import Stopwatch
from tests.events.event_help import kinds, read_events, without_names_of_the_run

ADA = Person("p1", "Ada")


class Seer:
    """A recogniser that searches every fifth frame and knows Ada from frame 10 on."""

    def __init__(self, *, fail_at: int = -1, wait: Callable[[], object] | None = None) -> None:
        self.seen: list[tuple[str, int]] = []
        self._fail_at, self._wait = fail_at, wait

    def process(self, frame: Frame) -> Report:
        if self._wait is not None:
            self._wait()
        if 0 <= self._fail_at <= frame.seq:
            raise RuntimeError("recogniser")
        self.seen.append((frame.source, frame.seq))
        known = frame.seq >= 10
        sighting = Sighting(
            1, (1.0, 2.0, 30.0, 40.0), "known" if known else "pending", ADA if known else None,
            0.8, frame.seq, changed=frame.seq in (0, 10),
        )  # fmt: skip
        height, width = frame.image.shape[:2]
        searched = frame.seq % 5 == 0
        stages = {"detect": 2.0} if searched else {"track": 0.1}
        return Report(
            frame.source, frame.seq, frame.captured_ns, frame.wall, (width, height), (sighting,),
            stages, searched, embedded=int(searched),
        )  # fmt: skip


class Listener:
    """A sink that remembers, and fails or waits on demand."""

    def __init__(
        self, name: str = "listener", *, pictures: bool = False, fail_at: int = -1,
        wait: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.wants_frame = name, pictures
        self.got: list[int] = []
        self.frames: list[bool] = []
        self.events: list[str] = []
        self._fail_at, self._wait = fail_at, wait

    def open(self) -> None:
        self.events.append("open")

    def write(self, report: Report, frame: Frame | None) -> None:
        if self._wait is not None:
            self._wait()
        if 0 <= self._fail_at <= report.seq:
            raise OutputError("disk full")
        self.got.append(report.seq)
        self.frames.append(frame is not None)

    def close(self) -> None:
        self.events.append("close")


def film(frames: int = 40, name: str = "film") -> Source:
    return open_source(f"test://?width=64&height=48&fps=25&frames={frames}", name)


def camera(frames: int, name: str = "cam", faults: str = "", fps: int = 200) -> Source:
    return open_source(
        f"test://?width=64&height=48&fps={fps}&frames={frames}&live=1&faults={faults}", name
    )


def stages_left() -> list[str]:
    """Threads of a pipeline that still run."""
    return [
        t.name
        for t in threading.enumerate()
        if t.name.startswith(("capture-film", "recognise", "sink-"))
    ]


def test_a_file_is_processed_whole_and_the_report_is_exact() -> None:
    seer, sink, pictures = Seer(), Listener(), Listener("pictures", pictures=True)
    facts = RunFacts(sampling=5, search_max_side=640, method="null")
    report = LivePipeline([film()], lambda info: seer, [sink, pictures], facts=lambda: facts).run()
    assert seer.seen == [("film", n) for n in range(40)]
    assert sink.got == pictures.got == list(range(40))
    assert set(sink.frames) == {False}
    assert set(pictures.frames) == {True}
    assert sink.events == ["open", "close"]
    (source,) = report.sources
    assert (source.captured, source.processed, source.dropped) == (40, 40, {})
    assert (source.searched, source.embedded, source.faces, source.events) == (8, 8, 40, 2)
    assert (source.width, source.height, source.state) == (64, 48, "ended")
    assert source.age_p50_ms is None, "a file's frames have no age"
    assert source.detection_fps == pytest.approx(source.decision_fps / 5)
    assert report.facts.sampling == 5
    stages = {stage.name: stage for stage in report.stages}
    assert stages["detect"].count == 8
    assert stages["detect"].p50_ms == 2.0
    assert stages["track"].count == 32
    assert [s.name for s in report.stages][:3] == ["capture", "detect", "track"]
    assert {s.name: (s.written, s.dropped) for s in report.sinks} == {
        "listener": (40, 0), "pictures": (40, 0),
    }  # fmt: skip
    assert report.efficiency is not None
    assert 0 < report.efficiency <= 1
    assert not stages_left()


def test_two_runs_of_a_file_write_the_same_events(tmp_path: Path) -> None:
    for n in (1, 2):
        LivePipeline([film()], lambda info: Seer(), [JsonlSink(tmp_path / f"{n}.jsonl")]).run()
    one, two = (read_events(tmp_path / f"{n}.jsonl") for n in (1, 2))
    assert without_names_of_the_run(one) == without_names_of_the_run(two)
    assert kinds(one) == [
        (0, "appeared", 1, "pending", None),
        (10, "decided", 1, "known", "Ada"),
        (39, "left", 1, "known", "Ada"),
    ]


def test_live_drops_are_counted_to_the_last_frame() -> None:
    gate = threading.Event()
    seer = Seer(wait=lambda: gate.wait(0.02))
    report = LivePipeline([camera(60)], lambda info: seer).run()
    (source,) = report.sources
    assert source.dropped["newer"] > 0
    assert source.captured == 60 == source.processed + sum(source.dropped.values())
    assert seer.seen[-1] == ("cam", 59), "the newest frame is never the one that is dropped"
    assert source.age_p50_ms is not None
    assert report.efficiency is None


def test_a_stale_frame_is_dropped_and_counted() -> None:
    gate = threading.Event()
    policy = LivePolicy(max_age_ms={"cam": 0.000001})
    report = LivePipeline([camera(20)], lambda info: Seer(), policy=policy).run()
    gate.set()
    (source,) = report.sources
    assert source.processed == 0
    assert source.dropped["stale"] + source.dropped.get("newer", 0) == 20


def test_several_cameras_get_their_turns_and_their_own_recogniser() -> None:
    made: list[str] = []
    seers: dict[str, Seer] = {}

    def factory(info: SourceInfo) -> Seer:
        made.append(info.name)
        seers[info.name] = Seer()
        return seers[info.name]

    sources = [film(30, "a"), film(20, "b"), camera(10, "c")]
    report = LivePipeline(sources, factory).run()
    assert made == ["a", "b", "c"]
    assert seers["a"].seen == [("a", n) for n in range(30)]
    assert seers["b"].seen == [("b", n) for n in range(20)]
    assert [s.captured for s in report.sources] == [30, 20, 10]


class Pausing(Stepping):
    """Seers that wait for a search on every frame, which a run of all of them answers."""

    def __init__(self, log: list[str]) -> None:
        self._seer, self._log = Seer(), log
        self._watch = Stopwatch(lambda: 0)

    def steps(self, frame: Frame) -> Steps[Report]:
        self._log.append("begin")
        yield WantedSearch(frame, NoFaces(), None, self._watch)
        self._log.append("end")
        time.sleep(0.01)  # both films are ahead by then
        return self._seer.process(frame)


class NoFaces:
    name = "none"

    def detect(self, image: ImageU8) -> Detections:
        return Detections.empty()

    def close(self) -> None:
        pass


@pytest.mark.parametrize("together", [1, 2])
def test_waiting_frames_are_begun_together_and_nothing_comes_between_them(together: int) -> None:
    log: list[str] = []
    sources = [film(30, "a"), film(30, "b")]
    sink = Listener()
    policy = LivePolicy(together=together)
    report = LivePipeline(
        sources,
        lambda info: Pausing(log),
        [sink],
        policy=policy,
        between_frames=lambda now: log.append("between"),
    ).run()
    assert [s.processed for s in report.sources] == [30, 30]
    assert len(sink.got) == log.count("between") == 60
    told = " ".join(log)
    apart, two = "begin end between", "begin begin end end between between"
    assert told.count(two) * 2 + told.replace(two, "").count(apart) == 60
    assert (told.count(two) > 0) == (together == 2)


def test_a_camera_with_every_fault_is_survived_and_named() -> None:
    faults = "broken@5:2,size@12:80x60,stall@15:0.05,disconnect@20:1,clock@25:-3600,eof@30"
    source = camera(45, faults=faults)
    report = LivePipeline([source], lambda info: Seer()).run()
    (cam,) = report.sources
    assert cam.faults == {"broken": 2, "size_changed": 1, "lost": 2, "reconnected": 2}
    assert cam.captured == 41 == cam.processed + sum(cam.dropped.values())
    assert "eof" in str(cam.last_error)
    assert "survived broken:2,lost:2" in report.to_text()


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
@pytest.mark.parametrize("where", ["source", "recogniser", "sink", "factory"])
def test_a_failure_anywhere_stops_all_and_surfaces(where: str, live: bool) -> None:
    class Broken:
        info = SourceInfo("film2", "x", live, 64, 48)
        health = SourceHealth("running", {})

        def read(self, timeout_s: float) -> Frame:
            raise InputBrokenError("source")

        def close(self) -> None: ...

    def factory(info: SourceInfo) -> Seer:
        if where == "factory":
            raise RuntimeError("factory")
        return Seer(fail_at=3 if where == "recogniser" else -1)

    sources = [camera(10**6) if live else film(10**6)]
    sources += [Broken()] if where == "source" else []
    sink = Listener(fail_at=3 if where == "sink" else -1)
    pipeline = LivePipeline(sources, factory, [sink])
    with pytest.raises((RuntimeError, InputBrokenError, OutputError), match=f"{where}|disk full"):
        pipeline.run()
    assert not stages_left()
    assert sink.events in (["open", "close"], [])
    report = pipeline.report()
    for source in report.sources:
        assert source.captured == source.processed + sum(source.dropped.values())


def test_a_slow_sink_costs_a_live_run_reports_but_never_a_frame() -> None:
    release = threading.Event()
    slow, quick = Listener("slow", wait=lambda: release.wait(10)), Listener("quick")
    policy = LivePolicy(report_queue=2)
    pipeline = LivePipeline([camera(50)], lambda info: Seer(), [slow, quick], policy=policy)

    def tick() -> None:
        # The camera has ended: now the slow one may go on.
        if pipeline.progress["cam"][0] == "ended":
            release.set()

    report = pipeline.run(tick)
    processed = report.sources[0].processed
    sinks = {s.name: s for s in report.sinks}
    assert processed + sum(report.sources[0].dropped.values()) == 50
    for listener in (slow, quick):
        assert len(listener.got) + sinks[listener.name].dropped == processed
    assert sinks["slow"].dropped > 0
    assert len(quick.got) > len(slow.got)


def test_stop_ends_an_endless_run_with_a_full_report() -> None:
    sink = Listener()
    pipeline = LivePipeline([camera(0), film(10**7)], lambda info: Seer(), [sink])
    done = threading.Event()

    def tick() -> None:
        if len(sink.got) > 5 and not done.is_set():
            done.set()
            pipeline.stop()

    report = pipeline.run(tick)
    assert done.is_set()
    assert sink.events == ["open", "close"]
    for source in report.sources:
        assert source.state == "ended"
        assert source.captured == source.processed + sum(source.dropped.values())


@pytest.mark.parametrize("hangs", ["open", "read"])
def test_stop_is_prompt_with_a_camera_whose_driver_hangs(hangs: str) -> None:
    release = threading.Event()

    class Hanging:
        info = SourceInfo("dead", "rtsp://dead", True, 0, 0)
        health = SourceHealth("running", {})

        def read(self, timeout_s: float) -> Frame:
            release.wait(30)
            raise EndOfSource

        def close(self) -> None: ...

    def connect() -> Source:
        if hangs == "open":
            release.wait(30)
            raise SourceError("dead")
        return Hanging()

    pipeline = LivePipeline([ReconnectingSource(connect, Hanging.info)], lambda info: Seer())
    stopped: list[float] = []

    def tick() -> None:
        if not stopped:
            stopped.append(time.monotonic())
            pipeline.stop()

    report = pipeline.run(tick)
    assert time.monotonic() - stopped[0] < 2
    assert report.sources[0].captured == 0
    assert report.to_text()
    release.set()


def test_background_stages_end_with_the_run() -> None:
    ended = []

    def deliver(stop: threading.Event) -> None:
        ended.append(stop.wait(20))

    LivePipeline([film(5)], lambda info: Seer(), stages={"deliver": deliver}).run()
    assert ended == [True]


def test_a_number_of_frames_can_be_asked_for() -> None:
    report = LivePipeline([film()], lambda info: Seer(), policy=LivePolicy(frames=7)).run()
    assert report.captured == report.processed == 7


def test_log_lines_come_while_it_runs_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "jetson_face.live"):
        policy = LivePolicy(log_every_s=0.0)
        LivePipeline([camera(60)], lambda info: Seer(), policy=policy).run()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("running ")
    assert lines[-1].startswith("run_ended ")
    for word in ("capture=", "detection=", "recognition=", "decision=", "sampling=", "age_ms="):
        assert word in lines[-1]


def test_frames_are_not_copied_on_the_way() -> None:
    class Same:
        name, wants_frame = "same", True

        def __init__(self) -> None:
            self.images: list[int] = []

        def open(self) -> None: ...

        def write(self, report: Report, frame: Frame | None) -> None:
            assert frame is not None
            self.images.append(id(frame.image))

        def close(self) -> None: ...

    made: list[int] = []
    kept: list[Frame] = []

    class Watch(Seer):
        def process(self, frame: Frame) -> Report:
            kept.append(frame)
            made.append(id(frame.image))
            return super().process(frame)

    sink = Same()
    LivePipeline([film(10)], lambda info: Watch(), [sink]).run()
    assert sink.images == made


@pytest.mark.parametrize("case", ["no sources", "same source name", "same sink name"])
def test_a_run_that_makes_no_sense_is_refused(case: str) -> None:
    sources = {"no sources": [], "same source name": [film(1), film(1)]}.get(case, [film(1)])
    sinks = [Listener(), Listener()] if case == "same sink name" else []
    with pytest.raises(UsageError):
        LivePipeline(sources, lambda info: Seer(), sinks)


def test_console_says_who_and_when() -> None:
    out = io.StringIO()
    LivePipeline([film()], lambda info: Seer(), [ConsoleSink(out, media_time=True)]).run()
    assert out.getvalue().splitlines() == [
        "00:00.0  film  track 1   pending   0.80",
        "00:00.4  film  track 1   known     Ada  0.80",
    ]


@pytest.mark.parametrize("fail_at", [-1, 5])
def test_what_is_called_at_the_end_comes_after_the_last_frame_in_its_thread(fail_at: int) -> None:
    seer = Seer(fail_at=fail_at)
    ends: list[tuple[str, int]] = []

    def at_end() -> None:
        ends.append((threading.current_thread().name, len(seer.seen)))

    pipeline = LivePipeline([film(20)], lambda info: seer, at_end=at_end)
    if fail_at < 0:
        pipeline.run()
    else:
        with pytest.raises(RuntimeError, match="recogniser"):
            pipeline.run()
    assert ends == [("recognise", 20 if fail_at < 0 else 5)]
