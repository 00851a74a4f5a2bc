"""What commands share: `-c FILE`, `--set key=value`, progress, quick streams."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from jetson_face.capture.uri import parse_uri
from jetson_face.config import Config, load_config
from jetson_face.core.errors import UsageError

T = TypeVar("T")
_STREAMS = ("rtsp", "rtsps", "http", "https")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """`-c/--config FILE` and `--set key=value`, which may be repeated."""
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="YAML; default: built in for this machine"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, as in --set sampling.every=2 (may be repeated)",
    )


def config_of(args: argparse.Namespace, *extra: str) -> Config:
    """The configuration that the arguments name, whose `log_level` then holds; `extra` are
    overrides of the command's own.

    Raises ConfigError.
    """
    config = load_config(args.config, [*args.overrides, *extra])
    logging.getLogger("jetson_face").setLevel(config.log_level)
    return config


def one_of(named: T | None, positional: T | None, option: str) -> T | None:
    """What was given by its option or without one. Raises UsageError where both differ."""
    if named is not None and positional is not None and named != positional:
        raise UsageError(f"{option} {named} and {positional}: give one of them")
    return positional if named is None else named


def quicken_streams(config: Config, environ: MutableMapping[str, str] = os.environ) -> None:
    """Let network cameras open in one second instead of three: FFmpeg then does not watch them for
    their frame rate, and starts with fewer frames that are old already.

    OpenCV takes FFmpeg's options from the environment only, and for files too, which would lose
    their frame rate: so only where every source is a stream.
    """
    if all(parse_uri(source.uri).scheme in _STREAMS for source in config.sources):
        # OpenCV's own choice of TCP ends where this is set.
        environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|fpsprobesize;0")


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[int, int, object], None]]:
    """A line on the terminal that counts; silent where standard error is not a terminal."""
    shown = sys.stderr.isatty()

    def progress(done: int, total: int, item: object) -> None:
        if shown:
            print(
                f"\r{what}: {done}/{total} {item!s:.60}\033[K", end="", file=sys.stderr, flush=True
            )

    yield progress
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextmanager
def show_line() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what it is told; silent where there is no terminal."""
    shown = sys.stderr.isatty()

    def say(text: str) -> None:
        if shown:
            print(f"\r{text:.100}\033[K", end="", file=sys.stderr, flush=True)

    yield say
    say("")


def command_line(words: Sequence[str]) -> str:
    """The command as a page shows it: absolute paths by their last two parts, lines of 100."""
    lines = ["jetson-face"]
    for word in words:
        key, between, value = word.rpartition("=")
        shown = "/".join(Path(value).parts[-2:]) if value.startswith(("/", "..")) else value
        shown = key + between + shown
        if len(lines[-1]) + len(shown) > 96:
            lines[-1] += " \\"
            lines.append(" ")
        lines[-1] += f" {shown}"
    return "\n".join(lines)
