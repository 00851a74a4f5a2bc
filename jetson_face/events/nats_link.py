"""How this program reaches a NATS server, and asks its streams from where it left off."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jetson_face.core.errors import SecretBrokenError
from jetson_face.util.optional import needs, pip_install

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext
    from nats.js.api import ConsumerInfo

T = TypeVar("T")
DOMAIN = "fleet"
"""The hub's JetStream domain: under its name the streams are reached from a leaf, too."""
PING_S = 10
"""A server that answers no ping for two to three of these has gone."""
_CANCELS = 10
_CLOSE_S = 1.0
_CREDS = "-----BEGIN NATS"
_FORBIDDEN = "permissions violation"
_IDLE_S = 60.0
"""A consumer that nobody asks for so long is deleted by the server."""


@dataclass(frozen=True, slots=True)
class NatsLink:
    """Where the server is and who we are there.

    server: nats://HOST:PORT or tls://HOST:PORT, several with commas. name: of this connection, for
    the server's log. inbox: the subject under which answers come; nobody else may listen there.
    credentials: a file with an NKey's seed, or a .creds file. ca: certificates to trust.
    """

    server: str
    name: str
    inbox: str
    credentials: Path | None = None
    ca: Path | None = None

    async def connect(self, timeout_s: float, refused: Callable[[], None] = lambda: None) -> Client:
        """A connection that does not come back by itself: who lost it makes another. refused: is
        called when the server says that we may not do what we asked for, which nothing answers.

        Raises MissingDependencyError without nats-py, SecretBrokenError for credentials that are
        none, ConnectionError where the address asks for TLS and the server has none, and what
        nats-py and the network raise.
        """
        with needs(f"a fleet needs nats-py and nkeys: {pip_install('fleet')}"):
            import nkeys  # noqa: F401 - what nats-py signs with
            from nats.aio.client import Client
            from nats.errors import NoServersError
        # The package tells its own log of each lost connection, beside our one line.
        logging.getLogger("nats").setLevel(logging.CRITICAL)
        client, said = Client(), list[Exception]()

        async def keep(error: Exception) -> None:
            said.append(error)  # it is raised where somebody waits for it
            if _FORBIDDEN in str(error).lower():
                refused()

        work = client.connect(
            servers=[server.strip() for server in self.server.split(",")],
            name=self.name,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # the package's own tries of each server, before it says no
            reconnect_time_wait=0.1,
            connect_timeout=max(1, round(timeout_s)),
            ping_interval=PING_S,
            max_outstanding_pings=2,
            inbox_prefix=self.inbox,
            error_cb=keep,
            tls=self._tls(),
            **self._who(),
        )
        try:
            await within(timeout_s, work)
            if not _as_encrypted_as_asked(client):
                raise ConnectionError("the server does not speak TLS, and its address says tls://")
        except NoServersError as error:
            raise (said[-1] if said else error) from None
        except BaseException:
            # The loop holds what is half open, and no garbage collector closes that.
            with suppress(Exception):
                await within(_CLOSE_S, client.close())
            raise
        return client

    def _tls(self) -> ssl.SSLContext | None:
        if not self.server.startswith("tls://"):
            return None
        return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))

    def _who(self) -> dict[str, Any]:
        if self.credentials is None:
            return {}
        try:
            text = self.credentials.read_text("ascii")
        except (OSError, ValueError) as error:
            raise SecretBrokenError(f"{self.credentials}: cannot be read: {error}") from None
        if text.startswith(_CREDS):
            return {"user_credentials": str(self.credentials)}
        if not text.startswith("SU"):
            raise SecretBrokenError(
                f"{self.credentials}: neither the seed of a user's NKey (SU…) nor a .creds file"
            )
        return {"nkeys_seed_str": text.strip()}


def _as_encrypted_as_asked(client: Client) -> bool:
    """Whether a connection to tls:// is one. The package encrypts what the server wants encrypted,
    whatever the address says: whoever sits between could have everything in the clear."""
    url = client.connected_url
    if url is None or url.scheme != "tls":
        return True
    writer: asyncio.StreamWriter | None = getattr(client._transport, "_io_writer", None)
    return writer is not None and writer.get_extra_info("ssl_object") is not None


async def within(limit_s: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work. Raises what it raises, asyncio.TimeoutError where it takes longer.

    Not `asyncio.wait_for`, which waits for what it cancelled to end: nats-py takes some of what
    cancels it for something else, and goes on.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_nobody_asks)
    try:
        await asyncio.wait({task}, timeout=limit_s)
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        if not task.done():
            await given_up({task})


async def given_up(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel tasks until they are over, a few times; what goes on all the same is left behind."""
    for task in tasks:
        task.add_done_callback(_nobody_asks)
    for _ in range(_CANCELS):
        left = {task for task in tasks if not task.done()}
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.2)


def _nobody_asks(task: asyncio.Future[Any]) -> None:
    """Or the loop would complain of an exception that nobody took."""
    if not task.cancelled():
        task.exception()


async def fresh_consumer(
    stream: JetStreamContext,
    name: str,
    consumer: str,
    subject: str,
    start: int | datetime | None = None,
) -> tuple[ConsumerInfo, JetStreamContext.PullSubscription]:
    """A consumer of the stream `name` for messages of `subject` from the number `start` on, from a
    time by the server's clock on and then without their bodies, or for the last one only; in place
    of one of the same name. Nothing is acknowledged: where to begin is its user's to know. What of
    it does not come by is deleted by the server."""
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
    from nats.js.errors import NotFoundError

    with suppress(NotFoundError):
        await stream.delete_consumer(name, consumer)
    wanted = ConsumerConfig(
        name=consumer,
        filter_subject=subject,
        deliver_policy=DeliverPolicy.LAST,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=_IDLE_S,
    )
    if isinstance(start, datetime):
        wanted.deliver_policy, wanted.opt_start_time = DeliverPolicy.BY_START_TIME, start
        wanted.headers_only = True
    elif start is not None:
        wanted.deliver_policy, wanted.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, start
    info = await stream.add_consumer(name, wanted)
    return info, await stream.pull_subscribe_bind(consumer=consumer, stream=name)
