"""A service that crashes leaves no core dump: the key would be in it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"


def crashed(folder: Path, *words: str, until: Path | None = None) -> bool:
    """Start a Python process that may dump its core, let it crash; whether it dumped."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    process = subprocess.Popen(
        [sys.executable, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )  # fmt: skip
    end = time.monotonic() + 40
    while until is not None and time.monotonic() < end:
        try:
            ask(until, "/status")
            break
        except JetsonFaceError:
            time.sleep(0.05)
    if until is None:
        assert process.stdout is not None
        process.stdout.readline()
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -1
    assert os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status) or any(folder.glob("core*"))


def test_a_service_that_crashes_leaves_none(tmp_path: Path) -> None:
    here, there = tmp_path / "control", tmp_path / "service"
    here.mkdir()
    there.mkdir()
    if not crashed(here, "-c", "import time; print(flush=True); time.sleep(60)"):
        pytest.skip("nothing dumps its core on this machine: `ulimit -c` or core_pattern")
    source = "test://?live=1&frames=1000000&fps=5&width=160&height=120"
    settings = [f"state_dir={there / 'state'}", f"sources.0.uri={source}"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert not crashed(
        there, "-m", "jetson_face", "service", "run", *words, until=there / "state/status.sock"
    )


@pytest.mark.parametrize("unit", ["jetson-face.service", "jetson-face@.service"])
def test_the_units_allow_none(unit: str) -> None:
    assert "\nLimitCORE=0\n" in (SYSTEMD / unit).read_text()
