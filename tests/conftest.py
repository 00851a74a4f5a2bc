"""Fixtures for all tests: where the shared faces are, and no network beyond loopback."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from jetson_face.util import redact
from tests.waiting import PATIENCE

REPO = Path(__file__).resolve().parent.parent
LOOPBACK = ("127.", "::1", "localhost")
# How long an example takes says more of the machine than of the program.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where a processor is emulated, tests may take as much longer as they wait longer."""
    for item in items:
        mark = item.get_closest_marker("timeout")
        if mark is not None and PATIENCE > 1:
            item.add_marker(pytest.mark.timeout(PATIENCE * mark.args[0]), append=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real faces, or a skip with the reason."""
    folder = Path(os.environ.get("JETSON_FACE_DATA", REPO.parent / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"no real faces at {folder}: set JETSON_FACE_DATA")
    return folder


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches out to the network fails."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has hidden in messages, the next may show."""
    monkeypatch.setattr(redact, "KNOWN", redact.Known())


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """State goes to a temporary folder; the cache of built networks is shared by the test run."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    shared = Path(os.environ.get("JETSON_FACE_TEST_CACHE", home)) / "jetson-face" / "engines"
    shared.mkdir(parents=True, exist_ok=True)
    own = tmp_path_factory.mktemp("cache")
    (own / "jetson-face").mkdir()
    (own / "jetson-face" / "engines").symlink_to(shared)
    monkeypatch.setenv("XDG_CACHE_HOME", str(own))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text file into the test's folder and return its path."""

    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write
