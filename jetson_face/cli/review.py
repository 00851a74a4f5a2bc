"""`jetson-face review list|show|accept|reject|undo|clusters|name`: a person decides about doubtful
faces, one or a whole cluster at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.cli.common import add_config_arguments, config_of, say, say_json
from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.factory.negatives import queued
from jetson_face.factory.parts import build_matcher, open_gallery
from jetson_face.factory.threshold import calibrated, own_threshold
from jetson_face.gallery.negatives import Negatives
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import REVIEW, ReviewQueue
from jetson_face.service.control.clusters import Clusters
from jetson_face.service.erasure import audit_log
from jetson_face.service.previewing import would_change
from jetson_face.service.review import REMOVED, Review
from jetson_face.util.files import write_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which face."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the faces that wait for a person")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="write a face, with whom it may be beside it")
    show.add_argument("number", type=int, metavar="N", help="as `list` says")
    show.add_argument("--out", type=Path, metavar="PICTURE.png", required=True)
    accept = actions.add_parser("accept", help="it is that person: add the face to the gallery")
    accept.add_argument("number", type=int, metavar="N", help="as `list` says")
    accept.add_argument("--as", dest="name", metavar="NAME", help="it is this person, new or not")
    reject = actions.add_parser("reject", help="it is not that person: do not ask again")
    reject.add_argument("number", type=int, metavar="N", help="as `list` says")
    reject.add_argument(
        "--preview", action="store_true", help="only say what past decisions it would change"
    )
    undo = actions.add_parser("undo", help="take the last answer back")
    clusters = actions.add_parser("clusters", help="the faces that wait, those alike together")
    clusters.add_argument("--json", action="store_true", help="print JSON")
    name = actions.add_parser("name", help="all faces of a cluster are that person: add them")
    name.add_argument("number", type=int, metavar="N", help="as `clusters` says")
    name.add_argument("name", metavar="NAME", help="somebody enrolled, or somebody new")
    name.add_argument("--preview", action="store_true", help="only say what it would change")
    for sub in (listing, show, accept, reject, undo, clusters, name):
        add_config_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError for a number that does not wait, the errors of queue and gallery."""
    config = config_of(args)
    if args.action == "reject" and args.preview:
        return _preview(config, args.number)
    if not (config.state_dir / REVIEW).exists():
        if args.action not in ("list", "clusters"):
            raise UsageError("no face waits for review: the service has kept none")
        say("[]" if args.json else "no face waits for review")
        return 0
    with (
        open_gallery(config) as gallery,
        ReviewQueue.open(config.state_dir / REVIEW, open_cipher(config.state_dir)) as queue,
    ):
        review = Review(gallery, queue, audit_log(config))
        if args.action in ("clusters", "name"):
            return _cluster(Clusters(config, review, queue, gallery), review, args)
        return _list(review, args.json) if args.action == "list" else _answer(review, args)


def _preview(config: Config, number: int) -> int:
    with open_gallery(config) as gallery:
        deciding, snapshot = calibrated(config, gallery), gallery.snapshot()
    least = own_threshold(config)
    items = queued(config, snapshot.space)
    wanted = next((one for one in items if one.number == number and one.state == "open"), None)
    if wanted is None:
        raise UsageError(f"no review item {number} waits: see `jetson-face review list`")
    before = build_matcher(deciding, snapshot, least)
    known = before.negatives
    vectors = wanted.item.face.vectors
    person: tuple[str, ...] = (wanted.item.candidate,)
    if known is not None:
        vectors, person = np.concatenate([known.vectors, vectors]), (*known.person, *person)
    after = before.holding(Negatives(vectors, person, least))
    changes = would_change(deciding, least, before, after, items)
    say(f"{len(changes)} of {len(items)} faces of the review queue would be named otherwise")
    say(*(f"  {line}" for line in changes))
    return 0


def _list(review: Review, as_json: bool) -> int:
    """Print what waits; the exit code of damage where something of it is damaged."""
    rows, damage = review.waiting()
    if as_json:
        say_json(rows)
    else:
        say(*(map(_line, rows) if rows else ["no face waits for review"]))
    return 0 if damage is None else damage.exit_code


def _cluster(clusters: Clusters, review: Review, args: argparse.Namespace) -> int:
    """Print the clusters, or name one; 1 where some of its faces could not be added."""
    if args.action == "clusters":
        rows = {row["number"]: row for row in review.waiting()[0]}
        found = clusters.all()
        if args.json:
            say_json([[rows[number] for number in one.numbers] for one in found])
        elif not found:
            say("no face waits for review")
        for one in () if args.json else found:
            say(f"cluster {one.number}, {_faces(len(one.numbers))}")
            say(*(f"  {_line(rows[number])}" for number in one.numbers))
        return 0
    wanted = clusters.of(args.number)
    if args.preview:
        say(*_told(clusters.preview(wanted, args.name)))
        return 0
    named = clusters.name(wanted, args.name)
    for number, why in named.left.items():
        say(f"review item {number} still waits: {why}", err=True)
    if named.person is not None:
        numbers = ", ".join(map(str, named.added))
        say(f"{named.person.name}: {len(named.added)} added (review items {numbers})")
    return 1 if named.left else 0


def _told(preview: dict[str, Any]) -> list[str]:
    """Lines of what a naming would change."""
    lines = [f"{name}: {_faces(count)} more" for name, count in preview["adds"].items()]
    lines += [f"look at {one['number']}: {one['text']}" for one in preview["warnings"]]
    changed = preview["changed"]
    waits = "that still waits" if len(changed) == 1 else "that still wait"
    lines.append(f"{_faces(len(changed))} {waits} would be decided otherwise")
    for one in changed:
        before, after = (one[when]["name"] or one[when]["state"] for when in ("before", "after"))
        lines.append(f"  review item {one['number']}: {before}, then {after}")
    return lines


def _faces(count: int) -> str:
    return "1 face" if count == 1 else f"{count} faces"


def _answer(review: Review, args: argparse.Namespace) -> int:
    if args.action == "undo":
        item = review.undo()
        say(f"review item {item.number} waits again; it was {item.state}")
    elif args.action == "show":
        name, beside = review.show(args.number, lambda png: write_file(args.out, png, mode=0o600))
        say(f"{args.out}: the face of review item {args.number}{f'; beside it {name}' * beside}")
    elif args.action == "accept":
        person = review.accept(args.number, args.name)
        say(f"{person.name}: 1 added; a running recogniser knows it within a second")
    else:
        about = review.reject(args.number)
        if about is None:
            say(f"review item {args.number} was damaged and is thrown away")
        else:
            say(f"review item {args.number}: not {about or REMOVED}")
    return 0


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return str(row["error"])
    who = row["candidate"] or REMOVED
    rival = f", the next {row['second']:.2f}" if row["second"] > -1 else ""
    return (
        f"{row['number']}: {row['time']} {row['source']} track {row['track']}: {who}? "
        f"({row['similarity']:.2f}{rival}, quality {row['quality']:.2f})"
    )
