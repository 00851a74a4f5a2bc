"""`jetson-face events list|tail|export`: what the service remembers, without a browser."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, get_args

from jetson_face.cli.common import add_config_arguments, config_of, counted, say, say_json
from jetson_face.cli.results import check_results
from jetson_face.core.errors import InputBrokenError, UsageError
from jetson_face.core.types import State
from jetson_face.events.exporting import Format, every, export, lines
from jetson_face.events.history import PAGE_MAX, History, StoredEvent
from jetson_face.events.schema import OTHER_KINDS, FaceKind
from jetson_face.service.history import read_history
from jetson_face.util.files import write_file

ACTIONS = ("list", "tail", "export")
_LOOK_S = 0.5
_FILTERS = ("person", "source", "kind", "state", "since", "until")


def add_actions(actions: Any) -> None:
    """To the parsers of `events`."""
    listed = actions.add_parser("list", help="print the newest events, newest first")
    listed.add_argument("-n", "--limit", type=int, default=50, metavar="N", help="default: 50")
    listed.add_argument("--before", type=_cursor, metavar="CURSOR", help="only older ones")
    tail = actions.add_parser("tail", help="print events as they come, oldest first")
    tail.add_argument(
        "--after", type=_cursor, metavar="CURSOR", help="first those since; default: only new ones"
    )
    tail.add_argument(
        "--cursor-file",
        type=Path,
        metavar="FILE",
        help="go on after the last event that was printed, also after a restart: it is kept here",
    )
    tail.add_argument("-n", "--limit", type=int, metavar="N", help="end after so many")
    for sub in (listed, tail):
        sub.add_argument("--json", action="store_true", help="one JSON object a line, whole")
    exported = actions.add_parser("export", help="write events to a file, oldest first")
    exported.add_argument("file", type=Path, help="*.csv or *.jsonl; - for standard output")
    exported.add_argument("--format", choices=["csv", "jsonl"], help="default: as the file's name")
    for sub in (listed, tail, exported):
        _add_filters(sub)
        add_config_arguments(sub)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--person", metavar="NAME|ID", help="about this person; the name as it was")
    parser.add_argument("--source", metavar="NAME", help="of this camera")
    parser.add_argument("--kind", choices=[*get_args(FaceKind), *OTHER_KINDS])
    parser.add_argument("--state", choices=get_args(State))
    parser.add_argument("--since", metavar="TIME", help="as 2026-11-28 or 2026-11-28T09:30:00Z")
    parser.add_argument("--until", metavar="TIME", help="the same; without a zone it is UTC")


def run(args: argparse.Namespace) -> int:
    """Raises InputMissingError where there is no history, UsageError for what cannot be asked, and
    what reading the history and writing a file raise."""
    filters = {name: getattr(args, name) for name in _FILTERS}
    config = config_of(args)
    file = getattr(args, "file", None)
    results = {
        "FILE": None if file is None or file.name == "-" else file,
        "--cursor-file": getattr(args, "cursor_file", None),
    }
    check_results(results, config_files=[args.config], config=config)
    with closing(read_history(config)) as history:
        if args.action == "list":
            _list(history, args, filters)
        elif args.action == "tail":
            _tail(history, args, filters)
        else:
            _export(history, args, filters)
    return 0


def _list(history: History, args: argparse.Namespace, filters: dict[str, Any]) -> None:
    before, left = args.before, args.limit
    if left < 1:
        raise UsageError(f"--limit {left}: at least 1")
    while left > 0:
        found = history.page(before=before, limit=min(left, PAGE_MAX), **filters)
        for stored in found:
            _show(stored, as_json=args.json)
        if not found:
            break
        before, left = found[-1].cursor, left - len(found)
    if left == args.limit and not args.json:
        say("no such event is kept")


def _tail(history: History, args: argparse.Namespace, filters: dict[str, Any]) -> None:
    left = args.limit
    with _place(history, args) as place:
        while left is None or left > 0:
            for stored in every(history.page, after=place.after, **filters):
                _show(stored, as_json=args.json)
                sys.stdout.flush()
                place.after = stored.cursor
                left = None if left is None else left - 1
                if left == 0:
                    return
            place.keep()
            time.sleep(_LOOK_S)


class _Place:
    """Up to where events were printed."""

    def __init__(self, after: int, file: Path | None) -> None:
        self.after, self._file, self._kept = after, file, -1

    def keep(self) -> None:
        """To the disk. Raises OutputError."""
        if self._file is not None and self.after != self._kept:
            write_file(self._file, f"{self.after}\n", mode=0o600)
            self._kept = self.after


@contextmanager
def _place(history: History, args: argparse.Namespace) -> Iterator[_Place]:
    file: Path | None = args.cursor_file
    after: int | None = args.after
    if file is not None and after is None and file.exists():
        try:
            after = _cursor(file.read_text("ascii").strip())
        except (OSError, ValueError, argparse.ArgumentTypeError) as error:
            raise InputBrokenError(
                f"{file}: holds no cursor: remove it, or give --after"
            ) from error
    place = _Place(history.last() if after is None else after, file)
    try:
        yield place
    finally:
        # What was printed before the end, or an interrupt, is not printed again.
        place.keep()


def _export(history: History, args: argparse.Namespace, filters: dict[str, Any]) -> None:
    name: str = args.file.name
    suffixes: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl"}
    format_: Format | None = args.format or suffixes.get(args.file.suffix)
    if format_ is None:
        raise UsageError(f"{name}: call it *.csv or *.jsonl, or give --format")
    if name == "-":
        sys.stdout.writelines(lines(every(history.page, **filters), format_))
        return
    count = export(history, args.file, format_, **filters)
    say(f"{counted(count, 'event')} in {args.file}")


def _show(stored: StoredEvent, *, as_json: bool) -> None:
    event = stored.event
    if as_json:
        document = {"cursor": stored.cursor, "has_crop": stored.has_crop, **event}
        say_json(document, indent=None)
        return
    who = event.get("name") or event.get("state") or ""
    similarity = event.get("similarity")
    alike = "" if similarity is None else f"  {similarity:.3f}"
    track = "" if event.get("track") is None else f"  track {event['track']}"
    before = event.get("before") or {}
    was = f"  (was {before.get('name') or before.get('state')})" if before else ""
    say(
        f"{stored.cursor}  {event['time']}  {event.get('source') or '-'}  {event['kind']}  "
        f"{who}{alike}{track}{was}"
    )


def _cursor(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 17:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r:.40} is no cursor: `events list` shows them first")
