"""The steps that put the operator's page on a box, beside the service, and take it off again."""

from __future__ import annotations

import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from jetson_face.service.install import Box, Step, add_user, removal_steps, unit_steps, user_exists

WEB_USER = "jetson-face-web"
WEB_UNIT = "jetson-face-web.service"
WEB_STATE = Path("/var/lib/jetson-face-web")


def web_steps(box: Box, program: Path, *, start: bool) -> Iterator[Step]:
    """After the service's own: user, folder of the accounts, unit; started where a password is set,
    or it listens on this box only. program: see `install_steps`."""
    yield Step(
        f"user {WEB_USER}",
        not user_exists(box, WEB_USER),
        lambda: add_user(box, WEB_USER, WEB_STATE),
    )
    folder = box.at(WEB_STATE)
    yield Step(f"folder {WEB_STATE} (0700)", not folder.is_dir(), lambda: _make_folder(box, folder))
    yield from unit_steps(box, (WEB_UNIT,), WEB_UNIT, program, None, start=start)


def web_removal(box: Box, *, purge: bool) -> Iterator[Step]:
    """Take the page off; with `purge` also its accounts."""
    return removal_steps(box, (WEB_UNIT,), WEB_UNIT, (WEB_STATE,) if purge else ())


def _make_folder(box: Box, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    if box.root == Path("/"):
        user = pwd.getpwnam(WEB_USER)
        shutil.chown(folder, user.pw_uid, user.pw_gid)
