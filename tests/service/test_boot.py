"""The service on a box that boots a real systemd; run by tools/test_service.sh.

One story in the order of the file: each test goes on with the box that the one before left.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.nspawn_box import PROGRAM, UNIT, Box, Camera, wait_for, why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

KEPT = Path(os.environ.get("JETSON_FACE_BOX", "."))
"""Where tools/test_service.sh prepared the box, and looks for what was measured."""
AWAY_S = float(os.environ.get("JETSON_FACE_AWAY_S", "60"))
CONFIG = """
sources: [{{uri: "rtsp://127.0.0.1:{port}/cam", name: door, read_timeout_s: 2, open_timeout_s: 4}}]
detector: {{type: mtcnn, max_side_px: 320}}
sampling: {{interval: {every}}}
service: {{stall_s: 4, sinks: [{{type: jsonl}}]}}
{more}
"""
YARD = """
sources: [{uri: "test://?live=1&frames=1000000&fps=5&width=160&height=120", name: yard}]
detector: {type: mtcnn, min_face_px: 40, max_side_px: 160}
"""
# The unit as shipped waits 30 s; a test does not need to.
QUICK = "[Service]\nWatchdogSec=8\n"


@pytest.fixture(scope="module")
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.off()


@pytest.fixture(scope="module")
def box(camera: Camera, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    if reason := why_not():
        pytest.skip(reason)
    box = Box(KEPT / "root", tmp_path_factory.mktemp("box"))
    try:
        box.write("/root/site.yaml", config(camera))
        box.prepare(PROGRAM, "service", "install", "-c", "/root/site.yaml")
        again = box.prepare(PROGRAM, "service", "install", "-c", "/root/site.yaml")
        assert "done" not in again
        box.can_hang()
        box.write(f"/etc/systemd/system/{UNIT}.d/quick.conf", QUICK)
        box.boot()
        yield box
    finally:
        with contextlib.suppress(Exception):
            (KEPT / "journal").write_text(box.journal())
        box.close()


def config(camera: Camera, every: int = 5, more: str = "") -> str:
    return CONFIG.format(port=camera.port, every=every, more=more)


def door(box: Box) -> dict[str, Any]:
    """The camera's part of the status."""
    found: dict[str, Any] = box.status()["cameras"]["door"]
    return found


def note(text: str, seconds: float) -> None:
    """For tools/test_service.sh, which shows it at the end."""
    with (KEPT / "measured").open("a") as file:
        file.write(f"MEASURED {text}: {seconds:.1f} s\n")


