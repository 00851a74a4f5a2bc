"""All templates of an archive in memory, a byte a number, and the exact nearest ones of a probe.

A scan of the compact templates gives each cosine within a known bound; whatever may be among the
best is read from its file in full, and ranked by that: the answer is that of a full comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jetson_face.archive import table
from jetson_face.archive.sealing import damaged
from jetson_face.archive.store import ArchiveStore, day_of, in_force, partition, split_partition
from jetson_face.core.compact import I8, SLACK, cosines
from jetson_face.core.types import F32, I64, BoolArray

Hides: TypeAlias = Callable[[F32], BoolArray]


@dataclass(frozen=True, slots=True)
class TrackHit:
    """A track near a probe. similarity: cosine to the exact template. row: in the index."""

    row: int
    id: str
    camera: str
    start: float
    end: float
    media_s: float
    frames: int
    similarity: float


class _Rows(NamedTuple):
    """codes: (N, dim); scale, error: (N,), see CompactTemplates. times: (N, 2) start and end, UTC
    seconds; frames: (N,) averaged. file: (N,) which of the index's, place: (N,) row in it."""

    codes: I8
    scale: F32
    error: F32
    times: NDArray[np.float64]
    frames: NDArray[np.int32]
    file: NDArray[np.int32]
    place: NDArray[np.int32]


