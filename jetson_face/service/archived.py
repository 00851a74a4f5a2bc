"""What the archive of recordings holds of a person who is erased.

Nothing of it is imported where no archive is configured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jetson_face.config import Config
from jetson_face.core.errors import OutputError
from jetson_face.factory.threshold import own_threshold
from jetson_face.gallery.matcher import GallerySnapshot


def archived_tracks(
    config: Config, snapshot: GallerySnapshot, person: str
) -> dict[str, tuple[str, ...]]:
    """Tracks (ids) that look like a person (id), by partition: as similar to one of the templates
    as the network's own threshold. Raises the archive's errors."""
    index = snapshot.index_of(person)
    if config.archive.path is None or index is None:
        return {}
    from jetson_face.archive.erasing import by_partition, tracks_like
    from jetson_face.archive.opening import open_archive

    store = open_archive(config)
    hits = tracks_like(store, snapshot.own(index), snapshot.space, own_threshold(config))
    return {part: tuple(sorted(ids)) for part, ids in by_partition(hits).items()}


def erase_archived(config: Config, parts: Mapping[str, Sequence[str]]) -> int:
    """Delete these tracks; how many there were. Raises OutputError where some are left, and the
    archive's errors."""
    if not parts:
        return 0
    from jetson_face.archive.erasing import erase_tracks
    from jetson_face.archive.opening import open_archive

    store = open_archive(config)
    done = erase_tracks(store, {part: set(ids) for part, ids in parts.items()})
    if done.left:
        raise OutputError(f"{store.place.shown}: {len(done.left)} tracks are still there")
    return done.tracks
