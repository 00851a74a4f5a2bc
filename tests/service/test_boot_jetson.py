"""The service on a box that boots a real systemd and has a Jetson's device nodes and CSI daemon.

The nodes are real ones by Orin's names; their drivers' names stand in a /proc/devices of the box's
own, where an Orin has them. Run by tools/test_service.sh, in the order of the file.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.nspawn_box import PROGRAM, UNIT, Box, wait_for, why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

KEPT = Path(os.environ.get("JETSON_FACE_BOX", "."))
CONFIG = """
sources: [{uri: "test://?live=1&frames=1000000&fps=5&width=160&height=120", name: yard}]
detector: {type: mtcnn, min_face_px: 40, max_side_px: 160}
backend: {type: onnxruntime}
service: {stall_s: 20}
"""
FUSE = (10, 229)
LOOP_CONTROL = (10, 237)
"""Devices that kernels have and any user may open stand behind the nodes. The unit lets nvmap
through by its path: not the same number as the GPU's, or that would let them all through."""
NODES = {
    "/dev/nvgpu/igpu0/ctrl": FUSE,
    "/dev/host1x-fence": FUSE,
    "/dev/nvmap": LOOP_CONTROL,
    "/dev/nvhost-ctrl-gpu": FUSE,
}
DRIVERS = """Character devices:
  1 mem
  5 /dev/tty
{major} {name}
136 pts

Block devices:
259 blkext
"""
DAEMON = """
import os, socket
path = "/tmp/argus_socket"
if os.path.exists(path):
    os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
os.chmod(path, 0o777)
server.listen(8)
while True:
    connection, _ = server.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.close()
"""
DAEMON_UNIT = """[Unit]
Description=a CSI camera daemon that only answers with its process id
[Service]
ExecStart=/usr/bin/python3 /root/argus.py
"""
ASK = (
    "import socket; s=socket.socket(socket.AF_UNIX); s.settimeout(5); "
    "s.connect('/tmp/argus_socket'); print(s.recv(99).decode())"
)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    if reason := why_not():
        pytest.skip(reason)
    box = Box(KEPT / "root", tmp_path_factory.mktemp("jetson"))
    try:
        box.write("/root/site.yaml", CONFIG)
        box.write("/etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1\n")
        box.write("/root/argus.py", DAEMON)
        box.write("/etc/systemd/system/nvargus-daemon.service", DAEMON_UNIT)
        box.boot()
        for path, (major, minor) in NODES.items():
            made = f"mkdir -p $(dirname {path}) && mknod -m 666 {path} c {major} {minor}"
            code, said = box.run("sh", "-c", made)
            if code:
                pytest.skip(f"device nodes cannot be made here: {said.strip()}")
        box.write("/root/devices", DRIVERS.format(major=FUSE[0], name="17000000.gpu"))
        code, said = box.run("mount", "--bind", "/root/devices", "/proc/devices")
        assert code == 0, said
        box.run("systemctl", "start", "nvargus-daemon")
        code, said = box.run(PROGRAM, "service", "install", "-c", "/root/site.yaml", "--no-start")
        assert code == 0, said
        box.write("/root/installed", said)
        yield box
    finally:
        with contextlib.suppress(Exception):
            (KEPT / "journal").write_text(box.journal())
        box.close()


def opens(box: Box, path: str) -> str:
    """What a program that starts as the service does, by the same unit, gets from a node."""
    box.write(
        f"/etc/systemd/system/{UNIT}.d/probe.conf",
        "[Service]\nType=oneshot\nRestart=no\nExecStart=\n"
        f"ExecStart=/bin/sh -c 'exec 3<>{path} && echo opened'\n",
    )
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "reset-failed", UNIT)
    box.run("systemctl", "start", UNIT)
    said = box.show("Result")
    box.remove(f"/etc/systemd/system/{UNIT}.d/probe.conf")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "reset-failed", UNIT)
    return said


def test_install_says_what_it_found(box: Box) -> None:
    said = (box.root / "root/installed").read_text()
    # The box's own /dev/fuse is of that driver here, too.
    assert re.search(r"GPU nodes /dev/\S+ and [4-9] more, of 17000000\.gpu\n", said), said
    assert "a Jetson: /tmp is shared" in said


@pytest.fixture(scope="module")
def _controlled(box: Box) -> None:
    """Skips where a node opens although no unit allows it: what opens then shows nothing."""
    with changed_unit(box, lambda line: not line.startswith("DeviceAllow=")):
        if opens(box, "/dev/nvgpu/igpu0/ctrl") == "success":
            pytest.skip("no systemd in a container can control devices here (cgroup BPF)")


@pytest.mark.usefixtures("_controlled")
@pytest.mark.parametrize("path", NODES)
def test_the_services_process_can_open_the_gpus_nodes(box: Box, path: str) -> None:
    assert opens(box, path) == "success"


@pytest.mark.usefixtures("_controlled")
def test_the_units_of_before_knew_orins_gpu_by_no_name(box: Box) -> None:
    with changed_unit(box, lambda line: "*.gpu" not in line and "host1x" not in line):
        assert opens(box, "/dev/nvgpu/igpu0/ctrl") != "success"


@contextlib.contextmanager
def changed_unit(box: Box, keep: Callable[[str], bool]) -> Iterator[None]:
    """The unit with some of its lines only."""
    text = (box.root / f"etc/systemd/system/{UNIT}").read_text()
    kept = [line for line in text.splitlines() if keep(line)]
    box.write(f"/etc/systemd/system/{UNIT}", "\n".join(kept) + "\n")
    try:
        yield
    finally:
        box.write(f"/etc/systemd/system/{UNIT}", text)
        box.run("systemctl", "daemon-reload")


def test_it_runs_and_its_process_reaches_argus_also_after_the_daemon_restarted(box: Box) -> None:
    code, said = box.run("systemctl", "start", UNIT)
    assert code == 0, said + box.journal()[-600:]
    wait_for(lambda: box.decided() > 0, 120, "a decision")
    pid = box.show("MainPID")
    inside = ("nsenter", "--target", pid, "--mount", "setpriv", "--reuid=jetson-face",
              "--regid=jetson-face", "--clear-groups", "/usr/bin/python3", "-c", ASK)  # fmt: skip
    answers = [ask_argus(box, inside)]
    box.run("systemctl", "restart", "nvargus-daemon")  # its socket is a new inode
    wait_for(lambda: box.show("MainPID", "nvargus-daemon") not in ("0", answers[0]), 20, "a start")
    answers.append(ask_argus(box, inside))
    assert answers[0] != answers[1]
    assert box.show("MainPID") == pid
    assert box.show("LimitCORE") == "0"
    assert "nvargus-daemon.service" in box.show("After").split()


def ask_argus(box: Box, inside: tuple[str, ...]) -> str:
    """The daemon's process id, as it answers to who connects as the service would."""
    wait_for(lambda: box.run(*inside)[0] == 0, 20, "an answer of the daemon")
    said = box.run(*inside)[1].strip()
    assert said == box.show("MainPID", "nvargus-daemon")
    return said
