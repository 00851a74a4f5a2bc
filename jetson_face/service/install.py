"""The steps that put the service on a box and take it off again; each is safe to repeat."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from jetson_face.capture.uri import is_network, parse_uri
from jetson_face.config import load_config
from jetson_face.core.errors import InputMissingError, JetsonFaceError, OutputError, UsageError
from jetson_face.privacy.encryption import create_key
from jetson_face.service.devices import Hardware, adapt, look_at
from jetson_face.util.documents import read_text
from jetson_face.util.files import write_file
from jetson_face.util.optional import pip_install

USER = "jetson-face"
UNITS = ("jetson-face.service", "jetson-face@.service")
GROUPS = ("video", "render")
ETC = Path("/etc/jetson-face")
STATE_FOLDERS = ("/var/lib/jetson-face", "/var/cache/jetson-face", "/var/log/jetson-face")
WITHOUT = (
    "let what starts programs on this machine start `jetson-face service run -c FILE`, and ask it "
    "with `jetson-face status -c FILE`"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_OWN = frozenset({"config", "crops", "engines", "measurements", "models", "receipts"})
"""What jetson-face.service itself has where an instance has its files and folders."""


@dataclass(frozen=True, slots=True)
class Step:
    """what: for people. needed: False when it is done already. act: does it."""

    what: str
    needed: bool
    act: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Box:
    """The machine that is changed. root: `/`, or a folder for tests and images.

    run: runs a program and raises OutputError when it fails. booted: systemd runs here.
    """

    root: Path = Path("/")
    booted: bool = False
    run: Callable[[Sequence[str]], None] = lambda command: run_program(command)

    def at(self, path: str | Path) -> Path:
        """A path of the box."""
        return self.root / str(path).lstrip("/")


def systemd_runs() -> bool:
    """Whether this machine was booted with systemd; see sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def run_program(command: Sequence[str]) -> None:
    """Run a program to its end. Raises OutputError with what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise OutputError(f"{command[0]}: cannot be run: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().replace("\n", " ")
        raise OutputError(f"`{' '.join(command)}` failed: {said or done.returncode}")


def service_name(instance: str | None) -> str:
    """The unit's name. Raises UsageError for a name that systemd would not take."""
    if instance is None:
        return "jetson-face.service"
    if not _NAME.fullmatch(instance):
        raise UsageError(f"not a name for an instance: {instance!r}; letters, digits, - and _")
    if instance in _OWN:
        raise UsageError(f"not a name for an instance: jetson-face.service has a {instance} itself")
    return f"jetson-face@{instance}.service"


def config_target(box: Box, instance: str | None) -> Path:
    """The configuration that the service reads."""
    return box.at(ETC) / f"{instance or 'config'}.yaml"


def install_steps(
    box: Box,
    program: Path,
    *,
    config: Path | None,
    instance: str | None,
    start: bool,
    hardware: Hardware | None = None,
) -> Iterator[Step]:
    """Everything from a bare box to a running service, in order; what is there stays.

    program: the `jetson-face` that the units start. config: a file to copy when the box has none
    yet; None takes the one that fits this machine. hardware: that the units are written for; None
    looks for it.
    """
    hardware = hardware or find_hardware(box, config, instance)
    yield Step(
        f"user {USER}", not user_exists(box, USER), lambda: add_user(box, USER, STATE_FOLDERS[0])
    )
    etc = box.at(ETC)
    yield Step(f"folder {ETC} (0750)", not etc.is_dir(), lambda: _make_folder(box, etc))
    target = config_target(box, instance)
    yield Step(
        f"configuration {target}", not target.exists(), lambda: _copy_config(box, config, target)
    )
    # Put back from a backup, or written under another umask: the service could not read them.
    for path, mode in ((etc, 0o750), (target, 0o640)):
        needed = path.exists() and not _is_readable(box, path, mode)
        yield Step(f"rights of {path} ({mode:04o})", needed, partial(_let_read, box, path, mode))
    key = etc / "gallery.key"
    yield Step(f"key {key} (0600)", not key.exists(), lambda: create_key(key))
    password = etc / "camera.password"
    yield Step(
        f"empty password file {password} (0600)",
        not password.exists(),
        partial(password.touch, 0o600),
    )
    yield from unit_steps(box, UNITS, service_name(instance), program, hardware, start=start)


