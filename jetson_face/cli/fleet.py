"""`jetson-face fleet set-up|keys|user|status|people|erase|forget|push-plans|run`."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetson_face.cli.common import (
    above_zero,
    add_config_arguments,
    agreed,
    config_of,
    config_words,
    counted,
    number,
    say,
    say_json,
    say_text,
    show_line,
    show_progress,
    whole,
)
from jetson_face.config import Config
from jetson_face.core.errors import EnrollmentError, InputMissingError, UsageError

if TYPE_CHECKING:  # the commands without the extra `fleet` must not import these
    from jetson_face.fleet.operator import ErasureReport, FleetOperator, SentPerson
    from jetson_face.fleet.status import SeenBox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which boxes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    keys = actions.add_parser("keys", help="make the keys that the configuration names")
    user = actions.add_parser("user", help="print this box as a user for nats-server")
    set_up = actions.add_parser("set-up", help="make the streams on the server")
    set_up.add_argument(
        "--keep-days", type=above_zero, default=30.0, metavar="N", help="of events (default 30)"
    )
    set_up.add_argument(
        "--max-mib", type=whole(1), metavar="N", help="of events (default: no limit)"
    )
    status = actions.add_parser("status", help="how each box is")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.add_argument("--metrics", action="store_true", help="print it for Prometheus")
    erase = actions.add_parser("erase", help="erase somebody on every box")
    erase.add_argument("who", nargs="?", metavar="NAME", help="name or id")
    erase.add_argument("--status", metavar="ID", help="ask again for the receipts of an erasure")
    erase.add_argument(
        "--wait", type=number, default=60.0, metavar="S", help="for the receipts (default 60)"
    )
    erase.add_argument("--yes", action="store_true", help="do not ask")
    forget = actions.add_parser("forget", help="take a box that is gone for good off the list")
    forget.add_argument("name", metavar="SITE/BOX")
    push = actions.add_parser("push-plans", help="give TensorRT plans to equal boards")
    push.add_argument("file", type=Path, metavar="FILE", help="of `jetson-face engines export`")
    push.add_argument("--sha256", required=True, metavar="HEX", help="what the export printed")
    push.add_argument("--to", required=True, metavar="SCOPE", help="group:NAME, site:NAME or all")
    run_it = actions.add_parser("run", help="what the service starts: take part in the fleet")
    run_it.add_argument("--parent", type=int, help="number of an open pipe")
    add_config_arguments(keys, user, set_up, status, erase, forget, push, run_it)
    _people_arguments(actions.add_parser("people", help="who was sent to the boxes; send people"))


def _people_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="people_action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="everybody who was sent")
    listing.add_argument("--json", action="store_true", help="print JSON")
    add = actions.add_parser("add", help="enrol somebody here, and send them")
    add.add_argument("name", metavar="NAME")
    add.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="or a folder of them")
    send = actions.add_parser("send", help="send people who are enrolled here, as they are now")
    send.add_argument("who", nargs="*", metavar="NAME", help="name or id")
    send.add_argument("--all", action="store_true", help="everybody")
    for sub in (add, send):
        sub.add_argument(
            "--to", default="all", metavar="SCOPE", help="all, site:NAME or group:NAME"
        )
    add_config_arguments(listing, add, send)


def run(args: argparse.Namespace) -> int:
    """Raises ConfigError without a fleet, MissingDependencyError, FleetError, and what the gallery
    raises."""
    config = config_of(args)
    if args.action in ("run", "keys", "user"):
        return _without_a_server(config, args)
    actions = {
        "set-up": _set_up,
        "status": _status,
        "people": _people,
        "erase": _erase,
        "forget": _forget,
        "push-plans": _push_plans,
    }
    return actions[args.action](config, args)


def _without_a_server(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.factory.fleet import fleet_of
    from jetson_face.fleet import keys

    if args.action == "run":
        from jetson_face.fleet.running import run_agent

        return run_agent(config, config_words(args), args.parent)
    if args.action == "user":
        say_text(keys.box_user(fleet_of(config)))
        return 0
    for path in keys.make_keys(fleet_of(config)):
        say(f"{path}: made")
    return 0


def _set_up(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.fleet import operator
    from jetson_face.fleet.acts import erase_again

    async def work(server: FleetOperator) -> None:
        say(*await server.set_up(keep_days=args.keep_days, max_mib=args.max_mib))
        for person in await erase_again(config, server):
            say(f"erasure {person}: the server knew nothing of it; told to every box again")

    operator.run(config, work)
    return 0


def _status(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.fleet import operator
    from jetson_face.fleet.status import metrics_text

    boxes: list[SeenBox] = operator.run(config, lambda server: server.boxes())
    now = time.time()
    if args.metrics:
        say_text(metrics_text(boxes, now))
    elif args.json:
        say_json([_plain_box(seen, now) for seen in boxes])
    elif not boxes:
        say("no box has said how it is yet")
    else:
        _say_boxes(boxes, now)
    return 0


def _plain_box(seen: SeenBox, now: float) -> dict[str, Any]:
    ages = {"age_s": round(seen.age(now), 1), "clock_offset_s": round(seen.clock_offset_s, 2)}
    return asdict(seen.status) | ages


def _say_boxes(boxes: Sequence[SeenBox], now: float) -> None:
    rows = [("BOX", "AGE", "VERSION", "PEOPLE", "POSITION", "MODEL", "BACKLOG", "CLOCK", "")]
    for seen in boxes:
        one = seen.status
        notes = [] if one.ready is not False else ["not ready"]
        notes += [f"{len(one.held)} held"] if one.held else []
        notes += [f"{one.erasing} to erase"] if one.erasing else []
        position = max(one.positions.values(), default=0)
        backlog = "-" if one.backlog is None else str(one.backlog)
        rows.append(
            (
                f"{one.site}/{one.box}", f"{seen.age(now):.0f} s", one.version, str(one.people),
                str(position), one.model, backlog, f"{seen.clock_offset_s:+.1f} s",
                ", ".join(notes),
            )
        )  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(text.ljust(n) for text, n in zip(row, widths, strict=True)).rstrip())
    for seen in boxes:
        for who, why in seen.status.held.items():
            say(f"{seen.status.site}/{seen.status.box}: {who} is held: {why}", err=True)
        for scope, became in seen.status.plans.items():
            say(f"{seen.status.site}/{seen.status.box}: plans for {scope}: {became}", err=True)


def _people(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.fleet import operator

    if args.people_action == "list":
        found: list[SentPerson] = operator.run(config, lambda server: server.people())
        _say_people(found, args.json)
        return 0
    if args.people_action == "send" and bool(args.who) == args.all:
        raise UsageError("say whom to send, or --all")
    return _send(config, args)


def _say_people(found: Sequence[SentPerson], as_json: bool) -> None:
    plain = [
        {
            "id": one.person,
            "to": one.scope,
            "version": one.seq,
            "bytes": one.size,
            "name": None if one.record is None else one.record.person.name,
            "photos": 0 if one.record is None else len(one.record.templates),
            "erased": one.erased,
        }
        for one in found
    ]  # fmt: skip
    if as_json:
        say_json(plain)
        return
    there = [one for one in plain if not one["erased"]]
    if not there:
        say("nobody was sent yet: jetson-face fleet people send NAME")
    for one in sorted(there, key=lambda one: str(one["name"]).casefold()):
        name = one["name"] or "sealed with another key"
        say(f"{name}: {one['photos']} photos, to {one['to']}, {one['bytes']} bytes, id {one['id']}")


def _send(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.factory.parts import open_gallery
    from jetson_face.fleet import operator
    from jetson_face.fleet.acts import send_people
    from jetson_face.fleet.subjects import scope_of
    from jetson_face.gallery.replicated import record_of

    scope = scope_of(args.to)
    names = [_enrolled(config, args)] if args.people_action == "add" else args.who
    with open_gallery(config) as gallery:
        if args.people_action == "send" and args.all:
            names = [info.person.id for info in gallery.people()]

        async def work(server: FleetOperator) -> None:
            with show_progress("sending") as progress:
                done = itertools.count(1)
                records = (record_of(gallery, who) for who in names)
                await send_people(
                    config, server, records, scope,
                    lambda one: progress(next(done), len(names), one.person.name),
                )  # fmt: skip

        operator.run(config, work)
    say(f"{counted(len(names), 'person', 'people')} sent to {args.to}")
    return 0


def _enrolled(config: Config, args: argparse.Namespace) -> str:
    """Enrol as `jetson-face enroll --name` does; the person's id."""
    from jetson_face.factory.parts import build_enroller, build_parts, for_photos, open_gallery
    from jetson_face.gallery.enroll import photos_in, strays_in

    photos = [photo for path in args.photos for photo in photos_in(path)]
    parts = for_photos(config, build_parts(config))
    with open_gallery(config, parts.embedder.space, create=True) as gallery:
        enroller = build_enroller(config, parts, gallery)
        with show_progress("enrolling") as progress:
            result = enroller.enroll_photos(args.name, photos, progress=progress)
    strays = [stray for path in args.photos for stray in strays_in(path)]
    for refusal in [*result.refused, *strays]:
        say(f"refused {refusal.path}: {refusal.reason}", err=True)
    if result.person is None:
        raise EnrollmentError(f"{args.name}: no photo was enrolled: see the reasons above")
    say(f"{result.name}: {len(result.added)} added")
    return result.person.id


