"""`jetson-face engines build|list|check|clean|calibrate|unrecognisable|export|import`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jetson_face.cli.common import add_config_arguments, config_of, say, say_json, say_text, whole
from jetson_face.cli.results import check_results
from jetson_face.config import Config
from jetson_face.core.errors import EngineError
from jetson_face.factory.gpu import find_gpu
from jetson_face.factory.int8_faces import calibrate_embedder
from jetson_face.factory.plans import Plans, plans_here
from jetson_face.inference.tensorrt.bindings import load_tensorrt
from jetson_face.inference.tensorrt.builder import BuildInterruptedError
from jetson_face.inference.tensorrt.bundle import read_bundle, write_bundle
from jetson_face.inference.tensorrt.cache import EngineCache, Entry
from jetson_face.inference.tensorrt.parity import ParityReport
from jetson_face.privacy.encryption import fill_credentials
from jetson_face.util.interrupt import ENDING, EXIT_INTERRUPTED, catching


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which networks."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="build the plans that the configuration needs")
    build.add_argument("--force", action="store_true", help="build also what is there")
    build.add_argument(
        "--for",
        dest="capability",
        metavar="X.Y",
        help="build for another GPU's compute capability, as 8.6 (tensorrt_rtx only); unchecked",
    )
    listing = actions.add_parser("list", help="list the plans in the cache")
    check = actions.add_parser("check", help="run the parity gate again and print its table")
    clean = actions.add_parser("clean", help="remove plans that do not fit this machine")
    clean.add_argument("--all", action="store_true", help="remove every plan and timing cache")
    calibrate = actions.add_parser("calibrate", help="make the embedder's int8 graph")
    _add_faces(calibrate)
    ship = actions.add_parser("export", help="put the plans into one file, for an equal board")
    ship.add_argument("file", type=Path, metavar="FILE", help="as in plans.zip")
    take = actions.add_parser("import", help="take plans that an equal board exported")
    take.add_argument("file", type=Path, metavar="FILE")
    take.add_argument(
        "--sha256", required=True, metavar="HEX", help="what the export printed: plans are code"
    )
    unrecognisable = actions.add_parser(
        "unrecognisable", help="measure what the embedder makes of crops that show nobody"
    )
    unrecognisable.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    unrecognisable.add_argument("--out", type=Path, required=True, metavar="FILE", help=".json")
    for sub in (build, check, ship):
        sub.add_argument("networks", nargs="*", metavar="NETWORK", help="default: all")
    for sub in (build, listing, check):
        sub.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(build, listing, check, clean, calibrate, ship, take, unrecognisable)


def _add_faces(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--pictures", type=Path, metavar="DIR", help="a folder of your own pictures")
    where.add_argument(
        "--source", metavar="URI", help="a camera or video; `config` for the configured one"
    )
    parser.add_argument(
        "--faces", type=whole(1), default=256, metavar="N", help="use up to N faces"
    )


def run(args: argparse.Namespace) -> int:
    """Raises EngineError, OutputError, MissingDependencyError, ConfigError."""
    config = config_of(args)
    actions = {
        "build": _build,
        "list": _list,
        "check": _check,
        "clean": _clean,
        "calibrate": _calibrate,
        "export": _export,
        "import": _import,
        "unrecognisable": _unrecognisable,
    }
    return actions[args.action](args, config)


def _build(args: argparse.Namespace, config: Config) -> int:
    plans = _plans(config, args.capability)
    rows, report = [], ParityReport(())
    with plans.cache.lock(), interruptible() as asked_to_stop:
        for spec in plans.specs(args.networks):
            line = ProgressLine(f"{spec.name} {spec.precision}", asked_to_stop)
            try:
                result = plans.build(spec, force=args.force, progress=line)
            except BuildInterruptedError as exc:
                line.end()
                say(f"jetson-face: {exc}; nothing half-built was kept", err=True)
                return EXIT_INTERRUPTED
            finally:
                line.end()
            report += result.parity or ParityReport(())
            rows.append(
                {
                    "network": spec.name,
                    "built": result.built,
                    "seconds": round(result.side_car.build_s, 1),
                    "parity": result.side_car.parity,
                    "plan": str(result.path),
                }
            )
            if not args.json:
                did = f"built in {rows[-1]['seconds']} s" if result.built else "was there already"
                say(f"{spec.name}: {did}, parity {result.side_car.parity}: {result.path.name}")
    if args.json:
        say_json({"plans": rows, "parity": report.to_json()})
    elif report.rows:
        say_text(report.table())
    return 0


def _plans(config: Config, capability: str | None) -> Plans:
    if capability is not None:
        return Plans(config, load_tensorrt(), None, compute_capability=capability)
    return plans_here(config)


def _list(args: argparse.Namespace, config: Config) -> int:
    cache = EngineCache(config.engine_cache)
    entries = cache.entries()
    fitting: list[Path] | None = None
    gpu, why = find_gpu()
    if gpu is not None:
        fitting = Plans(config, gpu.trt, gpu).fitting()
    rows = [_row(entry, fitting) for entry in entries]
    if args.json:
        say_json(rows)
        return 0
    if not rows:
        say(f"no plans in {cache.folder}: jetson-face engines build")
    for row in rows:
        say("{network:<8} {precision:<5} {size_mib:>7} MiB  {fits:<14} {plan}".format(**row))
        if row["problem"]:
            say(f"         {row['problem']}")
    if rows and gpu is None:
        say(f"none of them can run here: {why}")
    return 0


def _row(entry: Entry, fitting: list[Path] | None) -> dict[str, Any]:
    side_car = entry.side_car
    if side_car is None:
        fits = "damaged"
    elif fitting is not None and entry.plan not in fitting:
        fits = "does not fit"
    else:
        fits = side_car.parity
    return {
        "network": side_car.key.network if side_car else "?",
        "precision": side_car.key.precision if side_car else "?",
        "size_mib": f"{(side_car.plan_bytes if side_car else 0) / (1 << 20):.1f}",
        "fits": fits,
        "plan": entry.plan.name,
        "problem": entry.problem,
        "key": side_car.key.to_json() if side_car else None,
        "built_at": side_car.built_at if side_car else None,
    }


def _check(args: argparse.Namespace, config: Config) -> int:
    plans = plans_here(config)
    report = ParityReport(())
    with plans.cache.lock():
        for spec in plans.specs(args.networks):
            report += plans.check(spec)
    if args.json:
        say_json(report.to_json())
    else:
        say_text(report.table())
    if not report.passed:
        raise EngineError(
            f"the parity gate failed ({report.first_failure()}): run jetson-face engines build"
        )
    return 0


def _clean(args: argparse.Namespace, config: Config) -> int:
    cache = EngineCache(config.engine_cache)
    keep: list[Path] = []
    if not args.all:
        keep = plans_here(config).fitting()
    with cache.lock():
        removed = cache.clean(keep)
    say(f"{len(removed)} files removed from {cache.folder}, {len(keep)} plans kept")
    return 0


def _calibrate(args: argparse.Namespace, config: Config) -> int:
    from jetson_face.factory.parts import open_options

    configured = args.source == "config"
    source = config.sources[0].uri if configured else args.source
    options = open_options(config.sources[0]) if configured else None
    source = None if source is None else fill_credentials(source)
    cache = EngineCache(config.engine_cache)
    with cache.lock():
        path, faces = calibrate_embedder(
            config,
            pictures=args.pictures,
            source=source,
            faces_max=args.faces,
            options=options,
        )
    say(f"calibrated on {faces} faces: {path}")
    say(
        "now run: jetson-face engines build --set backend.type=tensorrt "
        "--set backend.precision=int8"
    )
    return 0


def _export(args: argparse.Namespace, config: Config) -> int:
    check_results({"FILE": args.file}, config_files=[args.config], config=config)
    plans = plans_here(config)
    found = plans.export(plans.specs(args.networks))
    digest = write_bundle(args.file, found)
    say(f"{args.file}: {len(found)} plans for {plans.machine.device}")
    say(f"on an equal board: jetson-face engines import {args.file.name} --sha256 {digest}")
    return 0


def _import(args: argparse.Namespace, config: Config) -> int:
    shipped = read_bundle(args.file, args.sha256)
    plans = plans_here(config)
    report = ParityReport(())
    with plans.cache.lock():
        for side_car, plan in shipped:
            judged = plans.take_in(side_car, plan)
            did = "not needed, or here already" if judged is None else "taken, parity passed"
            say(f"{side_car.key.network}: {did}")
            report += judged or ParityReport(())
    if report.rows:
        say_text(report.table())
    return 0


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While inside, a signal of ENDING sets a flag; the yielded call reads it, from any thread.

    TensorRT cannot be left by an exception; its progress monitor can tell it to stop. It may ask
    from a thread of its own while this one is in TensorRT, where Python runs no signal handler:
    the byte that Python writes for each signal is looked at too.
    """
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked:  # a second time: the build has not heard the first
            raise KeyboardInterrupt
        asked.append(number)

    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    came: list[int] = []

    def asked_to_stop() -> bool:
        with suppress(BlockingIOError):
            came.extend(number for number in os.read(reader, 64) if number in ENDING)
        return bool(asked or came)

    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        with catching(note):
            yield asked_to_stop
    finally:
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


