"""A box that boots a real systemd: debootstrap's root under systemd-nspawn, over an overlay.

Usage: python -m tests.service.nspawn_box ROOT   (exit code 0 if it boots here, else why not)
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask

UNIT = "jetson-face.service"
PROGRAM = "/opt/jetson-face/bin/jetson-face"
HERE = Path(__file__).parent
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
HANG = """
import os, time
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
if os.path.exists("/etc/jetson-face/test-hang-allowed"):
    from jetson_face.recognition.recognizer import FaceRecognizer
    steps = FaceRecognizer.steps
    def hanging(self, frame):
        while os.path.exists("/etc/jetson-face/test-hang"):
            time.sleep(0.1)
        return steps(self, frame)
    FaceRecognizer.steps = hanging
"""


class Camera:
    """The RTSP server of `rtsp_camera.py`, switched on and off."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def on(self) -> None:
        """Start, and wait until it listens."""
        self._process = subprocess.Popen(
            [*DIES_WITH_US, "/usr/bin/python3", str(HERE / "rtsp_camera.py"), str(self.port)],
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._listens, 20, "the RTSP server")

    def off(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Box:
    """A machine, not yet booted: `base` below, what is written above, in memory."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.root = folder / "merged"
        self._folder = folder
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        # In memory: an overlay's upper layer may not lie on an overlay, as containers have it.
        mount("-t", "tmpfs", "box", str(folder))
        for name in ("upper", "work", "merged"):
            (folder / name).mkdir()
        options = f"lowerdir={base},upperdir={folder}/upper,workdir={folder}/work"
        try:
            mount("-t", "overlay", "box", "-o", options, str(self.root))
        except AssertionError:
            self.close()
            raise

    def can_hang(self) -> None:
        """Let the recogniser hang while /etc/jetson-face/test-hang exists."""
        site = next((self.root / "opt/jetson-face/lib").glob("python3.*")) / "site-packages"
        # A .pth file: Debian's Python has a sitecustomize of its own, which would come first.
        (site / "hang_on_demand.py").write_text(HANG)
        (site / "hang_on_demand.pth").write_text("import hang_on_demand\n")
        self.write("/etc/jetson-face/test-hang-allowed", "")

    def prepare(self, *command: str) -> str:
        """Run a program in the box before it boots."""
        done = subprocess.run(
            ["chroot", str(self.root), *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(f"{command} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file of the box, owner and mode of an old one kept."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def remove(self, path: str) -> None:
        """Remove a file of the box."""
        (self.root / path.lstrip("/")).unlink(missing_ok=True)

    def boot(self) -> None:
        """Boot systemd and wait until it answers.

        With one tree of control groups and bpf(2), as a board has them: DeviceAllow= needs both.
        """
        log = (self._folder / "console.log").open("wb")
        self._nspawn = subprocess.Popen(
            [*DIES_WITH_US, "systemd-nspawn", "-D", str(self.root), "--register=no", "--keep-unit",
             "--system-call-filter=bpf", "--boot"],
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_for(self._found_leader, 30, "the box's systemd")
        wait_for(lambda: self.run("systemctl", "is-system-running")[1].strip() in (
            "running", "degraded", "starting"), 60, "the box's boot")  # fmt: skip

    def run(self, *command: str, timeout_s: float = 120) -> tuple[int, str]:
        """Run a program in the booted box: exit code, and what it said."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", *command],
            capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def show(self, key: str, unit: str = UNIT) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={key}", "--value")[1].strip()

    def stamp(self, key: str, unit: str = UNIT) -> float:
        """When something happened by systemd, on the clock of `time.monotonic`; `key` as in
        ActiveEnter."""
        return int(self.show(f"{key}TimestampMonotonic", unit)) / 1e6

    def booted_at(self) -> float:
        """When the box's systemd began to start, on the clock of `time.monotonic`."""
        key = "UserspaceTimestampMonotonic"
        return int(self.run("systemctl", "show", f"--property={key}", "--value")[1]) / 1e6

    def status(self, instance: str = "") -> dict[str, Any]:
        """The service's own status; {} while it does not answer."""
        # Through the mount namespace: a process of ours would take longer to start than to ask.
        run = Path(f"/proc/{self._leader}/root/run/jetson-face")
        socket_path = run / instance / "status.sock"
        try:
            found: dict[str, Any] = json.loads(ask(socket_path, "/status").body)
        except (JetsonFaceError, OSError, ValueError):
            return {}
        return found

    def decided(self) -> int:
        """Frames decided by the running process; 0 while it does not answer."""
        return sum(camera["processed"] for camera in self.status().get("cameras", {}).values())

    def journal(self) -> str:
        """The unit's log."""
        return self.run("journalctl", f"--unit={UNIT}", "--no-pager", "--output=cat")[1]

    def close(self) -> None:
        """Power off and unmount."""
        if self._nspawn is not None:
            if self._leader:
                subprocess.run(["kill", "-KILL", str(self._leader)], check=False)
            self._nspawn.terminate()
            self._nspawn.wait(30)
        for place in (self.root, self._folder):
            subprocess.run(["umount", "--lazy", str(place)], check=False)

    def _found_leader(self) -> bool:
        assert self._nspawn is not None
        pid = self._nspawn.pid
        if self._nspawn.poll() is not None:
            raise AssertionError((self._folder / "console.log").read_text(errors="replace"))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                self._leader = int(child)
                return True
        return False


def mount(*words: str) -> None:
    """Mount. Raises AssertionError with the reason."""
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr.strip())


def wait_for(true: Callable[[], object], limit_s: float, what: str) -> float:
    """Wait until `true()`; returns the seconds it took."""
    start = time.monotonic()
    while not true():
        if time.monotonic() - start > limit_s:
            raise AssertionError(f"{what}: not within {limit_s:g} s")
        time.sleep(0.2)
    return time.monotonic() - start


def why_not() -> str | None:
    """Why no box can boot here; None when one can."""
    if not os.environ.get("JETSON_FACE_BOX"):
        return "no box prepared: run tools/test_service.sh"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "booting a box needs root on Linux"
    for program in ("systemd-nspawn", "nsenter"):
        if shutil.which(program) is None:
            return f"no {program} here: apt-get install systemd-container"
    return None


def main() -> int:
    """Boot a bare root and power it off again."""
    with tempfile.TemporaryDirectory() as folder:
        box: Box | None = None
        try:
            box = Box(Path(sys.argv[1]), Path(folder))
            box.boot()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            sys.stdout.write(" | ".join(str(error).split("\n")[-5:]) + "\n")
            return 1
        finally:
            if box is not None:
                box.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
