"""The agent as a process: until it is told to stop, or who started it has gone."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

from jetson_face.config import Config
from jetson_face.fleet.agent import FleetAgent


def run_agent(config: Config, parent_fd: int | None = None) -> int:
    """Take part until SIGTERM or SIGINT. parent_fd: the reading end of a pipe whose other end only
    the service has: its end is this one's, too. Raises ConfigError where no fleet is configured."""
    agent = FleetAgent(config)

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if parent_fd is not None:
            loop.add_reader(parent_fd, stop.set)
        await agent.run(stop)

    with suppress(asyncio.CancelledError):
        asyncio.run(run())
    return 0
