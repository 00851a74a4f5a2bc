"""One service to a state folder, whatever happens to the files in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jetson_face.core.errors import OutputError, StateLockedError
from jetson_face.service.lock import state_lock

TRY = """
import sys
from pathlib import Path
from jetson_face.core.errors import StateLockedError
from jetson_face.service.lock import state_lock
try:
    with state_lock(Path(sys.argv[1])):
        print("free")
except StateLockedError as error:
    print(error)
"""


def another(folder: Path) -> str:
    """What another process is told."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(folder)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_second_one_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with state_lock(tmp_path / "state"):
        assert f"(pid {os.getpid()})" in another(tmp_path / "state")
    assert another(tmp_path / "state") == "free"


def test_without_its_file_the_folder_is_held_all_the_same(tmp_path: Path) -> None:
    with state_lock(tmp_path):
        (tmp_path / "lock").unlink()
        assert "(pid unknown)" in another(tmp_path)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot be used"),
        state_lock(tmp_path / "file" / "state"),
    ):
        pass


def test_a_lock_in_the_same_process_counts_too(tmp_path: Path) -> None:
    with state_lock(tmp_path), pytest.raises(StateLockedError), state_lock(tmp_path):
        pass
