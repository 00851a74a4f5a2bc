"""Throws damaged and random inputs at everything that reads what others wrote.

Usage: python tools/fuzz.py [--examples 100000] [--json FILE] [TARGET ...]
Targets: config picture video gallery card status. Each input must be taken or refused by one of our
own errors, within --slow seconds, and leave no file, socket or memory behind. Inputs count once,
and only where they reach the parser itself. With --json a run that was stopped goes on where it
was. Exit code 1 when something else happened; such inputs are kept in --keep.

--engine hypothesis: Hypothesis draws programs of ten edits of a valid input, which is tried after
each edit. --engine atheris (pip install atheris): libFuzzer, guided by the branches that our Python
takes; config, card, gallery and status.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzz_inputs import STEP, edited, steps

if TYPE_CHECKING:
    from fuzz_targets import Target

NAMES = ("config", "picture", "video", "gallery", "card", "status")
GUIDED = ("config", "card", "gallery", "status")
EDITS, CHUNK = 10, 200
FAILURES_MAX = 10
MEMORY_MAX_MB = 48
"""What a run may grow by after its first tenth; the record of 100,000 inputs is about 10 MB."""


@dataclass(slots=True)
class Counts:
    """How far a target is; `draws` is what a stopped run goes on from."""

    inputs: int = 0
    taken: int = 0
    refused: int = 0
    not_reached: int = 0
    slowest_s: float = 0.0
    slowest_cpu_s: float = 0.0
    seconds: float = 0.0
    draws: int = 0
    fds_grew: int = 0
    memory_grew_mb: float = 0.0
    failures: list[str] = field(default_factory=list)


class Watched:
    """A target with everything that is checked around it.

    The input being tried is in the file `last`, which outlives a crash of the interpreter.
    """

    def __init__(
        self, name: str, target: Target, counts: Counts, keep: Path, slow_s: float
    ) -> None:
        from jetson_face.core.errors import JetsonFaceError

        self._ours, self._name, self._target, self._slow_s = JetsonFaceError, name, target, slow_s
        self.counts, self._keep, self._seen = counts, keep, set[int]()
        self._first: tuple[int, float] | None = None
        keep.mkdir(parents=True, exist_ok=True)
        with (keep / f"{name}.last").open("w+b") as file:
            file.truncate(1 << 17)
            self._last = mmap.mmap(file.fileno(), 1 << 17)

    def __call__(self, data: bytes) -> None:
        """Try one input; what goes wrong is noted and kept, and the run goes on."""
        key = hash(data)
        if key in self._seen:
            return
        self._seen.add(key)
        self._last[: 4 + len(data)] = len(data).to_bytes(4, "big") + data
        counts, reached = self.counts, self._target.reaches(data)
        start, cpu = time.monotonic(), time.process_time()
        try:
            self._target.attempt(data)
            counts.taken += reached
        except self._ours as error:
            counts.refused += reached
            if "\n" in str(error).strip() and self._name not in ("config", "card"):
                self._note(data, f"more than one line: {error}")
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            self._note(data, f"{type(error).__name__} in {at.filename}:{at.lineno}: {error}")
        took = time.monotonic() - start
        counts.slowest_s = max(counts.slowest_s, round(took, 3))
        counts.slowest_cpu_s = max(counts.slowest_cpu_s, round(time.process_time() - cpu, 3))
        if took > self._slow_s:
            self._note(data, f"took {took:.1f} s")
        counts.inputs += reached
        counts.not_reached += not reached

    def weigh(self) -> None:
        """Compare what is held with the first call's: call it every few thousand inputs."""
        gc.collect()
        fds, memory = len(list(Path("/proc/self/fd").iterdir())), memory_mb()
        self._first = self._first or (fds, memory)
        self.counts.fds_grew = fds - self._first[0]
        self.counts.memory_grew_mb = round(memory - self._first[1], 1)
        if self.counts.fds_grew > 0:
            self._note(b"", f"{self.counts.fds_grew} file descriptors were left open")
        if self.counts.memory_grew_mb > MEMORY_MAX_MB:
            self._note(b"", f"memory grew by {self.counts.memory_grew_mb} MB")

    def _note(self, data: bytes, what: str) -> None:
        if len(self.counts.failures) < FAILURES_MAX:
            path = self._keep / f"{self._name}.failed-{len(self.counts.failures)}"
            path.write_bytes(data)
            self.counts.failures.append(f"{what[:300]} ({path})")
            print(f"{self._name}: FAILED: {self.counts.failures[-1]}", flush=True)


