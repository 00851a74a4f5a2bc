"""The agent as a process: until it is told to stop, or who started it has gone."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jetson_face.config import Config
from jetson_face.core.errors import FleetError
from jetson_face.fleet.agent import FleetAgent

_IMPORT_S = 1800.0


def run_agent(config: Config, words: Sequence[str] = (), parent_fd: int | None = None) -> int:
    """Take part until SIGTERM or SIGINT. words: the options that give a command this configuration.
    parent_fd: the reading end of a pipe whose other end only the service has: its end is this
    one's, too. Raises ConfigError where no fleet is configured."""

    async def take(path: Path, sha256: str) -> str:
        return await import_plans(path, sha256, words)

    agent = FleetAgent(config, take)

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        def orphaned(number: int) -> None:
            loop.remove_reader(number)
            stop.set()

        if parent_fd is not None:
            loop.add_reader(parent_fd, orphaned, parent_fd)
        await agent.run(stop)

    # Not `asyncio.run`, which waits for what does not let itself be cancelled.
    asyncio.new_event_loop().run_until_complete(run())
    return 0


async def import_plans(path: Path, sha256: str, words: Sequence[str]) -> str:
    """`jetson-face engines import`, in a process of its own: it loads TensorRT, and each plan has
    to pass the parity gate. What it said of each. Raises FleetError with what it said where it
    took nothing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "jetson_face", "engines", "import", str(path), "--sha256", sha256, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), _IMPORT_S)
    except asyncio.TimeoutError:
        raise FleetError(f"plans were not taken in {_IMPORT_S:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    said = (err if process.returncode else out).decode("utf-8", "replace").strip().splitlines()
    if process.returncode:
        raise FleetError(said[-1] if said else f"engines import ended with {process.returncode}")
    return "; ".join(line for line in said if line.endswith(("parity passed", "here already")))
