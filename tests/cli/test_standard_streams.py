"""Standard streams as a shell may hand them over: on a full disk, closed, in another encoding."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from jetson_face.cli.main import main

FULL = "jetson-face: standard output cannot be written: No space left on device\n"
A_COMMAND = """
import sys
sys.argv = ["jetson-face", "config", "show"]
from jetson_face.cli import config
from jetson_face.cli.common import agreed, say, say_json
from jetson_face.core.errors import GalleryError
config.run = lambda args: exec(BODY) or 0
BODY = {body}
from jetson_face.__main__ import main
main()
"""
SAYS = 'say("Zoë 𝒳"); say_json({"Zoë": "𝒳\\udcff"}); sys.stdout.writelines(["ë"])'


def ran(
    *words: object, body: str = "", shell: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command, or what `body` does as one, with what the shell does to its streams."""
    run = ["-c", A_COMMAND.format(body=ascii(body))] if body else ["-m", "jetson_face"]
    others = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, *run, *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=others | dict(env or {}),
    )


@pytest.mark.parametrize(
    "words",
    [["config", "schema"], ["models", "list", "--json"], ["people", "--help"], ["--version"]],
    ids=" ".join,
)
@pytest.mark.parametrize("env", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "at once"])
def test_a_full_disk_is_one_line(words: list[str], env: Mapping[str, str]) -> None:
    done = ran(*words, shell=">/dev/full", env=env)
    assert (done.returncode, done.stderr) == (15, FULL)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ('say("x"); raise GalleryError("held")', 7, f"jetson-face: held\n{FULL}"),
        ('say("x" * 10**5)', 15, FULL),
        ('try: say("x" * 10**5)\nexcept OSError: pass', 15, FULL),
        ('raise GalleryError("held")', 7, "jetson-face: held\n"),
    ],
    ids=["another error", "at once", "passed over", "nothing written"],
)
def test_a_full_disk_is_told_once_beside_what_else_is_wrong(
    body: str, code: int, said: str
) -> None:
    done = ran(body=body, shell=">/dev/full")
    assert (done.returncode, done.stderr) == (code, said)


def test_errors_that_nobody_can_read_change_no_exit_code() -> None:
    assert ran("people", "show", shell="2>/dev/full").returncode == 2
    done = ran(body='say("lost", err=True); say("kept")', shell="2>/dev/full")
    assert (done.returncode, done.stdout) == (0, "kept\n")
    assert ran("--version", shell=">/dev/full 2>&1").returncode == 15


@pytest.mark.parametrize("words", [["config", "schema"], ["--version"]], ids=" ".join)
def test_a_pipe_that_nobody_reads_is_silent(words: list[str], tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with (tmp_path / "errors").open("w+") as errors:
        code = subprocess.call(
            [sys.executable, "-m", "jetson_face", *words], stdout=theirs, stderr=errors, timeout=60
        )
        os.close(theirs)
        errors.seek(0)
        assert (code, errors.read()) == (141, "")


def test_a_closed_input_is_as_an_empty_one(tmp_path: Path) -> None:
    for shell in ("<&-", "</dev/null"):
        done = ran(body='agreed("all")', shell=shell)
        assert done.returncode == 2
        assert done.stderr == "jetson-face: this erases all for good: say so with --yes\n"
        done = ran("web", "passwd", "--state", tmp_path, shell=shell)
        assert (done.returncode, done.stderr) == (
            2,
            "jetson-face: a password has 10 to 200 characters\n",
        )


def test_closed_outputs_are_as_dev_null() -> None:
    body = 'say("x"); sys.stdout.writelines(["x"]); sys.stdout.flush(); raise GalleryError("held")'
    done = ran(body=body, shell=">&- <&-")
    assert (done.returncode, done.stderr) == (7, "jetson-face: held\n")
    done = ran(body=body, shell="2>&-")
    assert (done.returncode, done.stdout) == (7, "x\nx")


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "C"],
)
def test_what_the_encoding_lacks_is_escaped_and_json_stays_json(env: Mapping[str, str]) -> None:
    done = ran(body=SAYS, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    first, *document, last = done.stdout.split("\n")
    assert (first, last) == (r"Zo\u00eb \ud835\udcb3", r"\u00eb")
    assert json.loads("".join(document)) == {"Zoë": "𝒳\udcff"}


def test_a_password_that_is_no_text_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for errors in ("strict", "surrogateescape"):
        given = io.TextIOWrapper(io.BytesIO(b"p\xe4ssword, a long one\n"), "utf-8", errors)
        monkeypatch.setattr("sys.stdin", given)
        assert main(["web", "passwd", "--stdin", "--state", str(tmp_path)]) == 2
        assert capsys.readouterr() == (
            "",
            "jetson-face: the password on standard input is no text: give it in UTF-8\n",
        )
