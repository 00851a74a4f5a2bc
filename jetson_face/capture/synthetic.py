"""`test://`: a camera that needs no hardware, with faults on demand, the same in every run.

    test://?width=640&height=480&fps=30&frames=100&live=0&faces=FOLDER&faults=freeze@30:20,broken@50

faults: `kind@frame` or `kind@frame:argument`, separated by commas:
freeze@N:K (the next K frames show frame N), stall@N:S (frame N takes S seconds), size@N:WxH,
broken@N:K (K frames cannot be decoded), eof@N, disconnect@N:K (lost at N, the next K opens fail),
clock@N:S (the wall clock steps by S seconds).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from jetson_face.capture.source import EndOfSource, FrameBroken, SourceHealth, SourceInfo
from jetson_face.capture.synthetic_scene import SyntheticScene
from jetson_face.capture.uri import SourceUri
from jetson_face.core.errors import InputBrokenError, InputMissingError, SourceError, UsageError
from jetson_face.core.types import Frame
from jetson_face.util.images import SUFFIXES, read_picture

KINDS = ("freeze", "stall", "size", "broken", "eof", "disconnect", "clock")
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Fault:
    """One scripted fault. at: the frame it starts at; argument: as written after the colon."""

    kind: str
    at: int
    argument: str = ""

    def number(self, default: float) -> float:
        """The argument as a number. Raises UsageError."""
        try:
            return float(self.argument) if self.argument else default
        except ValueError:
            raise UsageError(
                f"test:// fault {self.kind}@{self.at}: {self.argument!r} is no number"
            ) from None


@dataclass(frozen=True, slots=True)
class Script:
    """What the synthetic camera does. frames: None never ends. live: paced by the clock, with
    times of the monotonic clock; otherwise as fast as it is read, with media times."""

    width: int = 640
    height: int = 480
    fps: float = 30.0
    frames: int | None = 300
    live: bool = False
    faces: Path | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(slots=True, eq=False)
class SyntheticCamera:
    """The device behind `test://`: it goes on counting frames while it is closed and opened again.

    clock_ns, wall, wait: the time; `wait(event, seconds)` returns early when the event is set.
    """

    script: Script
    clock_ns: Callable[[], int] = time.monotonic_ns
    wall: Callable[[], float] = time.time
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    scene: SyntheticScene = field(default_factory=SyntheticScene)
    index: int = 0
    """The next frame."""
    opens: int = 0
    refuse: int = 0
    """Opens that are going to fail."""
    done: set[Fault] = field(default_factory=set)

    def open(self, name: str, shown: str = "test://") -> SyntheticSource:
        """Connect. Raises SourceError while it plays dead."""
        self.opens += 1
        if self.refuse > 0:
            self.refuse -= 1
            raise SourceError(f"{shown}: the synthetic camera plays dead")
        return SyntheticSource(self, name, shown)


class SyntheticSource:
    """One connection to a SyntheticCamera."""

    def __init__(self, camera: SyntheticCamera, name: str, shown: str) -> None:
        self._camera, self._script = camera, camera.script
        script = camera.script
        self.info = SourceInfo(
            name, shown, script.live, script.width, script.height, script.fps, script.frames
        )
        self._closed = threading.Event()
        self._seq = self._paced = 0
        self._start_ns = camera.clock_ns()

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        return SourceHealth("ended" if self._closed.is_set() else "running", {})

    def read(self, timeout_s: float) -> Frame:
        """See Source; like a bad driver, a stall ignores the time-out."""
        camera, script = self._camera, self._script
        if self._closed.is_set():
            raise EndOfSource
        n = camera.index
        if script.frames is not None and n >= script.frames:
            self._closed.set()
            raise EndOfSource
        self._pace()
        # Counted before the fault: a camera that lost a frame does not send it again.
        camera.index += 1
        self._break(n)
        size = self._size(n)
        image = camera.scene.draw(self._shown_frame(n), *size)
        frame = Frame(image, self._seq, self._captured_ns(n), self._wall(n), self.info.name)
        self._seq += 1
        return frame

    def close(self) -> None:
        """See Source."""
        self._closed.set()

    def _pace(self) -> None:
        if not self._script.live or self._script.fps <= 0:
            return
        due = self._start_ns + round(self._paced * 1e9 / self._script.fps)
        self._paced += 1
        late_s = (due - self._camera.clock_ns()) / 1e9
        if late_s > 0 and self._camera.wait(self._closed, late_s):
            raise EndOfSource

    def _captured_ns(self, n: int) -> int:
        return self._camera.clock_ns() if self._script.live else round(n * 1e9 / self._script.fps)

    def _wall(self, n: int) -> float:
        steps = sum(f.number(0.0) for f in self._script.faults if f.kind == "clock" and f.at <= n)
        return (self._camera.wall() if self._script.live else n / self._script.fps) + steps

    def _shown_frame(self, n: int) -> int:
        for fault in self._script.faults:
            if fault.kind == "freeze" and fault.at <= n <= fault.at + fault.number(30):
                return fault.at
        return n

    def _size(self, n: int) -> tuple[int, int]:
        size = (self._script.width, self._script.height)
        for fault in self._script.faults:
            if fault.kind == "size" and fault.at <= n:
                size = _parse_size(fault.argument)
        return size

    def _break(self, n: int) -> None:
        """Raise or wait as the script says for frame n; each loss happens once."""
        for fault in self._script.faults:
            if fault.kind == "broken" and fault.at <= n < fault.at + fault.number(1):
                raise FrameBroken(f"{self.info.uri}: frame {n} is scripted to be broken")
            if fault.at > n or fault in self._camera.done:
                continue
            if fault.kind == "stall":
                self._camera.done.add(fault)
                if self._camera.wait(self._closed, fault.number(1.0)):
                    raise EndOfSource
            elif fault.kind in ("eof", "disconnect"):
                self._camera.done.add(fault)
                self._lose(fault)

    def _lose(self, fault: Fault) -> None:
        if fault.kind == "eof" and not self._script.live:
            self._closed.set()
            raise EndOfSource
        if fault.kind == "disconnect":
            self._camera.refuse += int(fault.number(0))
        raise SourceError(f"{self.info.uri}: scripted {fault.kind} at frame {fault.at}")


def parse_script(uri: SourceUri) -> Script:
    """The script in a test:// URI. Raises UsageError naming the part that is wrong."""
    known = {"width", "height", "fps", "frames", "live", "faces", "faults"}
    given = dict(uri.query)
    if unknown := sorted(given.keys() - known):
        raise UsageError(
            f"{uri.shown}: unknown {unknown[0]!r}: it takes {', '.join(sorted(known))}"
        )
    frames = _number(given, "frames", 300, low=0, high=10**9)
    live = given.get("live", "0")
    if live not in ("0", "1"):
        raise UsageError(f"{uri.shown}: live is 0 or 1, got {live!r}")
    return Script(
        width=_number(given, "width", 640, low=16, high=8192),
        height=_number(given, "height", 480, low=16, high=8192),
        fps=_number(given, "fps", 30.0, low=0.01, high=10_000.0),
        frames=frames or None,
        live=live == "1",
        faces=Path(given["faces"]) if given.get("faces") else None,
        faults=tuple(_fault(text) for text in given.get("faults", "").split(",") if text),
    )


