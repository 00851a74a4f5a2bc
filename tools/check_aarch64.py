"""Checks that what a wheel of ours needs can be had for a Jetson: as aarch64 wheels from PyPI.

python tools/check_aarch64.py build/wheel/*.whl [--extra pc] [--python 3.10 --python 3.12]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def requirements(wheel: Path, extras: set[str]) -> list[str]:
    """What the wheel's metadata asks for: the base, and what the extras add."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(name).decode("utf-8"))
    wanted = []
    for line in fields.get_all("Requires-Dist") or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if extra is None or extra[1] in extras:
            wanted.append(requirement.strip())
    return wanted


def resolves(wanted: list[str], python: str) -> str | None:
    """None where pip finds aarch64 wheels of everything, else the last line of its complaint."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--target", "unused", "--implementation", "cp", "--python-version", python]
    for glibc in GLIBC:
        command += ["--platform", f"{glibc}_aarch64"]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
    return errors[-1] if errors else done.stderr[-300:]


def main() -> int:
    """0 where everything resolves for every Python, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--extra", action="append", default=None)
    parser.add_argument("--python", action="append", default=None)
    args = parser.parse_args()
    wanted = requirements(args.wheel, set(args.extra or ["pc"]))
    failed = False
    for python in args.python or ["3.10", "3.12"]:
        complaint = resolves(wanted, python)
        print(f"aarch64, Python {python}: {complaint or f'{len(wanted)} requirements resolve'}")
        failed |= complaint is not None
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
