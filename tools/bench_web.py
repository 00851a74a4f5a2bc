"""What the operator's page costs the recogniser: its decision rate and processor time at its limit,
with nobody watching, one viewer and many, each between two measurements without the page.

    python tools/bench_web.py [--loops 2] [--rounds 8] [--viewers 50] [--only nobody]

The source is a file, a made 1080p clip of six seconds over and over, of which every frame is
decided as soon as may be. Each measurement is as long as whole clips, so that all see the same
pictures. The page has the priority that its unit gives it (systemd/jetson-face-web.service); the
viewers are a process that gets what nobody else wants. "No page" is the page's process stopped
(SIGSTOP). Each case is compared with the mean of the two measurements without the page beside it;
so is each of these with its two neighbours ("no page"), which shows the noise. Printed are medians
over the rounds with 95 % intervals (bootstrap). On a machine that does other things, too, let it
come first as a whole, so that recogniser, page and viewers still stand to each other as they
should: in a cgroup with a large weight, not by `nice`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import av
import httpx
import numpy as np
import psutil
from av_writer import AvWriter

from jetson_face.benchmark.clips.builtin import builtin_clip
from jetson_face.benchmark.clips.make import ClipPlan
from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask
from jetson_face.web.accounts import Accounts

HERE = Path(__file__).resolve()
UNIT = HERE.parents[1] / "systemd" / "jetson-face-web.service"
CONFIG = """\
state_dir: {state}
sources:
  - {{uri: "{clip}", name: door}}
