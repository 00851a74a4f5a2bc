"""How often a gallery changed and who was erased from it, kept apart from its file.

A copy of the file from before says an older number: a restored backup, which may bring back people
who were erased, is noticed. The gallery is written first, then the ledger: a process killed between
the two leaves a ledger that is behind, which is brought up to date, never one that is ahead.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetson_face.core.errors import GalleryCorruptError, GalleryRestoredError, OutputError
from jetson_face.core.protocols import Cipher
from jetson_face.gallery.sealed import Sealer

LOCK = ".ledger.lock"
logger = logging.getLogger(__name__)
ACCEPT = "jetson-face gallery accept-restored"


@dataclass(frozen=True, slots=True)
class Record:
    """gallery: its id. generation, total: as in its manifest. erased: tags of people and photos."""

    gallery: str
    generation: int
    total: int
    erased: frozenset[bytes] = frozenset()


class Ledger:
    """One or more files, each sealed and complete; the newest counts.

    places: the first must be writable; the others are witnesses for the case that the first one's
    folder is restored together with the gallery.
    """

    def __init__(self, places: Sequence[Path], cipher: Cipher | None) -> None:
        self._places = tuple(places)
        self._cipher = cipher

    def read(self) -> Record | None:
        """The newest record, None where there is none.

        Raises GalleryRestoredError where every one that is there is damaged, GalleryError for
        another key.
        """
        found, damaged = [], None
        for place in self._places:
            try:
                data = place.read_bytes()
                found.append(self._opened(place, data))
            except FileNotFoundError:
                continue
            except (OSError, GalleryCorruptError) as error:
                damaged = place
                logger.warning("gallery_ledger_unreadable path=%s error=%s", place, error)
        if not found and damaged is not None:
            raise GalleryRestoredError(
                f"{damaged}: what says how often the gallery changed cannot be read: if the "
                f"gallery is the one that was last used, run {ACCEPT}"
            )
        return max(found, key=lambda record: record.generation, default=None)

    @contextlib.contextmanager
    def held(self, *, wait: bool = True) -> Iterator[None]:
        """No other process writes the ledger meanwhile.

        Raises BlockingIOError where one does and `wait` is False, OutputError where the folder
        cannot be made.
        """
        folder = self._places[0].parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Not the folder itself: a running service holds that.
            path = folder / LOCK
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritten(self._places[0], error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def writing(self, record: Record) -> Iterator[None]:
        """The record replaces the ones before once the block, which writes the gallery, is done;
        inside `held`. Raises OutputError where it cannot be written: before the block.
        """
        drafts: list[tuple[Path, Path]] = []
        try:
            drafts += self._drafts(record)
            yield
            for draft, place in drafts:
                draft.replace(place)
        finally:
            for draft, _ in drafts:
                draft.unlink(missing_ok=True)

    @contextlib.contextmanager
    def following(self, record: Record, *, over: bool = False) -> Iterator[None]:
        """As `writing`, for a change of the gallery that the ledger knows.

        over: whatever it says. Raises GalleryRestoredError where the ledger is ahead.
        """
        with self.held():
            newest = None if over else self.read()
            if newest is not None and newest.generation >= record.generation:
                raise GalleryRestoredError(
                    f"{self._places[0]}: the gallery was exchanged for an older copy while this "
                    "program had it open: nothing was changed"
                )
            with self.writing(record):
                yield

    def catch_up(self, record: Record) -> None:
        """Bring a ledger that is behind up to date, unless another process is at it."""
        try:
            with self.held(wait=False):
                newest = self.read()
                if newest is None or newest.generation < record.generation:
                    with self.writing(record):
                        pass
        except BlockingIOError:
            return
        except OutputError as error:
            logger.warning("gallery_ledger_behind error=%s", error)

    def _drafts(self, record: Record) -> Iterator[tuple[Path, Path]]:
        """The record under another name beside each place, on the disk."""
        for number, place in enumerate(self._places):
            draft = place.with_name(f".{place.name}.{secrets.token_hex(6)}")
            try:
                _must_be_file(place)
                _write(draft, self._sealed(place, record))
            except OSError as error:
                draft.unlink(missing_ok=True)
                if number == 0:
                    raise _unwritten(place, error) from error
                logger.warning("gallery_witness_not_written path=%s error=%s", place, error)
            else:
                yield draft, place

    def _sealed(self, place: Path, record: Record) -> bytes:
        plain = {
            "gallery": record.gallery,
            "generation": record.generation,
            "total": f"{record.total:064x}",
            "erased": sorted(tag.hex() for tag in record.erased),
        }
        return Sealer(place, self._cipher).seal(json.dumps(plain).encode(), "ledger")

    def _opened(self, place: Path, data: bytes) -> Record:
        plain = Sealer(place, self._cipher).open(data, "ledger")
        try:
            known = json.loads(plain)
            return Record(
                str(known["gallery"]),
                int(known["generation"]),
                int(known["total"], 16),
                frozenset(bytes.fromhex(tag) for tag in known["erased"]),
            )
        except (ValueError, KeyError, TypeError):
            raise GalleryCorruptError(f"{place}: not a ledger of a gallery") from None


def _must_be_file(place: Path) -> None:
    """Raises OSError for a folder, over which no file can be moved."""
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _write(path: Path, data: bytes) -> None:
    """Owned by whom the folder belongs to: root enrols for the service's user."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(handle, owner.st_uid, owner.st_gid)
        file.write(data)
        file.flush()
        os.fsync(handle)


def _unwritten(place: Path, error: OSError) -> OutputError:
    return OutputError(f"{place}: cannot be written: {error.strerror or error}")
