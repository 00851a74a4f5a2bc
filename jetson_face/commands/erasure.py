"""Erasing a person for good, with proof and a receipt; and the audit log of the commands."""

from __future__ import annotations

import time
from pathlib import Path

from jetson_face.audit import (
    AuditLog,
    Receipt,
    current_actor,
    files_that_hold,
    utc,
    write_receipt,
)
from jetson_face.config import Config
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.traces import traces_of
from jetson_face.report.snapshots import SnapshotStore

_TRIES = 20


def audit_log(config: Config) -> AuditLog:
    """Who did what to whom."""
    return AuditLog(config.state_dir / "audit.jsonl")


def erase(config: Config, gallery: GalleryStore, who: str) -> tuple[Receipt, Path]:
    """Remove a person's templates, portraits and crops, look whether anything is left, and write
    the receipt; returns it with its path.

    Raises UsageError for nobody of that name, OutputError where the receipt cannot be written, and
    the gallery's errors.
    """
    info = gallery.show(who)
    traces = traces_of(gallery.path, info.person.id)
    removed = gallery.remove(info.person.id)
    crops_folder = config.state_dir / "crops"
    crops: list[str] = []
    if crops_folder.is_dir():
        # No cipher is needed to erase, and the age does not matter.
        crops = SnapshotStore(crops_folder, None, age=lambda: 0.0).remove_owner(info.person.id)
    files = [Path(f"{gallery.path}{suffix}") for suffix in ("", "-wal", "-journal")]
    left = _settle(gallery, traces, files)
    receipt = Receipt(
        person=info.person.id,
        name=info.person.name,
        time=utc(),
        actor=current_actor(),
        templates=len(removed.templates),
        portraits=len(removed.templates),
        crops=tuple(crops),
        review_items=0,
        verified=tuple(path.name for path in files if path.exists() and path not in left),
        failed=tuple(path.name for path in left),
    )
    path = write_receipt(config.state_dir / "receipts", receipt)
    audit_log(config).record(
        "removed",
        person=info.person.id,
        name=info.person.name,
        details={"templates": receipt.templates, "crops": len(crops), "receipt": path.name},
    )
    return receipt, path


def _settle(gallery: GalleryStore, traces: list[bytes], files: list[Path]) -> list[Path]:
    """The files that still hold a trace after a running service had time to let go of them."""
    for _ in range(_TRIES):
        left = files_that_hold(traces, files)
        if not left:
            return []
        time.sleep(0.1)
        gallery.checkpoint()
    return left
