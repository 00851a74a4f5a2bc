"""A result that is no file: a pipe, a device, the standard output."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.util.files import write_file


def test_a_named_pipe_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, "told")
    reader.join(10)
    assert read == [b"told"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_file(Path("/dev/null"), "nothing")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(OutputError, match="/dev/full: cannot be written: No space left on device"):
        write_file(Path("/dev/full"), "too much")


def test_standard_output_by_its_name(tmp_path: Path) -> None:
    words = "from pathlib import Path; from jetson_face.util.files import write_file; "
    words += "write_file(Path('/dev/stdout'), 'told')"
    with (tmp_path / "out.txt").open("wb") as out:
        subprocess.run([sys.executable, "-c", words], stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text() == "told"
    assert Path("/dev/stdout").is_symlink()


def test_a_link_to_nothing_gets_a_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "none")
    write_file(link, "told")
    assert link.read_text() == "told"