def memory_mb() -> float:
    """What the process holds in memory now, once glibc has given back what is free in its heaps."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def draw(watched: Watched, target: Target, examples: int, end: float) -> Iterator[None]:
    """Programs from Hypothesis until enough inputs reached the parser; pauses after each chunk."""
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st

    size, counts = 1 + STEP * EDITS, watched.counts
    quiet = settings(
        max_examples=CHUNK, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def one(program: bytes) -> None:
        faulthandler.dump_traceback_later(60, exit=True)
        for data in steps(target.seeds, target.words, program):
            if counts.inputs < examples:
                watched(data)
        faulthandler.cancel_dump_traceback_later()

    while counts.inputs < examples and time.monotonic() < end:
        seed(counts.draws)(quiet(given(st.binary(min_size=size, max_size=size))(one)))()
        counts.draws += 1
        yield


def guided(watched: Watched, target: Target, examples: int, folder: Path) -> None:
    """libFuzzer until `examples` inputs; it ends the process."""
    import atheris

    corpus = folder / "corpus"
    corpus.mkdir()
    for index, data in enumerate(target.seeds):
        (corpus / str(index)).write_bytes(data)
    start, counts = time.monotonic(), watched.counts

    def one(data: bytes) -> None:
        watched(data)
        if counts.inputs % 1000 == 0 or counts.inputs >= examples:
            watched.weigh()
            counts.seconds = round(time.monotonic() - start, 1)
            save_part(folder, counts)
        if counts.inputs >= examples:
            os._exit(1 if counts.failures else 0)

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        if seed % 3 == 0:
            return bytes(atheris.Mutate(data, size_max))
        edit = (seed * 0x9E3779B97F4A7C15 % 2**64).to_bytes(STEP, "big")
        _, view = edited(data, target.seeds[seed % len(target.seeds)], target.words, edit)
        return view[:size_max]

    options = ["-max_len=65536", "-timeout=60", "-verbosity=0", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def save_part(folder: Path, counts: Counts) -> None:
    """What a guided child has done so far, for its parent."""
    (folder / "counts.json").write_text(json.dumps(asdict(counts)), "utf-8")


def child(args: argparse.Namespace) -> None:
    """One guided target in a process of its own: libFuzzer does not come back."""
    import atheris

    with atheris.instrument_imports(include=["jetson_face", "yaml"]):
        from fuzz_targets import TARGETS
    (name,) = args.targets
    target = TARGETS[name](args.child)
    guided(Watched(name, target, Counts(), args.keep, args.slow), target, args.examples, args.child)


def run_guided(name: str, args: argparse.Namespace, counts: Counts) -> Counts:
    """A child for one target, and its counts, even when it dies."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [
            sys.executable, __file__, name, "--child", temporary, "--keep", str(args.keep),
            "--examples", str(args.examples), "--slow", str(args.slow),
        ]  # fmt: skip
        try:
            code = subprocess.run(command, timeout=args.seconds, stderr=subprocess.PIPE).returncode
            died = code not in (0, 1)
        except subprocess.TimeoutExpired:
            died = False
        part = Path(temporary) / "counts.json"
        if part.exists():
            counts = Counts(**json.loads(part.read_text("utf-8")))
    if died:
        counts.failures.append(f"the interpreter ended with {code} (see {args.keep})")
    return counts


def run_drawn(name: str, args: argparse.Namespace, counts: Counts, progress: Any) -> Counts:
    """One target with Hypothesis, here."""
    from fuzz_targets import TARGETS

    before, start = counts.seconds, time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        target = TARGETS[name](Path(temporary))
        watched = Watched(name, target, counts, args.keep, args.slow)
        for _ in draw(watched, target, args.examples, start + args.seconds):
            counts.seconds = round(before + time.monotonic() - start, 1)
            if counts.inputs >= args.examples / 10:
                watched.weigh()
            progress(counts)
    return counts


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parser.add_argument("--examples", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--seconds", type=float, default=7200, help="at most, for each target")
    parser.add_argument("--slow", type=float, default=10, help="an input that takes longer fails")
    parser.add_argument("--json", type=Path, help="where counts are kept, and taken up again")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()) / "jetson-face-fuzz",
        help="folder for the input being tried and those that failed",
    )  # fmt: skip
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    faulthandler.enable()
    if args.child:
        child(args)
    known = GUIDED if args.engine == "atheris" else NAMES
    for name in args.targets:
        if name not in known:
            parser.error(f"there is no target {name!r}: {' '.join(known)}")
    done: dict[str, Any] = {}
    if args.json and args.json.exists():
        done = json.loads(args.json.read_text("utf-8"))

    for name in args.targets or known:
        key = f"{args.engine} {name}"
        counts = Counts(**done.get(key, {}))

        def progress(now: Counts, key: str = key) -> None:
            done[key] = asdict(now)
            if args.json:
                partial = args.json.with_suffix(".part")
                partial.write_text(json.dumps(done, indent=2) + "\n", "utf-8")
                partial.replace(args.json)

        if args.engine == "atheris":
            counts = run_guided(name, args, counts)
        else:
            counts = run_drawn(name, args, counts, progress)
        progress(counts)
        told = {k: v for k, v in asdict(counts).items() if k != "failures"}
        print(f"{key}: " + ", ".join(f"{k} {v:g}" for k, v in told.items()), flush=True)
    return 1 if any(part["failures"] for part in done.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
