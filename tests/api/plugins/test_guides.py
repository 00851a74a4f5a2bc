"""The guides' code blocks, saved and run as the text says, as packages that pip builds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from jetson_face.util.images import write_picture
from tests.api.plugins.conftest import REPO, environment, pip_install
from tests.waiting import PATIENCE


class Guide:
    """One page under docs/, with its blocks by language and the module that it has one save."""

    def __init__(self, name: str, folder: Path) -> None:
        text = (REPO / "docs" / name).read_text("utf-8")
        self.folder, self._text = folder, text
        package, self.site = folder / "package", folder / "site"
        package.mkdir()
        saved = re.search(r"[Ss]ave this as `(\w+\.py)`", text)
        assert saved is not None
        module, self._program = self.blocks("python")
        (package / saved[1]).write_text(module)
        (package / "pyproject.toml").write_text(self.blocks("toml")[0])
        pip_install(package, self.site)
        (folder / "site.yaml").write_text(f"state_dir: state\n{self.blocks('yaml')[0]}")

    def blocks(self, language: str) -> list[str]:
        """Every block of a language."""
        return re.findall(rf"```{language}\n(.*?)```", self._text, re.DOTALL)

    def run(self, *words: str) -> str:
        """A process in which the guide's package is installed; its standard output."""
        done = subprocess.run(
            words,
            env=environment(self.site, self.folder),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60 * PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def program(self) -> str:
        """What the page's second Python block prints."""
        return self.run(sys.executable, "-c", self._program)

    def command(self, *words: str) -> str:
        """`jetson-face … -c site.yaml`."""
        return self.run(sys.executable, "-m", "jetson_face", *words, "-c", "site.yaml")


def test_a_detector(tmp_path: Path) -> None:
    guide = Guide("own_detector.md", tmp_path)
    lamp = np.full((240, 320, 3), 60, np.uint8)
    cv2.circle(lamp, (90, 110), 30, (190, 190, 190), -1)
    cv2.circle(lamp, (230, 110), 10, (250, 250, 250), -1)  # 21 pixels: below min_face_px
    write_picture(tmp_path / "lamp.png", lamp)
    assert guide.program() == "2 faces\n"
    assert guide.command("identify", "lamp.png").splitlines()[0] == "lamp.png: 1 face"


def test_a_sink(tmp_path: Path, collins: Path, clip: Path) -> None:
    shutil.copy(collins, tmp_path / "ada.png")
    shutil.copy(clip, tmp_path / "film.mp4")
    guide = Guide("own_sink.md", tmp_path)
    guide.program()
    log = tmp_path / "door.log"
    assert log.read_text() == "door: Ada\n"
    guide.command("enroll", "--name", "Ada", "ada.png")
    guide.command("run", "--quiet", "--source", "film.mp4")
    assert log.read_text() == "door: Ada\nfilm: Ada\n"


def test_an_embedder(tmp_path: Path, collins: Path) -> None:
    shutil.copy(collins, tmp_path / "ada.png")
    guide = Guide("own_embedder.md", tmp_path)
    assert guide.program() == "Ada\n"
    guide.command("enroll", "--name", "Ada", "ada.png")
    assert "Ada  similarity 1.000" in guide.command("identify", "ada.png")


@pytest.mark.parametrize("way", ["models add", "by hand"])
def test_an_onnx_file_with_a_card(tmp_path: Path, collins: Path, way: str) -> None:
    shutil.copy(collins, tmp_path / "ada.png")
    shutil.copy(REPO / "engines" / "squeezenet_face.onnx", tmp_path / "mynet.onnx")
    guide = Guide("own_embedder.md", tmp_path)
    tool = tmp_path / "jetson-face"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jetson_face "$@"\n')
    tool.chmod(0o755)
    # The first gallery, of the first steps: another network must not stumble over it.
    guide.run("jetson-face", "enroll", "--name", "Ada", "ada.png")
    script = guide.blocks("bash")[0 if way == "models add" else 1]
    out = guide.run("bash", "-euc", script)
    assert "Ada: 1 added" in out
    assert re.search(r"  Ada  similarity 1\.000", out)


def test_a_network_that_takes_one_picture_says_what_its_card_lacks(
    tmp_path: Path, collins: Path
) -> None:
    shutil.copy(collins, tmp_path / "ada.png")
    model = onnx.load(REPO / "engines" / "squeezenet_face.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "mynet.onnx")
    guide = Guide("own_embedder.md", tmp_path)
    script = guide.blocks("bash")[1].partition("jetson-face enroll")[0]
    guide.run("bash", "-euc", script)
    card = tmp_path / "mycard.yaml"
    words = ("--set", "embedder.model=mycard.yaml", "--set", "state_dir=own")
    enroll = [sys.executable, "-m", "jetson_face", "enroll", *words, "--name", "Ada", "ada.png"]
    with pytest.raises(AssertionError, match="it takes one picture at a time: add `fold: batch`"):
        guide.run(*enroll)
    card.write_text(card.read_text() + "fold: batch\n")
    assert "Ada: 1 added" in guide.run(*enroll)


@pytest.mark.parametrize("page", sorted(p.name for p in (REPO / "docs").glob("own_*.md")))
def test_a_guide_is_one_page(page: str) -> None:
    assert len((REPO / "docs" / page).read_text().splitlines()) <= 120