def unit_steps(
    box: Box,
    names: Sequence[str],
    unit: str,
    program: Path,
    hardware: Hardware | None,
    *,
    start: bool,
) -> Iterator[Step]:
    """Write the unit files of these names, and let `unit` start with the box; `start`: now, too.

    program: see `install_steps`. hardware: see `unit_text`.
    """
    changed = False
    for name in names:
        path, text = _unit_path(box, name), unit_text(name, program, hardware)
        differs = not path.exists() or path.read_text("utf-8") != text
        changed |= differs
        yield Step(f"unit {path}", differs, partial(write_file, path, text))
    yield Step("systemctl daemon-reload", changed and box.booted, _runner(box, "daemon-reload"))
    enable = ["enable", unit] if box.booted else [f"--root={box.root}", "enable", unit]
    yield Step(f"systemctl enable {unit}", not _is_enabled(box, unit), _runner(box, *enable))
    if start and box.booted:
        verb = "restart" if changed else "start"
        yield Step(f"systemctl {verb} {unit}", True, _runner(box, "--no-block", verb, unit))


def uninstall_steps(box: Box, *, instance: str | None, purge: bool) -> Iterator[Step]:
    """Take the service off; with `purge` also its configuration, key, gallery and events.

    Without an instance all of them go: their unit and their folders are in what is removed.
    """
    unit = service_name(instance)
    if instance is not None:
        yield _disabling(box, unit)
        if purge:
            yield from _erasing(box, [f"{folder}/{instance}" for folder in STATE_FOLDERS])
            target = config_target(box, instance)
            yield Step(f"erase {target}", target.exists(), partial(target.unlink, missing_ok=True))
        return
    for link in sorted(_wants(box).glob("jetson-face@?*.service")):
        yield _disabling(box, link.name)
    yield from removal_steps(box, UNITS, unit, (*STATE_FOLDERS, ETC) if purge else ())


def removal_steps(
    box: Box, names: Sequence[str], unit: str, folders: Sequence[str | Path]
) -> Iterator[Step]:
    """Stop `unit`, remove the unit files of these names, erase these folders."""
    yield _disabling(box, unit)
    removed = False
    for name in names:
        path = _unit_path(box, name)
        removed |= path.exists()
        yield Step(f"remove {path}", path.exists(), partial(path.unlink, missing_ok=True))
    yield Step("systemctl daemon-reload", removed and box.booted, _runner(box, "daemon-reload"))
    yield from _erasing(box, folders)


def _erasing(box: Box, folders: Sequence[str | Path]) -> Iterator[Step]:
    for folder in folders:
        path = box.at(folder)
        yield Step(f"erase {path}", path.is_dir(), partial(shutil.rmtree, path))


def _unit_path(box: Box, name: str) -> Path:
    return box.at(f"/etc/systemd/system/{name}")


def _wants(box: Box) -> Path:
    return _unit_path(box, "multi-user.target.wants")


def _is_enabled(box: Box, unit: str) -> bool:
    return (_wants(box) / unit).is_symlink()


def _disabling(box: Box, unit: str) -> Step:
    disable = ["disable", "--now", unit] if box.booted else [f"--root={box.root}", "disable", unit]
    # It may run without being enabled: started by hand, or disabled since.
    may_run = box.booted and _unit_path(box, re.sub("@.*[.]", "@.", unit)).exists()
    needed = may_run or _is_enabled(box, unit)
    return Step(f"systemctl {' '.join(disable)}", needed, _runner(box, *disable))


def find_hardware(box: Box, config: Path | None, instance: str | None) -> Hardware:
    """What the box has that the units must know. config: see `install_steps`."""
    target = config_target(box, instance)
    chosen = target if target.exists() else config
    return look_at(box.root, network=chosen is not None and _has_network_camera(chosen))


def _has_network_camera(config: Path) -> bool:
    try:
        sources = load_config(config).sources
    except JetsonFaceError:  # said by who reads it to run it
        return False
    return any(is_network(parse_uri(source.uri)) for source in sources)


def unit_text(name: str, program: Path, hardware: Hardware | None) -> str:
    """The unit as it is shipped, with this installation's program and this box's groups and
    hardware; None: of a unit that opens none."""
    text = _shipped("systemd", name)
    text = text if hardware is None else adapt(text, hardware)
    groups = " ".join(group for group in GROUPS if _group_exists(group))
    text = text.replace("/usr/local/bin/jetson-face", str(program))
    if groups:
        return text.replace("SupplementaryGroups=video", f"SupplementaryGroups={groups}")
    return text.replace("SupplementaryGroups=video\n", "")


