"""How a gallery comes to be, and whether the file that lies there is the one that was last used."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from jetson_face.core.errors import (
    EmbeddingSpaceError,
    GalleryError,
    GalleryRestoredError,
    OutputError,
)
from jetson_face.core.protocols import Cipher
from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery import manifest, schema, upgrade
from jetson_face.gallery.ledger import ACCEPT, Ledger, Record
from jetson_face.gallery.manifest import Manifest
from jetson_face.gallery.matcher import REEMBED
from jetson_face.gallery.sealed import Sealer

logger = logging.getLogger(__name__)


def create(path: Path, space: EmbeddingSpace, cipher: Cipher | None, ledger: Ledger | None) -> None:
    """Make an empty gallery; one that another process just made stays.

    Who was erased from a gallery that was here before stays erased. Raises what `schema.create`
    raises.
    """
    with contextlib.nullcontext() if ledger is None else ledger.held():
        if ledger is None or not path.exists():
            _create(path, space, cipher, ledger)


def check_space(path: Path, stored: EmbeddingSpace, mine: EmbeddingSpace | None) -> None:
    """Raise EmbeddingSpaceError where `mine` is not the gallery's."""
    if mine is not None and stored != mine:
        raise EmbeddingSpaceError(
            f"{path}: the gallery was made with {stored}, the embedder is {mine}: take another "
            f"gallery (gallery.path), or embed this one again: {REEMBED}"
        )


def remembered(path: Path, ledger: Ledger | None) -> Record | None:
    """What the ledger says, as far as it can be read."""
    try:
        return None if ledger is None else ledger.read()
    except GalleryError as error:
        logger.warning("gallery_history_lost path=%s error=%s", path, error)
        return None


def _create(
    path: Path, space: EmbeddingSpace, cipher: Cipher | None, ledger: Ledger | None
) -> None:
    gallery = str(uuid.uuid4())
    sealer = Sealer(path, cipher, gallery)
    before = remembered(path, ledger)
    erased = before.erased if before is not None else frozenset()
    numbers = [manifest.of_space(sealer, space), *(manifest.of_erased(sealer, t) for t in erased)]
    generation = 1 if before is None else before.generation + 1
    empty = Manifest(generation, 0).after(generation, sum(numbers))
    about = {
        **asdict(space),
        "gallery": gallery,
        "revision": generation,
        "cipher_check": sealer.check_text(),
        manifest.KEY: manifest.sealed(empty, sealer),
    }
    if ledger is not None:
        # First: a gallery that nobody knows of would be taken for a copy.
        with ledger.writing(Record(gallery, generation, empty.total, erased)):
            pass
    try:
        schema.create(path, about, erased)
    except BaseException:
        if ledger is not None and before is not None and not path.exists():
            # The one that was here may come back: on a disk that is away, or from a backup.
            with contextlib.suppress(OutputError), ledger.writing(before):
                pass
        raise
    if before is not None and before.generation > 1:
        logger.warning("gallery_made_anew path=%s the one that was here is gone", path)


def upgrader(path: Path, cipher: Cipher | None, ledger: Ledger | None) -> schema.Upgrade:
    """Brings a gallery of format 1 up to date; raises GalleryRestoredError where the ledger says
    that this was done before, so that the file is an older copy."""

    def upgrade_it(db: sqlite3.Connection, version: int) -> None:
        if version == 2:
            upgrade.to_third(db, path, Sealer(path, cipher))
            return
        known = None if ledger is None else ledger.read()
        if known is not None and known.generation > 0:
            raise restored(path, "it is a copy from before an upgrade of this program")
        gallery = upgrade.to_second(db, path, Sealer(path, cipher))
        if ledger is not None:
            # Before it is in force: a gallery that nobody knows of would be taken for a copy.
            with ledger.held(), ledger.writing(Record(gallery, 0, 0)):
                pass

    return upgrade_it


def compare(
    path: Path, found: Record, known: Record | None, people: Callable[[], set[bytes]]
) -> None:
    """Whether the gallery is the one that was last used. people: the tags of those enrolled.

    Raises GalleryRestoredError.
    """
    if known is None:
        raise restored(path, "nothing here says how often it changed: it comes from elsewhere")
    if found.gallery != known.gallery:
        raise restored(path, "it is another gallery than the one that was used here")
    if found.generation < known.generation:
        raise restored(path, "it is an older copy, in which later changes are missing")
    if found.generation == known.generation and found.total != known.total:
        raise restored(path, "it is a copy that was changed apart from this one")
    if known.erased and known.erased & people():
        raise restored(path, "somebody who was erased is in it")


def restored(path: Path, why: str) -> GalleryRestoredError:
    """The gallery is not the one that was last used, and what to do."""
    return GalleryRestoredError(
        f"{path}: the gallery is not the one that was last used: {why}: put the right file back, "
        f"or take this one with {ACCEPT} (who was erased since is erased again)"
    )
