"""Seconds from SIGTERM or SIGINT to the process's end while its RTSP camera is dead.

    python tools/bench_stop.py [--runs 3]

Dead in two ways: a server that takes the connection and never answers, and a port that refuses.
`run` and the service are stopped while they try to reach it.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

WAIT_S = 60.0
COMMANDS = {"run": ["run", "--quiet"], "service": ["service", "run"]}


@contextmanager
def silent_server() -> Iterator[tuple[int, threading.Event]]:
    """A port that accepts and then says nothing; the event is set on the first connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    reached = threading.Event()
    kept: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return
            reached.set()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], reached
    finally:
        listener.close()
        for one in kept:
            one.close()


def refused_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def stop_time(command: str, port: int, number: int, reached: threading.Event | None) -> float:
    """Seconds from the signal to the end of one fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"rtsp://127.0.0.1:{port}/dead"
        words = [sys.executable, "-m", "jetson_face", *COMMANDS[command]]
        words += ["--set", f"state_dir={folder}", "--set", f"sources={{uri: '{uri}', name: dead}}"]
        log = Path(folder) / "log"
        with log.open("wb") as out:
            child = subprocess.Popen(words, stdout=out, stderr=out, cwd=folder)
        try:
            if reached is not None and not reached.wait(WAIT_S):
                raise SystemExit(f"{command}: never tried to connect:\n{log.read_text()}")
            # Long enough that the attempt is under way, or the next one waited for.
            time.sleep(2.0)
            if child.poll() is not None:
                return float("nan")
            start = time.monotonic()
            child.send_signal(number)
            child.wait(WAIT_S)
            return time.monotonic() - start
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()


def main() -> int:
    """Print the median and the worst of each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    for command in COMMANDS:
        for number in (signal.SIGTERM, signal.SIGINT):
            for dead in ("silent", "refused"):
                times = []
                for _ in range(args.runs):
                    with silent_server() as (port, reached):
                        silent = dead == "silent"
                        port = port if silent else refused_port()
                        times.append(stop_time(command, port, number, reached if silent else None))
                ended = [t for t in times if t == t]
                if not ended:
                    print(f"{command}, {dead}: ended by itself with an error, nothing to stop")
                    continue
                print(
                    f"{command}, {signal.Signals(number).name}, camera {dead}: "
                    f"median {median(ended):.2f} s, most {max(ended):.2f} s "
                    f"(load {os.getloadavg()[0]:.1f})",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