class ProgressLine:
    """Shows how far a build is: one line that is rewritten on a terminal, else one each 15 s."""

    def __init__(
        self,
        title: str,
        stop: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        out: Any = None,
    ) -> None:
        self._title, self._stop, self._clock = title, stop, clock
        self._out = sys.stderr if out is None else out
        self._tty = bool(self._out.isatty())
        self._began = self._shown = clock()
        self._steps: dict[str, list[int]] = {}
        self._outer = ""

    def phase(self, name: str, parent: str | None, steps: int) -> bool:
        """A phase begins."""
        self._steps[name] = [0, steps]
        if parent is None:
            self._outer = name
        self._show(name)
        return not self._stop()

    def step(self, name: str, index: int) -> bool:
        """A step of it is done."""
        if name in self._steps:
            self._steps[name][0] = index + 1
        self._show(name)
        return not self._stop()

    def end(self) -> None:
        """Remove the line."""
        if self._tty:
            self._out.write("\r\033[K")
            self._out.flush()

    def _show(self, name: str) -> None:
        now = self._clock()
        if now - self._shown < (0.1 if self._tty else 15):
            return
        self._shown = now
        outer = self._steps.get(self._outer, [0, 0])
        done, steps = self._steps.get(name, [0, 0])
        inner = "" if name == self._outer else f", {name} {done}/{steps}"
        text = f"{self._title}: step {outer[0]} of {outer[1]}{inner}, {now - self._began:.0f} s"
        start, end = ("\r", "\033[K") if self._tty else ("", "\n")
        self._out.write(f"{start}{text[:100]}{end}")
        self._out.flush()


def _unrecognisable(args: argparse.Namespace, config: Config) -> int:
    from jetson_face.benchmark.unrecognisable import make_recognisability

    given = [args.pictures]
    check_results({"--out": args.out}, inputs=given, config_files=[args.config], config=config)
    make_recognisability(config, args.pictures).write(args.out)
    say(f"wrote {args.out}: name it in the model's card as `unrecognisable: {args.out.name}`")
    return 0
