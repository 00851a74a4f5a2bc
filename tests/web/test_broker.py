"""Broker, recogniser and page restarted in every order: what is retained, what the page says."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import demo_clip
import httpx
import pytest

from tests.events.mosquitto import Mosquitto, Retained
from tests.waiting import until
from tests.web.web_box import WebBox, two_faces, web_box

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
HERE = "jetson-face/box"


def config(folder: Path, port: int) -> str:
    states = f"home_assistant: {{host: 127.0.0.1, port: {port}, node: box, away_s: 1}}"
    return two_faces(folder).replace("service: {crops: true}", f"service: {{{states}}}")


def restarts(broker: Mosquitto, box: WebBox) -> dict[str, Callable[[], None]]:
    def recogniser() -> None:
        box.service.close()
        box.service.start()

    def page() -> None:
        box.close()
        box.start()

    def messages() -> None:
        broker.stop()
        broker.start()

    return {"broker": messages, "recogniser": recogniser, "page": page}


def test_every_order_ends_with_the_same_states(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    with web_box(tmp_path, config(tmp_path, broker.port)) as box:
        data = base64.b64encode(demo_clip.portrait_path("collins").read_bytes()).decode()
        wanted = {"name": "Ada", "pictures": [{"data": data}]}
        who = box.client().post("/people", json=wanted).json()["id"]
        restart = restarts(broker, box)
        for order in itertools.permutations(restart):
            for part in order:
                restart[part]()
            all_is_well(broker, box, who)
    with closing(Retained(broker.port)) as seen:  # killed: the last will says so
        seen.wait(lambda topics: topics.get(f"{HERE}/status") == b"offline")
    broker.stop()


def all_is_well(broker: Mosquitto, box: WebBox, who: str) -> None:
    """What the broker retains says who is there, and the page says the same."""

    def state(topics: dict[str, bytes], topic: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(topics.get(f"{HERE}/{topic}", b"{}"))
        return found

    with closing(Retained(broker.port)) as seen:
        seen.wait(lambda topics: topics.get(f"{HERE}/status") == b"online")
        seen.wait(lambda topics: state(topics, f"person/{who}").get("presence") == "ON")
        seen.wait(lambda topics: state(topics, "camera/door").get("people") == ["Ada"])
        seen.wait(lambda topics: state(topics, "camera/door")["unknown"] == "ON")
        # the box, the person, the camera
        seen.wait(lambda topics: sum(one.startswith("homeassistant/") for one in topics) == 3)
    client = box.client("viewer")

    def page_says_so() -> bool:
        try:
            health = client.get("/health").json()
            people = client.get("/people").json()["items"]
        except httpx.HTTPError:
            return False
        return (
            health.get("home_assistant", {}).get("error", "?") is None
            and people[0]["last_seen"]["source"] == "door"
        )

    until(page_says_so, 30)
