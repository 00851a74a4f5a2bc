"""A real package with one plug-in of each kind, built by pip and installed into a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jetson_face

REPO = Path(__file__).resolve().parents[3]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pip_install(package: Path, target: Path) -> None:
    """Build and install a folder with a pyproject.toml; nothing is fetched."""
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    words += ["--disable-pip-version-check", "--target", str(target), str(package)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example package was installed into."""
    source = tmp_path_factory.mktemp("source") / "plugin"  # pip leaves a build folder behind
    shutil.copytree(REPO / "docs" / "examples" / "plugin", source)
    target = tmp_path_factory.mktemp("site")
    pip_install(source, target)
    return target


def environment(*paths: Path) -> dict[str, str]:
    """For a process that finds the jetson_face under test and what lies in `paths`."""
    package = Path(str(jetson_face.__file__)).parents[1]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [*paths, package])),
        "PATH": os.pathsep.join([*map(str, paths), os.environ["PATH"]]),
    }


@pytest.fixture
def command(site: Path, tmp_path: Path) -> Run:
    """`jetson-face …` in a process in which the package is installed."""

    def run(*words: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        paths = [site] if path is None else [path, site]
        return subprocess.run(
            [sys.executable, "-m", "jetson_face", *map(str, words)],
            env=environment(*paths),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run
