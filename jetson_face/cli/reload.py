"""`jetson-face reload`: apply a changed configuration or gallery without stopping."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from jetson_face.cli.common import above_zero, add_config_arguments, say
from jetson_face.cli.status import document_of, socket_of
from jetson_face.core.errors import ConfigError, SourceError
from jetson_face.service.status_server import ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which service."""
    parser.add_argument("--socket", type=Path, metavar="PATH", help="of the service to reload")
    parser.add_argument(
        "--timeout", type=above_zero, default=120.0, metavar="SECONDS", help="how long to wait"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Returns when the new configuration is in force.

    Raises ConfigError when it is not valid: the old one then goes on. InputMissingError where no
    service runs, SourceError when it does not say so in time.
    """
    socket = socket_of(args)
    asked = document_of(ask(socket, "/reload", "POST"))
    wanted = int(asked.get("request", 0))
    end = time.monotonic() + args.timeout
    while time.monotonic() < end:
        state = document_of(ask(socket, "/status")).get("reload", {})
        if int(state.get("request", 0)) >= wanted:
            if state.get("error"):
                text = f"refused, the old configuration goes on: {state['error']}"
                refused = ConfigError(text)
                refused.lines = tuple(text.split("\n"))
                raise refused
            say(state.get("message") or "reloaded")
            return 0
        time.sleep(0.1)
    raise SourceError(f"the service did not reload in {args.timeout:g} s; see `jetson-face status`")
