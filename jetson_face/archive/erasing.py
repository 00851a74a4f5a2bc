"""Taking a person's tracks out of an archive, and looking whether any is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetson_face.archive.probes import SearchProbe
from jetson_face.archive.store import ArchiveStore, day_of, partition
from jetson_face.archive.templates import TemplateIndex, TrackHit
from jetson_face.config import Config
from jetson_face.core.errors import EmbeddingSpaceError
from jetson_face.core.types import F32, EmbeddingSpace
from jetson_face.privacy.audit import (
    AUDIT,
    AuditLog,
    Receipt,
    current_actor,
    utc,
    write_receipt,
)


@dataclass(frozen=True, slots=True)
class ArchiveErasure:
    """tracks: how many were deleted. left: tracks (ids) that are still there."""

    tracks: int
    left: tuple[str, ...]


def tracks_like(
    store: ArchiveStore, vectors: F32, space: EmbeddingSpace, similarity_min: float
) -> list[TrackHit]:
    """Every track as similar as that to one of the unit templates (P, dim) of a person.

    similarity_min: cosine, higher is more alike. Raises EmbeddingSpaceError where the archive was
    made with another network, and the archive's errors.
    """
    if space != store.space:
        raise EmbeddingSpaceError(
            f"{store.place.shown}: the archive was made with {store.space}, the gallery with "
            f"{space}: what it holds of a person cannot be found; drop it, or index again"
        )
    return TemplateIndex.load(store).at_least(vectors, similarity_min)


def erase_tracks(store: ArchiveStore, parts: dict[str, set[str]]) -> ArchiveErasure:
    """Delete tracks (ids by partition), with template, crops and boxes; then read the partitions
    again and see whether any is left. Harmless when repeated. Raises StateLockedError, OutputError
    and the archive's errors."""
    count = 0
    with store.writing():
        for part, gone in sorted(parts.items()):
            count += store.remove_tracks(part, gone)
        left = [key for part, gone in sorted(parts.items()) for key in _left(store, part, gone)]
    return ArchiveErasure(count, tuple(left))


def erase_probe(
    config: Config, store: ArchiveStore, probe: SearchProbe, hits: Sequence[TrackHit]
) -> tuple[Receipt, Path]:
    """`erase_tracks` of the tracks found for a probe, with the receipt (and its path) and a line of
    the audit log. Raises as `erase_tracks`."""
    done = erase_tracks(store, by_partition(hits))
    where = store.place.shown
    receipt = Receipt(
        person=probe.person,
        name=probe.shown,
        time=utc(),
        actor=current_actor(),
        templates=0,
        portraits=0,
        crops=(),
        review_items=0,
        verified=() if done.left else (where,),
        failed=tuple(f"{where}: {key}" for key in done.left),
        archive_tracks=done.tracks,
    )
    path = write_receipt(config.state_dir / "receipts", receipt)
    details = {"archive": store.id, "tracks": done.tracks, "receipt": path.name}
    AuditLog(config.state_dir / AUDIT).record(
        "archive_erased", person=probe.person, name=probe.shown, details=details
    )
    return receipt, path


def by_partition(hits: Iterable[TrackHit]) -> dict[str, set[str]]:
    """The tracks' ids by the partition that holds them."""
    found: dict[str, set[str]] = defaultdict(set)
    for hit in hits:
        found[partition(day_of(hit.start), hit.camera)].add(hit.id)
    return dict(found)


def _left(store: ArchiveStore, part: str, gone: set[str]) -> list[str]:
    names = store.partitions_of(part)
    return [key for n in names for key in store.read(n, ["id"])["id"].to_pylist() if key in gone]
