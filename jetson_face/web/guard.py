"""What is done to every request before anybody looks at it, and to every answer."""

from __future__ import annotations

import asyncio
import ipaddress

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jetson_face.web.problems import problem

LARGE = ("/api/v1/identify", "/api/v1/people")
LARGE_MAX, SMALL_MAX = 48 << 20, 256 << 10
"""Bytes of a body: pictures, and everything else."""
_BODY_S = 60.0
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware: the host's name, the origin, the size and pace of bodies, the headers.

    hosts: names and addresses under which the page may be asked for, beside loopback; a page
    elsewhere must not reach us by DNS. secure: it is served by TLS.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], *, secure: bool) -> None:
        self._app, self._secure = app, secure
        self._hosts = _LOCAL.union(map(_as_sent, hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
                if self._secure:
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await problem(*refused)(scope, receive, guarded_send)
            return
        await self._app(scope, _bounded(scope, receive), guarded_send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""
        if _name(host) not in self._hosts:
            return 421, "this name is not one of the page's: start it with --allow-host NAME"
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            origin = headers.get("origin", "")
            if origin and origin.partition("://")[2].lower() != host.lower():
                return 403, "this comes from another site"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 12:
            return 400, "content-length is no number"
        if int(length) > _most(scope):
            return 413, "the body is too large"
        return None


def _as_sent(host: str) -> str:
    """As browsers write it: an IPv6 address is in brackets."""
    try:
        return f"[{ipaddress.IPv6Address(host.strip('[]'))}]"
    except ValueError:
        return _name(host)


def _name(host: str) -> str:
    """Without the port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _most(scope: Scope) -> int:
    large = scope["method"] == "POST" and scope["path"] in LARGE
    return LARGE_MAX if large else SMALL_MAX


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """The body, as far as it is neither too long nor too slow."""
    left, over = _most(scope), False
    until = asyncio.get_running_loop().time() + _BODY_S

    async def bounded() -> Message:
        nonlocal left, over
        if over:
            return await receive()
        left_s = until - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(receive(), max(left_s, 0.01))
        except asyncio.TimeoutError:
            raise HTTPException(408, "the body came too slowly") from None
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            over = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, "the body is too large")
        return message

    return bounded
