"""Plans in one file, for another box with the same GPU and TensorRT.

A plan is code that the GPU's libraries run as it is: one from an unknown hand is as good as a
program from it. So a file is only taken with the SHA-256 that its export printed, which travels by
another way than the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from jetson_face.core.errors import EngineError
from jetson_face.core.version import __version__
from jetson_face.inference.tensorrt.cache import SideCar, reason
from jetson_face.util.files import write_file

FORMAT = "jetson-face.plans/1"
_LARGEST = 4 << 30
_PLANS_MAX = 64


def write_bundle(path: Path, plans: Sequence[tuple[SideCar, bytes]]) -> str:
    """Write plans with their side-cars; the file's SHA-256. The same plans give the same bytes.

    Raises OutputError, EngineError where there is nothing to write.
    """
    if not plans:
        raise EngineError("there is no plan to export: jetson-face engines build")
    buffer = io.BytesIO()
    facts = {"format": FORMAT, "jetson_face": __version__, "plans": len(plans)}
    members = [("manifest.json", json.dumps(facts, sort_keys=True).encode())]
    for side_car, plan in plans:
        members.append((f"{side_car.key.stem}.json", side_car.to_bytes()))
        members.append((f"{side_car.key.stem}.plan", plan))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)  # without a date of its own
    content = buffer.getvalue()
    write_file(path, content)
    return hashlib.sha256(content).hexdigest()


def read_bundle(path: Path, sha256: str) -> list[tuple[SideCar, bytes]]:
    """The plans of a file that is what `sha256` says, each whole. Raises EngineError."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise EngineError(f"{path}: --sha256 takes the 64 digits that `engines export` printed")
    try:
        if path.stat().st_size > _LARGEST:
            raise EngineError(f"{path}: larger than {_LARGEST >> 30} GiB: that is no export")
        content = path.read_bytes()
    except OSError as exc:
        raise EngineError(f"{path}: cannot be read: {reason(exc)}") from exc
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise EngineError(
            f"{path}: is not the file that was exported: its SHA-256 is {found}: copy it again"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _plans(archive, path)
    except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError) as exc:  # or with a password
        raise EngineError(f"{path}: not made by `jetson-face engines export` ({exc})") from exc


def _plans(archive: zipfile.ZipFile, path: Path) -> list[tuple[SideCar, bytes]]:
    facts = json.loads(archive.read("manifest.json"))
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError("another format")
    infos = archive.infolist()
    stored = all(i.compress_type == zipfile.ZIP_STORED for i in infos)
    if len(infos) > 2 * _PLANS_MAX + 1 or not stored:
        raise ValueError("too many files, or compressed ones")
    found = []
    for info in infos:
        if not info.filename.endswith(".plan"):
            continue
        name = info.filename.removesuffix(".plan")
        side_car = SideCar.parse(archive.read(f"{name}.json"), f"{path}: {name}.json")
        plan = archive.read(info)
        if hashlib.sha256(plan).hexdigest() != side_car.plan_sha256:
            raise EngineError(f"{path}: the plan {name} is damaged (SHA-256): export it again")
        found.append((side_car, plan))
    return found
