"""Streams: whoever may not listen any more hears nothing more, and who may hears it at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from jetson_face.web.accounts import Accounts, User
from jetson_face.web.api import cameras, events
from jetson_face.web.callers import Caller, Doorkeeper
from jetson_face.web.feed import AnnotatedPicture
from jetson_face.web.sessions import Sessions
from jetson_face.web.tail import Tail as RealTail
from jetson_face.web.upstream import Answer, Upstream
from tests.web.in_process import run

EVENT = "01890000-0000-7000-8000-000000000000"
ADA = Caller("ada", "viewer", None)


class Recogniser:
    """Of one camera, which always has a new picture."""

    async def status(self, path: str, query: object = None) -> Answer:
        return Answer(200, b'{"cameras": {"door": {}}}', "application/json")


class Tail:
    """Something new came whenever somebody asks."""

    async def after(self, cursor: str) -> dict[str, Any]:
        return {"items": [{"id": EVENT}]}


class Feeds:
    async def picture(self, camera: str, width: int, after: int | None) -> AnnotatedPicture:
        seq = (after or 0) + 1
        return AnnotatedPicture(seq, "{}", b"jpeg", b"part")


def asked(keeper: Doorkeeper, header: str, value: str) -> Request:
    state = SimpleNamespace(keeper=keeper, tail=Tail(), feeds=Feeds(), streams=0, listeners=0)
    scope = {"type": "http", "method": "GET", "app": SimpleNamespace(state=state)}
    return Request({**scope, "headers": [(header.encode(), value.encode())]})


async def streams_of(request: Request) -> list[StreamingResponse]:
    up = cast(Upstream, Recogniser())
    found = (
        await cameras.stream(request, up, ADA, "door", 640),
        await events.stream(request, ADA, EVENT, None),
    )
    return [cast(StreamingResponse, one) for one in found]


@pytest.mark.parametrize("ends", ["token", "password", "user", "sign out", "idle"])
def test_a_stream_ends_with_the_right_to_it(tmp_path: Path, ends: str) -> None:
    accounts, now = Accounts(tmp_path), [0.0]
    keeper = Doorkeeper(accounts, Sessions(60, clock=lambda: now[0]), "jetson-face")
    pytest.importorskip("argon2", reason="passwords need the extra 'web'")
    accounts.set_password("ada", "correct horse 1", "viewer")
    secret, _ = keeper.sessions.begin(cast(User, accounts.user("ada")))
    header, value = "cookie", f"jetson-face={secret}"
    if ends == "token":
        header, value = "authorization", f"Bearer {accounts.add_token('nodered', 'viewer')}"

    def end() -> None:
        if ends == "token":
            accounts.remove_token(accounts.tokens[0].id)
        elif ends == "password":
            accounts.set_password("ada", "correct horse 2", "viewer")
        elif ends == "user":
            accounts.remove_user("ada")
        elif ends == "sign out":
            keeper.sessions.end(secret)
        else:
            now[0] += 61

    async def test() -> None:
        request = asked(keeper, header, value)
        bodies = [stream.body_iterator for stream in await streams_of(request)]
        for body in bodies:
            for _ in range(5):
                now[0] += 25  # who listens is there
                await anext(aiter(body))
        end()
        for body in bodies:
            more = [await anext(aiter(body), None) for _ in range(3)]
            assert more[1:] == [None, None]
        state = request.app.state
        assert (state.streams, state.listeners) == (0, 0)

    run(test())


class History:
    """Events by number, asked for as the recogniser is."""

    def __init__(self) -> None:
        self.count = 1

    async def status(self, path: str, query: Mapping[str, str]) -> Answer:
        first = int(query["after"]) if "after" in query else self.count - 1
        items = [{"id": str(number)} for number in range(first + 1, self.count + 1)]
        return Answer(200, json.dumps({"items": items}).encode(), "application/json")


async def listen(tail: RealTail, heard: list[float]) -> None:
    """As the stream does, from event 1 to event 2."""
    while not (await tail.after("1"))["items"]:
        await tail.wait(5.0)
    heard.append(asyncio.get_running_loop().time())


def test_who_joins_delays_no_event() -> None:
    """Who listens is woken by the next event, also where somebody else has just been told that
    there is none."""

    async def test() -> None:
        history, heard, now = History(), list[float](), asyncio.get_running_loop().time
        tail = RealTail(cast(Upstream, history))
        listeners = [asyncio.create_task(listen(tail, heard))]
        await asyncio.sleep(0.7)  # it looks again at 1 s
        listeners.append(asyncio.create_task(listen(tail, heard)))
        await asyncio.sleep(0.1)
        history.count, came = 2, now()
        await asyncio.gather(*listeners)
        assert max(heard) - came < 2.5
        await tail.close()

    run(test())
