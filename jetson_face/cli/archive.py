"""`jetson-face archive index|search|erase`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetson_face.cli.common import (
    add_config_arguments,
    agreed,
    config_of,
    counted,
    number,
    say,
    say_json,
    show_line,
    whole,
)
from jetson_face.cli.results import check_results
from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError, UsageError

if TYPE_CHECKING:  # the commands without the extra `archive` must not import these
    from jetson_face.archive.indexer import PieceIndexer
    from jetson_face.archive.run import IndexReport, PieceWorkers
    from jetson_face.archive.searching import SearchAnswer
    from jetson_face.archive.store import ArchiveStore
    from jetson_face.archive.visits import ArchivedVisit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which recordings."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _index_arguments(actions.add_parser("index", help="index recordings"))
    _search_arguments(actions.add_parser("search", help="find somebody's visits"))
    _erase_arguments(actions.add_parser("erase", help="delete somebody's tracks, or old days"))


def _index_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a recording, a folder, or s3://BUCKET/FOLDER"
    )
    sub.add_argument("--into", metavar="ARCHIVE", help="default: archive.path")
    sub.add_argument("--camera", metavar="NAME", help="instead of what folders and names say")
    sub.add_argument(
        "--start", type=moment, metavar="TIME", help="when the recording starts, ISO 8601"
    )
    sub.add_argument(
        "--ray", metavar="ADDRESS", help="work on a Ray cluster: auto, local, or HOST:PORT"
    )
    sub.add_argument("--workers", type=whole(1), metavar="N", help="with --ray; default: its cores")
    sub.add_argument(
        "--gpu-share", type=number, default=0.0, metavar="X", help="of a GPU, for each worker"
    )
    sub.add_argument("--json", action="store_true", help="print the report as JSON")
    add_config_arguments(sub)


def _search_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "who", metavar="PHOTO|NAME|TRACK", help="a picture with one face, a name or id, or a track"
    )
    sub.add_argument("--in", dest="archive", metavar="ARCHIVE", help="default: archive.path")
    sub.add_argument("--from", dest="begin", type=moment, metavar="TIME", help="ISO 8601, in UTC")
    sub.add_argument("--to", dest="end", type=moment, metavar="TIME", help="ISO 8601, in UTC")
    sub.add_argument("--camera", metavar="NAME", help="of this camera only")
    sub.add_argument("--reason", default="", metavar="TEXT", help="why; goes into the log of use")
    sub.add_argument(
        "--fpir",
        type=number,
        default=0.1,
        metavar="SHARE",
        help="show visits up to this FPIR (default 0.1)",
    )
    sub.add_argument("--count", type=int, default=10, metavar="N", help="visits to show")
    sub.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="write a contact sheet")
    sub.add_argument("--clips", type=Path, metavar="FOLDER", help="cut the visits out")
    sub.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(sub)


def _erase_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "who", nargs="?", metavar="PHOTO|NAME", help="a picture with one face, or a name or id"
    )
    sub.add_argument("--before", type=moment, metavar="DAY", help="delete all days before this one")
    sub.add_argument("--camera", metavar="NAME", help="with --before: of this camera only")
    sub.add_argument("--in", dest="archive", metavar="ARCHIVE", help="default: archive.path")
    sub.add_argument(
        "--similarity-min",
        type=number,
        metavar="COSINE",
        help="delete tracks as similar as this; default: the network's own",
    )
    sub.add_argument("--yes", action="store_true", help="do not ask")
    add_config_arguments(sub)


def moment(text: str) -> float:
    """UTC seconds of an ISO 8601 date or time; without an offset it is UTC. Raises
    argparse.ArgumentTypeError."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time like 2026-03-14 or 2026-03-14T08:30:00"
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)
    return found.timestamp()


def run(args: argparse.Namespace) -> int:
    """Raises UsageError, MissingDependencyError, and what the archive, the gallery and the networks
    raise."""
    config = config_of(args)
    if args.action == "index":
        return _index(config, args)
    return _search(config, args) if args.action == "search" else _erase(config, args)


