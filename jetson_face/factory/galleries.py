"""The gallery that the configuration names, with what guards it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from jetson_face.config import Config, default_cache_dir
from jetson_face.core.errors import InputMissingError, OutputError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery.ledger import Ledger
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import AUDIT, AuditLog
from jetson_face.privacy.encryption import open_cipher


def open_gallery(
    config: Config,
    space: EmbeddingSpace | None = None,
    *,
    create: bool = False,
    restored: bool = False,
) -> GalleryStore:
    """The gallery; `space` is what it must be bound to, None where that does not matter.

    restored: open it although it is not the one that was last used, for `GalleryStore.accept`.
    Raises InputMissingError where there is none and `create` is False, or a link to nothing,
    OutputError where its folder cannot be made, and the gallery's errors.
    """
    path = config.gallery_path
    there = path.exists()
    if path.is_symlink() and not there:
        raise InputMissingError(
            f"{path}: a link to {path.readlink()}, which is not there: is a disk not mounted?"
        )
    new = create and not there
    if new:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(
                f"{path.parent}: the gallery's folder cannot be made ({error.strerror}): give "
                "gallery.path or state_dir where it can"
            ) from error
    elif not there:
        raise InputMissingError(f"{path}: there is no gallery yet: enrol somebody first")
    sealed = config.gallery.encrypt
    # A new key opens nothing that is there.
    cipher = open_cipher(config.state_dir, create=new) if sealed else None
    return GalleryStore.open(
        path,
        space,
        create=new,
        timeout_s=config.gallery.lock_timeout_s,
        cipher=cipher,
        ledger=Ledger(_ledger_places(config), cipher),
        recorder=AuditLog(config.state_dir / AUDIT),
        restored=restored,
        withhold_expired=config.privacy.expired_consent == "withhold",
    )


def _ledger_places(config: Config) -> list[Path]:
    """In the state folder and, where it is sealed, in the cache's, which nobody backs up."""
    path, state = config.gallery_path.resolve(), config.state_dir.resolve()
    far = f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}.ledger"
    near = f"{path.name}.ledger" if path.parent == state else far
    places = [state / near]
    return [*places, default_cache_dir() / far] if config.gallery.encrypt else places
