"""Names of files and devices that would steer a terminal or forge a line: shown as escapes."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetson_face.cli.common import say, say_json, show_progress
from jetson_face.cli.doctor import _lines
from jetson_face.cli.main import _set_up_logging, main
from jetson_face.config import Config
from jetson_face.core.types import Person, Sighting
from jetson_face.doctor.probe import Finding
from jetson_face.output.console import event_line

Command = Callable[..., Any]
NASTY = "a\nb\x1b[2J\x9b31m\u202ec"
SHOWN = "a\\nb\\x1b[2J\\x9b31m\\u202ec"


def plain(*streams: str) -> None:
    """Nothing in these but printable characters and our own line ends."""
    for stream in streams:
        for line in stream.split("\n"):
            assert line.isprintable(), repr(line)


def test_a_photo(cli: Command, tmp_path: Path, collins: Path) -> None:
    photo = tmp_path / f"{NASTY}.png"
    shutil.copy(collins, photo)
    done = cli("identify", photo)
    plain(done.out, done.err)
    assert f"{SHOWN}.png: 1 face" in done.out
    done = cli("identify", "--json", photo)
    plain(done.out, done.err)
    assert str(photo) in _values(json.loads(done.out))
    done = cli("enroll", "--name", "Eileen Collins", photo)
    plain(done.out, done.err)
    done = cli("people", "show", "Eileen Collins")
    plain(done.out, done.err)
    assert SHOWN in done.out


def _values(document: Any) -> list[Any]:
    if isinstance(document, dict):
        return [*document.keys(), *(v for inner in document.values() for v in _values(inner))]
    if isinstance(document, list):
        return [v for inner in document for v in _values(inner)]
    return [document]


@pytest.mark.parametrize(
    "words",
    [
        ("identify", f"/nowhere/{NASTY}"),
        ("run", "--source", f"/nowhere/{NASTY}"),
        ("enroll", f"/nowhere/{NASTY}"),
        ("enroll", "--name", NASTY, "/nowhere"),
        ("people", "show", NASTY),
        ("config", "check", "-c", f"/nowhere/{NASTY}"),
        ("config", "check", "--set", f"sampling.{NASTY}=1"),
        ("config", "check", "--set", f"log_level={NASTY}"),
        ("config", "check", "--set", NASTY),
        ("status", "--socket", f"/nowhere/{NASTY}"),
    ],
)
def test_an_error(cli: Command, words: tuple[str, ...]) -> None:
    done = cli(*words)
    assert done.code != 0
    plain(done.out, done.err)
    assert len(done.err.splitlines()) == 1


def test_a_complaint_of_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["people", "list", NASTY, "rtsp://u:s3cret@cam"])
    err = capsys.readouterr().err
    plain(err)
    assert "s3cret" not in err


def test_a_picture_that_is_skipped_in_a_folder(
    cli: Command, tmp_path: Path, collins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(collins, folder / "good.png")
    (folder / f"{NASTY}.png").write_bytes(b"no picture")
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers.clear()
    try:
        done = cli("run", "--source", folder)
    finally:
        root.handlers[:] = before
    assert done.code == 0
    plain(done.out, done.err)
    assert f"picture_skipped source=folder error={folder}/{SHOWN}.png" in done.err
    # Also in the report's last lines.
    assert SHOWN in done.out


def test_bytes_that_are_no_text(cli: Command, tmp_path: Path, collins: Path) -> None:
    photo = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    shutil.copy(collins, photo)
    done = cli("identify", photo)
    assert done.code == 0
    assert "\\udcff.png: 1 face" in done.out


def test_the_progress_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with show_progress("enrolling") as progress:
        progress(1, 2, Path(NASTY))
    err = capsys.readouterr().err
    assert err == f"\renrolling: 1/2 {SHOWN}\033[K\r\033[K"


def test_a_device_that_calls_itself_what_it_wants() -> None:
    finding = Finding("cameras", "problem", f"/dev/video0: {NASTY}", "plug it in")
    assert len(_lines(finding)) == 2


def test_a_name_on_the_console() -> None:
    sighting = Sighting(
        1, (0, 0, 1, 1), "known", Person("p", f"Ada{NASTY}"), 0.9, frames=1, changed=True
    )
    plain(event_line("00:01.0", "door", sighting))


def test_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    say(NASTY, "rtsp://u:s3cret@cam")
    assert capsys.readouterr().out == f"{SHOWN}\nrtsp://***@cam\n"
    say(Path(NASTY), err=True)
    assert capsys.readouterr().err == f"{SHOWN}\n"
    document = {"path": NASTY, "bytes": "\udcff", "name": "Søren 𝒳"}
    say_json(document)
    out = capsys.readouterr().out
    plain(out)
    assert json.loads(out) == document
    assert "Søren" in out


def test_the_schema_is_not_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == Config.model_json_schema()


def test_the_log_of_the_command_line_is_clean() -> None:
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers.clear()
    try:
        _set_up_logging()
        (handler,) = root.handlers
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "%s", (NASTY,), None)
        plain(handler.format(record))
    finally:
        root.handlers[:] = before


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied", NASTY), "Permission denied: run this as a user"),
        (FileExistsError(17, "File exists", NASTY), "File exists"),
        (OSError(36, "File name too long", NASTY), "File name too long"),
        (OSError(28, "No space left on device", NASTY.encode()), "No space left on device"),
    ],
)
def test_what_the_system_refuses_is_no_bug(
    cli: Command, monkeypatch: pytest.MonkeyPatch, error: OSError, says: str
) -> None:
    def refused(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("jetson_face.cli.people.open_gallery", refused)
    done = cli("people", "list")
    assert done.code == 1
    assert done.err.startswith(f"jetson-face: {SHOWN}: {says}")
    plain(done.err)
    assert len(done.err.splitlines()) == 1


def test_a_bug_is_told_without_secrets(
    cli: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bug(*args: object, **options: object) -> None:
        raise ValueError("Illegal header value b'Bearer s3cret'\nforged line")

    monkeypatch.setattr("jetson_face.cli.people.config_of", bug)
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers.clear()
    try:
        done = cli("people", "list")
    finally:
        root.handlers[:] = before
    assert done.code == 1
    assert "this is a bug of jetson-face" in done.err
    assert "ValueError" in done.err
    assert "s3cret" not in done.err
    assert "\nforged" not in done.err
