"""The operator's page on a box that boots a real systemd; run by tools/test_service.sh.

One story in the order of the file, as test_boot.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.nspawn_box import PROGRAM, UNIT, Box, wait_for, why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
KEPT = Path(os.environ.get("JETSON_FACE_BOX", "."))
WEB = "jetson-face-web.service"
SITE = """
sources: [{uri: "test://?live=1&frames=1000000&fps=10&width=320&height=240", name: door}]
detector: {type: mtcnn, min_face_px: 40, max_side_px: 160}
"""


class Page:
    """The page of a box. box, port: where it is. token: of an admin."""

    def __init__(self, box: Box, port: int, token: str) -> None:
        self.box, self.url = box, f"http://127.0.0.1:{port}"
        self._token = token

    def ask(self, path: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
        """Status and JSON; 0 where nobody answers."""
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            found = httpx.request(
                method, f"{self.url}/api/v1{path}", headers=headers, json=body, timeout=110
            )
        except httpx.HTTPError:
            return 0, None
        return found.status_code, found.json()

    def answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url, timeout=2).status_code == 200
        return False


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if reason := why_not():
        pytest.skip(reason)
    box = Box(KEPT / "root", tmp_path_factory.mktemp("box"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        box.write("/root/site.yaml", SITE)
        box.prepare(PROGRAM, "service", "install", "--web", "-c", "/root/site.yaml")
        box.write("/etc/jetson-face/web.env", f'WEB_OPTIONS="--port {port}"\n')
        said = box.prepare(PROGRAM, "web", "token", "test", "--role", "admin")
        box.boot()
        yield Page(box, port, said.split()[-1])
    finally:
        with contextlib.suppress(Exception):
            journal = box.run("journalctl", f"--unit={WEB}", "--no-pager", "--output=cat")[1]
            (KEPT / "journal").write_text(box.journal() + journal)
        box.close()


def test_it_starts_at_boot_as_its_own_user_and_asks_the_recogniser(page: Page) -> None:
    box = page.box
    wait_for(page.answers, 90, "the page")
    assert (box.show("User", WEB), box.show("UnitFileState", WEB)) == ("jetson-face-web", "enabled")
    wait_for(lambda: page.ask("/health")[0] == 200, 90, "the recogniser")
    wait_for(lambda: page.ask("/health")[1]["ready"], 60, "frames")
    status, people = page.ask("/people")  # by the control socket, which asks who it is
    assert (status, people["items"]) == (200, [])
    assert httpx.get(page.url, headers={"Host": "evil.example"}).status_code == 421
    folder = "/var/lib/jetson-face"
    as_web = ["setpriv", "--reuid=jetson-face-web", "--regid=jetson-face-web", "--init-groups"]
    assert box.run(*as_web, "ls", folder)[0] != 0


def test_what_it_starts_runs_within_the_unit_of_the_recogniser(page: Page) -> None:
    status, said = page.ask("/health/doctor", "POST")
    assert status == 200, said
    assert "disk" in {one["topic"] for one in said["findings"]}
    status, begun = page.ask("/tuning/runs", "POST", {"kind": "interval", "frames": 20})
    assert status == 202, begun

    def newest() -> dict[str, Any]:
        found: dict[str, Any] = page.ask("/tuning/runs?limit=1")[1]["items"][0]
        return found

    wait_for(lambda: newest()["state"] != "running", 200, "the measurement")
    assert newest().get("error") is None
    assert newest()["state"] == "done"
    assert len(newest()["points"]) == 8


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_killed_or_stopped_the_recogniser_notices_nothing(page: Page, signal: str) -> None:
    box = page.box
    wait_for(page.answers, 60, "the page")
    recogniser, its_page = box.show("MainPID"), box.show("MainPID", WEB)
    before, captured = box.decided(), _captured(box)
    box.run("kill", f"-{signal}", its_page)
    wait_for(lambda: _captured(box) >= captured + 50, 60, "frames")
    decided = box.decided() - before
    assert decided >= 0.9 * (_captured(box) - captured) - 3
    assert (box.show("MainPID"), box.show("NRestarts")) == (recogniser, "0")
    assert box.show("ActiveState") == "active"
    if signal == "STOP":
        assert not page.answers()
        box.run("kill", "-CONT", its_page)
        wait_for(page.answers, 30, "the page")
        assert box.show("MainPID", WEB) == its_page
    else:
        wait_for(page.answers, 30, "the page's restart")
        assert box.show("MainPID", WEB) != its_page
        assert box.show("NRestarts", WEB) == "1"
    assert page.ask("/people")[0] == 200


def test_it_goes_on_after_the_recogniser_was_killed(page: Page) -> None:
    its_page = page.box.show("MainPID", WEB)
    page.box.run("kill", "-KILL", page.box.show("MainPID"))
    wait_for(lambda: page.box.show("NRestarts") == "1", 60, "the restart")
    wait_for(lambda: page.ask("/people")[0] == 200, 60, "the control socket")
    wait_for(lambda: page.ask("/health")[1]["ready"], 60, "frames")
    assert page.box.show("MainPID", WEB) == its_page


def test_both_are_taken_off(page: Page) -> None:
    code, said = page.box.run(PROGRAM, "service", "uninstall", "--web")
    assert code == 0, said
    assert not page.answers()
    states = {unit: page.box.run("systemctl", "is-active", unit)[1].strip() for unit in (UNIT, WEB)}
    assert set(states.values()) == {"inactive"}, json.dumps(states)


def _captured(box: Box) -> int:
    return sum(camera["captured"] for camera in box.status().get("cameras", {}).values())
