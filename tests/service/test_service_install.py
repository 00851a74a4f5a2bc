"""Putting the service on a box and taking it off, in a folder that stands for the box."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from jetson_face.core.errors import (
    ConfigError,
    GalleryRestoredError,
    OutputError,
    SecretBrokenError,
    SecretMissingError,
    UsageError,
)
from jetson_face.service import install as subject
from jetson_face.service.install import Box, install_steps, uninstall_steps

PROGRAM = Path("/opt/jetson-face/bin/jetson-face")
REPO = Path(__file__).resolve().parents[2]


class Ran:
    """Notes the programs instead of running them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str]) -> None:
        self.commands.append(" ".join(command))
        if command[0] == "useradd":
            (self.root / "etc" / "passwd").write_text("root:x:0:0::/:\njetson-face:x:9:9::/:\n")
        if "enable" in command:
            wants = self.root / "etc/systemd/system/multi-user.target.wants"
            wants.mkdir(parents=True, exist_ok=True)
            (wants / command[-1]).symlink_to("x")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def install(root: Path, ran: Ran, *, booted: bool = True, instance: str | None = None) -> list[str]:
    """Do every step that is needed; returns what was done."""
    box = Box(root, booted=booted, run=ran)
    done = []
    for step in install_steps(box, PROGRAM, config=None, instance=instance, start=True):
        if step.needed:
            step.act()
            done.append(step.what)
    return done


def test_a_bare_box_gets_everything(root: Path) -> None:
    ran = Ran(root)
    install(root, ran)
    assert ran.commands[0].startswith(f"useradd --root {root} --system")
    assert ran.commands[1:] == [
        "systemctl daemon-reload",
        "systemctl enable jetson-face.service",
        "systemctl --no-block restart jetson-face.service",
    ]
    etc = root / "etc/jetson-face"
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in etc.iterdir()}
    assert modes == {"config.yaml": "0o640", "gallery.key": "0o600", "camera.password": "0o600"}
    assert etc.stat().st_mode & 0o777 == 0o750
    unit = (root / "etc/systemd/system/jetson-face.service").read_text()
    assert f"ExecStart={PROGRAM} service run -c /etc/jetson-face/config.yaml\n" in unit
    assert "/usr/local/bin" not in unit


def test_a_second_time_changes_nothing_but_starts(root: Path) -> None:
    install(root, Ran(root))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    ran = Ran(root)
    assert install(root, ran) == ["systemctl start jetson-face.service"]
    assert ran.commands == ["systemctl --no-block start jetson-face.service"]
    assert {path: path.read_bytes() for path in before} == before


def test_what_was_put_back_without_its_rights_gets_them(root: Path) -> None:
    install(root, Ran(root))
    etc = root / "etc/jetson-face"
    (etc / "config.yaml").chmod(0o600)
    etc.chmod(0o700)
    did = install(root, Ran(root))
    assert did[:2] == [f"rights of {etc} (0750)", f"rights of {etc}/config.yaml (0640)"]
    assert etc.stat().st_mode & 0o777 == 0o750
    assert (etc / "config.yaml").stat().st_mode & 0o777 == 0o640


def test_a_newer_unit_is_put_in_place_and_the_service_restarted(root: Path) -> None:
    install(root, Ran(root))
    unit = root / "etc/systemd/system/jetson-face.service"
    unit.write_text("[Unit]\n")
    ran = Ran(root)
    assert install(root, ran)[0] == f"unit {unit}"
    assert ran.commands[-1] == "systemctl --no-block restart jetson-face.service"


def test_an_image_that_does_not_run_is_prepared_for_its_boot(root: Path) -> None:
    ran = Ran(root)
    install(root, ran, booted=False)
    assert ran.commands[1:] == [f"systemctl --root={root} enable jetson-face.service"]


def test_an_instance_has_its_own_configuration(root: Path) -> None:
    install(root, Ran(root), instance="door")
    assert (root / "etc/jetson-face/door.yaml").exists()
    assert not (root / "etc/jetson-face/config.yaml").exists()
    unit = (root / "etc/systemd/system/jetson-face@.service").read_text()
    assert "-c /etc/jetson-face/%i.yaml\n" in unit
    assert "StateDirectory=jetson-face/%i\n" in unit


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a" * 41, "x;y", "x\n"])
def test_names_that_systemd_would_not_take(name: str) -> None:
    with pytest.raises(UsageError, match="not a name for an instance"):
        subject.service_name(name)


@pytest.mark.parametrize("name", ["config", "models", "crops"])
def test_an_instance_shares_no_file_with_the_service_itself(name: str) -> None:
    with pytest.raises(UsageError, match=f"has a {name} itself"):
        subject.service_name(name)


