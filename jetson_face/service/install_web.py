"""The steps that put the operator's page on a box, beside the service, and take it off again."""

from __future__ import annotations

import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from jetson_face.service.install import (
    Box,
    Step,
    remover,
    runner,
    unit_text,
    user_exists,
    writer,
)

WEB_USER = "jetson-face-web"
WEB_UNIT = "jetson-face-web.service"
WEB_STATE = Path("/var/lib/jetson-face-web")


def web_steps(box: Box, program: Path, *, start: bool) -> Iterator[Step]:
    """After the service's own: user, folder of the accounts, unit; started where a password is set,
    or it listens on this box only. program: see `install_steps`."""
    yield Step(f"user {WEB_USER}", not user_exists(box, WEB_USER), lambda: _add_user(box))
    folder = box.at(WEB_STATE)
    yield Step(f"folder {WEB_STATE} (0700)", not folder.is_dir(), lambda: _make_folder(box, folder))
    path = box.at(f"/etc/systemd/system/{WEB_UNIT}")
    text = unit_text(WEB_UNIT, program)
    changed = not path.exists() or path.read_text("utf-8") != text
    yield Step(f"unit {path}", changed, writer(path, text))
    yield Step("systemctl daemon-reload", changed and box.booted, runner(box, "daemon-reload"))
    link = box.at(f"/etc/systemd/system/multi-user.target.wants/{WEB_UNIT}")
    enable = ["enable", WEB_UNIT] if box.booted else [f"--root={box.root}", "enable", WEB_UNIT]
    yield Step(f"systemctl enable {WEB_UNIT}", not link.is_symlink(), runner(box, *enable))
    if start and box.booted:
        verb = "restart" if changed else "start"
        yield Step(f"systemctl {verb} {WEB_UNIT}", True, runner(box, "--no-block", verb, WEB_UNIT))


def web_removal(box: Box, *, purge: bool) -> Iterator[Step]:
    """Take the page off; with `purge` also its accounts."""
    link = box.at(f"/etc/systemd/system/multi-user.target.wants/{WEB_UNIT}")
    path = box.at(f"/etc/systemd/system/{WEB_UNIT}")
    now = ["disable", "--now"] if box.booted else [f"--root={box.root}", "disable"]
    disable = [*now, WEB_UNIT]
    yield Step(f"systemctl {' '.join(disable)}", link.is_symlink(), runner(box, *disable))
    there = path.exists()
    yield Step(f"remove {path}", there, remover(path))
    yield Step("systemctl daemon-reload", there and box.booted, runner(box, "daemon-reload"))
    if purge:
        folder = box.at(WEB_STATE)
        yield Step(f"erase {folder}", folder.is_dir(), lambda: shutil.rmtree(folder))


def _add_user(box: Box) -> None:
    where = [] if box.root == Path("/") else ["--root", str(box.root)]
    box.run(
        ["useradd", *where, "--system", "--user-group", "--no-create-home",
         "--home-dir", str(WEB_STATE), "--shell", "/usr/sbin/nologin", WEB_USER]
    )  # fmt: skip


def _make_folder(box: Box, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    if box.root == Path("/"):
        user = pwd.getpwnam(WEB_USER)
        shutil.chown(folder, user.pw_uid, user.pw_gid)
