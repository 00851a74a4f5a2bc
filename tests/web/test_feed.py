"""Pictures for many: asked for once, the same bytes for all, never more a second than stated."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from jetson_face.service.http import Page
from jetson_face.service.status_server import StatusServer
from jetson_face.service.watching import WATCHED_S
from jetson_face.web import feed as feeds_module
from jetson_face.web.api import cameras
from jetson_face.web.callers import Caller
from jetson_face.web.feed import BUSY_PICTURES_MAX, PICTURES_MAX, Feeds
from jetson_face.web.problems import ProblemError
from jetson_face.web.upstream import Answer, Upstream


class Recogniser:
    """Has a new picture whenever it is asked, of one camera."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.seq = 0
        self.is_still = False
        self.next_s: float | None = None

    async def status(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        self.asked.append(path if query is None else f"{path}?{query['width']}")
        if path == "/status":
            return Answer(200, b'{"cameras": {"door": {}}}', "application/json")
        if self.is_still and self.seq:
            return Answer(204, b"", "")
        self.seq += 1
        due = {} if self.next_s is None else {"next_s": self.next_s}
        head = json.dumps({"seq": self.seq, "faces": [], **due}).encode()
        return Answer(200, head + b"\njpeg", "")


def run(
    test: Coroutine[Any, Any, None],
) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def feeds_of(recogniser: Recogniser, idle: float = 1.0) -> Feeds:
    return Feeds(cast(Upstream, recogniser), lambda: idle)


async def watch(feeds: Feeds, seconds: float, width: int = 960) -> list[int]:
    seen: list[int] = []
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        found = await feeds.picture("door", width, seen[-1] if seen else None)
        assert found is not None
        seen.append(found.seq)
    return seen


def test_many_share_the_pictures_a_second_and_one_gets_what_the_camera_gives() -> None:
    async def test() -> None:
        recogniser = Recogniser()
        feeds = feeds_of(recogniser)
        alone = await watch(feeds, 1.5)
        assert 10 <= len(alone) <= 17
        before = len(recogniser.asked)
        seen = await asyncio.gather(*(watch(feeds, 2.0, 700 + 5 * i) for i in range(50)))
        number = [len(one) for one in seen]
        assert 0.8 * 2 * PICTURES_MAX <= sum(number) <= 1.1 * 2 * PICTURES_MAX + 50
        assert max(number) - min(number) <= 1
        # The windows' widths differ; the recogniser is asked as if one watched.
        assert len(recogniser.asked) - before < 2.5 * 12
        assert set(recogniser.asked) == {"/frames/door?960"}
        for one in seen:
            assert one[-1] > one[0] + 8  # the newest, not the next in a row
        await feeds.close()

    run(test())


def test_on_a_busy_box_many_share_fewer_and_smaller_pictures() -> None:
    async def test() -> None:
        recogniser = Recogniser()
        feeds = feeds_of(recogniser, idle=0.2)
        number = await asyncio.gather(*(watch(feeds, 2.0, 500 + 20 * i) for i in range(50)))
        most = 2 * BUSY_PICTURES_MAX
        assert 0.8 * most <= sum(map(len, number)) <= 1.1 * most + 50
        assert set(recogniser.asked) == {"/frames/door?640"}
        await feeds.picture("door", 100, None)
        assert recogniser.asked[-1] == "/frames/door?320"
        await feeds.close()

    run(test())


def test_the_next_picture_is_not_asked_for_before_there_is_time_for_one() -> None:
    async def test() -> None:
        recogniser = Recogniser()
        recogniser.next_s = 0.5
        feeds = feeds_of(recogniser)
        assert feeds_module._DUE_MAX_S < WATCHED_S
        await watch(feeds, 1.3)
        assert 3 <= len(recogniser.asked) <= 4  # at 0, 0.5, 1 and 1.5 s
        found = await feeds.picture("door", 960, None)
        assert found is not None
        assert "next_s" not in json.loads(found.head)
        await feeds.close()

    run(test())


def test_all_who_watch_get_the_same_bytes() -> None:
    async def test() -> None:
        recogniser = Recogniser()
        feeds = feeds_of(recogniser)
        a, b = await asyncio.gather(*(feeds.picture("door", 960, None) for _ in range(2)))
        assert a is b
        assert a is not None
        assert a.part == (
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\njpeg\r\n"
        )
        await feeds.close()

    run(test())


def test_nobody_asks_when_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds_module, "_WATCHED_S", 0.3)

    async def test() -> None:
        recogniser = Recogniser()
        feeds = feeds_of(recogniser)
        assert not feeds.has("door")
        await watch(feeds, 0.3)
        assert feeds.has("door")
        await asyncio.sleep(0.6)
        asked = len(recogniser.asked)
        await asyncio.sleep(0.4)
        assert len(recogniser.asked) == asked
        assert not feeds.has("door")

    run(test())


