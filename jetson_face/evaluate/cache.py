"""Faces that were found and embedded before, kept on the disk between evaluations."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jetson_face.evaluate.extract import FaceExtractor, Kept, Subject
from jetson_face.files import write_file
from jetson_face.types import ImageU8

FACTS = ("relaxed_search", "alignment", "space", "precision", "backend")
"""What of a method's facts changes its faces, beside the detector's settings."""

_log = logging.getLogger(__name__)
_NO_CROP: ImageU8 = np.zeros((0, 0, 3), np.uint8)


def cache_file(folder: Path, facts: Mapping[str, object]) -> Path:
    """Where the faces of one method are: any other setting that changes them has another file."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return folder / f"faces-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def recall(extractor: FaceExtractor, path: Path) -> int:
    """Give the extractor what was kept; returns of how many pictures.

    A picture that changed since is looked at again; a damaged file is passed over with a warning.
    """
    if not path.is_file():
        return 0
    try:
        with np.load(path, allow_pickle=False) as kept:
            arrays = {key: kept[key] for key in kept.files}
        found: dict[Path, Kept] = {}
        for row, name in enumerate(arrays["path"]):
            picture = Path(str(name))
            if _stamp(picture) != tuple(arrays["stamp"][row]):
                continue
            found[picture] = None
            if not np.isnan(arrays["quality"][row]):
                subject = Subject(
                    _NO_CROP,
                    arrays["box"][row],
                    float(arrays["quality"][row]),
                    bool(arrays["relaxed"][row]),
                    int(arrays["count"][row]),
                )
                found[picture] = (subject, arrays["vector"][row])
    except Exception as error:  # zip, numpy and its header each raise their own
        _log.warning("%s: left out, not a file of faces: %s", path, error)
        return 0
    extractor.remembered.update(found)
    return len(found)


def keep(extractor: FaceExtractor, path: Path) -> None:
    """Write all that the extractor remembers. Raises OutputError."""
    pictures = [picture for picture in extractor.remembered if _stamp(picture) != (0, 0)]
    rows = [extractor.remembered[picture] for picture in pictures]
    nothing = np.full(extractor.embedder.space.dim, np.nan, np.float32)
    no_box = np.full(4, np.nan, np.float32)
    out = io.BytesIO()
    np.savez(
        out,
        path=np.array([str(picture) for picture in pictures], np.str_),
        stamp=np.array([_stamp(picture) for picture in pictures], np.int64).reshape(-1, 2),
        vector=np.array([nothing if r is None else r[1] for r in rows], np.float32),
        box=np.array([no_box if r is None else r[0].box for r in rows], np.float32),
        quality=np.array([np.nan if r is None else r[0].quality for r in rows], np.float32),
        relaxed=np.array([r is not None and r[0].relaxed for r in rows], np.bool_),
        count=np.array([0 if r is None else r[0].count for r in rows], np.int64),
    )
    write_file(path, out.getvalue())


def _stamp(picture: Path) -> tuple[int, int]:
    """Size and time of change; (0, 0) for none."""
    try:
        facts = picture.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
