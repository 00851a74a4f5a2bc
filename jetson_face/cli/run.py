"""`jetson-face run`: recognise people until the source ends or Ctrl-C."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from jetson_face.capture.picture_sizes import usual_size
from jetson_face.capture.source import Source, SourceInfo
from jetson_face.cli.common import (
    add_config_arguments,
    config_with_source,
    one_of,
    quicken_streams,
    say,
    say_text,
)
from jetson_face.cli.results import check_results, on_disk
from jetson_face.config import Config
from jetson_face.core.errors import EngineError, UsageError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.events.jsonl import JsonlSink
from jetson_face.factory.parts import (
    Parts,
    build_canary,
    build_parts,
    build_recognizer,
    govern,
    live_people,
    live_policy,
    open_gallery,
    open_sources,
    run_facts,
)
from jetson_face.factory.plugins import build_sinks
from jetson_face.factory.threshold import calibrated, threshold_in_force
from jetson_face.gallery.live import LivePeople
from jetson_face.inference.canary import CanaryEvent, CanaryWatch
from jetson_face.live import LivePipeline
from jetson_face.output.console import ConsoleSink, VisitSink
from jetson_face.output.run_report import RunReport
from jetson_face.output.sink import Sink
from jetson_face.recognition.recognizer import FaceRecognizer
from jetson_face.util.files import write_file
from jetson_face.util.interrupt import catching

log = logging.getLogger(__name__)

Wrap = Callable[[FrameProcessor], FrameProcessor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to watch, and what to leave behind."""
    parser.add_argument(
        "watched", nargs="?", metavar="SOURCE", help="instead of the configured sources"
    )
    parser.add_argument("--source", metavar="URI", help="the same as SOURCE")
    parser.add_argument("--events", type=Path, metavar="FILE.jsonl", help="write events")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the final report")
    parser.add_argument("--video", type=Path, metavar="FILE.mp4", help="write an annotated video")
    parser.add_argument("--still", type=Path, metavar="FILE.png", help="write an annotated picture")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames of a source")
    parser.add_argument("--quiet", action="store_true", help="print no events")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises what a source, the gallery, a network or a result file raises, and EngineError at the
    end of a run whose canary was answered wrong."""
    args.source = one_of(args.source, args.watched, "--source")
    if args.frames is not None and args.frames < 1:
        raise UsageError(f"--frames {args.frames}: at least 1")
    config = with_arguments(config_with_source(args), args)
    _check_results(config, args.config)
    quicken_streams(config)
    report, visits = recognise(config, frames=args.frames, quiet=args.quiet)
    print_summary(report, visits, any_live=any(source.is_live for source in report.sources))
    if report.facts.more.get("canary", "").startswith("drifted"):
        raise EngineError(
            f"the embedder drifted while it ran (canary {report.facts.more['canary']}): names are "
            "not to be trusted; with TensorRT run jetson-face engines check"
        )
    return 0


def with_arguments(config: Config, args: argparse.Namespace) -> Config:
    """The configuration with what the command line says of result files."""
    report = {
        key: value
        for key, value in (
            ("events", args.events),
            ("json_file", args.report),
            ("video", args.video),
            ("still", args.still),
        )
        if value is not None
    }
    return config.model_copy(update={"report": config.report.model_copy(update=report)})


def _check_results(config: Config, file: Path | None) -> None:
    wanted = config.report
    results = {
        "--events": wanted.events,
        "--report": wanted.json_file,
        "--video": wanted.video,
        "--still": wanted.still,
    }
    sources = [source.uri for source in config.sources]
    check_results(results, sources=sources, config_files=[file], config=config)


def recognise(
    config: Config,
    *,
    frames: int | None = None,
    quiet: bool = False,
    wrap: Wrap = lambda recognizer: recognizer,
    on_tick: Callable[[LivePipeline], None] | None = None,
) -> tuple[RunReport, VisitSink]:
    """Run to the end, or until SIGINT, SIGTERM or SIGHUP; writes the report file.

    wrap: put around each recogniser. on_tick: called about ten times a second.
    """
    visits = VisitSink()
    with _open_pipeline(config, frames, [visits], quiet, wrap) as pipeline:
        try:
            pipeline.run(None if on_tick is None else lambda: on_tick(pipeline))
        finally:
            report = pipeline.report()
            if config.report.json_file is not None:
                text = json.dumps(report.to_json(), ensure_ascii=False, indent=2)
                write_file(config.report.json_file, text + "\n")
    return report, visits


@contextmanager
def _open_pipeline(
    config: Config, frames: int | None, sinks: Sequence[Sink], quiet: bool, wrap: Wrap
) -> Iterator[LivePipeline]:
    """Everything that is configured, open and joined; a signal ends its run."""
    with ExitStack() as stack:
        # Sources first: a missing file is said at once, not after the networks are loaded.
        sources = open_sources(config, must_open=True)
        for source in sources:
            stack.callback(source.close)
        parts = build_parts(config, runs_on=True)
        stack.callback(parts.close)
        gallery = stack.enter_context(open_gallery(config, parts.embedder.space, create=True))
        asked, config = config, calibrated(config, gallery)
        people = live_people(config, gallery, parts.embedder)

        built: list[FaceRecognizer] = []

        def recognizer(info: SourceInfo) -> FrameProcessor:
            built.append(build_recognizer(config, parts, people, stills=info.stills))
            return wrap(govern(config, built[-1], info))

        canary: CanaryWatch[Parts] = CanaryWatch(
            lambda parts, drifted: build_canary(config, parts, drifted=drifted), _tell
        )
        pipeline = LivePipeline(
            sources,
            recognizer,
            [*sinks, *_sinks(config, sources, people, quiet)],
            policy=live_policy(config, frames=frames),
            facts=lambda: replace(
                run_facts(config, built[0].finder.interval.every_n if built else None),
                more={
                    "canary": canary.summary(),
                    "threshold": str(
                        threshold_in_force(
                            asked, config, people.snapshot, parts.embedder.similarity_min
                        )
                    ),
                },
            ),
            between_frames=partial(canary.poll, parts),
        )
        stack.enter_context(catching(partial(_stop, pipeline)))
        yield pipeline


def _tell(event: CanaryEvent) -> None:
    log.log(logging.ERROR if event.state == "drifted" else logging.WARNING, "canary: %s", event)


def print_summary(report: RunReport, visits: VisitSink, *, any_live: bool) -> None:
    """The frame-rate / sampling-rate report, and who was seen when."""
    say_text(report.to_text())
    lines = visits.lines(media_time=not any_live)
    say("Seen:" if lines else "Nobody known was seen.")
    for line in lines:
        say(f"  {line}")


def _sinks(
    config: Config, sources: Sequence[Source], people: LivePeople, quiet: bool
) -> Iterator[Sink]:
    wanted = config.report
    yield from build_sinks(config)
    live = {source.info.name for source in sources if source.info.is_live}
    if not quiet:
        yield ConsoleSink(sys.stdout, media_time=not live)
    if wanted.events is not None:
        # A file is read from its start each time; a camera's events go on where they were.
        yield JsonlSink(wanted.events, live=live, enrolled=lambda: people.ids, append=bool(live))
    if wanted.video is not None:
        from jetson_face.output.video import VideoSink

        info, path = sources[0].info, on_disk(config.sources[0].uri)
        # Pictures have a size of their own each: the first one's may be like no other's.
        size = None if info.width or path is None else usual_size(path)
        yield VideoSink(wanted.video, fps=info.fps, source=info.name, size=size)
    if wanted.still is not None:
        from jetson_face.output.still import StillSink

        yield StillSink(wanted.still)


def _stop(pipeline: LivePipeline, *_: object) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end the run with the full report; a second Ctrl-C ends
    it at once."""
    pipeline.stop()
    signal.signal(signal.SIGINT, signal.default_int_handler)
