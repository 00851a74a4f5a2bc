"""What the operator's page costs the recogniser: its decision rate and processor time at its limit,
without the page, with it, with one viewer and with many, in turns.

A synthetic 1080p camera gives more frames than can be decided. Prints one line a case: mean of the
rounds, and the difference to no page.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import demo_clip
import httpx
import psutil

from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask
from jetson_face.web.accounts import Accounts

UNIT = Path(__file__).resolve().parents[1] / "systemd" / "jetson-face-web.service"
CONFIG = """\
state_dir: {state}
sources:
  - uri: "test://?live=1&fps=200&frames=10000000&width=1920&height=1080&faces={heads}"
    name: door
backend: {{type: onnxruntime, threads: 1}}
detector: {{type: mtcnn, min_face_px: 60, max_side_px: 640}}
"""
PROGRAM = [sys.executable, "-m", "jetson_face"]
PASSWORD = secrets.token_urlsafe(12)


def status(state: Path) -> dict[str, int]:
    """Frames decided so far."""
    document = json.loads(ask(state / "status.sock", "/status").body)
    return {"ready": document["ready"], "processed": document["cameras"]["door"]["processed"]}


@contextlib.contextmanager
def service(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service, ready."""
    heads = folder / "heads"
    heads.mkdir()
    for who in demo_clip.NAMES:
        cv2.imwrite(str(heads / f"{who}.png"), demo_clip.head(who))
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(state=folder / "state", heads=heads), "utf-8")
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


def niceness() -> str:
    """The priority that the page's unit gives it."""
    return next(
        line.removeprefix("Nice=")
        for line in UNIT.read_text("utf-8").splitlines()
        if line.startswith("Nice=")
    )


@contextlib.contextmanager
def page(folder: Path, watchers: int) -> Iterator[None]:
    """The page's process, with so many who watch the camera."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [
        "nice", "-n", niceness(), *PROGRAM, "web", "run",
        "--runtime", str(folder / "state"), "--state", str(folder / "web"),
        "--port", str(port),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stop = threading.Event()
    base = f"http://127.0.0.1:{port}"
    try:
        while True:
            time.sleep(0.2)
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(base)
                break
        with concurrent.futures.ThreadPoolExecutor(max(watchers, 1)) as pool:
            if watchers:
                client = httpx.Client(base_url=f"{base}/api/v1")
                wanted = {"user": "admin", "password": PASSWORD}
                client.post("/session", json=wanted).raise_for_status()
                for _ in range(watchers):
                    pool.submit(watch, dict(client.cookies), base, stop)
            time.sleep(1.0)
            yield
            memory = psutil.Process(process.pid).memory_info().rss / (1 << 20)
            print(f"    page with {watchers} viewers: {memory:.0f} MiB", file=sys.stderr)
            stop.set()
    finally:
        stop.set()
        process.kill()
        process.wait()


def watch(cookies: dict[str, str], base: str, stop: threading.Event) -> None:
    """One viewer, who reads the stream of frames. Viewers sit at machines of their own, so here
    they get what the recogniser leaves."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    url = f"{base}/api/v1/cameras/door/stream.mjpeg?width=960"
    with (
        contextlib.suppress(httpx.HTTPError),
        httpx.stream("GET", url, cookies=cookies, timeout=10) as stream,
    ):
        for _ in stream.iter_raw():
            if stop.is_set():
                return


def measure(folder: Path, process: subprocess.Popen[bytes], seconds: float) -> tuple[float, float]:
    """Frames decided a second, and milliseconds of processor time a decided frame."""
    clock = psutil.Process(process.pid)
    before, cpu, began = status(folder / "state")["processed"], clock.cpu_times(), time.monotonic()
    time.sleep(seconds)
    frames = status(folder / "state")["processed"] - before
    now, took = clock.cpu_times(), time.monotonic() - began
    return frames / took, 1000 * (now.user + now.system - cpu.user - cpu.system) / max(frames, 1)


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--viewers", type=int, default=50, help="of the last case")
    args = parser.parse_args()
    cases = {"no page": None, "page, nobody": 0, "one viewer": 1, "many viewers": args.viewers}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Accounts(folder / "web").set_password("admin", PASSWORD, "admin")
        with service(folder) as process:
            measure(folder, process, 2)
            for _ in range(args.rounds):
                for case, watchers in cases.items():
                    with contextlib.ExitStack() as stack:
                        if watchers is not None:
                            stack.enter_context(page(folder, watchers))
                        found[case].append(measure(folder, process, args.seconds))
    base = statistics.mean(rate for rate, _ in found["no page"])
    for case, rounds in found.items():
        rate, cpu = (statistics.mean(column) for column in zip(*rounds, strict=True))
        spread = statistics.stdev([one for one, _ in rounds]) if len(rounds) > 1 else 0.0
        print(
            f"{case:14}  {rate:6.2f} decided/s (±{spread:.2f})  {100 * (rate / base - 1):+5.1f} %  "
            f"{cpu:6.1f} ms CPU a frame"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
