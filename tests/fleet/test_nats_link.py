"""How a NATS server is reached: as whom, with which limits, and what becomes of work given up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import ssl
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from jetson_face.core.errors import MissingDependencyError, SecretBrokenError
from jetson_face.events.nats_link import NatsLink, fresh_consumer, given_up, within
from tests.fleet.certificates import certificates
from tests.fleet.nats_server import NatsServer, free_port, nats, nats_server

INSTALL = "a fleet needs nats-py and nkeys: pip install '.[fleet]' in the folder of jetson-face's "


def run(work: Coroutine[Any, Any, Any]) -> list[str]:
    """Run it in a loop of its own; returns what the loop complained of."""
    complaints: list[str] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, found: complaints.append(found["message"]))
    try:
        loop.run_until_complete(work)
        gc.collect()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
    return complaints


# --- the connection ------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "hub") as running:
        yield running


def test_a_connection_has_its_name_and_ends_for_good_when_it_breaks(server: NatsServer) -> None:
    away = free_port()

    async def look() -> None:
        servers = f"nats://127.0.0.1:{away} , {server.url}"
        link = NatsLink(servers, "box one", "_INBOX.north.one")
        client = await link.connect(4.6)
        assert {key: client.options[key] for key in WANTED} == WANTED
        assert {uri.port for uri in client.servers} == {away, server.port}
        assert client.new_inbox().startswith("_INBOX.north.one.")
        server.stop()
        while not client.is_closed:
            await asyncio.sleep(0.01)

    assert run(look()) == []


WANTED = {
    "name": "box one",
    "allow_reconnect": False,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0.1,
    "connect_timeout": 5,
    "ping_interval": 10,
    "max_outstanding_pings": 2,
}


def test_where_no_server_answers_the_network_s_own_error_is_raised() -> None:
    link = NatsLink(f"nats://127.0.0.1:{free_port()}", "box", "_INBOX.box")

    async def look() -> None:
        with pytest.raises(OSError, match="Connect call failed"):
            await link.connect(5)

    run(look())


def test_a_connection_that_is_not_made_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: object, **_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(nats.aio.client.Client, "connect", never)

    async def look() -> None:
        task = asyncio.ensure_future(NatsLink("nats://hub", "box", "_INBOX.box").connect(0.05))
        await asyncio.wait({task}, timeout=10)
        assert task.done()
        with pytest.raises(asyncio.TimeoutError):
            task.result()

    run(look())


def test_what_was_half_open_is_closed() -> None:
    """Or what is no NATS server would cost a socket at each try."""

    async def look() -> None:
        ended = asyncio.Event()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail\r\n")
            await reader.read()
            writer.close()
            ended.set()

        other = await asyncio.start_server(greet, "127.0.0.1", 0)
        url = f"nats://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        with pytest.raises(nats.errors.Error, match="empty response from server"):
            await NatsLink(url, "box", "_INBOX.box").connect(10)
        await asyncio.wait_for(ended.wait(), 5)
        other.close()

    assert run(look()) == []


def test_a_server_without_tls_is_not_spoken_to_where_its_address_says_tls(
    server: NatsServer,
) -> None:
    async def look() -> None:
        plain = await NatsLink(server.url, "box", "_INBOX.box").connect(10)
        await plain.close()
        link = NatsLink(server.url.replace("nats", "tls", 1), "box", "_INBOX.box")
        with pytest.raises(ConnectionError, match="does not speak TLS, and its address says tls:"):
            await link.connect(10)

    assert run(look()) == []


def test_over_tls_only_a_server_is_reached_that_is_trusted(tmp_path: Path) -> None:
    cert, private = certificates(tmp_path)
    more = f'tls {{ cert_file: "{cert}", key_file: "{private}" }}\n'
    with nats_server(tmp_path / "hub", more) as server:
        url = server.url.replace("nats", "tls", 1)

        async def look() -> None:
            client = await NatsLink(url, "box", "_INBOX.box", ca=cert).connect(10)
            await client.close()
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
                await NatsLink(url, "box", "_INBOX.box").connect(10)

        run(look())


def test_only_what_it_may_not_do_is_told_as_that(tmp_path: Path) -> None:
    guest = (
        'authorization { users: [ { user: guest, password: "", permissions: '
        '{ publish: ["may", "_INBOX.>"], subscribe: ["_INBOX.>"] } } ] }\nno_auth_user: guest\n'
    )

    async def look(url: str) -> None:
        told = asyncio.Event()
        client = await NatsLink(url, "box", "_INBOX.box").connect(10, told.set)
        await client.publish("may", b"")
        await client.flush()
        await client._error_cb(nats.errors.SlowConsumerError("may", "x", 1, None))
        assert not told.is_set()
        await client.publish("may.not", b"")
        await client.flush()
        await asyncio.wait_for(told.wait(), 10)
        await client.close()

    with nats_server(tmp_path / "hub", guest) as server:
        assert run(look(server.url)) == []


def test_the_package_does_not_tell_its_own_log_of_a_lost_connection(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nats")
    link = NatsLink(server.url, "box", "_INBOX.box")

    async def look() -> None:
        client = await link.connect(10)
        await client.close()

    run(look())
    assert not logging.getLogger("nats").isEnabledFor(logging.ERROR)
    assert logging.getLogger().isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("package", ["nkeys", "nats.aio.client"])
def test_without_the_package_it_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError) as told:
        asyncio.run(NatsLink("nats://hub", "box", "_INBOX.box").connect(1))
    assert str(told.value).startswith(INSTALL)


# --- who we are ----------------------------------------------------------------------------------


def who(path: Path | None) -> dict[str, Any]:
    return NatsLink("nats://hub", "box", "_INBOX.box", path)._who()


def test_who_we_are_is_nobody_a_seed_or_a_creds_file(tmp_path: Path) -> None:
    assert who(None) == {}
    path = tmp_path / "who"
    path.write_text("SUAM\n")
    assert who(path) == {"nkeys_seed_str": "SUAM"}
    path.write_text("-----BEGIN NATS USER JWT-----\n")
    assert who(path) == {"user_credentials": str(path)}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "cannot be read: .*No such file"),
        (b"SU\xc3\xa9", "cannot be read: 'ascii' codec"),
        (b"SA-the-seed-of-an-account", "neither the seed of a user's NKey"),
    ],
)
def test_credentials_that_are_none_are_told(tmp_path: Path, data: bytes | None, says: str) -> None:
    path = tmp_path / "who"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SecretBrokenError, match=f"{path}: {says}"):
        who(path)


# --- a consumer ----------------------------------------------------------------------------------


def test_a_consumer_begins_where_it_is_told_or_with_the_last_in_place_of_an_older_one(
    server: NatsServer,
) -> None:
    async def look() -> None:
        client = await NatsLink(server.url, "box", "_INBOX.box").connect(10)
        stream = client.jetstream()
        await stream.add_stream(name="S", subjects=["s.>"])
        for number in range(3):
            await stream.publish(f"s.a.{number}", b"%d" % number)
        await stream.publish("s.b.0", b"other")
        for start, policy, bodies in (
            (2, "by_start_sequence", [b"1", b"2"]),
            (None, "last", [b"2"]),
        ):
            info, found = await fresh_consumer(stream, "S", "mine", "s.a.*", start)
            told = info.config
            assert (told.name, told.filter_subject, told.opt_start_seq) == ("mine", "s.a.*", start)
            assert (told.deliver_policy, told.ack_policy) == (policy, "none")
            assert told.inactive_threshold == 60
            assert [one.data for one in await found.fetch(len(bodies), timeout=10)] == bodies
        await client.close()

    run(look())


# --- work that takes too long --------------------------------------------------------------------


def test_work_gives_its_result_or_its_error() -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def look() -> None:
        assert await within(10, asyncio.sleep(0, "done")) == "done"
        with pytest.raises(ValueError, match="no"):
            await within(10, fails())

    assert run(look()) == []


def test_work_that_takes_too_long_is_cancelled_and_its_end_waited_for() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("here")

    async def look() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await within(0.01, slow())
        assert ended == ["here"]

    assert run(look()) == []


@pytest.mark.parametrize("again", [0, 1])
def test_who_takes_a_cancel_for_something_else_is_cancelled_again(again: int) -> None:
    cancels: list[int] = []

    async def stubborn() -> None:
        for _ in range(1 + again):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(20)
                return
            cancels.append(1)

    async def look() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await within(0.01, stubborn())

    assert run(look()) == []
    assert len(cancels) == 1 + again


def test_the_error_of_work_that_was_given_up_is_nobody_s() -> None:
    async def bad_loser() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("nobody asks") from None

    async def look() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await within(0.01, bad_loser())
        task = asyncio.ensure_future(bad_loser())
        await asyncio.sleep(0)
        await given_up([task])
        assert task.done()
        del task

    assert run(look()) == []


def test_nor_is_that_of_work_that_ends_as_its_user_is_cancelled() -> None:
    users: list[asyncio.Future[None]] = []

    async def fails() -> None:
        users[0].cancel()
        raise ValueError("nobody asks")

    async def look() -> None:
        users.append(asyncio.ensure_future(within(10, fails())))
        with pytest.raises(asyncio.CancelledError):
            await users[0]
        users.clear()

    assert run(look()) == []
