"""`jetson-face events`: what happened, what events are, and those that a sink refused."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from jetson_face.cli import events_history
from jetson_face.cli.common import add_config_arguments, config_of, say, say_json
from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError, InputMissingError, UsageError
from jetson_face.events.older import document
from jetson_face.events.outbox_file import OutboxFile
from jetson_face.events.outbox_rows import Refused
from jetson_face.service.plumbing import OUTBOX


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with events."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    events_history.add_actions(actions)
    actions.add_parser("schema", help="print the JSON Schema of an event")
    refused = actions.add_parser("refused", help="list events that a sink refused as malformed")
    refused.add_argument("--json", action="store_true", help="one JSON object a line, whole")
    retry = actions.add_parser("retry", help="send refused events once more")
    retry.add_argument("ids", nargs="*", metavar="ID", help="of the events; --all: every one")
    retry.add_argument("--all", action="store_true", help="every refused event")
    for sub in (refused, retry):
        sub.add_argument("--sink", metavar="NAME", help="of this sink only")
        add_config_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError for an event that was not refused or a filter that means nothing,
    InputMissingError where there are no events, and InputBrokenError, GalleryError or OutputError
    where they cannot be read or written."""
    if args.action == "schema":
        from jetson_face.events.schema import json_schema

        say_json(json_schema())
        return 0
    if args.action in events_history.ACTIONS:
        return events_history.run(args)
    with _outbox(config_of(args)) as file:
        found = [(item, json.loads(document(item.event))) for item in file.refused(args.sink)]
        if args.action == "refused":
            _list(found, as_json=args.json)
        else:
            _retry(file, found, args)
    return 0


@contextmanager
def _outbox(config: Config) -> Iterator[OutboxFile]:
    """The outbox, which a service may be using."""
    path = config.state_dir / OUTBOX
    if not path.exists():
        raise InputMissingError(f"{path}: no service has left events here; see -c and --set")
    try:
        with closing(OutboxFile(path)) as file:
            yield file
    except (sqlite3.Error, OSError) as error:
        raise InputBrokenError(f"{path}: cannot be used: {error}") from error


def _list(found: list[tuple[Refused, dict[str, Any]]], *, as_json: bool) -> None:
    for item, event in found:
        facts = {"sink": item.consumer, "error": item.error, "tries": item.tries}
        if as_json:
            say_json(facts | {"again": item.again, "event": event}, indent=None)
            continue
        who = event.get("name") or event.get("state") or ""
        again = ", is sent again" if item.again else ""
        say(
            f"{event['id']}  {event['time']}  {item.consumer}  {event['kind']}  "
            f"{event.get('source') or ''}  {who}  refused {item.tries}x{again}: {item.error}"
        )
    if not found and not as_json:
        say("no event was refused")


def _retry(
    file: OutboxFile, found: list[tuple[Refused, dict[str, Any]]], args: argparse.Namespace
) -> None:
    wanted = set(args.ids)
    if bool(wanted) == args.all:
        raise UsageError("name events by their ids (jetson-face events refused), or --all")
    unknown = wanted - {event["id"] for _, event in found}
    if unknown:
        raise UsageError(
            f"{min(unknown)}: no refused event has this id; list them with "
            "`jetson-face events refused`"
        )
    items = [item for item, event in found if args.all or event["id"] in wanted]
    count = file.ask_again([(item.consumer, item.event.seq) for item in items])
    say(
        f"{count} marked: a running service sends them within seconds, another one after its start"
        if count
        else "no event was refused"
    )
