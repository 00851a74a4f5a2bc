"""A file that lines are added to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jetson_face.events.lines import LineFile


def added(file: LineFile, *lines: bytes) -> bytes:
    """What the file holds once these were added."""
    for line in lines:
        file.append(line)
    file.close()
    return file.path.read_bytes()


def test_only_a_file_that_has_gone_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = LineFile(tmp_path / "e.jsonl")
    file.append(b"1\n")
    file.append(b"2\n")
    assert caplog.messages == []
    file.path.unlink()
    assert added(file, b"3\n") == b"3\n"
    assert caplog.messages == [f"file_gone path={file.path} begun=again"]


def test_a_file_is_emptied_at_its_first_opening_only(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"old\n")
    file = LineFile(path, fresh=True)
    assert added(file, b"1\n") == b"1\n"
    assert added(file, b"2\n") == b"1\n2\n"
    assert added(LineFile(path), b"3\n") == b"1\n2\n3\n"


def test_a_file_that_somebody_else_cuts_is_gone_on_with_at_its_end(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "e.jsonl")
    file.append(b"one\n")
    os.truncate(file.path, 0)
    assert added(file, b"two\n") == b"two\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [(0o644, 0o640), (0o755, 0o750), (0o666, 0o660), (0o600, 0o600), (0o1640, 0o1640)],
)
def test_others_lose_their_rights_and_nobody_else(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "e.jsonl"
    path.touch()
    path.chmod(before)
    LineFile(path).append(b"1\n")
    assert path.stat().st_mode & 0o7777 == after


def test_a_file_whose_rights_are_not_ours_to_take_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.jsonl"
    path.touch(0o666)
    path.chmod(0o666)

    def refuse(fd: int, mode: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchmod", refuse)
    assert added(LineFile(path), b"1\n") == b"1\n"


def test_a_file_that_cannot_be_made_ready_is_closed_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def broken(fd: int, size: int) -> None:
        opened.append(fd)
        raise OSError("Input/output error")

    monkeypatch.setattr(os, "ftruncate", broken)
    with pytest.raises(OSError, match=r"^Input/output error$"):
        LineFile(tmp_path / "e.jsonl", fresh=True).open()
    assert [Path(f"/proc/self/fd/{fd}").exists() for fd in opened] == [False]


def test_a_pipe_takes_lines_and_has_no_disk_to_wait_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LineFile(path)
    file.sync()  # not open yet
    file.append(b"1\n")
    file.sync()
    assert os.read(reader, 10) == b"1\n"
    file.close()
    os.close(reader)


def test_a_pipe_that_nobody_reads_any_more_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LineFile(path)
    file.append(b"1\n")
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        file.append(b"2\n")
    file.close()


def test_a_file_in_the_place_of_a_pipe_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LineFile(path)
    file.append(b"1\n")
    path.unlink()
    os.close(reader)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    file.append(b"2\n")
    file.sync()
    assert len(synced) == 1
    assert added(file, b"3\n") == b"2\n3\n"


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "e.jsonl")
    assert (file.size, file.deleted) == (0, False)
    file.append(b"12\n")
    assert (file.size, file.deleted) == (3, False)
    file.path.unlink()
    assert file.deleted
    file.close()
    assert (file.size, file.deleted) == (0, False)
