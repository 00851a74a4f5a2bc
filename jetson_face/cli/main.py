"""The command line: finds the command, runs it, and turns our errors into one line and a code."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import NoReturn

from jetson_face.cli.streams import finish_output, point_nowhere, told
from jetson_face.core.errors import EmbeddingSpaceError, JetsonFaceError
from jetson_face.core.version import __version__
from jetson_face.privacy.memory import hide_memory
from jetson_face.util.cleanlog import CleanFormatter
from jetson_face.util.interrupt import EXIT_INTERRUPTED
from jetson_face.util.redact import clean

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "recognise people in a camera, stream, video file or folder"),
    "enroll": ("enroll", "add people to the gallery from photos"),
    "people": ("people", "list, show, rename or remove enrolled people"),
    "review": ("review", "decide who a doubtful face is"),
    "unknown": ("unknown", "list, show or erase remembered people who are not enrolled"),
    "events": ("events", "list, follow or export what happened; send again what a sink refused"),
    "use-log": ("use_log", "write when it was used, what matched and who verified it"),
    "rtsp": ("rtsp", "serve the running service's annotated cameras as RTSP streams"),
    "identify": ("identify", "say who is in a picture"),
    "calibrate": ("calibrate", "set the threshold that names strangers as seldom as you say"),
    "archive": ("archive", "index recordings, and find or erase somebody in them"),
    "fleet": ("fleet", "share people, erasures and events between boxes"),
    "gallery": ("gallery", "check or re-embed the gallery"),
    "eval": ("evaluate", "measure accuracy on labelled pictures"),
    "explain": ("explain", "show what the network looks at in a face"),
    "bench": ("bench", "measure frames per second and milliseconds per stage"),
    "tune": ("tune", "find the sampling rate and image size that meet a goal on this machine"),
    "clips": ("clips", "make labelled clips to measure speed and accuracy on"),
    "train": ("train", "train an embedding network"),
    "models": ("models", "list, fetch, verify, add or remove networks"),
    "engines": ("engines", "build, list, check or clean TensorRT plans"),
    "doctor": ("doctor", "say what works on this machine, and how to fix what does not"),
    "config": ("config", "check or show a configuration, or its schema"),
    "service": ("service", "install, remove or watch the systemd service"),
    "web": ("web", "serve the operator's page and the API, and say who may use them"),
    "status": ("status", "ask the running service how it is"),
    "reload": ("reload", "make the running service read its configuration again"),
}
EXIT_BROKEN_PIPE = 141
EXIT_BUG = 1

_REFUSED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO,
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP,
)  # fmt: skip
"""What the system says of a path that somebody named, or of the disk; no fault of the program's."""

logger = logging.getLogger("jetson_face")


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints show no secret and do not steer the terminal."""

    def error(self, message: str) -> NoReturn:
        """See argparse.ArgumentParser."""
        super().error(clean(message))


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of the chosen command only: the others stay unimported."""
    parser = _Parser(prog="jetson-face", description=sys.modules[__name__].__doc__)
    parser.description = "Real-time face recognition for NVIDIA Jetson, and for any PC."
    parser.add_argument("--version", action="version", version=f"jetson-face {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, help_text) in COMMANDS.items():
        sub = commands.add_parser(
            name, help=help_text, description=help_text[0].upper() + help_text[1:]
        )
        if name == chosen:
            loaded = import_module(f"jetson_face.cli.{module}")
            loaded.add_arguments(sub)
            sub.set_defaults(run=loaded.run)
    return parser


def _set_up_logging() -> None:
    """Plain lines on standard error; under systemd the journal has the time and takes <N>."""
    # OpenCV and its FFmpeg would add lines of their own beside our one line about a bad file.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Its makers' telemetry begins with its import: `inference.onnxruntime.without_telemetry`.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    under_systemd = "JOURNAL_STREAM" in os.environ
    form = (
        "%(levelname)s %(message)s" if under_systemd else "%(asctime)s %(levelname)-7s %(message)s"
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleanFormatter(form, "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def main(
    argv: Sequence[str] | None = None,
    *,
    within: AbstractContextManager[None] = nullcontext(),  # noqa: B008 - holds nothing
) -> int:
    """Run one command and return its exit code; see `jetson_face.core.errors` for the codes.

    within: entered around the command itself, without what comes before and after it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    hide_memory()
    _set_up_logging()
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = build_parser(chosen if chosen in COMMANDS else None)
    args = argparse.Namespace()
    try:
        code = _guarded(lambda: _run(parser, arguments, args, within), args)
    except SystemExit:  # --help, --version, or a complaint of the parser
        if lost := _guarded(finish_output, args):
            return lost
        raise
    lost = _guarded(finish_output, args)
    return code or lost


def _run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    args: argparse.Namespace,
    within: AbstractContextManager[None],
) -> int:
    parser.parse_args(arguments, args)
    with within:
        code: int = args.run(args)
    return code


def _guarded(work: Callable[[], int], args: argparse.Namespace) -> int:
    """What `work` returns; where it fails, the code of that, which is told."""
    try:
        return work()
    except JetsonFaceError as error:
        told(error)
        text = "\n".join(clean(line) for line in error.lines or (_advice(error, args),))
        print(f"jetson-face: {text}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("jetson-face: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        point_nowhere(sys.stdout)
        return EXIT_BROKEN_PIPE
    except Exception as error:
        if (refused := _refused(error)) is not None:
            print(f"jetson-face: {clean(refused)}", file=sys.stderr)
            logger.debug("refused by the system", exc_info=True)
            return JetsonFaceError.exit_code
        # Python's own traceback would print secrets: they are in the texts of exceptions.
        logger.exception("this is a bug of jetson-face %s; please report it", __version__)
        return EXIT_BUG


def _refused(error: Exception) -> str | None:
    """What the system refused, and where; None where the program itself is to blame."""
    if not isinstance(error, OSError) or not error.filename or error.errno not in _REFUSED:
        return None
    text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    if error.errno in (errno.EACCES, errno.EPERM):
        text += (
            ": run this as a user who may; where it is the service's, as `sudo jetson-face service "
            "exec COMMAND`"
        )
    return text


def _advice(error: JetsonFaceError, args: argparse.Namespace) -> str:
    """What is wrong, with the command that repairs it as it must be typed here."""
    from jetson_face.cli.common import same_config
    from jetson_face.gallery.matcher import REEMBED

    text = str(error)
    if isinstance(error, EmbeddingSpaceError) and hasattr(args, "overrides"):
        return text.replace(REEMBED, same_config("gallery reembed", args))
    return text


def end(code: int) -> NoReturn:
    """End the process.

    A service, and what it starts for a fleet, ends without what Python and the libraries still take
    apart at a normal end: all of it is closed and on the disk by then, and that would cost a second
    and more of the two that a stop may take.
    """
    if sys.argv[1:3] not in (["service", "run"], ["fleet", "run"]):
        sys.exit(code)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
