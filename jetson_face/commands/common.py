"""What every command takes: `-c FILE` and `--set key=value`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jetson_face.config import Config, load_config


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
    """The configuration that the arguments name; `extra` are overrides of the command's own.

    Raises ConfigError.
    """
    return load_config(args.config, [*args.overrides, *extra])


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
