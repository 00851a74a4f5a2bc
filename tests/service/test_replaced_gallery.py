"""The gallery's file is replaced, damaged and erased from while a real service runs on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from jetson_face.config import default_cache_dir
from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask
from jetson_face.util.images import read_picture
from tests.cli.conftest import packaged
from tests.waiting import not_by_emulation, until

pytestmark = pytest.mark.timeout(120)
COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"
# The picture changes its size again and again: each time the face is a new one, with an event.
CONFIG = """
state_dir: {state}
sources: [{{uri: "test://?live=1&frames=1000000&fps=20&width=320&height=320&faces={faces}&faults={faults}",
            name: door}}]
detector: {{type: mtcnn, min_face_px: 40, max_side_px: 320}}
sampling: {{interval: 2}}
gallery: {{refresh_s: 0.1}}
service: {{review: false, sinks: [{{type: jsonl}}]}}
"""


class Service:
    """A state folder with two people enrolled, and `jetson-face service run` on it."""

    def __init__(self, folder: Path, faces: Path) -> None:
        self.state, self.config, self.log = folder / "state", folder / "c.yaml", folder / "log"
        self.gallery = self.state / "gallery.db"
        faults = ",".join(f"size@{at}:320x{300 + at % 40}" for at in range(20, 600, 20))
        self.config.write_text(CONFIG.format(state=self.state, faces=faces, faults=faults))
        self.environ = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        engines = folder / "cache" / "jetson-face" / "engines"
        engines.parent.mkdir(parents=True)
        engines.symlink_to(default_cache_dir() / "engines")  # nothing is built again
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jetson_face", "service", "run", "-c", str(self.config)],
                env=self.environ,
                stderr=log,
            )
        until(lambda: self.named(COLLINS))

    def command(self, *words: object) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "jetson_face", *map(str, words), "-c", str(self.config)],
            env=self.environ, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(ask(self.state / "status.sock", "/status").body)
        except (JetsonFaceError, ValueError):
            return {}
        return document

    def named(self, name: str) -> int:
        """How many events named somebody."""
        file = self.state / "jsonl.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return sum(json.loads(line)["name"] == name for line in lines)

    def decided(self) -> int:
        return sum(camera["processed"] for camera in self.status().get("cameras", {}).values())

    def goes_on(self, frames: int) -> None:
        """Wait until so many more frames were decided."""
        before = self.decided()
        until(lambda: self.decided() >= before + frames)

    def replace(self, backup: Path, how: str) -> None:
        """Put a backup in the gallery's place, as another file or over the one that is there."""
        if how == "moved":
            shutil.copy(backup, self.state / "restored.db")
            (self.state / "restored.db").rename(self.gallery)
        else:
            shutil.copy(backup, self.gallery)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `faces` for the camera and a `state` in which both people are enrolled."""
    not_by_emulation("all tracks end once a second here, before a search has ended there")
    folder = tmp_path_factory.mktemp("enrolled")
    for name, photo in (
        (COLLINS, packaged("skimage", "data/astronaut.png")),
        (HOPPER, packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")),
    ):
        (folder / "people" / name).mkdir(parents=True)
        shutil.copy(photo, folder / "people" / name / photo.name)
    (folder / "faces").mkdir()
    face = read_picture(packaged("skimage", "data/astronaut.png"))[0:300, 80:380]
    cv2.imwrite(str(folder / "faces" / "face.png"), face)
    service = Service(folder, folder / "faces")
    code, said = service.command("enroll", folder / "people")
    assert code == 0, said
    return folder


@pytest.fixture
def service(enrolled: Path, tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, enrolled / "faces")
    shutil.copytree(enrolled / "state", service.state)
    shutil.copy(service.gallery, tmp_path / "backup.db")
    yield service
    sys.stdout.write(service.log.read_text()[-3000:] if service.log.exists() else "")
    service.close()


@pytest.mark.parametrize("how", ["moved", "copied over"])
def test_an_erasure_reaches_the_service_whatever_was_done_to_the_file(
    service: Service, tmp_path: Path, how: str
) -> None:
    service.start()
    service.replace(tmp_path / "backup.db", how)
    code, said = service.command("people", "remove", COLLINS, "--yes")
    assert code == 0, said
    (receipt,) = (service.state / "receipts").glob("removed-*.json")
    document = json.loads(receipt.read_text())
    assert (document["complete"], document["service"]) == (True, "confirmed")
    assert service.status()["gallery"]["people"] == 1
    assert service.named(COLLINS) == 0  # the names in the events before are gone, too
    service.goes_on(60)  # three new faces
    assert service.named(COLLINS) == 0
    assert service.status()["gallery"]["error"] is None


def test_a_restored_backup_is_not_taken_until_it_is_accepted(
    service: Service, tmp_path: Path
) -> None:
    assert service.command("people", "remove", HOPPER, "--yes")[0] == 0
    service.start()
    service.replace(tmp_path / "backup.db", "moved")
    until(lambda: "older copy" in str(service.status()["gallery"]["error"]))
    assert service.status()["gallery"]["people"] == 1
    code, said = service.command("people", "list")
    assert (code, "older copy" in said, HOPPER in said) == (20, True, False)
    # A reload does not say that the gallery was read when it was not.
    code, said = service.command("reload")
    assert (code != 0, "older copy" in said) == (True, True)
    assert service.status()["gallery"]["people"] == 1
    named = service.named(COLLINS)
    until(lambda: service.named(COLLINS) > named)
    assert service.log.read_text().count("gallery_unreadable") == 1

    code, said = service.command("gallery", "accept-restored")
    assert code == 0, said
    assert "erased again: 1 people" in said
    until(lambda: service.status()["gallery"]["error"] is None)
    assert service.status()["gallery"]["people"] == 1
    assert service.command("people", "list")[1].splitlines()[0] == f"{COLLINS}: 1 photo"
    assert service.log.read_text().count("gallery_back") == 1
    actions = [
        json.loads(line)["action"]
        for line in (service.state / "audit.jsonl").read_text().splitlines()
    ]
    assert actions[-2:] == ["removed", "restore_accepted"]


def test_sighup_reads_the_gallery_that_lies_there(service: Service, tmp_path: Path) -> None:
    service.start()
    # From now on the service does not look by itself.
    text = service.config.read_text()
    service.config.write_text(text.replace("refresh_s: 0.1", "refresh_s: 3600"))
    assert service.command("reload")[0] == 0
    service.replace(tmp_path / "backup.db", "moved")
    assert service.command("people", "rename", COLLINS, "Colonel Collins")[0] == 0
    service.goes_on(5)
    assert service.named("Colonel Collins") == 0
    request = service.status()["reload"]["request"]
    assert service.process is not None
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.status()["reload"]["request"] > request)
    assert "the gallery was read again" in service.status()["reload"]["message"]
    until(lambda: service.named("Colonel Collins"))


def test_a_truncated_gallery_is_said_once(service: Service, tmp_path: Path) -> None:
    service.start()
    os.truncate(service.gallery, 5000)
    until(lambda: service.status()["gallery"]["error"])
    service.goes_on(40)
    log = service.log.read_text()
    assert (log.count("gallery_unreadable"), log.count("gallery_back")) == (1, 0)
    assert service.status()["gallery"]["people"] == 2
    service.replace(tmp_path / "backup.db", "moved")
    until(lambda: service.status()["gallery"]["error"] is None)
    service.goes_on(20)
    log = service.log.read_text()
    assert (log.count("gallery_unreadable"), log.count("gallery_back")) == (1, 1)


def test_a_gallery_that_is_gone_is_waited_for(service: Service, tmp_path: Path) -> None:
    service.start()
    service.gallery.unlink()
    until(lambda: service.status()["gallery"]["error"])
    assert service.command("reload")[0] != 0
    assert not service.gallery.exists()
    service.replace(tmp_path / "backup.db", "copied over")
    until(lambda: service.status()["gallery"]["error"] is None)
    assert service.log.read_text().count("gallery_unreadable") == 1
