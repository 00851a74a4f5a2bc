"""`jetson-face review list|show|accept|reject|undo|clusters|name`: a person decides about doubtful
faces, one or a whole cluster at once."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from jetson_face.cli import review_clusters
from jetson_face.cli.common import add_config_arguments, config_of, say, say_json
from jetson_face.cli.results import check_results
from jetson_face.cli.review_clusters import line_of
from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.factory.negatives import queued
from jetson_face.factory.parts import build_matcher, open_gallery
from jetson_face.factory.threshold import calibrated, own_threshold
from jetson_face.gallery.negatives import Negatives
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import REVIEW, ReviewQueue
from jetson_face.review.unknowns import UNKNOWNS
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
    show.add_argument("--out", type=Path, metavar="PICTURE.png", required=True)
    accept = actions.add_parser("accept", help="it is that person: add the face to the gallery")
    accept.add_argument("--as", dest="name", metavar="NAME", help="it is this person, new or not")
    reject = actions.add_parser("reject", help="it is not that person: do not ask again")
    reject.add_argument(
        "--preview", action="store_true", help="only say what past decisions it would change"
    )
    for sub in (show, accept, reject):
        sub.add_argument("number", type=int, metavar="N", help="as `list` says")
    undo = actions.add_parser("undo", help="take the last answer back")
    clustered = review_clusters.add_parsers(actions)
    add_config_arguments(listing, show, accept, reject, undo, *clustered)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError for a number that does not wait, the errors of queue and gallery."""
    config = config_of(args)
    written = {"--out": getattr(args, "out", None)}
    check_results(written, config_files=[args.config], config=config)
    if args.action == "reject" and args.preview:
        return _preview(config, args.number)
    of_clusters = args.action in ("clusters", "name")
    kept_in = (REVIEW, UNKNOWNS) if of_clusters else (REVIEW,)
    if not any((config.state_dir / file).exists() for file in kept_in):
        if args.action not in ("list", "clusters"):
            raise UsageError("no face waits for review: the service has kept none")
        say("[]" if args.json else "no face waits for review")
        return 0
    if of_clusters:
        return review_clusters.run(args, config)
    with (
        open_gallery(config) as gallery,
        ReviewQueue.open(config.state_dir / REVIEW, open_cipher(config.state_dir)) as queue,
    ):
        review = Review(gallery, queue, audit_log(config))
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
        say(*(map(line_of, rows) if rows else ["no face waits for review"]))
    return 0 if damage is None else damage.exit_code


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