def load_faces(folder: Path | None) -> SyntheticScene:
    """The scene with the pictures of a folder (or one picture).

    Raises InputMissingError, InputBrokenError when there is no picture.
    """
    if folder is None:
        return SyntheticScene()
    if not folder.exists():
        raise InputMissingError(f"test://: faces={folder}: no such folder")
    files: Sequence[Path] = [folder] if folder.is_file() else sorted(folder.iterdir())
    faces = [read_picture(file) for file in files if file.suffix.lower() in SUFFIXES]
    if not faces:
        raise InputBrokenError(f"test://: faces={folder}: no pictures in this folder")
    return SyntheticScene(tuple(faces))


def _fault(text: str) -> Fault:
    kind, _, rest = text.partition("@")
    at, _, argument = rest.partition(":")
    if kind not in KINDS or not at.isdecimal():
        raise UsageError(
            f"test:// fault {text!r}: write kind@frame or kind@frame:argument, kind one of "
            f"{', '.join(KINDS)}"
        )
    fault = Fault(kind, int(at), argument)
    if kind == "size":
        _parse_size(argument)
    else:
        fault.number(0.0)
    return fault


def _parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) >= 16 and int(height) >= 16):
        raise UsageError(f"test:// fault size: write size@frame:WIDTHxHEIGHT, got {text!r}")
    return int(width), int(height)


def _number(given: dict[str, str], key: str, default: N, *, low: N, high: N) -> N:
    text = given.get(key)
    if text is None:
        return default
    try:
        value = type(default)(text)
    except ValueError:
        raise UsageError(f"test://: {key}={text!r} is not a number") from None
    if not low <= value <= high:
        raise UsageError(f"test://: {key} goes from {low} to {high}, got {text}")
    return value