def test_uninstall_keeps_what_people_made_unless_purged(root: Path) -> None:
    install(root, Ran(root))
    (root / "var/lib/jetson-face").mkdir(parents=True)
    ran = Ran(root)
    for step in uninstall_steps(Box(root, booted=True, run=ran), instance=None, purge=False):
        if step.needed:
            step.act()
    assert ran.commands == [
        "systemctl disable --now jetson-face.service",
        "systemctl daemon-reload",
    ]
    assert not list((root / "etc/systemd/system").glob("*.service"))
    assert (root / "etc/jetson-face/gallery.key").exists()
    for step in uninstall_steps(Box(root, booted=False, run=ran), instance=None, purge=True):
        if step.needed and step.what.startswith("erase"):
            step.act()
    assert not (root / "etc/jetson-face").exists()
    assert not (root / "var/lib/jetson-face").exists()


def test_an_instance_is_purged_alone(root: Path) -> None:
    install(root, Ran(root), instance="door")
    install(root, Ran(root), instance="yard")
    for name in ("door", "yard"):
        for folder in subject.STATE_FOLDERS:
            (root / folder[1:] / name).mkdir(parents=True)
    ran = Ran(root)
    for step in uninstall_steps(Box(root, booted=True, run=ran), instance="door", purge=True):
        if step.needed:
            step.act()
    assert ran.commands == ["systemctl disable --now jetson-face@door.service"]
    left = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert not [path for path in left if path.endswith(("/door", "/door.yaml"))]
    assert {f"{folder[1:]}/yard" for folder in subject.STATE_FOLDERS} < left
    assert {"etc/jetson-face/yard.yaml", "etc/jetson-face/gallery.key"} < left
    assert "etc/systemd/system/jetson-face@.service" in left


@pytest.mark.parametrize("booted", [True, False])
def test_the_instances_go_with_the_service(root: Path, booted: bool) -> None:
    install(root, Ran(root))
    install(root, Ran(root), instance="door")
    ran = Ran(root)
    for step in uninstall_steps(Box(root, booted=booted, run=ran), instance=None, purge=True):
        if step.needed:
            step.act()
    how = "disable --now" if booted else f"--root={root} disable"
    units = ("jetson-face@door.service", "jetson-face.service")
    assert ran.commands[:2] == [f"systemctl {how} {unit}" for unit in units]
    assert not (root / "etc/jetson-face").exists()


@pytest.mark.parametrize("instance", [None, "door"])
def test_a_service_that_runs_without_being_enabled_is_stopped(
    root: Path, instance: str | None
) -> None:
    install(root, Ran(root), instance=instance)
    unit = subject.service_name(instance)
    (root / "etc/systemd/system/multi-user.target.wants" / unit).unlink()
    ran = Ran(root)
    first, *_ = uninstall_steps(Box(root, booted=True, run=ran), instance=instance, purge=False)
    assert first.needed
    first.act()
    assert ran.commands == [f"systemctl disable --now {unit}"]


def test_a_program_that_fails_says_what_it_said() -> None:
    with pytest.raises(OutputError, match="`sh -c echo no luck >&2; exit 3` failed: no luck"):
        subject.run_program(["sh", "-c", "echo no luck >&2; exit 3"])
    with pytest.raises(OutputError, match="cannot be run"):
        subject.run_program(["/no/such/program"])


def test_the_two_units_differ_in_their_names_only() -> None:
    one, many = ((REPO / "systemd" / name).read_text().splitlines() for name in subject.UNITS)
    differing = {a.split("=")[0] for a, b in zip(one, many, strict=True) if a != b}
    assert differing == {
        "# that this box has. Change it with `systemctl edit jetson-face`, not here.",
        "Description",
        "ExecStart",
        "ExecReload",
        "StateDirectory",
        "CacheDirectory",
        "LogsDirectory",
        "RuntimeDirectory",
    }


def test_a_service_that_stops_leaves_the_sockets_of_instances_where_they_are() -> None:
    one, many = ((REPO / "systemd" / name).read_text().splitlines() for name in subject.UNITS)
    assert {"RuntimeDirectory=jetson-face", "RuntimeDirectoryPreserve=yes"} <= set(one)
    assert "RuntimeDirectory=jetson-face/%i" in many


@pytest.mark.parametrize("name", subject.UNITS)
def test_the_units_exposure_is_at_most_2_5(tmp_path: Path, name: str) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    unit = tmp_path / name.replace("@", "@x")
    shutil.copy(REPO / "systemd" / name, unit)
    done = subprocess.run(
        [program, "security", "--offline=true", "--threshold=25", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    level = float(done.stdout.rsplit("exposure level for ", 1)[1].split(": ")[1].split()[0])
    assert level <= 2.5
    text = unit.read_text()
    for device in ("char-video4linux", "char-nv*", "/dev/nvmap"):
        assert f"DeviceAllow={device} rw\n" in text


@pytest.mark.parametrize("unit", ["jetson-face.service", "jetson-face@.service"])
def test_what_does_not_get_better_by_itself_is_not_started_again(unit: str) -> None:
    text = (REPO / "systemd" / unit).read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("RestartPreventExitStatus="))
    codes = {int(word) for word in line.partition("=")[2].split()}
    assert codes == {
        kind.exit_code
        for kind in (
            UsageError,
            ConfigError,
            SecretMissingError,
            SecretBrokenError,
            GalleryRestoredError,
        )
    }
