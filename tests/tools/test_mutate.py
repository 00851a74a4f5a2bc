"""Which mutants are worth a run."""

from __future__ import annotations

import ast
import os
import signal
import time
from pathlib import Path

import mutate
import pytest


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("return a + b", "return a - b", "return a + b → return a - b"),
        ("x = 1\nif x:\n    f(x, 2)", "x = 1\nif x:\n    f(x, 3)", "f(x, 2) → f(x, 3)"),
        ("if a > 1:\n    b()", "if a >= 1:\n    b()", "if a > 1: b() → if a >= 1: b()"),
        ("return d['kind']", "return d['XXkindXX']", "return d['kind'] → return d['XXkindXX']"),
        ("return True", "return False", "return True → return False"),
        # texts that people read, and words in other letters
        ("if a:\n    raise ValueError('no')", "if a:\n    raise ValueError('XXnoXX')", None),
        ("logger.warning('late %s', a)", "logger.warning('late %s', None)", None),
        ("return 'a'", "return 'A'", None),
    ],
)  # fmt: skip
def test_a_change_is_told_or_not_worth_a_run(before: str, after: str, change: str | None) -> None:
    one, other = (ast.parse(f"def f():\n    {code.replace(chr(10), chr(10) + '    ')}").body[0]
                  for code in (before, after))  # fmt: skip
    assert mutate._change(one, other) == change


def test_the_tests_of_each_folder_are_there() -> None:
    if not (mutate.ROOT / "jetson_face" / "events").is_dir():
        pytest.skip("the program is installed, and its source is not beside the tools")
    missing = [path for paths in mutate.TESTS.values() for path in paths
               if not (mutate.ROOT / path).exists()]  # fmt: skip
    assert missing == []
    assert "events/outbox" in mutate.files_of(["events"])
    with pytest.raises(SystemExit, match="no file"):
        mutate.files_of(["nothing"])


@pytest.mark.parametrize(
    ("status", "said", "verdict"),
    [
        (0, "", "survived"),
        (1, "tests/test_a.py::test_b", "killed"),
        (-signal.SIGSEGV, "", "killed"),
        (1, "Timeout tests/test_a.py::test_b", "timeout"),  # no test says that it is wrong
        (-signal.SIGXCPU, "", "timeout"),
        (-signal.SIGKILL, "", "timeout"),
    ],
)
def test_a_test_that_is_late_kills_nothing(status: int, said: str, verdict: str) -> None:
    assert mutate.verdict_of(status, said) == verdict


def test_what_a_test_takes_is_told_without_the_wait_for_a_core() -> None:
    """Two processes on one core: either of them waits half of the time."""
    cores = os.sched_getaffinity(0)
    one = {min(cores)}
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, one)
        while True:
            pass
    try:
        os.sched_setaffinity(0, one)
        began, unhindered, used = time.monotonic(), mutate.unhindered_s(), time.process_time()
        while time.process_time() - used < 0.2:
            pass
        took, took_unhindered = time.monotonic() - began, mutate.unhindered_s() - unhindered
    finally:
        os.sched_setaffinity(0, cores)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert took > 0.3
    assert 0.15 < took_unhindered < 0.75 * took


def test_a_survivor_is_explained_by_its_file_function_and_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = {
        "file": "events/history",
        "function": "jetson_face.events.history.xǁHistoryǁadd",
        "change": "a → b",
    }
    plain = {**method, "function": "jetson_face.events.history.x__page"}
    assert mutate.key_of(method) == ("events/history", "History.add", "a → b")
    assert mutate.key_of(plain) == ("events/history", "_page", "a → b")
    told = tmp_path / "explained.csv"
    told.write_text(
        "file,function,change,kind,why\nevents/history,History.add,a → b,dtype,\n", "utf-8"
    )
    monkeypatch.setattr(mutate, "EXPLAINED", told)
    assert mutate.explanations() == {mutate.key_of(method): "dtype"}
    monkeypatch.setattr(mutate, "EXPLAINED", tmp_path / "none.csv")
    assert mutate.explanations() == {}
