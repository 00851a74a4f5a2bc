"""Files written whole or not at all."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> str:
    """Write by temporary file, fsync and replace; returns the SHA-256 in hexadecimal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return sha256(data).hexdigest()
