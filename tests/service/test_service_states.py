"""The whole service with a real broker and its own socket: states, faces and history of one run."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask
from tests.config.keys import Site
from tests.config.test_keys_service import CAMERA, daemon, doubtful
from tests.events.home_assistant_fields import check
from tests.events.mosquitto import Mosquitto, Retained

__all__ = ["doubtful"]
pytestmark = pytest.mark.timeout(90)
HERE = "service.home_assistant"


@pytest.mark.slow
def test_a_run_is_seen_at_the_broker_and_over_the_socket(tmp_path: Path) -> None:
    broker, site = Mosquitto(tmp_path), Site(tmp_path, None)
    long = {"sources.uri": "test://?live=1&frames=100&fps=20&width=320&height=240"}
    config = site({
        **CAMERA, **long, f"{HERE}.port": broker.port, f"{HERE}.node": "box",
        f"{HERE}.snapshots": True,
    })  # fmt: skip
    found: dict[str, Any] = {}

    def look() -> None:
        """As the operator's page does, while the service runs."""
        while "crop" not in found and threading.main_thread().is_alive():
            time.sleep(0.1)
            try:
                page = ask(config.status_socket, "/events?kind=decided&limit=1")
                items = json.loads(page.body)["items"] if page.status == 200 else []
                if items:
                    found["event"] = items[0]
                    found["crop"] = ask(config.status_socket, f"/events/{items[0]['id']}/crop")
                    found["status"] = json.loads(ask(config.status_socket, "/status").body)
            except JetsonFaceError:
                continue

    with closing(Retained(broker.port)) as seen:
        asker = threading.Thread(target=look, daemon=True)
        asker.start()
        with daemon(config) as made:
            made.run()
            seen.wait(lambda topics: topics.get("jetson-face/box/status") == b"offline")
        asker.join(10)
        sent = dict(seen.sent)
        counts = [json.loads(body)["count"] for topic, body in seen.sent
                  if topic.startswith("jetson-face/box/camera/") and body[:1] == b"{"]  # fmt: skip
        names = {json.loads(body)["name"] for topic, body in seen.topics.items()
                 if topic.startswith("jetson-face/box/person/")}  # fmt: skip
        for topic, body in seen.topics.items():
            if topic.startswith("homeassistant/"):
                check(topic, body)
    broker.stop()
    assert names == {"Ada", "Bob"}
    assert 1 in counts
    (face,) = [body for topic, body in sent.items() if topic.endswith("/snapshot")]
    assert face.startswith(b"\xff\xd8")
    assert (found["event"]["has_crop"], found["crop"].content_type) == (True, "image/jpeg")
    assert found["crop"].body == face
    assert found["status"]["history"]["events"] >= 2
    assert found["status"]["home_assistant"]["error"] is None
