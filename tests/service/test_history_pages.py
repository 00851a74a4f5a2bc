"""The event history as the service's socket gives it, and what an erasure leaves of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jetson_face.config import Config, load_config
from jetson_face.events.history import History, NewEvent
from jetson_face.factory.parts import open_gallery
from jetson_face.service.erasure import audit_log, erase
from jetson_face.service.history import HistoryPages, open_history, read_history
from tests.events.test_history import FACE, visit
from tests.service.test_erasure import SPACE, enrol


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(None, [f"state_dir={tmp_path}", "gallery.lock_timeout_s=0.2"])


@pytest.fixture
def pages(config: Config) -> Iterator[HistoryPages]:
    made = HistoryPages()
    made.history = open_history(config, lambda: 0.0)
    assert made.history is not None
    for number in range(4):
        made.history.add([NewEvent(event, FACE) for event in visit(None, first=10 * number)])
    yield made
    made.history.close()


def asked(pages: HistoryPages, **query: str) -> dict[str, Any]:
    page = pages.page("", query)
    assert page.status == 200, page.body
    found: dict[str, Any] = json.loads(page.body)
    return found


def test_pages_by_id_and_by_cursor_give_every_event_once(pages: HistoryPages) -> None:
    everything = [item["id"] for item in asked(pages)["items"]]
    assert len(everything) == 12
    for key in ("id", "cursor"):
        found, query = [], {"limit": "5"}
        while True:
            answer = asked(pages, **query)
            found += [item["id"] for item in answer["items"]]
            if answer["next"] is None:
                break
            assert answer["next"] == answer["items"][-1]["id"]
            query["before"] = str(answer["items"][-1][key])
        assert found == everything
    newer = asked(pages, after=everything[3])["items"]
    assert [item["id"] for item in newer] == everything[2::-1]
    assert asked(pages, after=everything[0]) == {"items": [], "next": None}


def test_one_event_and_its_face(pages: HistoryPages) -> None:
    item = asked(pages, kind="decided", limit="1")["items"][0]
    assert json.loads(pages.page(item["id"], {}).body) == item
    crop = pages.page(f"{item['id']}/crop", {})
    assert (crop.status, crop.content_type, crop.body) == (200, "image/jpeg", FACE)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"}, {"limit": "501"}, {"limit": "-1"}, {"limit": "²"}, {"before": "x"},
        {"after": "9" * 30}, {"since": "now"}, {"per": "Ada"},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(
    pages: HistoryPages, query: dict[str, str]
) -> None:
    page = pages.page("", query)
    assert page.status == 400
    assert page.body.count(b"\n") == 1


@pytest.mark.parametrize("rest", ["nobody", "nobody/crop", "x/y", "../gallery.db/crop"])
def test_what_is_not_there_is_not_found(pages: HistoryPages, rest: str) -> None:
    assert pages.page(rest, {}).status == 404


def test_a_damaged_file_is_no_failure_of_the_page(pages: HistoryPages, config: Config) -> None:
    assert pages.history is not None
    pages.history.close()
    (config.state_dir / "history.db").write_bytes(b"nothing" * 1000)
    page = pages.page("", {})
    assert (page.status, b"is damaged" in page.body) == (503, True)
    assert pages.document()["error"] is not None


def test_whoever_is_removed_has_no_name_and_no_face_there(config: Config) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        ada, bob = enrol(gallery, "Ada"), enrol(gallery, "Bob")
        service = open_history(config, lambda: 0.0)
        assert service is not None
        with closing(service):
            for person in (ada, bob):
                service.add([NewEvent(event, FACE) for event in visit(person)])
            broken = config.state_dir / "history.db.broken"
            broken.write_bytes(ada.id.encode())
            receipt, path = erase(config, gallery, "Ada")
            left = service.page()
    document = json.loads(path.read_text())
    assert (document["history_events"], document["history_crops"]) == (2, 3)
    assert receipt.complete
    assert "history.db" in receipt.verified
    assert not broken.exists()
    assert [(s.event["name"], s.has_crop) for s in left] == [
        ("Bob", True), ("Bob", True), (None, True), ("***", False), ("***", False), (None, False),
    ]  # fmt: skip
    assert audit_log(config).read()[-1].details["history_crops"] == 3
    with closing(read_history(config)) as reader:
        assert reader.page(person=ada.id) == []
        assert isinstance(reader, History)