def find_photo() -> Path:
    """A portrait that scikit-image brings."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data/astronaut.png"


def is_ready(box: Box) -> bool:
    return box.show("ActiveState") == "active" and box.show("SubState") == "running"


def test_it_starts_at_boot_and_is_ready_although_the_camera_is_absent(box: Box) -> None:
    wait_for(lambda: is_ready(box), 120, "ready")
    note("boot to ready, camera absent", box.stamp("ActiveEnter") - box.booted_at())
    assert box.show("User") == "jetson-face"
    assert box.show("UnitFileState") == "enabled"
    assert box.status()["cameras"]["door"]["state"] == "away"
    assert "away: door" in box.show("StatusText")
    assert box.show("NRestarts") == "0"


def test_the_camera_comes_and_frames_are_decided(box: Box, camera: Camera) -> None:
    camera.on()
    note("camera on to first decision", wait_for(lambda: box.decided() > 0, 90, "a decision"))
    wait_for(lambda: box.status().get("ready"), 10, "its saying so")
    assert box.run(PROGRAM, "status")[0] == 0


def test_the_installers_commands(box: Box) -> None:
    pid = box.show("MainPID")
    code, said = box.run(PROGRAM, "service", "install")
    assert code == 0, said
    done = [line.split("done")[1].strip() for line in said.splitlines() if " done " in line]
    assert done == [f"systemctl start {UNIT}"]
    assert box.show("MainPID") == pid
    code, said = box.run(PROGRAM, "service", "status")
    assert code == 0, said
    assert "active (running)" in said
    code, said = box.run(PROGRAM, "service", "logs", "-n", "50")
    assert code == 0, said
    assert "ready after_s=" in said
    stranger = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    code, said = box.run(*stranger, "env", "HOME=/nonexistent", PROGRAM, "status")
    assert code == 6
    assert said.count("\n") == 1
    assert "use sudo, or join the group jetson-face" in said


def test_people_are_enrolled_into_the_services_gallery(box: Box) -> None:
    assert box.status()["gallery"]["people"] == 0
    photo = box.root / "root/people/Eileen Collins/photo.png"
    photo.parent.mkdir(parents=True)
    shutil.copy(find_photo(), photo)
    code, said = box.run(PROGRAM, "service", "exec", "enroll", "/root/people")
    assert code == 0, said
    wait_for(lambda: box.status()["gallery"]["people"] == 1, 20, "the running service to notice")
    owner = box.run("id", "-u", "jetson-face")[1].strip()
    foreign = box.run("find", "/var/lib/jetson-face/", "!", "-uid", owner)
    assert foreign == (0, "")
    code, said = box.run(PROGRAM, "service", "exec", "people", "list")
    assert code == 0, said
    assert "Eileen Collins" in said


def test_killed_it_is_back_and_deciding_within_10_s(box: Box) -> None:
    pid, restarts = box.status()["pid"], int(box.show("NRestarts"))
    start = time.monotonic()
    box.run("systemctl", "kill", "--signal=SIGKILL", UNIT)
    wait_for(lambda: box.status().get("pid", pid) != pid, 15, "a new process")
    wait_for(lambda: box.decided() > 0, 15, "deciding again")
    seconds = time.monotonic() - start
    note("kill -9 to deciding again", seconds)
    wait_for(lambda: is_ready(box), 15, "ready")
    note("kill -9 to ready again, by systemd's clock", box.stamp("ActiveEnter") - start)
    assert int(box.show("NRestarts")) == restarts + 1
    assert box.status()["gallery"]["people"] == 1
    assert seconds < 10


def test_a_hang_in_the_recogniser_is_restarted_by_the_watchdog(box: Box) -> None:
    wait_for(lambda: is_ready(box) and box.decided() > 5, 30, "a working service")
    before = int(box.show("NRestarts"))
    assert "Watchdog timeout" not in box.journal()
    start = time.monotonic()
    box.write("/etc/jetson-face/test-hang", "")
    wait_for(lambda: int(box.show("NRestarts")) > before, 60, "the watchdog")
    seconds = box.stamp("ActiveExit") - start
    note("hang to the watchdog's kill (stall 6 s, WatchdogSec 8)", seconds)
    # Not before the two limits could have passed, and not long after: 6 + 8 s, and the looking.
    assert 8 < seconds < 20
    box.remove("/etc/jetson-face/test-hang")
    assert "Watchdog timeout" in box.journal()
    wait_for(lambda: is_ready(box) and box.decided() > 0, 30, "deciding again")


def test_a_camera_away_for_a_minute_is_no_restart_and_comes_back(box: Box, camera: Camera) -> None:
    wait_for(lambda: box.status().get("ready"), 30, "a working service")
    before = box.show("NRestarts"), box.show("MainPID")
    camera.off()
    end = time.monotonic() + AWAY_S
    wait_for(lambda: door(box)["state"] == "away", 20, "away")
    while time.monotonic() < end:
        status = box.status()
        assert (status["ready"], status["alive"]) == (True, True)
        time.sleep(2)
    assert (box.show("NRestarts"), box.show("MainPID")) == before
    seen = box.decided()
    camera.on()
    seconds = wait_for(lambda: box.decided() > seen, 90, "deciding again")
    note(f"camera back after {AWAY_S:.0f} s away to deciding", seconds)
    # The longest wait between two tries is 5 s; then the stream opens and its first frame comes.
    assert seconds < 15
    assert (box.show("NRestarts"), box.show("MainPID")) == before


def test_a_good_reload_comes_into_force_without_a_gap(box: Box, camera: Camera) -> None:
    pid, before = box.show("MainPID"), door(box)
    box.write("/etc/jetson-face/config.yaml", config(camera, every=2))
    code, said = box.run("systemctl", "reload", UNIT)
    assert code == 0, said
    wait_for(lambda: door(box)["processed"] > before["processed"], 10, "deciding on")
    after = box.status()
    assert after["reload"]["error"] is None
    assert after["reload"]["request"] == 1
    assert box.show("MainPID") == pid
    now = after["cameras"]["door"]
    # Every frame that was captured is decided or counted; none vanished in the exchange.
    assert 0 <= now["captured"] - now["processed"] - sum(now["dropped"].values()) <= 2


def test_a_bad_reload_is_refused_and_the_old_goes_on(box: Box, camera: Camera) -> None:
    pid = box.show("MainPID")
    box.write("/etc/jetson-face/config.yaml", config(camera, more="samplnig: {every: 3}"))
    code, _ = box.run("systemctl", "reload", UNIT)
    assert code != 0
    error = box.status()["reload"]["error"]
    assert "config.yaml:" in error
    assert "samplnig" in error
    assert "reload_refused" in box.journal()
    assert box.show("MainPID") == pid
    assert is_ready(box)
    seen = box.decided()
    wait_for(lambda: box.decided() > seen, 20, "deciding on")
    # The same through the signal, and back to a good one.
    box.write("/etc/jetson-face/config.yaml", config(camera, every=4))
    box.run("systemctl", "kill", "--signal=SIGHUP", "--kill-whom=main", UNIT)
    wait_for(lambda: box.status()["reload"]["error"] is None, 20, "a good reload")


def test_a_second_instance_lives_beside_the_first(box: Box) -> None:
    pid, unit = box.show("MainPID"), "jetson-face@yard.service"
    box.write("/root/yard.yaml", YARD)
    code, said = box.run(PROGRAM, "service", "install", "--name", "yard", "-c", "/root/yard.yaml")
    assert code == 0, said
    wait_for(lambda: box.show("SubState", unit) == "running", 60, "the second instance")
    wait_for(lambda: box.status("yard").get("cameras", {}).get("yard"), 20, "its status")
    assert "door" not in box.status("yard")["cameras"]
    assert box.run(PROGRAM, "service", "exec", "--name", "yard", "status")[0] == 0
    for _ in range(2):
        code, said = box.run(PROGRAM, "service", "uninstall", "--name", "yard")
        assert code == 0, said
    assert box.show("ActiveState", unit) == "inactive"
    assert box.show("MainPID") == pid
    assert is_ready(box)


def test_sigterm_ends_cleanly_within_2_s_with_the_last_report(box: Box) -> None:
    report = box.root / "var/lib/jetson-face/last_report.json"
    report.unlink(missing_ok=True)
    seen = box.decided()
    box.run("systemctl", "stop", UNIT)
    # By systemd's clock, from the signal to the end of the last process.
    seconds = box.stamp("InactiveEnter") - box.stamp("ActiveExit")
    note("SIGTERM to the end, by systemd's clock", seconds)
    assert 0 < seconds < 2
    assert box.show("Result") == "success"
    assert box.show("ExecMainStatus") == "0"
    document = json.loads(report.read_text())
    assert document["sources"][0]["processed"] >= seen


def test_files_are_private_and_the_key_came_as_a_credential(box: Box) -> None:
    state = box.root / "var/lib/jetson-face"
    # Under User= systemd may keep the folder in /var/lib/private; both are closed to others.
    assert state.stat().st_mode & 0o077 == 0
    loose = [p.name for p in state.rglob("*") if p.is_file() and p.stat().st_mode & 0o077]
    assert loose == []
    assert not (state / "gallery.key").exists()
    assert (state / "gallery.db").exists()
    assert b"SQLite" in (state / "gallery.db").read_bytes()[:16]


def test_a_restart_storm_is_limited(box: Box) -> None:
    path = f"/etc/systemd/system/{UNIT}.d/broken.conf"
    box.write(path, "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=200ms\n")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "reset-failed", UNIT)
    box.run("systemctl", "start", UNIT)
    seconds = wait_for(lambda: box.show("ActiveState") == "failed", 60, "giving up")
    note("a crash at every start until systemd gives up", seconds)
    assert 2 <= int(box.show("NRestarts")) <= 10
    assert "Start request repeated too quickly" in box.journal()
    time.sleep(3)
    assert box.show("ActiveState") == "failed"
    box.remove(path)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "reset-failed", UNIT)


def test_it_is_taken_off_the_box_and_put_back(box: Box) -> None:
    gallery = box.root / "var/lib/jetson-face/gallery.db"
    for _ in range(2):
        code, said = box.run(PROGRAM, "service", "uninstall")
        assert code == 0, said
    assert box.show("LoadState") == "not-found"
    assert gallery.exists()
    code, said = box.run(PROGRAM, "service", "install")
    assert code == 0, said
    wait_for(lambda: is_ready(box) and box.decided() > 0, 60, "deciding again")
    assert box.status()["gallery"]["people"] == 1
    pid = int(box.show("MainPID"))
    for _ in range(2):
        code, said = box.run(PROGRAM, "service", "uninstall", "--purge")
        assert code == 0, said
    assert box.show("LoadState") == "not-found"
    assert box.run("test", "-d", f"/proc/{pid}")[0] != 0
    for folder in ("etc", "var/lib", "var/cache", "var/log"):
        assert not (box.root / folder / "jetson-face").exists()