def test_who_waits_for_a_picture_gets_it_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it comes later than the feed would live without anybody."""
    monkeypatch.setattr(feeds_module, "_WATCHED_S", 0.3)
    monkeypatch.setattr(feeds_module, "_WAIT_S", 2.5)

    async def test() -> None:
        recogniser = Recogniser()
        feeds = feeds_of(recogniser)
        first = await feeds.picture("door", 960, None)
        assert first is not None
        recogniser.is_still = True
        waiting = asyncio.create_task(feeds.picture("door", 960, first.seq))
        await asyncio.sleep(1.5)
        assert not waiting.done()
        recogniser.is_still = False
        second = await waiting
        assert second is not None
        assert second.seq > first.seq
        recogniser.is_still = True
        assert await feeds.picture("door", 960, recogniser.seq) is None
        await feeds.close()

    run(test())


def test_a_picture_costs_the_recogniser_no_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds_module, "_WAIT_S", 0.5)

    async def test() -> None:
        recogniser = Recogniser()
        up = cast(Upstream, recogniser)
        feeds = feeds_of(recogniser)
        state = SimpleNamespace(feeds=feeds)
        request = cast(Request, SimpleNamespace(app=SimpleNamespace(state=state)))
        who = Caller("ada", "viewer", None)
        after = None
        for _ in range(5):
            answer = await cameras.frame(request, up, who, "door", after, 960)
            after = json.loads(answer.headers["x-frame"])["seq"]
        assert recogniser.asked.count("/status") == 1
        with pytest.raises(ProblemError, match="no camera gate"):
            await cameras.frame(request, up, who, "gate", None, 960)
        recogniser.is_still = True  # nothing comes: is it still there?
        asked = recogniser.asked.count("/status")
        answer = await cameras.frame(request, up, who, "door", recogniser.seq, 960)
        assert answer.status_code == 204
        assert recogniser.asked.count("/status") == asked + 1
        await feeds.close()

    run(test())


def test_the_status_is_asked_for_once_by_many_and_is_never_older_than_the_question(
    tmp_path: Path,
) -> None:
    told: list[int] = []

    def page() -> Page:
        told.append(len(told))
        return Page(200, json.dumps(told[-1]).encode())

    server, stop = StatusServer({("GET", "/status"): page}, unix=tmp_path / "s"), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()

    async def test() -> None:
        idle = [1.0, 1.0, 0.0, 1.0]
        up = Upstream(tmp_path / "s", tmp_path / "c", lambda: idle[len(took)])
        took: list[float] = []
        for _ in range(3):
            before, began = len(told), asyncio.get_running_loop().time()
            answers = await asyncio.gather(*(up.status("/status") for _ in range(20)))
            assert {answer.document() for answer in answers} == {before}
            took.append(asyncio.get_running_loop().time() - began)
        assert took[1] < 0.6 < took[2]  # on a busy box less often
        stop.set()
        server.wake()
        await asyncio.to_thread(thread.join)
        with pytest.raises(ProblemError, match="does not answer"):
            await up.status("/status")
        await up.close()

    try:
        run(test())
    finally:
        stop.set()
        server.wake()
        thread.join()
    assert len(told) == 3
