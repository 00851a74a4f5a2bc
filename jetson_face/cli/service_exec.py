"""`service exec`: another command with the service's gallery, key and configuration."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from jetson_face.core.errors import UsageError
from jetson_face.service.install import ETC, STATE_FOLDERS, USER, own_program

_VARIABLES = ("STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY")


def exec_command(words: Sequence[str], instance: str | None) -> list[str]:
    """The command line. Raises UsageError where jetson-face is not installed."""
    command = [str(own_program()), *words]
    if not any(_names_config(word) for word in words):
        command += ["-c", str(ETC / f"{instance or 'config'}.yaml")]
    return command


def _names_config(word: str) -> bool:
    """Whether it is `-c`, also with its FILE, or `--config` or a beginning of it, with or without
    `=FILE`."""
    long = word.partition("=")[0]
    return word.startswith("-c") or (len(long) > 3 and "--config".startswith(long))


def exec_environment(instance: str | None) -> dict[str, str]:
    """What the command's environment has of the service's."""
    environ = dict(zip(_VARIABLES, (str(f) for f in state_folders(instance)), strict=True))
    environ["RUNTIME_DIRECTORY"] = str(_of("/run/jetson-face", instance))
    # Where the unit's LoadCredential takes them from.
    environ["CREDENTIALS_DIRECTORY"] = str(ETC)
    return environ


def state_folders(instance: str | None) -> list[Path]:
    """State, cache and log folder of an instance."""
    return [_of(folder, instance) for folder in STATE_FOLDERS]


def _of(folder: str, instance: str | None) -> Path:
    return Path(folder) if instance is None else Path(folder) / instance


def exec_as_service(words: Sequence[str], instance: str | None) -> int:
    """Run it; what it made in the service's folders then belongs to the service's user.

    As root, not as that user: who enrols has photos that the service may not read, and the key is
    root's. Raises UsageError without the rights, without a service, or without a command.
    """
    if not words:
        raise UsageError("which command? As in `sudo jetson-face service exec enroll people/`")
    if os.geteuid() != 0:
        raise UsageError("`service exec` reads the service's key: run it with sudo")
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        raise UsageError(
            "the service is not installed: run `sudo jetson-face service install` first"
        ) from None
    command = exec_command(words, instance)
    folders = state_folders(instance)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return _run(command, {**os.environ, **exec_environment(instance)})
    finally:
        for folder in folders:
            hand_over(folder, user.pw_uid, user.pw_gid)


def hand_over(folder: Path, uid: int, gid: int, *, of: int = 0) -> None:
    """Give what is user `of`'s in `folder`, itself included, to the service's user.

    Follows no link, soft or hard: the folder is the service's, which may be up to something.
    """
    for _, folders, files, here in os.fwalk(folder, follow_symlinks=False):
        for name in (".", *folders, *files):
            with contextlib.suppress(FileNotFoundError):  # the service removed it meanwhile
                facts = os.stat(name, dir_fd=here, follow_symlinks=False)
                linked = stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1
                if facts.st_uid == of and not stat.S_ISLNK(facts.st_mode) and not linked:
                    os.chown(name, uid, gid, dir_fd=here, follow_symlinks=False)


def _run(command: list[str], environ: Mapping[str, str]) -> int:
    process = subprocess.Popen(command, env=environ, umask=0o077)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the command got it, too, and ends in its own way
