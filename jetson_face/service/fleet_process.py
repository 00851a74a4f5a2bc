"""Keeps the process running that is a box's part in a fleet, for as long as the service runs.

Nothing of it is imported here: where no fleet is configured there is no process and no thread.
"""

from __future__ import annotations

import logging
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from jetson_face.util.backoff import Backoff
from jetson_face.util.channels import Courier, StillBusyError

logger = logging.getLogger(__name__)
_END_S = 2.0
_RAN_WELL_S = 60.0


@contextmanager
def fleet_process(command: Sequence[str]) -> Iterator[None]:
    """Start it for the block, and again whenever it ends; `--parent N` is added, the number of an
    open pipe whose other end only this process has. command: empty for none."""
    if not command:
        yield
        return
    keeper = _Keeper(command)
    courier: Courier[None] = Courier("fleet")
    with suppress(StillBusyError):
        courier.fetch(keeper.run, timeout_s=0)
    try:
        yield
    finally:
        keeper.end()
        courier.close()
        courier.join(_END_S)


class _Keeper:
    def __init__(self, command: Sequence[str]) -> None:
        self._command, self._stop = list(command), threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff(1.0, 60.0)

    def run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            code = self._once()
            if self._stop.is_set():
                return
            failures = 1 if time.monotonic() - began > _RAN_WELL_S else failures + 1
            if failures == 1:
                logger.error("fleet_process_ended code=%s starts_again=yes", code)
            self._stop.wait(self._backoff.delay_s(failures, random.random()))

    def end(self) -> None:
        self._stop.set()
        if self._process is not None:
            self._process.terminate()

    def _once(self) -> int | str:
        mine, others = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*self._command, "--parent", str(mine)], pass_fds=(mine,), stdin=subprocess.DEVNULL
            )
            if self._stop.is_set():
                self._process.terminate()
            return self._process.wait()
        except OSError as error:
            return str(error)
        finally:
            os.close(mine)
            os.close(others)
