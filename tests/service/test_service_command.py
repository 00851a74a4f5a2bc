"""`jetson-face service ...` where there is no systemd, and `service exec`."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from jetson_face.cli import service_exec, status
from jetson_face.cli.main import main
from jetson_face.cli.service_exec import exec_command, exec_environment, hand_over
from jetson_face.service import install as service_install

PROGRAM = Path("/usr/bin/env")
"""Stands for one that the service's user can reach."""


@pytest.fixture
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_install, "systemd_runs", lambda: False)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    return [*captured.out.splitlines(), *captured.err.splitlines()]


@pytest.mark.usefixtures("no_systemd")
@pytest.mark.parametrize("action", ["status", "logs"])
def test_watching_needs_a_running_systemd(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", action]) == 2
    (line,) = said(capsys)
    assert line.startswith("jetson-face: systemd does not run here: ")
    assert "`jetson-face service run -c FILE`" in line


@pytest.mark.usefixtures("no_systemd")
@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_without_systemctl_nothing_is_begun_and_a_dry_run_says_so(
    action: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_install, "own_program", lambda: PROGRAM)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["service", action, "--root", str(tmp_path)]) == 2
    (line,) = said(capsys)
    without = f"there is no systemctl here to {action} a service with: "
    assert line.startswith(f"jetson-face: {without}")
    assert list(tmp_path.iterdir()) == []
    assert main(["service", action, "--dry-run", "--root", str(tmp_path)]) == 0
    warning, *plan = said(capsys)
    assert warning.strip().startswith(f"warning  {without}")
    assert plan
    assert "warning" not in "".join(plan)


@pytest.mark.parametrize(
    ("program", "config", "why", "code"),
    [
        ("bin/jetson-face", "log_level: INFO\n", "the service's user cannot reach /tmp: ", 2),
        ("a b/jetson-face", "log_level: INFO\n", "a path with spaces or %: install elsewhere", 2),
        (PROGRAM, "samplnig: {}\n", "site.yaml:1: samplnig: unknown key", 3),
        (PROGRAM, None, "site.yaml: no such file", 4),
    ],
)
def test_a_dry_run_shows_the_plan_with_a_warning_where_a_real_one_refuses(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: str | Path,
    config: str | None,
    why: str,
    code: int,
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        place = Path(folder)
        place.chmod(0o755)
        made = place / program
        made.parent.mkdir(exist_ok=True)
        monkeypatch.setattr(service_install, "own_program", lambda: made)
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
        site, box = place / "site.yaml", place / "box"
        box.mkdir()
        if config is not None:
            site.write_text(config)
        words = ["service", "install", "-c", str(site), "--root", str(box)]
        wrong_file = code in (3, 4)
        assert main([*words, "--dry-run"]) == (code if wrong_file else 0)
        warning, *plan = said(capsys)
        assert warning.strip().startswith("jetson-face: " if wrong_file else "warning  ")
        assert why in warning
        assert (plan == []) if wrong_file else sum("would be done" in s for s in plan) >= 8
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert main(words) == code
        (line,) = said(capsys)
        assert why in line
        assert list(box.iterdir()) == []


def test_a_configuration_on_the_box_that_is_not_valid_is_told_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(service_install, "own_program", lambda: PROGRAM)
    there = tmp_path / "etc/jetson-face/config.yaml"
    there.parent.mkdir(parents=True)
    there.write_text("log_level: INFO\n")
    words = ["service", "install", "--dry-run", "--root", str(tmp_path)]
    assert main(words) == 0
    assert "warning" not in "".join(said(capsys))
    there.write_text("samplnig: {}\n")
    assert main(words) == 0
    last = said(capsys)[-1]
    assert "the service will not start until its configuration is valid: " in last
    assert "config.yaml:1: samplnig: unknown key" in last


def test_what_could_be_installed_has_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    program, config = Path("/usr/bin/env"), tmp_path / "site.yaml"
    config.write_text("log_level: LOUD\n")
    assert service_install.refusals(program, None, tmp_path / "none") == []
    # One that the box has already is not replaced.
    assert service_install.refusals(program, config, config) == []


def test_a_dry_run_changes_nothing_and_needs_no_rights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(service_install, "own_program", lambda: PROGRAM)
    assert main(["service", "install", "--dry-run", "--root", str(tmp_path)]) == 0
    lines = said(capsys)
    assert sum("would be done" in line for line in lines) >= 8
    assert list(tmp_path.iterdir()) == []
    assert main(["service", "install", "--root", str(tmp_path)]) == 2
    assert "run it with sudo" in said(capsys)[0]


@pytest.mark.parametrize(
    ("words", "instance", "tail", "state"),
    [
        (["people", "list"], None, ["people", "list", "-c", "/etc/jetson-face/config.yaml"], ""),
        (["run"], "door", ["run", "-c", "/etc/jetson-face/door.yaml"], "/door"),
        (["run", "-c", "x.yaml"], None, ["run", "-c", "x.yaml"], ""),
    ],
)
def test_exec_gives_a_command_what_the_service_has(
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    instance: str | None,
    tail: list[str],
    state: str,
) -> None:
    monkeypatch.setattr(service_exec, "own_program", lambda: PROGRAM)
    assert exec_command(words, instance) == [str(PROGRAM), *tail]
    assert exec_environment(instance) == {
        "STATE_DIRECTORY": f"/var/lib/jetson-face{state}",
        "CACHE_DIRECTORY": f"/var/cache/jetson-face{state}",
        "LOGS_DIRECTORY": f"/var/log/jetson-face{state}",
        "RUNTIME_DIRECTORY": f"/run/jetson-face{state}",
        "CREDENTIALS_DIRECTORY": "/etc/jetson-face",
    }


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ("-c=x.yaml", True),
        ("-cx.yaml", True),
        ("--config=x.yaml", True),
        ("--conf=x.yaml", True),
        ("--clips", False),
        ("c", False),
        ("--", False),
    ],
)
def test_the_services_configuration_comes_only_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, given: str, own: bool
) -> None:
    monkeypatch.setattr(service_exec, "own_program", lambda: PROGRAM)
    added = [] if own else ["-c", "/etc/jetson-face/config.yaml"]
    assert exec_command(["config", "check", given], None)[4:] == added


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_a_wrong_name_is_refused_before_anything_is_done(
    action: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_install, "own_program", lambda: PROGRAM)
    words = ["service", action, "--dry-run", "--root", str(tmp_path), "--name", "../x"]
    assert main(words) == 2
    (line,) = said(capsys)
    assert line.startswith("jetson-face: not a name for an instance: '../x'")