class TemplateIndex:
    """The templates of some partitions of an archive. files: that they are from."""

    def __init__(self, store: ArchiveStore, files: Sequence[str], rows: _Rows) -> None:
        self._store, self.files, self._rows = store, tuple(files), rows

    @classmethod
    def load(
        cls,
        store: ArchiveStore,
        *,
        first: str | None = None,
        last: str | None = None,
        camera: str | None = None,
    ) -> TemplateIndex:
        """The templates of some days (YYYY-MM-DD) and one camera; of all without these. Raises
        InputBrokenError and what decryption raises."""
        rows = [_no_rows(store.space.dim)]
        files: list[str] = []
        for names in store.partitions(first, last, camera).values():
            seen: set[str] = set()
            for name in names:
                rows.append(_rows_of(store, name, seen, len(files)))
                files.append(name)
        return cls(store, files, _Rows(*map(np.concatenate, zip(*rows, strict=True))))

    def __len__(self) -> int:
        return len(self._rows.scale)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self._rows)

    @property
    def cameras(self) -> list[str]:
        """Whose tracks are here."""
        return sorted({split_partition(name.rpartition("/")[0])[1] for name in self.files})

    def within(self, start: float | None, end: float | None) -> int:
        """Tracks that touch this time (UTC seconds)."""
        return len(self) - int(self._outside(start, end).sum())

    def nearest(
        self,
        probe: F32,
        count: int,
        *,
        start: float | None = None,
        end: float | None = None,
        without: Collection[str] = (),
        hides: Hides | None = None,
    ) -> list[TrackHit]:
        """The `count` tracks nearest to a unit vector (dim,), best first; equal ones in the order
        of the index. start, end: UTC seconds that a track must touch. without: tracks (ids) that do
        not count. hides: which of some exact templates (N, dim) must not be shown. Raises as
        `ArchiveStore.opened`."""
        low, high = self._bounds(probe)
        outside = self._outside(start, end)
        low[outside], high[outside] = -np.inf, -np.inf
        there = len(low) - int(outside.sum())
        if not there or count < 1:
            return []
        wanted = count + len(without)
        while True:
            least = -np.inf
            if there > wanted:
                least = float(np.partition(low, len(low) - wanted)[len(low) - wanted])
            maybe = np.flatnonzero((high >= least) & ~outside)
            hits = [hit for hit in self._exact(maybe, probe, hides) if hit.id not in without]
            if len(hits) >= count or there <= wanted:
                break
            wanted *= 2  # some were hidden
        hits.sort(key=lambda hit: (-hit.similarity, hit.row))
        return hits[:count]

    def at_least(self, probes: F32, similarity_min: float) -> list[TrackHit]:
        """Every track whose template is so near to one of the unit vectors (P, dim): cosine, higher
        is more alike. similarity: to the nearest probe. Raises as `ArchiveStore.opened`."""
        maybe = np.zeros(len(self), np.bool_)
        for probe in probes:
            maybe |= self._bounds(probe)[1] >= similarity_min
        hits = self._exact(np.flatnonzero(maybe), probes)
        return [hit for hit in hits if hit.similarity >= similarity_min]

    def _bounds(self, probe: F32) -> tuple[F32, F32]:
        """The least and the greatest cosine that each template may have: (N,), (N,)."""
        about = cosines(self._rows.codes, self._rows.scale, probe[None])[0]
        off = self._rows.error + SLACK
        return about - off, about + off

    def _outside(self, start: float | None, end: float | None) -> NDArray[np.bool_]:
        mask = np.zeros(len(self), np.bool_)
        if start is not None:
            mask |= self._rows.times[:, 1] < start
        if end is not None:
            mask |= self._rows.times[:, 0] > end
        return mask

    def _exact(self, rows: I64, probes: F32, hides: Hides | None = None) -> list[TrackHit]:
        """The rows with their cosine to the nearest of the probes (dim,) or (P, dim)."""
        hits = []
        wide = np.atleast_2d(probes).astype(np.float64)
        for name, own in self._by_file(rows):
            where = f"{self._store.place.shown}/{name}"
            with self._store.opened(name) as file:
                groups = self._rows.place[own] // table.ROWS
                for group in np.unique(groups):
                    found = table.read_rows(file, where, int(group), _EXACT)
                    inside = own[groups == group]
                    places = self._rows.place[inside] % table.ROWS
                    vectors = table.fixed(found["exact"], "<f4", self._store.space.dim)[places]
                    cosines = (vectors.astype(np.float64) @ wide.T).max(axis=1)
                    told = found.drop_columns(["exact"]).take(places.tolist()).to_pylist()
                    hidden = np.zeros(len(vectors), np.bool_) if hides is None else hides(vectors)
                    hits += [
                        self._hit(int(row), facts, float(cosine))
                        for row, facts, cosine, hide in zip(
                            inside, told, cosines, hidden, strict=True
                        )
                        if not hide
                    ]
        return hits

    def _hit(self, row: int, facts: dict[str, object], similarity: float) -> TrackHit:
        start, end = self._rows.times[row]
        name, camera = self.files[self._rows.file[row]], str(facts["camera"])
        if not name.startswith(f"{partition(day_of(float(start)), camera)}/"):
            where = f"{self._store.place.shown}/{name}"
            raise damaged(where, ValueError("it was moved from another day or camera"))
        return TrackHit(
            row=row,
            id=str(facts["id"]),
            camera=camera,
            start=float(start),
            end=float(end),
            media_s=float(str(facts["media_s"])),
            frames=int(self._rows.frames[row]),
            similarity=similarity,
        )

    def _by_file(self, rows: I64) -> Iterator[tuple[str, I64]]:
        files = self._rows.file[rows]
        for number in np.unique(files):
            yield self.files[int(number)], rows[files == number]


_EXACT = ("id", "camera", "media_s", "exact")


def _no_rows(dim: int) -> _Rows:
    empty, ints = np.zeros(0, np.float32), np.zeros(0, np.int32)
    return _Rows(np.zeros((0, dim), np.int8), empty, empty, np.zeros((0, 2)), ints, ints, ints)


def _rows_of(store: ArchiveStore, name: str, seen: set[str], file: int) -> _Rows:
    """Those of one file that are in force."""
    whole = store.read(name, table.SEARCHED)
    keep = in_force(whole, seen)
    times = np.stack([whole["start"].to_numpy(), whole["end"].to_numpy()], axis=1)
    return _Rows(
        codes=table.fixed(whole["codes"], "i1", store.space.dim)[keep],
        scale=whole["scale"].to_numpy()[keep],
        error=whole["error"].to_numpy()[keep],
        times=times[keep],
        frames=whole["frames"].to_numpy()[keep],
        file=np.full(int(keep.sum()), file, np.int32),
        place=np.flatnonzero(keep).astype(np.int32),
    )
