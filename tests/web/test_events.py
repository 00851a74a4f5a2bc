"""Events over the API, of a service that sees two people: pages, filters, a stream that misses
nothing, files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jetson_face.util.csvtext import csv_row
from tests.waiting import until
from tests.web.web_box import WebBox, two_faces, web_box

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebBox]:
    folder = tmp_path_factory.mktemp("e")
    with web_box(folder, two_faces(folder)) as box:
        yield box


@pytest.fixture(scope="module")
def client(box: WebBox) -> Iterator[httpx.Client]:
    client = box.client("viewer")
    until(lambda: len(client.get("/events").json()["items"]) >= 4)
    yield client
    client.close()


def stream(client: httpx.Client, count: int, **headers: str) -> list[dict[str, Any]]:
    """So many events of the stream."""
    found: list[dict[str, Any]] = []
    with client.stream("GET", "/events/stream", headers=headers, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
            if len(found) == count:
                break
    return found


def test_pages_are_newest_first_and_hold_each_event_once(client: httpx.Client) -> None:
    whole = client.get("/events?limit=500").json()["items"]
    times = [one["time"] for one in whole]
    assert times == sorted(times, reverse=True)
    found: list[str] = []
    cursor: str | None = whole[0]["id"]
    first = True
    while cursor is not None:
        page = client.get(f"/events?limit=2&cursor={cursor}").json()
        found += [one["id"] for one in page["items"]]
        cursor, first = page["next"], False
    assert not first
    assert found == [one["id"] for one in whole[1:]]


def test_filters(client: httpx.Client) -> None:
    for query, key, value in (
        ("kind=appeared", "kind", "appeared"),
        ("state=pending", "state", "pending"),
        ("source=door", "source", "door"),
    ):
        items = client.get(f"/events?{query}").json()["items"]
        assert items
        assert {one[key] for one in items} == {value}
    assert client.get("/events?source=nowhere").json()["items"] == []
    oldest = client.get("/events?limit=500").json()["items"][-1]["time"]
    assert client.get("/events?until=2020-01-01T00:00:00Z").json()["items"] == []
    assert client.get(f"/events?since={oldest}").json()["items"]
    assert client.get("/events?since=yesterday").status_code == 422


def test_the_stream_goes_on_where_it_broke_off(client: httpx.Client) -> None:
    order = [one["id"] for one in reversed(client.get("/events?limit=500").json()["items"])]
    again = [one["id"] for one in stream(client, len(order) - 1, **{"Last-Event-ID": order[0]})]
    assert again == order[1:]


def test_a_listener_hears_what_comes_also_after_a_restart(
    box: WebBox, client: httpx.Client
) -> None:
    last = client.get("/events?limit=1").json()["items"][0]["id"]
    box.service.close()
    box.service.start()  # everybody appears anew
    (event,) = stream(client, 1, **{"Last-Event-ID": last})
    assert event["kind"] == "appeared"
    order = [one["id"] for one in reversed(client.get("/events?limit=500").json()["items"])]
    assert order[order.index(last) + 1] == event["id"]


def test_faces_of_events(client: httpx.Client) -> None:
    items = client.get("/events?limit=500").json()["items"]
    kept = next(one for one in items if one["has_crop"])
    answer = client.get(f"/events/{kept['id']}/crop")
    assert answer.content[:3] == b"\xff\xd8\xff"
    nobody = "01890000-0000-7000-8000-000000000000"
    assert client.get(f"/events/{nobody}/crop").status_code == 404


def test_files(client: httpx.Client) -> None:
    count = len(client.get("/events?limit=500&kind=appeared").json()["items"])
    text = client.get("/events/export?kind=appeared").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == count
    assert {row["kind"] for row in rows} == {"appeared"}
    lines = client.get("/events/export?format=jsonl&kind=appeared").text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in rows]


def test_a_cell_that_begins_like_a_formula_is_text() -> None:
    values = ("=1+1", "@x", "Ada", None, 0.5)
    assert csv_row(values) == "'=1+1,'@x,Ada,,0.5\r\n"
