"""Ctrl-C at any moment from our first line on: one line at most, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

STARTED = b"."
# What the installed script does; a dot says that our handler is in place. The tests themselves may
# run where SIGINT is ignored.
SCRIPT = """
import os, signal
put = signal.signal
put(signal.SIGINT, signal.default_int_handler)
def put_first(*arguments):
    signal.signal = put
    put(*arguments)
    os.write(1, b".")
signal.signal = put_first
from jetson_face.__main__ import main
main()
"""
COMMANDS = [
    ["people", "list"],
    ["run", "--quiet", "--source", "test://?live=1&frames=0"],
    ["service", "run", "--set", "sources.0.uri=test://?live=1&frames=0"],
]


def interrupted(arguments: list[str], state: Path, delay_s: float) -> tuple[int, str]:
    """Exit code and standard error of a process that got SIGINT so long after its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"XDG_STATE_HOME": str(state)},
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 1) == STARTED
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return -1, f"goes on after SIGINT at {delay_s:.3f} s"
    return process.returncode, errors.decode()


def sweep(arguments: list[str], folder: Path, count: int) -> None:
    """Interrupt a command at `count` moments from 1 ms to 2 s, dense at the start."""
    delays = [0.001 * 2000 ** (n / (count - 1)) for n in range(count)]
    with ThreadPoolExecutor(4) as pool:
        ends = pool.map(
            lambda n: interrupted(arguments, folder / f"{arguments[0]}{n}", delays[n]),
            range(count),
        )
    for delay, (code, errors) in zip(delays, ends, strict=True):
        told = [line for line in errors.splitlines() if not line[9:].startswith("INFO ")]
        where = f"{' '.join(arguments)}: SIGINT after {delay:.3f} s: {errors}"
        # 0: `run` and the service were stopped; 4: there is no gallery, and it was over before.
        assert code in (130, 0, 4), where
        assert len(told) <= 1, where
        if code == 130:
            assert told == ["jetson-face: interrupted"], where


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: words[0])
def test_ctrl_c_while_it_starts_is_one_line(arguments: list[str], tmp_path: Path) -> None:
    sweep(arguments, tmp_path, 8)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: words[0])
def test_ctrl_c_at_a_hundred_moments_is_one_line(arguments: list[str], tmp_path: Path) -> None:
    sweep(arguments, tmp_path, 100)


def test_nothing_else_is_loaded_before_ctrl_c_is_ours() -> None:
    """While Python loads itself and what stands before our handler, the traceback is Python's."""

    def loaded(*names: str) -> set[str]:
        code = f"import sys, {', '.join(names)}; print(*sys.modules)"
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return set(run.stdout.split())

    ours = {"jetson_face", "jetson_face.__main__", "jetson_face.util", "jetson_face.util.interrupt"}
    ours |= {"jetson_face.core", "jetson_face.core.version"}
    light = loaded("__future__", "signal", "atexit", "gc", "importlib", "typing")
    assert loaded("jetson_face.__main__") - light == ours


def ended(code: str, *, ignored: bool = False) -> tuple[int, str, str]:
    """Exit code, output and errors of the command line after `code`, which may change it."""
    first = "signal.SIG_IGN" if ignored else "signal.default_int_handler"
    code = f"import signal; signal.signal(signal.SIGINT, {first})\n{code}"
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\nfrom jetson_face.__main__ import main; main()"],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return process.returncode, process.stdout, process.stderr


A_COMMAND = """
import signal, sys
sys.argv = ["jetson-face", "config", "show"]
from jetson_face.cli import config
config.run = lambda args: exec(BODY, {}) or 0
BODY = '''
"""


def test_a_command_closes_what_it_holds() -> None:
    body = "import signal\ntry: signal.raise_signal(2)\nfinally: print('closed')\n'''"
    assert ended(A_COMMAND + body) == (130, "closed\n", "jetson-face: interrupted\n")


def test_a_second_ctrl_c_waits_for_nothing() -> None:
    body = "import signal\ntry: signal.raise_signal(2)\nfinally: signal.raise_signal(2)\n'''"
    assert ended(A_COMMAND + body) == (130, "", "jetson-face: interrupted\n")


def test_a_library_cannot_take_it_for_a_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_loaded.py").write_text("import signal; signal.raise_signal(2)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    body = "try: import half_loaded\nexcept BaseException: print('it is not installed')\n'''"
    assert ended(A_COMMAND + body) == (130, "", "jetson-face: interrupted\n")


def test_where_the_shell_ignores_it_it_stays_ignored() -> None:
    body = "import signal\nsignal.raise_signal(2)\nprint('went on')\n'''"
    assert ended(A_COMMAND + body, ignored=True) == (0, "went on\n", "")
