"""`{credential:NAME}` in a camera's URI, outside the service and where systemd handed it over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
URI = "rtsp://door:{credential:camera.password}@127.0.0.1:1/cam"


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("tune", "--fps", "10", "--frames", "3"),
        ("engines", "calibrate", "--source", "config"),
    ],
)
def test_without_the_credential_one_line_says_how(
    cli: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    done = cli(*words, "--set", f"sources.0.uri={URI}")
    assert done.code == 16
    assert "sudo jetson-face service exec" in done.err
    lines = [line for line in done.err.splitlines() if line.startswith("jetson-face: ")]
    assert len(lines) == 1


def test_with_the_credential_it_is_in_the_uri_and_not_in_what_people_read(
    cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "camera.password").write_text("hunter two\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    done = cli("run", "--source", URI, "--set", "sources.0.open_timeout_s=2")
    # The camera is not there, and the message names it without its password.
    assert done.code == 6
    assert "127.0.0.1:1/cam" in done.err
    assert "hunter" not in done.err
    assert "credential" not in done.err


def test_run_uses_it(cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "frames").write_text("7\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    uri = "test://?width=64&height=48&frames={credential:frames}"
    report = tmp_path / "report.json"
    assert cli("run", "--source", uri, "--report", report).code == 0
    assert json.loads(report.read_text())["sources"][0]["captured"] == 7
