"""Processor time of a service that has nothing to do, and how often its threads wake up.

    python tools/bench_idle.py [--seconds 20] [--limit 1.0] [--case NAME ...]

The service runs as a process of its own; its camera is away in all cases:

    camera     a port that refuses; nothing to deliver
    device     a V4L2 device that is not there
    down       events wait for a webhook that refuses
    evicted    the events that a webhook waits for were given up

Exit code 1 when a case takes more than `--limit` percent of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetson_face.events.outbox import Outbox, OutboxLimits
from jetson_face.service.status_server import ask

SETTLE_S = 6.0
"""Loading the networks is over, and the first tries to reach the camera."""
START_S = 120.0
EVENTS = 500


@dataclass(frozen=True, slots=True)
class Used:
    """Of one process, so far. cpu_s: user and system. woken: voluntary switches by thread id."""

    cpu_s: float
    woken: dict[str, int]


def used_by(pid: int) -> Used:
    """Read it from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    woken = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                woken[task.name] = int(line.split()[1])
    return Used(ticks / os.sysconf("SC_CLK_TCK"), woken)


def refused_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def settings(case: str, state: Path) -> dict[str, Any]:
    """The configuration of a case."""
    uri = "v4l2:///dev/video63" if case == "device" else f"rtsp://127.0.0.1:{refused_port()}/none"
    sinks = []
    if case in ("down", "evicted"):
        url = f"http://127.0.0.1:{refused_port()}/events"
        sinks = [{"type": "webhook", "name": "hook", "url": url}]
    return {
        "state_dir": str(state),
        "sources": [{"uri": uri, "name": "away"}],
        "service": {"sinks": sinks},
    }


def fill(case: str, state: Path) -> None:
    """Events that the sink has not got; given up again for `evicted`."""
    limits = OutboxLimits(max_age_s=0.0 if case == "evicted" else 1e9)
    outbox = Outbox(state / "outbox.db", limits)
    outbox.subscribe("hook")
    body = json.dumps({"source": "away", "state": "unknown"}).encode()
    outbox.append([("decision", body)] * EVENTS)
    time.sleep(0.01)
    outbox.prune()
    found = outbox.state()
    outbox.close()
    if (found.rows == 0) != (case == "evicted"):
        raise SystemExit(f"{case}: {found.rows} events are in the outbox")


def until(true: Callable[[], object], what: str) -> None:
    """Wait for it. Raises SystemExit when it does not come."""
    end = time.monotonic() + START_S
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"the service did not {what} in {START_S:.0f} s")
        time.sleep(0.2)


def measure(case: str, seconds: float) -> tuple[float, float, int]:
    """Percent of one core, wake-ups a second, threads."""
    with tempfile.TemporaryDirectory(prefix="jetson-face-idle-") as folder:
        state = Path(folder) / "state"
        state.mkdir()
        config, log = Path(folder) / "config.json", Path(folder) / "log"
        config.write_text(json.dumps(settings(case, state), indent=1))  # JSON is YAML
        if case in ("down", "evicted"):
            fill(case, state)
        words = [sys.executable, "-m", "jetson_face", "service", "run", "-c", str(config)]
        with log.open("wb") as out:
            child = subprocess.Popen(words, stdout=out, stderr=out)
        try:
            until(lambda: child.poll() is not None or "cameras" in status(state), "start")
            time.sleep(SETTLE_S)
            before, began = used_by(child.pid), time.monotonic()
            time.sleep(seconds)
            after, took = used_by(child.pid), time.monotonic() - began
            if child.poll() is not None:
                raise SystemExit(f"{case}: the service ended:\n{log.read_text()}")
            camera = status(state)["cameras"]["away"]["state"]
            if camera != "away":
                raise SystemExit(f"{case}: the camera is {camera}, not away")
        except BaseException:
            print(log.read_text(), file=sys.stderr)
            raise
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)
    woken = sum(count - before.woken.get(task, 0) for task, count in after.woken.items())
    return 100 * (after.cpu_s - before.cpu_s) / took, woken / took, len(after.woken)


def status(state: Path) -> dict[str, Any]:
    """What the service says of itself; nothing while it does not answer."""
    if not (state / "status.sock").exists():
        return {}
    document: dict[str, Any] = json.loads(ask(state / "status.sock", "/status").body)
    return document


def main() -> int:
    """Print each case; 1 when one is above the limit."""
    cases = ("camera", "device", "down", "evicted")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--limit", type=float, default=1.0, metavar="PCT", help="of one core")
    parser.add_argument("--case", action="append", choices=cases)
    args = parser.parse_args()
    worst = 0.0
    for case in args.case or cases:
        percent, woken, threads = measure(case, args.seconds)
        worst = max(worst, percent)
        print(f"{case:8}  {percent:6.2f} % of a core  {woken:7.1f} wake-ups/s  {threads} threads")
    return 0 if worst < args.limit else 1


if __name__ == "__main__":
    sys.exit(main())
