"""The command line in this process, with photos that pip packages carry."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.util.images import read_picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def packaged(package: str, file: str) -> Path:
    """A file inside an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed: pip install 'jetson-face[demo]'")
    return Path(spec.origin).parent / file


@pytest.fixture(scope="session")
def collins() -> Path:
    """A portrait of Eileen Collins, 512 x 512 PNG."""
    return packaged("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def hopper() -> Path:
    """A portrait of Grace Hopper, 512 x 600 JPEG."""
    return packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command with its state in the test's folder."""

    def _cli(*words: object, state: Path | None = None) -> Outcome:
        settings = ["--set", f"state_dir={state or tmp_path / 'state'}"]
        capsys.readouterr()
        code = main([*map(str, words), *settings])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return _cli


@pytest.fixture
def people(tmp_path: Path, collins: Path, hopper: Path) -> Path:
    """A folder per person, one photo each."""
    for name, photo in (("Eileen Collins", collins), ("Grace Hopper", hopper)):
        folder = tmp_path / "people" / name
        folder.mkdir(parents=True)
        shutil.copy(photo, folder / photo.name)
    return tmp_path / "people"


@pytest.fixture
def clip(tmp_path: Path, collins: Path) -> Path:
    """Twenty frames, 320 x 240, of Eileen Collins moving to the right."""
    path = tmp_path / "clip.mp4"
    face = cv2.resize(read_picture(collins)[0:300, 80:380], (200, 200))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for i in range(20):
        frame = np.full((240, 320, 3), 120, np.uint8)
        frame[20:220, 20 + 3 * i : 220 + 3 * i] = face
        writer.write(frame)
    writer.release()
    return path
