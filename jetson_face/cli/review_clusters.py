"""`jetson-face review clusters|name`: doubtful and unknown faces, a whole cluster at once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from jetson_face.cli.common import counted, say, say_json
from jetson_face.config import Config
from jetson_face.factory.parts import open_gallery
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import REVIEW, ReviewQueue
from jetson_face.review.unknowns import UNKNOWNS, UnknownStore
from jetson_face.service.control.clusters import Clusters
from jetson_face.service.erasure import audit_log
from jetson_face.service.review import REMOVED, Review


def add_parsers(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
) -> Sequence[argparse.ArgumentParser]:
    """The two commands."""
    clusters = actions.add_parser("clusters", help="the faces that wait, those alike together")
    clusters.add_argument("--json", action="store_true", help="print JSON")
    name = actions.add_parser("name", help="all faces of a cluster are that person: add them")
    name.add_argument("key", metavar="N", help="as `clusters` says: of an item, or an id")
    name.add_argument("name", metavar="NAME", help="somebody enrolled, or somebody new")
    name.add_argument("--preview", action="store_true", help="only say what it would change")
    return clusters, name


def run(args: argparse.Namespace, config: Config) -> int:
    """1 where some faces of a cluster could not be added. Raises UsageError for a cluster that
    does not wait, NameInvalidError, the errors of queue and gallery."""
    with _opened(config) as (clusters, review):
        if args.action == "clusters":
            return _list(clusters, review, args.json)
        wanted = clusters.of(args.key)
        if args.preview:
            say(*_told(clusters.preview(wanted, args.name)))
            return 0
        named = clusters.name(wanted, args.name)
    for key, why in named.left.items():
        say(f"{key} still waits: {why}", err=True)
    if named.person is not None:
        numbers = ", ".join(map(str, named.added))
        say(f"{named.person.name}: {len(named.added)} added (review items {numbers})")
    return 1 if named.left else 0


@contextmanager
def _opened(config: Config) -> Iterator[tuple[Clusters, Review]]:
    with ExitStack() as files:
        cipher = open_cipher(config.state_dir)
        gallery = files.enter_context(open_gallery(config))
        queue = files.enter_context(ReviewQueue.open(config.state_dir / REVIEW, cipher))
        unknowns = None
        if (config.state_dir / UNKNOWNS).exists():
            path = config.state_dir / UNKNOWNS
            unknowns = files.enter_context(UnknownStore.open(path, cipher))
        review = Review(gallery, queue, audit_log(config))
        yield Clusters(config, review, queue, gallery, unknowns), review


def _list(clusters: Clusters, review: Review, as_json: bool) -> int:
    rows = {row["number"]: row for row in review.waiting()[0]}
    found = clusters.all()
    if as_json:
        say_json(
            [
                {"items": [rows[number] for number in one.numbers], "unknown": list(one.unknowns)}
                for one in found
            ]
        )
        return 0
    if not found:
        say("no face waits for review")
    for one in found:
        say(f"cluster {one.key}, {counted(len(one.numbers) + len(one.unknowns), 'face')}")
        say(*(f"  {line_of(rows[number])}" for number in one.numbers))
        say(*(f"  {who}: nobody enrolled: jetson-face unknown list" for who in one.unknowns))
    return 0


def _told(preview: dict[str, Any]) -> list[str]:
    """Lines of what a naming would change."""
    lines = [f"{name}: {counted(count, 'face')} more" for name, count in preview["adds"].items()]
    lines += [f"look at {one['number'] or 'it'}: {one['text']}" for one in preview["warnings"]]
    changed = preview["changed"]
    wait = counted(len(changed), "face that still waits", "faces that still wait")
    lines.append(f"{wait} would be decided otherwise")
    for one in changed:
        before, after = (one[when]["name"] or one[when]["state"] for when in ("before", "after"))
        lines.append(f"  review item {one['number']}: {before}, then {after}")
    return lines


def line_of(row: dict[str, Any]) -> str:
    """An item that waits, for people."""
    if "error" in row:
        return str(row["error"])
    who = row["candidate"] or ("nobody enrolled" if row.get("unknown") else REMOVED)
    rival = f", the next {row['second']:.2f}" if row["second"] > -1 else ""
    return (
        f"{row['number']}: {row['time']} {row['source']} track {row['track']}: {who}? "
        f"({row['similarity']:.2f}{rival}, quality {row['quality']:.2f})"
    )
