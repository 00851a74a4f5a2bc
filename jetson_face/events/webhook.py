"""Events to a web address by HTTP POST. A down or hostile receiver costs no event and no thread."""

from __future__ import annotations

import asyncio
import base64
import http.client
import re
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from jetson_face.core.errors import MissingDependencyError, UsageError
from jetson_face.core.version import __version__
from jetson_face.events.delivery import SinkDownError, SinkRefusedError
from jetson_face.events.older import document
from jetson_face.events.outbox import Event
from jetson_face.events.reason import why
from jetson_face.util.addresses import web_address
from jetson_face.util.redact import clean

if TYPE_CHECKING:
    import httpx

ANSWER_MAX = 65_536
"""Bytes of an answer that are read; the connection of a longer one is given up."""

# What the receiver says is malformed; everything else may be otherwise tomorrow.
_REFUSED = frozenset({400, 413, 422})
_KEPT_S = 60.0
_HEADER = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_HINTS = {
    401: "is the token right?",
    403: "may the token do this?",
    404: "is `url` right?",
    405: "is `url` right?",
    410: "is `url` right?",
}
_STEPS = {
    "connection.connect_tcp": "while connecting",
    "connection.start_tls": "while connecting (TLS)",
    "http11.send_request": "while sending",
    "http11.receive_response_headers": "before an answer",
    "http11.receive_response_body": "in the body",
}


class WebhookSink:
    """POSTs `{"events": [...]}` as JSON; 2xx is the acknowledgement.

    Each event carries an id: a receiver that saw it before drops it. No redirects are followed, no
    proxy of the environment is used. url: http:// or https://, any letters; its user and password
    are sent. headers: added to each request, for tokens; never logged. timeout_s: for the whole of
    a `send`: name, connection, request and answer.
    Raises UsageError for another kind of address or header, MissingDependencyError without httpx.
    """

    def __init__(
        self, url: str, *, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> None:
        try:
            self._url = web_address(url)
        except ValueError as error:
            raise UsageError(f"a webhook's address: {error}") from None
        for name, value in (headers or {}).items():
            if not _HEADER.fullmatch(value):
                raise UsageError(
                    f"the header {name}: its value is empty, or has a line end or a letter that "
                    "no header can have"
                )
        try:
            import httpx  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("webhooks need httpx: pip install httpx") from error
        parts = urlsplit(self._url)
        self._host = parts.netloc.rpartition("@")[2]
        self._headers = {
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": f"jetson-face/{__version__}",
            **_basic(parts.username, parts.password),
            **(headers or {}),
        }
        self._timeout_s = timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: httpx.AsyncHTTPTransport | None = None

    def send(self, events: Sequence[Event]) -> None:
        """Raises SinkRefusedError (400, 413, 422), SinkDownError for every other trouble."""
        body = b'{"events": [' + b", ".join(document(event) for event in events) + b"]}"
        exchange = _Exchange()
        try:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            if self._transport is None:
                # Before the deadline begins: what is slow here is this machine.
                self._transport = _transport()
            self._loop.run_until_complete(
                asyncio.wait_for(self._exchange(self._transport, exchange, body), self._timeout_s)
            )
        except asyncio.TimeoutError:
            self._give_up()
            raise self._down(
                f"{exchange.head}no answer in {self._timeout_s:g} s, {exchange.step}"
            ) from None
        except Exception as error:
            # Whatever it is, it is one receiver's trouble, and not the end of recognition.
            self._give_up()
            raise self._down(f"{exchange.head}{why(error)}, {exchange.step}") from error
        self._judge(exchange)

    def close(self) -> None:
        """Close the connection; the next `send` opens another."""
        loop, transport = self._loop, self._transport
        self._loop = self._transport = None
        if loop is None:
            return
        try:
            if transport is not None:
                loop.run_until_complete(transport.aclose())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _give_up(self) -> None:
        """Close what may be half open, whatever that says."""
        with suppress(Exception):
            self.close()

    async def _exchange(
        self, transport: httpx.AsyncHTTPTransport, exchange: _Exchange, body: bytes
    ) -> None:
        import httpx

        # No client of httpx's around it: that keeps the receiver's cookies and looks at redirects.
        request = httpx.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=body,
            extensions={"trace": exchange.trace},
        )
        try:
            await _post(transport, request, exchange)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if exchange.connected or exchange.status:
                raise
            # A connection of an earlier `send`, which the receiver closed in this very moment.
            await _post(transport, request, exchange)

    def _judge(self, exchange: _Exchange) -> None:
        status = exchange.status
        if 200 <= status < 300:
            return
        text = f"answered {status} {http.client.responses.get(status, '')}".rstrip()
        if status in _REFUSED:
            raise SinkRefusedError(f"{self._host} {text}")
        if 300 <= status < 400:
            where = clean(exchange.location, 200) or "somewhere else"
            text += f": it is at {where} now; redirects are not followed: set `url`"
        elif status in _HINTS:
            text += f": {_HINTS[status]}"
        raise SinkDownError(f"{self._host} {text}")

    def _down(self, text: str) -> SinkDownError:
        return SinkDownError(f"{self._host}: {text}")


@dataclass(slots=True)
class _Exchange:
    """How far an exchange came. status: 0 before the answer. connected: on a new connection."""

    status: int = 0
    location: str = ""
    connected: bool = False
    step: str = "while connecting"

    @property
    def head(self) -> str:
        return f"answered {self.status}, and " if self.status else ""

    async def trace(self, event: str, details: Mapping[str, Any]) -> None:
        """What httpx tells of each step."""
        name, _, _ = event.rpartition(".")
        self.connected = self.connected or name == "connection.connect_tcp"
        self.step = next((say for key, say in _STEPS.items() if name.startswith(key)), self.step)


def _transport() -> httpx.AsyncHTTPTransport:
    """A kept connection, no proxies, no time-outs: the deadline is around all of it."""
    import httpx

    return httpx.AsyncHTTPTransport(
        verify=ssl.create_default_context(),
        limits=httpx.Limits(keepalive_expiry=_KEPT_S),
    )


def _basic(user: str | None, password: str | None) -> dict[str, str]:
    """The header for what an address has before its @."""
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


async def _post(
    transport: httpx.AsyncHTTPTransport, request: httpx.Request, exchange: _Exchange
) -> None:
    answer = await transport.handle_async_request(request)
    try:
        exchange.status = answer.status_code
        exchange.location = answer.headers.get("location", "")
        await _read(answer)
    finally:
        await answer.aclose()


async def _read(answer: httpx.Response) -> None:
    """The answer's body to its end, or to the limit: nothing in it is of use, but only a
    connection whose answer was read can be used again. Not unpacked."""
    size = 0
    async with aclosing(cast("AsyncGenerator[bytes, None]", answer.aiter_raw())) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            if size > ANSWER_MAX:
                return
