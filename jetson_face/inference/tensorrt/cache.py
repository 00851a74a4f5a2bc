"""The folder of plans: each `*.plan` has a side-car `*.json` that says what it is."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jetson_face.core.errors import EngineError, OutputError
from jetson_face.inference.tensorrt.key import ANY_DEVICE, BUILD_COMMAND, EngineKey
from jetson_face.util.files import TEMPORARY, write_all
from jetson_face.util.locks import HeldError, file_lock

log = logging.getLogger(__name__)

FORMAT = 1
ParityState = Literal["passed", "failed", "unchecked"]


def reason(exc: OSError) -> str:
    """What went wrong, with the way out where there is a usual one."""
    text = exc.strerror or str(exc)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{text}: free some space, or set engines.cache to another disk"
    if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{text}: set engines.cache to a folder that this user may write to"
    return text


@dataclass(frozen=True, slots=True)
class SideCar:
    """What a plan is. plan_sha256: of the plan's bytes. parity: the gate's answer and its rows."""

    key: EngineKey
    plan_sha256: str
    plan_bytes: int
    built_at: str
    build_s: float
    parity: ParityState
    parity_rows: tuple[Mapping[str, Any], ...] = ()

    def to_bytes(self) -> bytes:
        """As JSON."""
        data = {**asdict(self), "format": FORMAT, "build_s": round(self.build_s, 3)}
        return (json.dumps(data, indent=2, sort_keys=True) + "\n").encode()

    def judged(self, passed: bool, rows: Sequence[Mapping[str, Any]]) -> SideCar:
        """The same plan after a parity check."""
        state: ParityState = "passed" if passed else "failed"
        return replace(self, parity=state, parity_rows=tuple(rows))

    @classmethod
    def read(cls, path: Path) -> SideCar:
        """Raises EngineError."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise EngineError(f"{path}: the plan has no side-car: run {BUILD_COMMAND}") from None
        except OSError as exc:
            raise EngineError(
                f"{path}: the side-car is damaged ({exc!r}): run {BUILD_COMMAND}"
            ) from exc
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, where: str) -> SideCar:
        """where: for the message. Raises EngineError."""
        try:
            data = json.loads(content)
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r}")
            if data["parity"] not in ("passed", "failed", "unchecked"):
                raise ValueError(f"parity {data['parity']!r}")
            return cls(
                key=EngineKey.from_json(data["key"]),
                plan_sha256=str(data["plan_sha256"]),
                plan_bytes=int(data["plan_bytes"]),
                built_at=str(data["built_at"]),
                build_s=float(data["build_s"]),
                parity=data["parity"],
                parity_rows=tuple(data["parity_rows"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as exc:
            raise EngineError(
                f"{where}: the side-car is damaged ({exc!r}): run {BUILD_COMMAND}"
            ) from exc


@dataclass(frozen=True, slots=True)
class Entry:
    """One plan of the folder; without a side-car `problem` says why."""

    plan: Path
    side_car: SideCar | None
    problem: str | None


class EngineCache:
    """Plans of one folder. The folder is made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, key: EngineKey) -> Path:
        """Where this key's plan is, or would be."""
        return self.folder / f"{key.stem}.plan"

    def entries(self) -> list[Entry]:
        """Every plan of the folder, by name. Raises EngineError where it cannot be read."""
        try:
            plans = sorted(self.folder.glob("*.plan"))
        except OSError as exc:
            raise EngineError(f"{self.folder}: cannot be read: {reason(exc)}") from exc
        found = []
        for plan in plans:
            try:
                found.append(Entry(plan, SideCar.read(plan.with_suffix(".json")), None))
            except EngineError as exc:
                found.append(Entry(plan, None, str(exc)))
        return found

    def find(self, key: EngineKey) -> SideCar:
        """The side-car of the plan that fits `key`, whatever its parity state.

        Raises EngineError, saying how the nearest plan differs and the command that builds it.
        """
        candidates = [self.path_of(key), self.path_of(replace(key, device=ANY_DEVICE))]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise EngineError(self._why_missing(key))
        side_car = SideCar.read(path.with_suffix(".json"))
        differences = side_car.key.differences(key)
        if differences:
            raise EngineError(f"{path}: {'; '.join(differences)}: run {BUILD_COMMAND}")
        return side_car

    def load(self, key: EngineKey, *, unchecked: bool = False) -> bytes:
        """The plan's bytes, whole and activated. unchecked: also one that no gate has seen yet.

        Raises EngineError.
        """
        side_car = self.find(key)
        path = self.path_of(side_car.key)
        if side_car.parity == "failed" and not unchecked:
            raise EngineError(f"{path}: failed the parity gate: run {BUILD_COMMAND}")
        if side_car.parity != "passed" and not unchecked:
            raise EngineError(
                f"{path}: has not passed the parity gate yet: run jetson-face engines check"
            )
        try:
            data = path.read_bytes()
        except OSError as exc:
            raise EngineError(f"{path}: cannot be read: {reason(exc)}") from exc
        if hashlib.sha256(data).hexdigest() != side_car.plan_sha256:
            raise EngineError(f"{path}: the plan is damaged (SHA-256): run {BUILD_COMMAND} --force")
        return data

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One builder at a time; also sweeps away what an interrupted one left.

        Raises EngineError where another process builds, OutputError where nothing can be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{self.folder}: cannot be made: {reason(exc)}") from exc
        path = self.folder / ".lock"
        with ExitStack() as stack:
            try:
                stack.enter_context(file_lock(path, mode=0o644))
            except HeldError as exc:
                raise EngineError(
                    f"building engines is already under way in {self.folder} (process {exc.pid}): "
                    "wait for it to end"
                ) from None
            except OSError as exc:
                raise OutputError(f"{path}: cannot be locked: {reason(exc)}") from exc
            for stale in self.folder.glob(f"{TEMPORARY}*"):
                stale.unlink(missing_ok=True)
            yield

    def store(self, side_car: SideCar, plan: bytes) -> Path:
        """Put a plan and its side-car in place; the caller holds the lock.

        A reader between the two renames sees a SHA-256 that does not fit, never a wrong plan.
        Raises OutputError; what was there before then still is, side-car included.
        """
        path = self.path_of(side_car.key)
        write_all({path: plan, path.with_suffix(".json"): side_car.to_bytes()}, reason)
        return path

    def mark(self, side_car: SideCar) -> None:
        """Replace a plan's side-car, as after a later parity check. Raises OutputError."""
        path = self.path_of(side_car.key).with_suffix(".json")
        write_all({path: side_car.to_bytes()}, reason)

    def clean(self, keep: Collection[Path] = ()) -> list[Path]:
        """Remove every plan but those in `keep`, with side-cars, timing caches and leftovers.

        Other files of the folder stay. The caller holds the lock. Returns what was removed.
        Raises OutputError.
        """
        plans = [e.plan for e in self.entries() if e.plan not in keep]
        doomed = [*plans, *(path.with_suffix(".json") for path in plans)]
        doomed += self.folder.glob(f"{TEMPORARY}*")
        doomed += [] if keep else self.folder.glob("*.timing")
        removed = [path for path in doomed if path.exists()]
        for path in removed:
            try:
                path.unlink(missing_ok=True)
            except OSError as exc:
                raise OutputError(f"{path}: cannot be removed: {reason(exc)}") from exc
        return removed

    def _timing_path(self, key: EngineKey) -> Path:
        sm = key.compute_capability.replace(".", "")
        return self.folder / f"{key.flavour}-{key.version}-sm{sm}.timing"

    def read_timing(self, key: EngineKey) -> bytes:
        """Measurements of earlier builds, empty where there are none."""
        try:
            return self._timing_path(key).read_bytes()
        except OSError:
            return b""

    def write_timing(self, key: EngineKey, content: bytes) -> None:
        """Keep measurements for the next build. Raises OutputError."""
        if content:
            write_all({self._timing_path(key): content}, reason)

    def _why_missing(self, key: EngineKey) -> str:
        same = [
            e.side_car.key
            for e in self.entries()
            if e.side_car and e.side_car.key.network == key.network
        ]
        if not same:
            return (
                f"no plan for {key.network} ({key.precision}) in {self.folder}: run {BUILD_COMMAND}"
            )
        nearest = min(same, key=lambda other: len(other.differences(key)))
        why = "; ".join(nearest.differences(key)) or "another device"
        return f"the plan for {key.network} does not fit this machine: {why}: run {BUILD_COMMAND}"
