"""One track of an archive by its id, which says in what recording it is."""

from __future__ import annotations

import re

from jetson_face.archive import table
from jetson_face.archive.books import RecordingBook
from jetson_face.archive.store import ArchiveStore, day_of, partition
from jetson_face.archive.tracks import ArchivedTrack

_ID = re.compile(r"([0-9a-f]{16})-(\d{9})-\d{5}")


def is_track(text: str) -> bool:
    """The text has the form of a track's id."""
    return _ID.fullmatch(text) is not None


def find_track(store: ArchiveStore, key: str) -> ArchivedTrack | None:
    """The track; None where there is none. Raises the archive's errors."""
    told = _ID.fullmatch(key)
    entry = None if told is None else RecordingBook(store.place).starting_with(told[1])
    if told is None or entry is None:
        return None
    begins = entry.start + int(told[2]) / 1000
    stops = [stop for start, stop in entry.pieces if start == int(told[2])]
    ends = entry.start + max(stops, default=int(told[2])) / 1000
    for day in sorted({day_of(begins), day_of(ends)}):  # a piece may last beyond midnight
        found = track_in(store, partition(day, entry.camera), key)
        if found is not None:
            return found
    return None


def track_in(store: ArchiveStore, part: str, key: str) -> ArchivedTrack | None:
    """The track in a partition. Raises the archive's errors."""
    for name in store.partitions_of(part):
        where = f"{store.place.shown}/{name}"
        with store.opened(name) as file:
            ids = table.read(file, where, ["id"])["id"].to_pylist()
            if key not in ids:
                continue
            group, row = divmod(ids.index(key), table.ROWS)
            rows = table.read_rows(file, where, group).slice(row, 1)
            (track,) = table.tracks_of(rows, store.space.dim)
            return track
    return None
