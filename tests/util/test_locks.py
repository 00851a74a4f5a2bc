"""A lock between processes: one holds it, and it is free again however that one ends."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jetson_face.util.locks import HeldError, file_lock

HOLD = (
    "import sys, time, pathlib; from jetson_face.util.locks import file_lock\n"
    "with file_lock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def hold(path: Path) -> None:
    with file_lock(path):
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path, end: int) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HeldError) as refused:
            hold(path)
        assert refused.value.pid == str(holder.pid)
        os.kill(holder.pid, end)
        holder.wait(10)
    hold(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_number_that_cannot_be_written_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "lock"
    monkeypatch.setattr(os, "pwrite", full)
    with file_lock(path), pytest.raises(HeldError, match="process unknown"):
        hold(path)


def test_a_file_system_without_locks_is_no_other_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match=r"No locks available"):
        hold(tmp_path / "lock")


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hold(tmp_path / "none" / "lock")


def test_a_link_in_its_place_empties_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "lock").symlink_to(precious)
    with pytest.raises(OSError, match=f"Errno {errno.ELOOP}"):
        hold(tmp_path / "lock")
    assert precious.read_text() == "kept"