def _erase(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.fleet import operator
    from jetson_face.fleet.acts import erase_person

    if (args.who is None) == (args.status is None):
        raise UsageError("say whom to erase, or --status ID of an erasure: one of them")

    async def work(server: FleetOperator) -> ErasureReport:
        if args.status is not None:
            return await server.erasure(args.status)
        person, name = await _whom(config, server, args.who)
        await erase_person(config, server, person, name)
        say(f"erasure {person}: told to every box")
        with show_line() as tell:
            return await server.wait(person, args.wait, tell)

    if args.who is not None and not (args.yes or agreed(f"{args.who} on every box")):
        return 1
    return _say_erasure(operator.run(config, work))


async def _whom(config: Config, server: FleetOperator, who: str) -> tuple[str, str]:
    """Id and name of a person, by either: of this box, or who was sent. Raises UsageError."""
    from jetson_face.factory.parts import open_gallery
    from jetson_face.gallery.names import name_key

    try:
        with open_gallery(config) as gallery:
            found = gallery.show(who).person
            return found.id, found.name
    except (UsageError, InputMissingError):
        pass  # not here
    for one in await server.people():
        name = "" if one.record is None else one.record.person.name
        if one.person == who or (name and name_key(name) == name_key(who)):
            return one.person, name
    raise UsageError(f"nobody is called {who!r:.60}: see `jetson-face fleet people list`")


def _say_erasure(report: ErasureReport) -> int:
    for box, receipt in sorted(report.receipts.items()):
        state = "erased" if receipt["complete"] else "NOT COMPLETE"
        counts = ", ".join(
            f"{receipt[key]} {what}"
            for key, what in (
                ("templates", "photos"),
                ("review_items", "review items"),
                ("queued_events", "queued events"),
                ("history_events", "events of the history"),
                ("archive_tracks", "tracks of the archive"),
            )
            if receipt.get(key)
        )
        failed = f"; left in {', '.join(receipt['failed'])}" if receipt["failed"] else ""
        say(f"{box}: {state} {receipt['time']}, {counts or 'nothing was here'}{failed}; "
            f"service: {receipt['service']}")  # fmt: skip
    if report.complete:
        say(f"every box has erased them ({len(report.receipts)} receipts)")
        return 0
    say(
        f"no complete receipt from {', '.join(report.missing)}: ask again with "
        f"`jetson-face fleet erase --status {report.person}`",
        err=True,
    )
    return 1


def _push_plans(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.factory.fleet import fleet_of
    from jetson_face.fleet import operator
    from jetson_face.fleet.keys import public_key
    from jetson_face.fleet.subjects import scope_of
    from jetson_face.inference.tensorrt.bundle import read_bundle

    scope, fleet = scope_of(args.to), fleet_of(config)
    plans = read_bundle(args.file, args.sha256)  # whole, and what it says it is
    content = args.file.read_bytes()
    operator.run(config, lambda server: server.push_plans(fleet, content, scope))
    say(f"{len(plans)} plans pushed to {args.to}: boxes whose fleet.plans_from is")
    say(f"{public_key(fleet)} take them, and use them after their next restart")
    return 0


def _forget(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.fleet import operator
    from jetson_face.fleet.acts import forget_box

    site, _, box = args.name.partition("/")
    if not operator.run(config, lambda server: forget_box(config, server, site, box)):
        raise UsageError(f"no box is called {args.name!r:.80}: see `jetson-face fleet status`")
    say(f"{args.name} is forgotten; take its user out of the server's configuration, too")
    return 0
