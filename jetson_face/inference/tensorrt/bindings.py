"""Which TensorRT is here: `tensorrt` on a Jetson, `tensorrt_rtx` on a PC; both have one API."""

from __future__ import annotations

import importlib
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jetson_face.core.errors import EngineError, MissingDependencyError
from jetson_face.util.optional import pip_install

log = logging.getLogger(__name__)

MODULES = ("tensorrt", "tensorrt_rtx")
"""In order of preference; the name is also what side-cars call the flavour."""
_MAJOR_MIN = {"tensorrt": 10, "tensorrt_rtx": 1}


class Journal:
    """TensorRT's last errors: what it says beyond None. A build logs thousands of other lines."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=50)

    def add(self, is_error: bool, text: str) -> None:
        """Take one message, from whatever thread TensorRT logs in; only errors are kept."""
        if is_error:
            self._errors.append(" ".join(text.split()))
        log.debug("%s", text)

    @contextmanager
    def watch(self) -> Iterator[Callable[[], str]]:
        """Inside the block, the yielded call gives the errors since its start in one line."""
        self._errors.clear()
        yield lambda: "; ".join(dict.fromkeys(self._errors))[:600]


@dataclass(frozen=True, slots=True)
class TensorRT:
    """The module that was found, and the one logger that it may ever have.

    flavour: `tensorrt` or `tensorrt_rtx`. version: as the module says.
    """

    module: Any
    flavour: str
    version: str
    logger: Any = field(repr=False)
    journal: Journal = field(repr=False)

    @property
    def has_timing_cache(self) -> bool:
        """TensorRT for RTX compiles on the device at load time and measures nothing before."""
        return self.flavour == "tensorrt"


def adopt(module: Any, flavour: str) -> TensorRT:
    """Check a TensorRT module's version and give it its logger. Raises EngineError if too old."""
    version = str(module.__version__)
    found = re.match(r"\d+", version)
    if found is None or int(found[0]) < _MAJOR_MIN[flavour]:
        raise EngineError(
            f"{flavour} {version} is too old, {_MAJOR_MIN[flavour]} or later is needed: "
            "update JetPack to 6.1 or later"
        )
    journal = Journal()
    return TensorRT(module, flavour, version, _make_logger(module, journal), journal)


def load_tensorrt(only: str | None = None) -> TensorRT:
    """The TensorRT of this machine; `only` names one flavour.

    Raises MissingDependencyError where none is installed, EngineError where it is too old.
    """
    names = MODULES if only is None else (only,)
    for name in names:
        found = _load(name)
        if found is not None:
            return found
    raise MissingDependencyError(
        "TensorRT is not installed: on a Jetson run sudo apt install python3-libnvinfer, on a PC "
        f"with an NVIDIA GPU run {pip_install('rtx')}; without either set backend.type to "
        "onnxruntime"
    )


@lru_cache(maxsize=len(MODULES))
def _load(name: str) -> TensorRT | None:
    """Cached because TensorRT keeps the first logger of the process for ever."""
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as exc:  # it, or a library or package that it needs, is missing
        if isinstance(exc, ModuleNotFoundError) and exc.name == name:
            return None
        raise EngineError(f"{name} is installed but broken: {exc}; install it again") from exc
    return adopt(module, name)


def _make_logger(module: Any, journal: Journal) -> Any:
    base: Any = module.ILogger
    severity = module.ILogger.Severity

    class Forward(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, level: Any, message: str) -> None:
            journal.add(level in (severity.ERROR, severity.INTERNAL_ERROR), message)

    return Forward()
