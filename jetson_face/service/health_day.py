"""How a service did in the last day, minute by minute, and what it logged last."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jetson_face.service.http import Page, problem
from jetson_face.service.pages import json_page
from jetson_face.service.recent import RecentErrors

logger = logging.getLogger(__name__)
FILE = "health-day"
_DAY_S = 86400.0
_KEPT = 1440


class HealthSample(NamedTuple):
    """time: UTC seconds. decided: frames a second, of all cameras. cpu: share of all cores, this
    process. temperature: of the hottest zone, °C; None where the kernel shows none. queue: events
    that wait for the disk or for the slowest sink."""

    time: float
    decided: float
    cpu: float
    temperature: float | None
    queue: int


class HealthDay:
    """See the module. status: what the service says of itself.

    The samples are in a file of at most 2,880 short lines, so that a restart does not end the
    chart; it is not forced to the disk, and one that cannot be written costs nothing but itself.
    """

    def __init__(
        self,
        folder: Path,
        recent: RecentErrors,
        status: Callable[[], Mapping[str, Any]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._recent, self._status, self._clock = folder / FILE, recent, status, clock
        self._samples: deque[HealthSample] = deque(self._read(), maxlen=_KEPT)
        self._lines = 2 * _KEPT  # it is written again with the first sample
        self._before = time.monotonic(), time.process_time()

    def tick(self) -> None:
        """Take a sample; for a timer, once a minute."""
        status = self._status()
        now, used = time.monotonic(), time.process_time()
        share = (used - self._before[1]) / max(now - self._before[0], 1e-3)
        self._before = now, used
        rates = status.get("rates", {})
        zones = status.get("board", {}).get("temperature_c", {})
        lag = status.get("outbox", {}).get("lag", {})
        sample = HealthSample(
            round(self._clock()),
            round(sum(rate for name, rate in rates.items() if name.endswith(" processed")), 2),
            round(share / (os.cpu_count() or 1), 4),
            max(zones.values(), default=None),
            status.get("queues", {}).get("events", 0) + max(lag.values(), default=0),
        )
        self._samples.append(sample)
        self._write(sample)

    def page(self, rest: str, query: Mapping[str, str]) -> Page:
        """`/health/day` and `/health/log` of the service's socket."""
        if rest == "log":
            return json_page({"lines": self._recent.lines()})
        if rest != "day":
            return problem(404, "there are: day log")
        least = self._clock() - _DAY_S
        shown = [one._asdict() for one in list(self._samples) if one.time >= least]
        return json_page({"every_s": 60, "samples": shown})

    def _write(self, sample: HealthSample) -> None:
        try:
            if self._lines >= 2 * _KEPT:
                text = "".join(f"{json.dumps(one)}\n" for one in self._samples)
                self._path.write_text(text, "utf-8")
                self._lines = len(self._samples)
            else:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{json.dumps(sample)}\n")
                self._lines += 1
        except OSError as error:
            logger.debug("health_not_kept error=%s", error)

    def _read(self) -> Iterator[HealthSample]:
        try:
            lines = self._path.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines[-_KEPT:]:
            try:
                at, decided, cpu, temperature, queue = json.loads(line)
                warm = None if temperature is None else float(temperature)
                yield HealthSample(float(at), float(decided), float(cpu), warm, int(queue))
            except (ValueError, TypeError):
                continue  # cut by a power failure
