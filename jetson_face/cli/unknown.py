"""`jetson-face unknown list|show|erase`: people who are not enrolled and are remembered."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.cli.common import add_config_arguments, agreed, config_of, counted, say, say_json
from jetson_face.cli.results import check_results
from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.unknowns import UNKNOWNS, UnknownPerson, UnknownStore
from jetson_face.service.erasure import audit_log
from jetson_face.service.unknown_erasure import erase_on_demand
from jetson_face.util.files import write_file
from jetson_face.util.images import decode_picture, encode_png


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with whom."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="everybody who is remembered, with their visits")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="write the faces of one side by side")
    show.add_argument("who", metavar="ID", help="as `list` says")
    show.add_argument("--out", type=Path, metavar="PICTURE.png", required=True)
    erase = actions.add_parser("erase", help="erase faces, visits, and the id in events")
    erase.add_argument("who", metavar="ID", nargs="*", help="as `list` says")
    erase.add_argument("--all", action="store_true", help="everybody who is remembered")
    erase.add_argument("--yes", action="store_true", help="do not ask")
    add_config_arguments(listing, show, erase)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError for nobody of that id, the errors of the file and the audit log."""
    config = config_of(args)
    written = {"--out": getattr(args, "out", None)}
    check_results(written, config_files=[args.config], config=config)
    path = config.state_dir / UNKNOWNS
    if not path.exists():
        if args.action != "list":
            raise UsageError("nobody is remembered: see `unknown.remember` in docs/privacy.md")
        say("[]" if args.json else "nobody who is not enrolled is remembered")
        return 0
    if args.action == "erase":
        return _erase(config, path, args)
    with UnknownStore.open(path, open_cipher(config.state_dir)) as store:
        if args.action == "show":
            _show(config, store.read(args.who), args.out)
            return 0
        rows = [_row(one) for one in store.people()]
    if args.json:
        say_json(rows)
    elif not rows:
        say("nobody who is not enrolled is remembered")
    for row in () if args.json else rows:
        visits = counted(row["visits"], "visit")
        where = f" at {row['source']}" if row["source"] else ""
        say(f"{row['id']}: {visits}, the last {row['last']}{where}")
    return 0


def _erase(config: Config, path: Path, args: argparse.Namespace) -> int:
    if bool(args.who) == args.all:
        raise UsageError("erase whom? Give ids, as `jetson-face unknown list` says, or --all")
    with UnknownStore.open(path, open_cipher(config.state_dir)) as store:
        known = store.ids()
    wanted = known if args.all else list(dict.fromkeys(args.who))
    if missing := sorted(set(wanted) - set(known)):
        raise UsageError(f"no unknown person {missing[0]}: see `jetson-face unknown list`")
    people = counted(len(wanted), "person", "people")
    if not (args.yes or agreed(people, "nobody was erased")):
        return 1
    gone = erase_on_demand(config, None if args.all else wanted)
    # Of all, there may be others by now.
    people = counted(gone.people, "person", "people")
    say(f"{people} erased, with {gone.pictures} pictures and the ids in {gone.events} events")
    if gone.failed:
        say(f"could not be searched: {', '.join(gone.failed)}: run it once more", err=True)
        return 1
    return 0


def _show(config: Config, person: UnknownPerson, out: Path) -> None:
    if not person.faces:
        raise UsageError(f"of {person.id} visits are kept and no face: nothing to show")
    pictures = [decode_picture(face.portrait, f"unknown person {person.id}")
                for face in person.faces]  # fmt: skip
    write_file(out, encode_png(np.hstack(pictures)), mode=0o600)
    audit_log(config).record("exported", person=person.id, name="", details={"unknown": True})
    say(f"{out}: {len(pictures)} of the faces of {person.id}")


def _row(person: UnknownPerson) -> dict[str, Any]:
    last = datetime.fromtimestamp(person.visits[-1].time, timezone.utc)
    return {
        "id": person.id,
        "visits": len(person.visits),
        "last": last.isoformat(timespec="seconds"),
        "source": person.faces[0].source if person.faces else None,
        "faces": len(person.faces),
    }
