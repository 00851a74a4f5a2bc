"""What commands share: `-c FILE`, `--set key=value`, progress, quick streams."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jetson_face.capture.keys import KEYS
from jetson_face.capture.uri import parse_uri
from jetson_face.config import Config, load_config
from jetson_face.core.errors import InputBrokenError, UsageError
from jetson_face.util.documents import read_text
from jetson_face.util.redact import clean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")
_STREAMS = ("rtsp", "rtsps", "http", "https")


def add_config_arguments(*parsers: argparse.ArgumentParser) -> None:
    """`-c/--config FILE` and `--set key=value`, for each of the parsers."""
    text = "YAML; default: built in for this machine"
    for parser in parsers:
        parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=text)
        add_set(parser, "override one key, as in --set sampling.interval=2")


def add_set(parser: argparse.ArgumentParser, text: str) -> None:
    """`--set key=value`, which may be repeated; `text` says what for."""
    text += " (may be repeated)"
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help=text
    )


def config_of(args: argparse.Namespace, *extra: str) -> Config:
    """The configuration that the arguments name, whose `log_level` then holds; `extra` are
    overrides of the command's own.

    Raises ConfigError.
    """
    config = load_config(args.config, [*args.overrides, *extra])
    logging.getLogger("jetson_face").setLevel(config.log_level)
    return config


def filled(kind: type[D], args: argparse.Namespace) -> D:
    """A dataclass whose fields have the names of options."""
    return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})


def same_config(command: str, args: argparse.Namespace) -> str:
    """`jetson-face COMMAND` with the configuration that the arguments name, to be typed."""
    words = [] if args.config is None else ["-c", str(args.config)]
    words += [word for text in args.overrides for word in ("--set", text)]
    return shlex.join(["jetson-face", *command.split(), *words])


def config_words(args: argparse.Namespace) -> list[str]:
    """The options that give another command this one's configuration."""
    words = [] if args.config is None else ["-c", str(args.config.absolute())]
    return words + [word for text in args.overrides for word in ("--set", text)]


def one_of(named: T | None, positional: T | None, option: str) -> T | None:
    """What was given by its option or without one. Raises UsageError where both differ."""
    if named is not None and positional is not None and named != positional:
        raise UsageError(f"{option} {named} and {positional}: give one of them")
    return positional if named is None else named


def config_with_source(args: argparse.Namespace) -> Config:
    """`config_of`; where the arguments name a source, that is the only one.

    It takes over the name and the time-outs of the first source that is configured, but none of
    the settings of its camera, unless they are given by `--set sources.0.KEY`.
    Raises ConfigError, UsageError.
    """
    if args.source is None:
        return config_of(args)
    parse_uri(args.source)  # what makes no sense is of the command line, not of the configuration
    other = {"uri": args.source, **dict.fromkeys(KEYS), "flip": "none"}
    replaced = [f"sources.0.{key}={json.dumps(value)}" for key, value in other.items()]
    config = load_config(args.config, [*replaced, *args.overrides])
    return config.model_copy(update={"sources": config.sources[:1]})


def quicken_streams(config: Config, environ: MutableMapping[str, str] = os.environ) -> None:
    """Let network cameras open in one second instead of three: FFmpeg then does not watch them for
    their frame rate, and starts with fewer frames that are old already.

    OpenCV takes FFmpeg's options from the environment only, and for files too, which would lose
    their frame rate: so only where every source is a stream.
    """
    if all(parse_uri(source.uri).scheme in _STREAMS for source in config.sources):
        # OpenCV's own choice of TCP ends where this is set.
        environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|fpsprobesize;0")


def notes_of(path: Path | None) -> str:
    """The text of --notes. Raises InputMissingError, InputBrokenError: before hours of work."""
    return "" if path is None else read_text(path, error=InputBrokenError).strip()


def say(*lines: object, err: bool = False) -> None:
    """Print each as one line for people, whatever is in it: no secret is shown, and no name of a
    file steers the terminal. err: on standard error."""
    for line in lines:
        print(clean(str(line)), file=sys.stderr if err else sys.stdout)


def say_text(text: str) -> None:
    """Print a text of several lines that this program made."""
    say(*text.rstrip("\n").split("\n"))


def counted(count: int, one: str, more: str = "") -> str:
    """`1 face`, `2 faces`. more: what several are called, where that is not `one` with an s."""
    return f"1 {one}" if count == 1 else f"{count} {more or one + 's'}"


def agreed(what: str, otherwise: str = "nothing was erased") -> bool:
    """Whether a person at the terminal wants `what` erased; says `otherwise` where not.

    Raises UsageError where there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"this erases {what} for good: say so with --yes")
    print(clean(f"Erase {what} for good? [y/N]"), end=" ", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say(otherwise, err=True)
    return False


def say_json(document: Any, *, indent: int | None = 2) -> None:
    """Print plain data as JSON that a terminal can show: what is not printable is escaped. indent:
    None puts it all on one line."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    print("\n".join(_escaped(line) for line in text.split("\n")))


def _escaped(line: str) -> str:
    """A line of JSON whose control characters, of which JSON allows some, are escapes of JSON's."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def number(text: str) -> float:
    """An argument that is a number; infinite ones overflow somewhere, and NaN compares to nothing.

    Raises argparse.ArgumentTypeError.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def above_zero(text: str) -> float:
    """An argument that is a number above 0. Raises argparse.ArgumentTypeError."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def whole(least: int, most: int = 1_000_000_000) -> Callable[[str], int]:
    """For an argument that is a whole number from `least` to `most`; what it gives raises
    argparse.ArgumentTypeError."""
    bounds = f"from {least}" if most == 1_000_000_000 else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")
        return value

    return read


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[int, int, object], None]]:
    """A line on the terminal that counts; silent where standard error is not a terminal."""
    with show_line() as tell:
        yield lambda done, total, item: tell(f"{what}: {done}/{total} {clean(str(item), 60)}")


@contextmanager
def show_line() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what it is told; silent where there is no terminal."""
    shown = sys.stderr.isatty()

    def tell(text: str) -> None:
        if shown:
            print(f"\r{clean(text, 100)}\033[K", end="", file=sys.stderr, flush=True)

    yield tell
    tell("")


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
