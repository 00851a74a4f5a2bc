"""Events to a JetStream: each exactly once, however often the connection breaks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from jetson_face.events.delivery import SinkDownError, SinkRefusedError
from jetson_face.events.nats_link import DOMAIN, NatsLink, fresh_consumer, within
from jetson_face.events.older import document
from jetson_face.events.outbox import Event
from jetson_face.events.reason import why
from jetson_face.util.optional import needs, pip_install

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

T = TypeVar("T")
STREAM = "EVENTS"
ID = "Nats-Msg-Id"
_KEEP_S = 60.0
_NONE = "none"


class NatsSink:
    """Publishes each event to `SUBJECT.KIND.PERSON.BEFORE` with its id as `Nats-Msg-Id`; the
    stream's PubAck is the acknowledgement. PERSON and BEFORE are ids or `none`: by them a person's
    events can be deleted.

    JetStream itself drops an event that it got within its duplicate window. For what comes later,
    the first batch of each connection begins after the last event that the stream has of `subject`:
    events are published in order.

    consumer: a name for the question after that last event. timeout_s: for the whole of a `send`.
    Raises MissingDependencyError without nats-py.
    """

    def __init__(
        self,
        link: NatsLink,
        subject: str,
        consumer: str,
        *,
        timeout_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        with needs(f"a fleet needs nats-py and nkeys: {pip_install('fleet')}"):
            import nats.js  # noqa: F401
        self._link, self._subject, self._consumer = link, subject, consumer
        self._timeout_s, self._clock = timeout_s, clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._used = 0.0

    def send(self, events: Sequence[Event]) -> None:
        """Returns when the stream has them all. Raises SinkDownError, SinkRefusedError."""
        from nats.errors import MaxPayloadError

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        if self._stream is not None and self._clock() - self._used > _KEEP_S:
            self.close_connection()  # nobody answered the server's pings meanwhile
        try:
            self._run(self._publish([document(event) for event in events]))
        except MaxPayloadError as error:
            raise SinkRefusedError(f"{self._link.server}: larger than the server takes") from error
        except asyncio.TimeoutError:
            self.close_connection()
            raise SinkDownError(
                f"{self._link.server}: no answer in {self._timeout_s:g} s"
            ) from None
        except Exception as error:
            # Whatever it is, it is the server's trouble, and not the end of recognition.
            self.close_connection()
            raise SinkDownError(f"{self._link.server}: {why(error)}") from error
        self._used = self._clock()

    def close(self) -> None:
        """Close the connection; the next `send` opens another."""
        loop = self._loop
        if loop is None:
            return
        self.close_connection()
        self._loop = None
        loop.close()

    def close_connection(self) -> None:
        """Close what may be half open, whatever that says."""
        client, self._client, self._stream = self._client, None, None
        if client is not None:
            with suppress(Exception):
                self._run(client.close())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return self._loop.run_until_complete(within(self._timeout_s, work))

    async def _publish(self, bodies: Sequence[bytes]) -> None:
        known = [(json.loads(body), body) for body in bodies]
        if self._stream is None:
            self._client = await self._link.connect(self._timeout_s)
            stream = self._client.jetstream(domain=DOMAIN, timeout=self._timeout_s)
            last = await self._last_id(stream)
            ids = [event["id"] for event, _ in known]
            if last in ids:
                known = known[ids.index(last) + 1 :]
            self._stream = stream
        acks = [
            await self._stream.publish_async(
                self._subject_of(event), body, stream=STREAM, headers={ID: event["id"]}
            )
            for event, body in known
        ]
        await asyncio.gather(*acks)

    def _subject_of(self, event: dict[str, Any]) -> str:
        before = event.get("before") or {}
        people = [str(one.get("person") or _NONE) for one in (event, before)]
        return ".".join([self._subject, event["kind"], *people])

    async def _last_id(self, stream: JetStreamContext) -> str | None:
        """The id of the last event that the stream has of this box."""
        asked, found = await fresh_consumer(stream, STREAM, self._consumer, f"{self._subject}.>")
        try:
            if not asked.num_pending:
                return None
            (last,) = await found.fetch(1, timeout=self._timeout_s / 2)
        finally:
            await found.unsubscribe()
        return (last.headers or {}).get(ID)