def own_program() -> Path:
    """The `jetson-face` of this installation. Raises UsageError where there is none."""
    program = Path(sys.prefix) / "bin" / "jetson-face"
    if not program.exists():
        found = shutil.which("jetson-face")
        if found is None:
            raise UsageError("jetson-face is not installed: pip install . in its source folder")
        program = Path(found)
    return program


def without_systemctl(action: str) -> list[JetsonFaceError]:
    """Why nothing can be done here where there is no systemctl; else nothing."""
    if shutil.which("systemctl") is not None:
        return []
    return [UsageError(f"there is no systemctl here to {action} a service with: {WITHOUT}")]


def refusals(program: Path, config: Path | None, target: Path) -> list[JetsonFaceError]:
    """Why the service could not be installed, or would not run: what a real run refuses with.

    program: see `install_steps`. config: that would become `target`, unless that is there.
    """
    found = without_systemctl("install")
    if (why := _unreachable(program)) is not None:
        found.append(UsageError(f"{program}: {why}"))
    if config is not None and not target.exists():
        try:
            load_config(config)
        except JetsonFaceError as error:
            found.append(error)
    return found


def unusable(box: Box, instance: str | None) -> str | None:
    """What is wrong with the configuration that the box has; None where it is valid, is not there,
    or may not be read by who asks."""
    target = config_target(box, instance)
    if not os.access(target, os.R_OK):
        return None
    try:
        load_config(target)
    except JetsonFaceError as error:
        return (error.lines or (str(error),))[0]
    return None


def _unreachable(program: Path) -> str | None:
    """Why the service's user could not run it, None where it could."""
    if " " in str(program) or "%" in str(program):
        return "systemd cannot run a path with spaces or %: install elsewhere"
    for folder in program.parents:
        hidden = str(folder) in ("/home", "/root", "/run/user", "/tmp")
        if hidden or not folder.stat().st_mode & 0o001:
            return (
                f"the service's user cannot reach {folder}: install into /opt, as in `python3 -m "
                f"venv /opt/jetson-face`, then /opt/jetson-face/bin/{pip_install('pc')}"
            )
    return None


def _shipped(folder: str, name: str) -> str:
    """A file that travels in the wheel, or lies in the source tree. Raises InputMissingError."""
    package = resources.files("jetson_face")
    for place in (package / f"_{folder}" / name, package / ".." / folder / name):
        if place.is_file():
            return place.read_text("utf-8")
    raise InputMissingError(f"{name} is not in this installation: install jetson-face again")


def user_exists(box: Box, name: str) -> bool:
    """Whether the box has a user of that name."""
    if box.root != Path("/"):
        passwd = box.at("/etc/passwd")
        return passwd.exists() and f"\n{name}:" in "\n" + passwd.read_text("utf-8")
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def add_user(box: Box, name: str, home: str | Path) -> None:
    """Add a user that runs services: nobody logs in as them."""
    where = [] if box.root == Path("/") else ["--root", str(box.root)]
    box.run(
        ["useradd", *where, "--system", "--user-group", "--no-create-home",
         "--home-dir", str(home), "--shell", "/usr/sbin/nologin", name]
    )  # fmt: skip


def _make_folder(box: Box, path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    _let_read(box, path, 0o750)


def _let_read(box: Box, path: Path, mode: int) -> None:
    path.chmod(mode)
    if box.root == Path("/"):
        shutil.chown(path, group=USER)


def _is_readable(box: Box, path: Path, mode: int) -> bool:
    """Whether the service's user has the rights that `mode` gives to its group."""
    facts, group = path.stat(), (mode >> 3) & 0o7
    if facts.st_mode & group == group:
        return True
    theirs = facts.st_mode >> 3 & group == group
    if box.root != Path("/"):
        return theirs
    try:
        return theirs and facts.st_gid == pwd.getpwnam(USER).pw_gid
    except KeyError:
        return False


def _copy_config(box: Box, config: Path | None, target: Path) -> None:
    if config is not None:
        text = read_text(config)
    else:
        jetson = box.at("/etc/nv_tegra_release").exists()
        text = _shipped("configs", "jetson-orin.yaml" if jetson else "pc.yaml")
    # It may hold passwords: readable by the service, not by everybody.
    write_file(target, text, mode=0o640)
    _let_read(box, target, 0o640)


def _runner(box: Box, *arguments: str) -> Callable[[], None]:
    """Runs systemctl."""
    return lambda: box.run(["systemctl", *arguments])
