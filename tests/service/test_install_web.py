"""Putting the page on a box and taking it off, in a folder that stands for the box."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from jetson_face.cli.main import build_parser
from jetson_face.cli.service import run
from jetson_face.core.errors import UsageError
from jetson_face.service.install import Box
from jetson_face.service.install_web import web_removal, web_steps
from tests.service.test_service_install import Ran

PROGRAM = Path("/opt/jetson-face/bin/jetson-face")
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:\n")
    return Box(tmp_path, booted=True, run=Ran(tmp_path))


def test_a_box_gets_user_folder_and_unit(box: Box) -> None:
    for step in web_steps(box, PROGRAM, start=True):
        if step.needed:
            step.act()
    assert isinstance(box.run, Ran)
    assert "jetson-face-web" in box.run.commands[0]
    assert box.run.commands[1:] == [
        "systemctl daemon-reload",
        "systemctl enable jetson-face-web.service",
        "systemctl --no-block restart jetson-face-web.service",
    ]
    unit = box.at("/etc/systemd/system/jetson-face-web.service").read_text()
    assert f"ExecStart={PROGRAM} web run --runtime /run/jetson-face " in unit
    assert box.at("/var/lib/jetson-face-web").stat().st_mode & 0o777 == 0o700
    again = [step.what for step in web_steps(box, PROGRAM, start=False) if step.needed]
    assert again == ["user jetson-face-web"]  # the box's own list of users is systemd's to change


def test_what_was_put_on_is_taken_off(box: Box) -> None:
    for step in [*web_steps(box, PROGRAM, start=False), *web_removal(box, purge=True)]:
        if step.needed:
            step.act()
    for step in web_removal(box, purge=True):
        if step.needed:
            step.act()
    assert not box.at("/etc/systemd/system/jetson-face-web.service").exists()
    assert not box.at("/var/lib/jetson-face-web").exists()


def test_the_page_is_of_the_one_service(tmp_path: Path) -> None:
    words = ["service", "install", "--web", "--name", "door", "--dry-run", "--root", str(tmp_path)]
    args: argparse.Namespace = build_parser("service").parse_args(words)
    with pytest.raises(UsageError, match="web run --runtime"):
        run(args)


def test_the_unit_shares_nothing_of_the_service_but_its_sockets() -> None:
    unit = (REPO / "systemd" / "jetson-face-web.service").read_text()
    assert "User=jetson-face-web" in unit
    assert "LoadCredential" not in unit
    assert "PrivateDevices=yes" in unit
    assert "InaccessiblePaths=-/var/lib/jetson-face" in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (REPO / "systemd" / "jetson-face-web.service").read_text()
    program = tmp_path / "jetson-face"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "jetson-face-web.service"
    unit.write_text(text.replace("/usr/local/bin/jetson-face", str(program)))
    command = ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Unknown" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
