"""Events from an outbox to a real JetStream: none lost, none twice, and none of who was erased."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jetson_face.core.errors import MissingDependencyError
from jetson_face.events.delivery import Deliverer, SinkDownError, SinkRefusedError
from jetson_face.events.ids import new_id
from jetson_face.events.nats import NatsSink
from jetson_face.events.nats_link import within
from jetson_face.events.outbox import Outbox
from jetson_face.events.schema import SCHEMA, to_json
from jetson_face.factory.fleet import consumer_of, fleet_of, link_of, subject_of
from jetson_face.fleet import operator
from tests.fleet.boxes import Box
from tests.fleet.nats_server import NatsServer, nats_server
from tests.fleet.test_nats_link import INSTALL
from tests.waiting import until


def sink_of(
    box: Box, clock: Callable[[], float] = time.monotonic, timeout_s: float = 20
) -> NatsSink:
    fleet = fleet_of(box.config)
    subject = f"{subject_of(fleet)}.events"
    return NatsSink(
        link_of(fleet, "events"),
        subject,
        consumer_of(fleet, "events"),
        timeout_s=timeout_s,
        clock=clock,
    )


def event(person: str | None = None, before: str | None = None, **more: object) -> bytes:
    found: dict[str, object] = {
        "schema": SCHEMA,
        "id": new_id(),
        "kind": "decided",
        "person": person,
    }
    found["name"] = person
    if before is not None:
        found |= {"kind": "changed", "before": {"name": before, "person": before}}
    return to_json(found | more)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with contextlib.closing(Outbox(tmp_path / "outbox.db")) as outbox:
        yield outbox


def ids(outbox: Outbox) -> list[str]:
    return [json.loads(one.body)["id"] for one in outbox.since(0)]


def test_each_event_is_in_the_stream_once_under_its_kind_with_its_id(
    one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    outbox.append([("decided", event("ada")) for _ in range(120)] + [("changed", event(None, "b"))])
    with contextlib.closing(sink_of(one)) as sink:
        deliverer = Deliverer("fleet", outbox, sink)
        assert [deliverer.step() for _ in range(4)] == [0, 0, 0, 0]
    assert outbox.state().lag == {"fleet": 0}
    found = hub.messages("EVENTS")
    assert [headers["Nats-Msg-Id"] for _, headers, _ in found] == ids(outbox)
    assert [body for *_, body in found] == [one.body for one in outbox.since(0)]
    assert {headers["Nats-Expected-Stream"] for _, headers, _ in found} == {"EVENTS"}
    assert found[0][0] == "jf.north.one.events.decided.ada.none"
    assert found[-1][0] == "jf.north.one.events.changed.none.b"


def test_over_a_leaf_of_the_hub_they_come_too(
    tmp_path: Path, one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    outbox.append([("decided", event()) for _ in range(2)])
    with nats_server(tmp_path / "leaf", hub=hub) as leaf:
        far = Box(tmp_path, leaf.url, "far")
        with contextlib.closing(sink_of(far, timeout_s=5)) as sink:
            deliverer = Deliverer("fleet", outbox, sink)
            until(lambda: deliverer.step() == 0, 30)  # the leaf has found its hub
    assert [one["id"] for one in hub.events()] == ids(outbox)


def test_while_the_server_is_away_events_wait_and_then_come_in_order(
    one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    with contextlib.closing(sink_of(one, timeout_s=1)) as sink:
        deliverer = Deliverer("fleet", outbox, sink)
        outbox.append([("decided", event())])
        until(lambda: deliverer.step() == 0)
        hub.stop()
        outbox.append([("decided", event()) for _ in range(3)])
        assert deliverer.step() > 0
        assert deliverer.step() > 0
        assert "127.0.0.1" in (deliverer.last_error or "")
        assert outbox.state().lag == {"fleet": 3}
        hub.start()
        until(lambda: deliverer.step() == 0)
    assert [one["id"] for one in hub.events()] == ids(outbox)


def test_a_batch_whose_ack_got_lost_is_not_there_twice_however_late_it_comes_again(
    one: Box, hub: NatsServer, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "DUPLICATE_WINDOW_S", 0.2)
    operator.run(one.config, lambda server: server.set_up(keep_days=1, max_mib=None))
    outbox.append([("decided", event()) for _ in range(5)])
    events = outbox.since(0)
    with contextlib.closing(sink_of(one)) as sink:
        sink.send(events[:3])  # and the box lost its power before it noted that
    time.sleep(0.6)
    with contextlib.closing(sink_of(one)) as sink:
        sink.send(events)
    assert [one["id"] for one in hub.events()] == ids(outbox)


def test_within_the_window_the_server_drops_what_comes_twice(
    one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    outbox.append([("decided", event()) for _ in range(3)])
    with contextlib.closing(sink_of(one)) as sink:
        sink.send(outbox.since(0))
        sink.send(outbox.since(0))
    assert [one["id"] for one in hub.events()] == ids(outbox)


def test_a_connection_is_kept_for_a_minute_and_made_again_after_that(
    one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    now = [10.0]
    outbox.append([("decided", event()) for _ in range(3)])
    first, second, third = outbox.since(0)
    with contextlib.closing(sink_of(one, lambda: now[0])) as sink:
        sink.send([first])
        kept = sink._client
        now[0] = 70
        sink.send([second])
        assert sink._client is kept
        hub.stop()
        hub.start()
        now[0] = 131
        sink.send([third])
        assert sink._client is not kept
    assert [one["id"] for one in hub.events()] == ids(outbox)


def test_a_closed_sink_has_no_connection_and_can_send_again(
    one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    outbox.append([("decided", event()) for _ in range(2)])
    sink = sink_of(one)
    sink.close()
    for sent in outbox.since(0):
        sink.send([sent])
        client, loop = sink._client, sink._loop
        assert client is not None
        assert loop is not None
        sink.close()
        assert client.is_closed
        assert loop.is_closed()
        sink.close()
    assert [one["id"] for one in hub.events()] == ids(outbox)


def test_a_connection_that_cannot_be_closed_is_left(
    one: Box, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.append([("decided", event())])
    sink = sink_of(one)
    sink.send(outbox.since(0))
    client = sink._client
    with monkeypatch.context() as patch:
        patch.setattr(client, "close", fails)
        sink.close_connection()
    assert (sink._client, sink._stream) == (None, None)
    sink._client = client
    sink.close()


async def fails() -> None:
    raise OSError("broken")


def test_a_server_that_no_longer_answers_is_down_in_the_time_of_a_send(
    one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    outbox.append([("decided", event()) for _ in range(3)])
    events = outbox.since(0)
    with contextlib.closing(sink_of(one)) as sink:
        sink.send(events[:1])
        sink._timeout_s = 0.2
        assert hub._running is not None
        hub._running.send_signal(signal.SIGSTOP)
        os.waitpid(hub._running.pid, os.WUNTRACED)  # until it has stopped
        try:
            with pytest.raises(SinkDownError, match=f"{hub.url}: no answer in 0.2 s"):
                sink.send(events)
            assert sink._client is None
        finally:
            hub._running.send_signal(signal.SIGCONT)
        sink._timeout_s = 20
        sink.send(events)
    assert [one["id"] for one in hub.events()] == ids(outbox)


def test_each_question_to_the_streams_has_the_time_of_a_send(one: Box, outbox: Outbox) -> None:
    outbox.append([("decided", event())])
    with contextlib.closing(sink_of(one, timeout_s=17)) as sink:
        sink.send(outbox.since(0))
        assert sink._stream is not None
        assert sink._stream._timeout == 17


def test_where_the_package_is_missing_it_says_what_to_install(
    one: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nats.js", None)
    with pytest.raises(MissingDependencyError) as told:
        sink_of(one)
    assert str(told.value).startswith(INSTALL)


def test_an_event_that_is_too_large_is_refused_and_the_others_go(
    one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    records = [("decided", event()), ("decided", event(note="x" * (9 << 20))), ("decided", event())]
    outbox.append(records)
    with contextlib.closing(sink_of(one)) as sink:
        with pytest.raises(SinkRefusedError):
            sink.send(outbox.since(1)[:1])
        deliverer = Deliverer("fleet", outbox, sink)
        deliverer.step()
    assert outbox.state().set_aside == {"fleet": 1}
    assert [one["id"] for one in hub.events()] == [ids(outbox)[0], ids(outbox)[2]]


def test_without_streams_the_sink_is_down(tmp_path: Path, hub: NatsServer, outbox: Outbox) -> None:
    outbox.append([("decided", event())])
    with (
        contextlib.closing(sink_of(Box(tmp_path, hub.url, "early"))) as sink,
        pytest.raises(SinkDownError, match=hub.url),
    ):
        sink.send(outbox.since(0))


def test_an_erasure_takes_the_events_too_also_those_that_come_late(
    one: Box, hub: NatsServer, outbox: Outbox
) -> None:
    ada = one.enrol("Ada", 1)
    one.send("Ada")
    name = "Ada Unmistakable"
    outbox.append(
        [
            ("decided", event(ada, name=name)),
            ("decided", event("bob")),
            ("changed", event(None, ada)),
        ]
    )
    with contextlib.closing(sink_of(one)) as sink:
        sink.send(outbox.since(0))
        assert files_with(hub, name)
        operator.run(one.config, lambda server: server.erase(ada))
        assert [one["person"] for one in hub.events()] == ["bob"]
        outbox.append([("decided", event(ada, name=name))])
        sink.send(outbox.since(3))
        operator.run(one.config, lambda server: server.erasure(ada))
    assert [one["person"] for one in hub.events()] == ["bob"]
    hub.stop(15)
    assert files_with(hub, name) == []


def files_with(hub: NatsServer, text: str) -> list[str]:
    files = [path for path in hub.folder.rglob("*") if path.is_file()]
    return [path.name for path in files if text.encode() in path.read_bytes()]


@pytest.mark.slow
def test_what_does_not_let_itself_be_cancelled_is_left_behind() -> None:
    async def stubborn() -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)

    async def run() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await within(0.1, stubborn())

    loop, begun = asyncio.new_event_loop(), time.monotonic()
    loop.run_until_complete(run())
    assert time.monotonic() - begun < 8