def _index(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.archive.indexer import PieceIndexer
    from jetson_face.archive.opening import archive_place, open_archive
    from jetson_face.archive.recordings import find_recordings
    from jetson_face.archive.run import ArchiveRun
    from jetson_face.archive.withheld import withheld_faces

    # first: what is missing is said at once, not after the networks are loaded
    archive_place(config, args.into)
    found = find_recordings(args.sources, camera=args.camera, start=args.start)
    with closing(PieceIndexer(config)) as indexer:
        store = open_archive(config, args.into, indexer.space, create=True)
        with show_line() as tell, _workers(config, args, indexer) as workers:
            hides = withheld_faces(config, indexer.space)
            report = ArchiveRun(config, store, hides=hides, progress=tell).run(found, workers)
    if args.json:
        say_json(_plain_report(report))
    else:
        _say_report(report, store.place.shown)
    return InputBrokenError.exit_code if report.refused else 0


@contextmanager
def _workers(
    config: Config, args: argparse.Namespace, indexer: PieceIndexer
) -> Iterator[PieceWorkers]:
    if args.ray is None:
        yield indexer
        return
    from jetson_face.archive.ray_workers import RayWorkers

    share = args.gpu_share
    # ray prints what happens to its nodes among what a command answers
    with (
        redirect_stdout(sys.stderr),
        closing(RayWorkers(config, args.ray, workers=args.workers, gpu_share=share)) as workers,
    ):
        yield workers


def _say_report(report: IndexReport, where: str) -> None:
    say(
        f"{where}: {report.tracks} tracks from {report.video_s / 3600:.2f} hours of video "
        f"({report.recordings - report.known - len(report.refused)} recordings indexed, "
        f"{report.known} known before, {len(report.refused)} refused)"
    )
    if report.pieces:
        say(
            f"looked at {report.looked} of {report.frames} frames; "
            f"{report.without_template} tracks gave no template"
        )
        say(
            f"{report.hours_per_hour:.1f} hours of video an hour, "
            f"{report.hours_per_core_hour:.1f} an hour and core"
        )
    if report.assumed_times:
        say(
            f"{report.assumed_times} recordings have no time in their names: that of their last "
            "change was taken for their end",
            err=True,
        )
    if report.dropped_days:
        say(f"{report.dropped_days} old days of a camera are deleted")
    for error in report.refused.values():
        say(f"jetson-face: refused: {error}", err=True)


def _plain_report(report: IndexReport) -> dict[str, Any]:
    return {
        "recordings": report.recordings,
        "known": report.known,
        "pieces": report.pieces,
        "tracks": report.tracks,
        "without_template": report.without_template,
        "withheld": report.withheld,
        "frames": report.frames,
        "looked": report.looked,
        "video_s": round(report.video_s, 3),
        "wall_s": round(report.wall_s, 3),
        "cpu_s": round(report.cpu_s, 3),
        "hours_per_hour": round(report.hours_per_hour, 2),
        "hours_per_core_hour": round(report.hours_per_core_hour, 2),
        "dropped_days": report.dropped_days,
        "refused": report.refused,
    }


def _search(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.archive import searching, showing
    from jetson_face.archive.opening import open_archive
    from jetson_face.archive.probes import probe_of

    searching.check_allowed(config, args.reason)
    if args.count < 1:
        raise UsageError("--count is 1 or more")
    given, files = [Path(args.who)], [args.config]
    check_results({"--sheet": args.sheet}, inputs=given, config_files=files, config=config)
    store = open_archive(config, args.archive)
    probe = probe_of(config, store, args.who)
    wanted = searching.ArchiveFilter(args.begin, args.end, args.camera, args.fpir)
    answer = searching.search(config, store, probe, wanted, args.count, args.reason)
    _check_clips(args, config, store, answer.visits)
    if args.sheet is not None:
        showing.contact_sheet(args.sheet, answer.visits, showing.tracks_in(store, answer.visits))
    clips: list[Path] = []
    missing: list[str] = []
    if args.clips is not None:
        clips, missing = showing.cut_clips(store, answer.visits, args.clips)
    if args.json:
        say_json(_plain_answer(answer))
    else:
        _say_answer(answer, probe.shown)
    for path in clips:
        say(f"wrote {path}", err=args.json)
    for why in missing:
        say(f"jetson-face: no clip: {why}", err=True)
    return 0


def _check_clips(
    args: argparse.Namespace, config: Config, store: ArchiveStore, visits: Sequence[ArchivedVisit]
) -> None:
    """Raises UsageError where a clip would take the place of a recording that is known."""
    from jetson_face.archive.books import RecordingBook
    from jetson_face.archive.showing import clip_paths

    if args.clips is None:
        return
    clips = {path.name: path for path in clip_paths(visits, args.clips) if path.exists()}
    if clips:
        addresses = RecordingBook(store.place).addresses()
        known = [Path(address) for address in addresses if "://" not in address]
        check_results(clips, inputs=known, config=config)


def _say_answer(answer: SearchAnswer, who: str) -> None:
    from jetson_face.archive.showing import shown_rate, shown_time

    cameras = counted(len(answer.cameras), "camera")
    say(f"{who}: compared with {answer.searched} tracks of {cameras}")
    for place, visit in enumerate(answer.visits, 1):
        say(
            f"{place}. {visit.camera}  {shown_time(visit.start)} to {shown_time(visit.end)}  "
            f"similarity {visit.similarity:.3f}  {shown_rate(visit.fpir)}"
        )
    if not answer.visits:
        say("no track is more alike than chance would have it (see --fpir)")
    elif answer.certain is not None:
        say(
            "FPIR: how often a search for somebody who is not in the archive finds a track so "
            "similar" + ("" if answer.certain else " (continued beyond the sizes measured)")
        )


def _plain_answer(answer: SearchAnswer) -> dict[str, Any]:
    return {
        "searched": answer.searched,
        "cameras": list(answer.cameras),
        "fpir_measured": answer.certain,
        "visits": [_plain_visit(visit) for visit in answer.visits],
    }


def _plain_visit(visit: ArchivedVisit) -> dict[str, Any]:
    return {
        "camera": visit.camera,
        "start": visit.start,
        "end": visit.end,
        "similarity": round(visit.similarity, 4),
        "fpir": visit.fpir,
        "tracks": [hit.id for hit in visit.tracks],
    }


def _erase(config: Config, args: argparse.Namespace) -> int:
    from jetson_face.archive.opening import open_archive
    from jetson_face.archive.store import day_of

    if (args.who is None) == (args.before is None):
        raise UsageError("say whose tracks, or which days with --before: one of them")
    store = open_archive(config, args.archive)
    if args.before is not None:
        day = day_of(args.before)
        if not (args.yes or agreed(f"every day before {day} in {store.place.shown}")):
            return 1
        with store.writing():
            say(f"{store.drop_days(day, args.camera)} days of a camera are deleted")
        return 0
    return _erase_person(config, args, store)


def _erase_person(config: Config, args: argparse.Namespace, store: ArchiveStore) -> int:
    from jetson_face.archive.erasing import erase_probe, tracks_like
    from jetson_face.archive.probes import probe_of

    probe = probe_of(config, store, args.who)
    least = probe.similarity_min if args.similarity_min is None else args.similarity_min
    hits = tracks_like(store, probe.vectors, probe.space, least)
    whom = f"{len(hits)} tracks that look like {probe.shown} (similarity {least:.3f} or more)"
    if not (args.yes or agreed(whom)):
        return 1
    receipt, path = erase_probe(config, store, probe, hits)
    say(f"{receipt.archive_tracks} tracks are erased; receipt: {path}")
    if receipt.complete:
        return 0
    say(f"{len(receipt.failed)} tracks are still there: run it again", err=True)
    return 1
