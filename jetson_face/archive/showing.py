"""What a search leaves to look at: a contact sheet, and the stretch of recording cut out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from jetson_face.archive.books import RecordingBook, RecordingEntry
from jetson_face.archive.looking_up import track_in
from jetson_face.archive.pictures import pictures
from jetson_face.archive.recordings import local_copy
from jetson_face.archive.store import ArchiveStore, day_of, partition
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.archive.visits import ArchivedVisit
from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.types import ImageU8
from jetson_face.util.images import decode_picture, write_picture
from jetson_face.util.whole_video import WholeVideo

_SIDE, _TEXT = 160, 46
_COLUMNS = 5
_AROUND_S = 2.0
_CLIP_MAX_S = 600.0


def tracks_in(store: ArchiveStore, visits: Sequence[ArchivedVisit]) -> dict[str, ArchivedTrack]:
    """The best track of each visit, whole, by id. Raises the archive's errors."""
    found: dict[str, ArchivedTrack] = {}
    for visit in visits:
        best = visit.tracks[0]
        track = track_in(store, partition(day_of(best.start), best.camera), best.id)
        if track is not None:
            found[best.id] = track
    return found


def contact_sheet(
    path: Path, visits: Sequence[ArchivedVisit], tracks: dict[str, ArchivedTrack]
) -> None:
    """The best crop of each visit in its order, with camera, time and similarity. Raises
    OutputError."""
    tiles = [
        _tile(number, visit, tracks[visit.tracks[0].id])
        for number, visit in enumerate(visits, 1)
        if visit.tracks[0].id in tracks
    ]
    if not tiles:
        tiles = [np.full((_SIDE + _TEXT, _SIDE, 3), 255, np.uint8)]
    while len(tiles) % min(_COLUMNS, len(tiles)):
        tiles.append(np.full_like(tiles[0], 255))
    columns = min(_COLUMNS, len(tiles))
    rows = [np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]
    write_picture(path, np.vstack(rows))


def _tile(number: int, visit: ArchivedVisit, track: ArchivedTrack) -> ImageU8:
    tile = np.full((_SIDE + _TEXT, _SIDE, 3), 255, np.uint8)
    crop = decode_picture(track.crops[0], track.id)
    tile[:_SIDE] = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lines = (
        f"{number}. {visit.camera[:18]}",
        f"{shown_time(visit.start)[:16]}",
        f"{visit.similarity:.3f}  {shown_rate(visit.fpir)}",
    )
    for row, text in enumerate(lines):
        at = (3, _SIDE + 13 + 14 * row)
        cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def clip_paths(visits: Sequence[ArchivedVisit], folder: Path) -> list[Path]:
    """What `cut_clips` calls the video of each visit."""
    return [_clip_path(number, visit, folder) for number, visit in enumerate(visits, 1)]


def _clip_path(number: int, visit: ArchivedVisit, folder: Path) -> Path:
    best = visit.tracks[0]
    stamp = shown_time(best.start).replace(":", "-").replace(" ", "T").removesuffix("TUTC")
    return folder / f"{number:02d}-{best.camera}-{stamp}.mp4"


def cut_clips(
    store: ArchiveStore, visits: Sequence[ArchivedVisit], folder: Path
) -> tuple[list[Path], list[str]]:
    """A video of each visit's best track with two seconds around it; the files, and what could not
    be cut and why. Raises OutputError."""
    book = RecordingBook(store.place)
    made: list[Path] = []
    missing: list[str] = []
    for visit, path in zip(visits, clip_paths(visits, folder), strict=True):
        best = visit.tracks[0]
        entry = book.starting_with(best.id.split("-")[0])
        try:
            if entry is None:
                raise InputMissingError(f"{best.id}: its recording is not known any more")
            _cut(entry, best.media_s, best.media_s + best.end - best.start, path)
        except (InputMissingError, InputBrokenError) as error:
            missing.append(str(error))
            continue
        made.append(path)
    return made, missing


def _cut(entry: RecordingEntry, start_s: float, end_s: float, path: Path) -> None:
    begin = max(0.0, start_s - _AROUND_S)
    end = min(end_s + _AROUND_S, begin + _CLIP_MAX_S)
    with closing(WholeVideo(path)) as video:
        with local_copy(entry.address) as recording:
            for picture in pictures(recording, 1000 * begin, entry.fps):
                if picture.at_ms > 1000 * end:
                    break
                image = picture.fetch()
                if image is not None:
                    if not video.begun:
                        video.start(entry.fps, (image.shape[1], image.shape[0]))
                    video.write(image)
        if not video.begun:
            raise InputMissingError(f"{entry.address}: has no frame at {start_s:.0f} s any more")
        video.keep()


def shown_time(utc_s: float) -> str:
    """YYYY-MM-DD HH:MM:SS UTC."""
    return datetime.fromtimestamp(utc_s, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def shown_rate(fpir: float | None) -> str:
    """FPIR in per cent with two digits, or that nothing says it."""
    if fpir is None:
        return "FPIR not known"
    if fpir < 1e-6:
        return "FPIR < 0.0001 %"
    return f"FPIR {100 * fpir:.2g} %" if fpir < 0.1 else f"FPIR {100 * fpir:.0f} %"