backend: {{type: onnxruntime, threads: {threads}}}
"""
FRAMES = 150
"""Of the clip."""
RATE_MAX = 250
"""Frames that may be decided in a second at most, for the length of the file."""
PROGRAM = [sys.executable, "-m", "jetson_face"]
PASSWORD = secrets.token_urlsafe(12)
SETTLE_S = 1.0
BASE = "no page"


def status(state: Path) -> dict[str, int]:
    """Frames decided so far."""
    document = json.loads(ask(state / "status.sock", "/status").body)
    return {"ready": document["ready"], "processed": document["cameras"]["door"]["processed"]}


def film(path: Path, times: int) -> None:
    """The clip so many times over, as one file."""
    once = path.with_name(f"once{path.suffix}")
    writer = AvWriter(once, bit_rate=3_000_000)
    for image, _ in builtin_clip(ClipPlan((1920, 1080), FRAMES, 25, 3)).rendered():
        writer.write(image)
    writer.release()
    with av.open(str(once)) as one, av.open(str(path), "w") as many:
        stream: Any = one.streams.video[0]
        copy: Any = many.add_stream_from_template(stream)
        packets = [packet for packet in one.demux(stream) if packet.dts is not None]
        step = sum(packet.duration or 0 for packet in packets)
        for number in range(times):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.stream, again.time_base = copy, stream.time_base
                again.pts, again.dts = packet.pts + number * step, packet.dts + number * step
                again.duration, again.is_keyframe = packet.duration, packet.is_keyframe
                many.mux(again)


@contextlib.contextmanager
def service(folder: Path, times: int, threads: int) -> Iterator[subprocess.Popen[bytes]]:
    """The service, ready. times: that the clip is shown; threads: of each network."""
    film(folder / "film.mp4", times)
    config = folder / "config.yaml"
    said = CONFIG.format(state=folder / "state", clip=folder / "film.mp4", threads=threads)
    config.write_text(said, "utf-8")
    command = [*PROGRAM, "service", "run", "-c", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        ready = False
        while not ready:
            time.sleep(0.3)
            with contextlib.suppress(JetsonFaceError, KeyError, ValueError):
                ready = bool(status(folder / "state")["ready"])
        yield process
    finally:
        process.terminate()
        process.wait()


def priority(unit: str) -> list[str]:
    """A command's beginning that gives it the unit's `Nice=` and `CPUSchedulingPolicy=`."""
    said = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    return [
        "nice", "-n", said.get("Nice", "0"),
        "chrt", f"--{said.get('CPUSchedulingPolicy', 'other')}", "0",
    ]  # fmt: skip


class Watched:
    """The page's process and those who watch; `watch` says how many."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._kind = kind
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        command = [
            *priority(UNIT.read_text("utf-8")), *PROGRAM, "web", "run",
            "--runtime", str(folder / "state"), "--state", str(folder / "web"),
            "--port", str(port),
        ]  # fmt: skip
        self._page = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        base = f"http://127.0.0.1:{port}"
        while True:
            time.sleep(0.2)
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(base)
                break
        client = httpx.Client(base_url=f"{base}/api/v1", timeout=60)
        wanted = {"user": "admin", "password": PASSWORD}
        client.post("/session", json=wanted).raise_for_status()
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        self._viewers = subprocess.Popen(
            [sys.executable, str(HERE.with_name("web_viewers.py")), str(port), cookie],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.page = psutil.Process(self._page.pid)

    def watch(self, viewers: int | None) -> None:
        """From now on; None: there is no page."""
        self.page.send_signal(signal.SIGCONT)
        self._say(f"{viewers or 0} {self._kind}")
        time.sleep(SETTLE_S)
        if viewers is None:
            self.page.send_signal(signal.SIGSTOP)
            time.sleep(SETTLE_S)

    def seen(self) -> list[tuple[int, int]]:
        """Pictures and bytes of each viewer since this was asked last."""
        return [(pictures, octets) for pictures, octets in self._say("count")]

    def close(self) -> None:
        """End both."""
        for process in (self._viewers, self._page):
            process.kill()
            process.wait()

    def _say(self, line: str) -> Any:
        assert self._viewers.stdin is not None
        assert self._viewers.stdout is not None
        self._viewers.stdin.write(line + "\n")
        self._viewers.stdin.flush()
        return json.loads(self._viewers.stdout.readline())


@dataclass(frozen=True, slots=True)
class Measured:
    """rate: frames decided a second. cpu_ms: the recogniser's processor time, a decided frame.
    beside: cores that its threads take but for the two busiest, which capture and decide: what it
    does for those who watch, and little else. pictures: a second, of each viewer. octets: a second,
    of all. page: cores that it takes."""

    rate: float
    cpu_ms: float
    beside: float
    pictures: list[float]
    octets: float
    page: float


def measure(
    folder: Path, process: subprocess.Popen[bytes], watched: Watched, frames: int
) -> Measured:
    """From the end of one frame to the end of the one that is so many later."""
    is_there = watched.page.status() != psutil.STATUS_STOPPED
    if is_there:
        watched.seen()
    first, began = edge(folder / "state", 0)
    page, threads = sum(watched.page.cpu_times()[:2]), threads_of(process.pid)
    last, ended = edge(folder / "state", first + frames)
    took, frames = ended - began, last - first
    now = threads_of(process.pid)
    used = sorted(spent - threads.get(thread, 0.0) for thread, spent in now.items())
    seen = watched.seen() if is_there else []
    return Measured(
        frames / took,
        1000 * sum(used) / frames,
        sum(used[:-2]) / took,
        [pictures / took for pictures, _ in seen],
        sum(octets for _, octets in seen) / took,
        (sum(watched.page.cpu_times()[:2]) - page) / took,
    )


def threads_of(pid: int) -> dict[int, float]:
    """Processor time of each thread, seconds."""
    return {one.id: one.user_time + one.system_time for one in psutil.Process(pid).threads()}


def edge(state: Path, wanted: int) -> tuple[int, float]:
    """Frames decided, just after there was one more and at least so many, and when that was."""
    first = now = status(state)["processed"]
    while now == first or now < wanted:
        time.sleep(max(0.004, (wanted - now) / RATE_MAX / 2))
        now = status(state)["processed"]
    return now, time.monotonic()


def interval(values: Sequence[float]) -> str:
    """Median and its 95 % interval, of shares of 1, in per cent."""
    drawn = np.random.default_rng(0).choice(np.array(values), (4000, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return f"{100 * np.median(values):+5.1f} % [{100 * low:+5.1f}, {100 * high:+5.1f}]"


def against(order: Sequence[tuple[str, float]], case: str) -> list[float]:
    """How much more each value of a case is than the mean of its two neighbours without the page,
    as a share of 1: what drifts falls out."""
    step = 2 if case == BASE else 1
    return [
        2 * value / (order[i - step][1] + order[i + step][1]) - 1
        for i, (name, value) in enumerate(order)
        if name == case and step <= i < len(order) - step
    ]


def tell(order: Sequence[tuple[str, Measured]], case: str) -> None:
    """Print a case against its neighbours without the page."""
    there = [one for name, one in order if name == case]
    rates, cpus = [(name, one.rate) for name, one in order], [(n, one.cpu_ms) for n, one in order]

    def middle(of: Callable[[Measured], float]) -> float:
        return median(map(of, there))

    print(
        f"{case:8} {middle(lambda one: one.rate):6.2f} decided/s {interval(against(rates, case))}  "
        f"CPU a frame {middle(lambda one: one.cpu_ms):5.1f} ms {interval(against(cpus, case))}  "
        f"beside {middle(lambda one: one.beside):.3f} cores, the page "
        f"{middle(lambda one: one.page):.3f}"
    )
    if there[0].pictures:
        each = [median(one.pictures) for one in there]
        print(
            f"{'':8} pictures/s of a viewer {median(each):.1f}, of the last one "
            f"{middle(lambda one: min(one.pictures)):.1f}; in all "
            f"{middle(lambda one: one.octets) / 1e6:.1f} MB/s"
        )


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--loops", type=int, default=2, help="of the clip, a measurement")
    parser.add_argument("--threads", type=int, default=1, help="of each network")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--viewers", type=int, default=50, help="of the last case")
    parser.add_argument("--only", choices=["nobody", "one", "many"], help="one case alone")
    parser.add_argument("--as", choices=["page", "stream"], default="page", dest="kind")
    args = parser.parse_args()
    cases: dict[str, int | None] = {"nobody": 0, "one": 1, "many": args.viewers}
    cases = {name: number for name, number in cases.items() if args.only in (None, name)}
    order: list[tuple[str, Measured]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        Accounts(folder / "web").set_password("admin", PASSWORD, "admin")
        measures = 2 * len(cases) * args.rounds + 1
        times = measures * (args.loops + round(2 * SETTLE_S * RATE_MAX / FRAMES)) + 20
        process = stack.enter_context(service(folder, times, args.threads))
        watched = stack.enter_context(contextlib.closing(Watched(folder, args.kind)))
        # in another order each round: the scene repeats itself
        rng = np.random.default_rng(0)
        mixed = [str(case) for _ in range(args.rounds) for case in rng.permutation(list(cases))]
        for case in [*(name for one in mixed for name in (BASE, one)), BASE]:
            watched.watch(cases.get(case))
            order.append((case, measure(folder, process, watched, FRAMES * args.loops)))
        memory = watched.page.memory_info().rss / (1 << 20)
    for case in (BASE, *cases):
        tell(order, case)
    print(f"the page's process: {memory:.0f} MiB, after {args.viewers} viewers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
