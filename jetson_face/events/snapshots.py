"""Pictures of events on disk: encrypted, bounded by size and age, the oldest given up first."""

from __future__ import annotations

import heapq
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jetson_face.core.errors import OutputError
from jetson_face.core.protocols import Cipher
from jetson_face.util.files import TEMPORARY, sync_folder, write_file

logger = logging.getLogger(__name__)

_OLDEST = 500
"""Pictures to be given up next that are remembered."""
_NAME = re.compile(r"^(\d{15})-(\d{12})-([\w.-]{1,80})\.crop$")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One picture. age_ms: service time when it was taken. owner: a person's id, or `unknown`."""

    path: Path
    age_ms: int
    number: int
    owner: str


class SnapshotStore:
    """A folder (0700) of sealed JPEGs (0600). Any thread.

    age: service seconds now (`Outbox.age`): never wall time, a clock step must expire nothing.
    cipher: None stores in the clear, for tests only.
    """

    def __init__(
        self,
        folder: Path,
        cipher: Cipher | None,
        *,
        age: Callable[[], float],
        max_bytes: int = 512 << 20,
        max_age_s: float = 14 * 86400.0,
    ) -> None:
        self._folder, self._cipher, self._age = folder, cipher, age
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._lock = threading.Lock()
        self._oldest: deque[Snapshot] = deque()
        self.evicted = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for unfinished in folder.glob(f"{TEMPORARY}*"):
            unfinished.unlink(missing_ok=True)
        found = sorted(self._scan(), key=_order)
        self._number = max((snapshot.number for snapshot in found), default=0)
        self._bytes = sum(_size(snapshot.path) for snapshot in found)

    def add(self, jpeg: bytes, owner: str = "unknown") -> Snapshot:
        """Store a picture, giving up the oldest where there is no room left.

        Raises OutputError where the disk does not take it even so.
        """
        with self._lock:
            self._number += 1
            name = f"{int(self._age() * 1000):015d}-{self._number:012d}-{owner}.crop"
            match = _NAME.match(name)
            if match is None:
                raise ValueError(f"not an owner's id: {owner!r}")
            data = self._cipher.encrypt(jpeg, name.encode()) if self._cipher else jpeg
            self._shrink(self._max_bytes - len(data))
            path = self._folder / name
            try:
                self._write(path, data)
            except OutputError:
                # A full disk gives up old pictures before anything else.
                if self._shrink(self._bytes - 4 * len(data)) == 0:
                    raise
                self._write(path, data)
            self._bytes += len(data)
            return _snapshot(path, match)

    def read(self, snapshot: Snapshot) -> bytes:
        """The JPEG. Raises GalleryError where the key or the file is not right, OSError where it
        has gone."""
        data = snapshot.path.read_bytes()
        return self._cipher.decrypt(data, snapshot.path.name.encode()) if self._cipher else data

    def stored(self, owner: str | None = None) -> list[Snapshot]:
        """Oldest first; of one owner, or all."""
        return sorted((s for s in self._scan() if owner in (None, s.owner)), key=_order)

    def make_room(self, needed: int) -> int:
        """Give up the oldest until `needed` bytes are free of them; returns the bytes freed."""
        with self._lock:
            return self._shrink(self._bytes - needed)

    def remove_owner(self, owner: str) -> list[str]:
        """Erase every picture of a person; returns the file names. Raises OutputError where one
        cannot be erased; the others are."""
        with self._lock:
            found = self.stored(owner)
            kept = [snapshot for snapshot in found if not self._unlink(snapshot)]
            if found:
                sync_folder(self._folder)
        if kept:
            raise OutputError(
                f"{self._folder}: {len(kept)} of {len(found)} pictures cannot be erased"
            )
        return [snapshot.path.name for snapshot in found]

    def remove(self, names: Iterable[str]) -> None:
        """Erase these pictures (file names), as far as they are there."""
        wanted = set(names)
        with self._lock:
            for snapshot in self._scan():
                if snapshot.path.name in wanted:
                    self._unlink(snapshot)
            sync_folder(self._folder)

    def prune(self) -> int:
        """Erase what is too old or too much; returns how many. For a timer."""
        with self._lock:
            # Another process may have erased a person's pictures meanwhile.
            self._bytes = sum(_size(snapshot.path) for snapshot in self._scan())
            self._oldest.clear()
            limit = (self._age() - self._max_age_s) * 1000
            old = [snapshot for snapshot in self._scan() if snapshot.age_ms < limit]
            gone = sum(self._unlink(snapshot) for snapshot in old)
            before = self.evicted
            self._shrink(self._max_bytes)
            return gone + self.evicted - before

    @property
    def used_bytes(self) -> int:
        """Bytes of all pictures."""
        return self._bytes

    def _shrink(self, target: int) -> int:
        """Erase the oldest until at most `target` bytes are left; returns the bytes freed."""
        start, fresh = self._bytes, False
        while self._bytes > max(target, 0):
            before = self._bytes
            while self._oldest and self._bytes > max(target, 0):
                self.evicted += self._unlink(self._oldest.popleft())
            if fresh and self._bytes == before:
                break  # a disk that erases nothing
            if self._bytes > max(target, 0):
                # Listing a full folder takes up to a second: not for each picture.
                self._oldest.extend(heapq.nsmallest(_OLDEST, self._scan(), key=_order))
                fresh = True
        return start - self._bytes

    def _write(self, path: Path, data: bytes) -> None:
        """Raises OutputError. The folder may have been deleted, and stays private."""
        with suppress(OSError):  # it is there, or the next line says why not
            self._folder.mkdir(parents=True, mode=0o700)
        write_file(path, data, mode=0o600)

    def _unlink(self, snapshot: Snapshot) -> bool:
        """Whether it has gone."""
        size = _size(snapshot.path)
        try:
            snapshot.path.unlink(missing_ok=True)
        except OSError as error:
            logger.error("snapshot_kept path=%s error=%s", snapshot.path, error)
            return False
        self._bytes -= size
        return True

    def _scan(self) -> Iterator[Snapshot]:
        """Nothing where somebody removed the folder."""
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if match := _NAME.match(path.name):
                    yield _snapshot(path, match)


def _snapshot(path: Path, match: re.Match[str]) -> Snapshot:
    return Snapshot(path, int(match[1]), int(match[2]), match[3])


def _order(snapshot: Snapshot) -> int:
    return snapshot.number


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
