"""A machine as the checks see it, and what they say of it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from jetson_face.capture.gstreamer import load_gst
from jetson_face.core.errors import JetsonFaceError
from jetson_face.inference.cuda.runtime import open_cuda
from jetson_face.inference.tensorrt.bindings import load_tensorrt

State = Literal["ok", "info", "missing", "problem"]
_COMMAND_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. missing: something optional is not there; problem: something that is needed or
    was installed does not work. fix: what to do, None where there is nothing to do."""

    topic: str
    state: State
    text: str
    fix: str | None = None


class Probe:
    """The machine, as the checks see it: files below `root`, modules, commands."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def read(self, path: str) -> str | None:
        """A text file without trailing zeros and spaces; None where it cannot be read."""
        try:
            data = (self.root / path.lstrip("/")).read_bytes()
        except OSError:
            return None
        return data.decode("utf-8", "replace").rstrip("\0 \n")

    def number(self, path: str) -> int | None:
        """A file that holds a whole number; None for any other."""
        text = self.read(path) or ""
        return int(text) if text.removeprefix("-").isdecimal() else None

    def glob(self, pattern: str) -> list[Path]:
        """Paths below `root`, sorted."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def command(self, *words: str) -> str | None:
        """What a command prints; None where it is missing, fails or hangs."""
        if shutil.which(words[0]) is None:
            return None
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout

    def module(self, name: str) -> ModuleType | Exception | None:
        """The module; None where it is not installed; the exception where it is but fails."""
        try:
            if importlib.util.find_spec(name) is None:
                return None
            return importlib.import_module(name)
        except Exception as exc:  # a broken installation raises anything
            return exc

    def installed(self, name: str) -> bool:
        """Is there such a module? Not imported: torch takes seconds, and mtcnn wants TensorFlow."""
        return importlib.util.find_spec(name) is not None

    def distributions(self) -> set[str]:
        """Names of the installed pip packages, lower case."""
        return {str(d.metadata["Name"]).lower() for d in importlib.metadata.distributions()}

    def readable(self, path: Path) -> bool:
        """May this user open it for reading and writing?"""
        return os.access(path, os.R_OK | os.W_OK)

    def disk_free(self, path: Path) -> int:
        """Bytes free where `path` is or would be."""
        while True:
            try:
                return shutil.disk_usage(path).free
            except OSError:  # it is not there, or may not be looked at
                if path == path.parent:
                    raise
            path = path.parent

    def typelibs(self, *names: str) -> list[str]:
        """Those of GStreamer's typelibs that are not there; PyGObject is."""
        from gi import require_version

        lacking = []
        for name in names:
            try:
                require_version(name, "1.0")
            except ValueError:
                lacking.append(name)
        return lacking

    def missing_elements(self, *names: str) -> list[str]:
        """Those of GStreamer's elements that are not there."""
        try:
            gst = load_gst()
        except JetsonFaceError:
            return list(names)
        return [name for name in names if gst.ElementFactory.find(name) is None]

    def tensorrt(self) -> str:
        """Flavour and version. Raises JetsonFaceError."""
        found = load_tensorrt()
        return f"{found.flavour} {found.version}"

    def gpu(self) -> str:
        """Name, compute capability and way of access. Raises JetsonFaceError."""
        cuda = open_cuda()
        return f"{cuda.device}, compute capability {cuda.compute_capability}, by {cuda.access}"


def jetson_linux(probe: Probe) -> tuple[int, str] | None:
    """Jetson Linux, as (36, `36.4.3`); None on a PC."""
    text = probe.read("/etc/nv_tegra_release") or ""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return (int(match[1]), f"{match[1]}.{match[2]}") if match else None