def test_exec_folders_are_those_of_the_unit() -> None:
    unit = (Path(__file__).parents[2] / "systemd/jetson-face.service").read_text()
    environ = exec_environment(None)
    for word, base in (("State", "/var/lib"), ("Cache", "/var/cache"), ("Logs", "/var/log"),
                       ("Runtime", "/run")):  # fmt: skip
        (line,) = (x for x in unit.splitlines() if x.startswith(f"{word}Directory="))
        assert environ[f"{word.upper()}_DIRECTORY"] == f"{base}/{line.split('=')[1]}"
    assert f"gallery.key:{environ['CREDENTIALS_DIRECTORY']}/gallery.key" in unit


@pytest.mark.parametrize(
    ("words", "root", "wanted"),
    [([], True, "which command?"), (["run"], False, "run it with sudo"),
     (["run"], True, "the service is not installed")],
)  # fmt: skip
def test_exec_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    root: bool,
    wanted: str,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(service_exec, "USER", "no-such-user-here")
    assert main(["service", "exec", *words]) == 2
    (line,) = said(capsys)
    assert wanted in line


def test_handing_over_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    (state / "crops").mkdir(parents=True)
    outside.mkdir()
    for path in (state / "gallery.db", state / "crops/a", outside / "secret", outside / "hard"):
        path.write_text("x")
    (state / "soft").symlink_to(outside / "secret")
    (state / "away").symlink_to(outside)
    (state / "hard").hardlink_to(outside / "hard")
    given: list[str] = []

    def chown(name: str, uid: int, gid: int, *, dir_fd: int, follow_symlinks: bool) -> None:
        assert (uid, gid, follow_symlinks) == (12, 34, False)
        folder = Path(f"/proc/self/fd/{dir_fd}").readlink()
        given.append(str((folder / name).relative_to(state)))

    monkeypatch.setattr(os, "chown", chown)
    hand_over(state, 12, 34, of=os.getuid())
    assert sorted(set(given)) == [".", "crops", "crops/a", "gallery.db"]
    given.clear()
    hand_over(state, 12, 34, of=os.getuid() + 1)
    assert given == []


def test_who_may_not_look_for_the_services_socket_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(type(tmp_path)):  # type: ignore[misc]
        """A path in a folder of somebody else."""

        def exists(self, **options: bool) -> bool:
            raise PermissionError(13, "Permission denied")

    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(status, "INSTALLED", Closed("/run/jetson-face/status.sock"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(["status", "--set", f"state_dir={tmp_path}"]) == 6
    (line,) = said(capsys)
    assert "/run/jetson-face/status.sock: you may not ask this service: use sudo" in line


@pytest.mark.parametrize("valid", [True, False])
def test_a_service_with_several_runtime_folders_is_asked_in_the_first(
    valid: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("sources: [{uri: 'test://'}]\n" if valid else "sampling: {interval: many}\n")
    monkeypatch.setattr(status, "INSTALLED", tmp_path / "no.sock")
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/one:{tmp_path}/two")
    assert main(["status", "-c", str(config)]) == 4
    (line,) = said(capsys)
    assert f"{tmp_path}/one/status.sock" in line
