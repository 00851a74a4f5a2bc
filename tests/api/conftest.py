"""Recognisers over coloured squares, which need no network, and over real photos."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from jetson_face import Recognizer
from jetson_face.core.types import ImageU8
from tests.api.threads import note_threads
from tests.cli.conftest import clip, collins, hopper

__all__ = ["clip", "collins", "hopper"]

REPO = Path(__file__).resolve().parents[2]
PLUGIN = REPO / "docs" / "examples" / "plugin" / "coloured_squares.py"
Make = Callable[..., Recognizer]


def load(path: Path) -> ModuleType:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def squares() -> ModuleType:
    """The example package's module."""
    return load(PLUGIN)


def red_picture() -> ImageU8:
    """Ada, who is red."""
    image = np.full((240, 320, 3), 90, np.uint8)
    image[40:160, 60:180] = (40, 40, 230)
    return image


@pytest.fixture
def make(squares: ModuleType, tmp_path: Path) -> Iterator[Make]:
    """Make a recogniser of coloured squares; closed at the end of the test."""
    made: list[Recognizer] = []

    def _make(**more: Any) -> Recognizer:
        settings: dict[str, Any] = {
            "state_dir": tmp_path / "state",
            "detector": squares.SquareDetector(),
            "embedder": squares.ColourEmbedder(),
            "quality": {"enroll_min": 0, "embed_min": 0},
            "sampling": {"interval": 2},
            **more,
        }
        made.append(Recognizer(**settings))
        return made[-1]

    yield _make
    for recognizer in made:
        recognizer.close()


@pytest.fixture(autouse=True)
def _others() -> None:
    """Threads that tests before this one have left do not count."""
    note_threads()
