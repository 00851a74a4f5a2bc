"""The archive that the configuration or the command line names, with the gallery's key."""

from __future__ import annotations

from jetson_face.archive.places import ArchivePlace
from jetson_face.archive.store import HEAD, ArchiveStore
from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.privacy.encryption import open_cipher


def archive_place(config: Config, address: str | None) -> ArchivePlace:
    """Where the archive is or will be. Raises UsageError where none is named,
    MissingDependencyError."""
    where = address or config.archive.path
    if where is None:
        raise UsageError("no archive is named: give its folder, or set archive.path")
    return ArchivePlace(where)


def open_archive(
    config: Config,
    address: str | None = None,
    space: EmbeddingSpace | None = None,
    *,
    create: bool = False,
) -> ArchiveStore:
    """The archive at an address, or at `archive.path`.

    space: what it must be bound to; create: make it where there is none. Raises UsageError where
    none is named, MissingDependencyError, and as `ArchiveStore.open`.
    """
    place = archive_place(config, address)
    there = place.exists(HEAD)
    new = create and not there
    # a new key opens nothing that is there; what is missing is said before the key is asked for
    sealed = config.gallery.encrypt and (new or there)
    cipher = open_cipher(config.state_dir, create=new) if sealed else None
    if new and space is not None:
        return ArchiveStore.create(place, space, cipher)
    return ArchiveStore.open(place, space, cipher)
