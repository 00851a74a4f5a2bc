"""HTTP on the control socket: requests with bodies, each in a thread, and one form of error."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from jetson_face.core.errors import (
    EnrollmentError,
    GalleryLockedError,
    InputBrokenError,
    InputMissingError,
    JetsonFaceError,
    NameInvalidError,
    UsageError,
)
from jetson_face.privacy.audit import acting_as
from jetson_face.service.control.replays import KeyUsedError, Replays
from jetson_face.util.redact import clean

logger = logging.getLogger(__name__)

BODY_MAX = 48 << 20
"""Bytes of one request: a dozen photos of a telephone."""
_TIMEOUT_S = 30.0
_AT_ONCE = 8
_PEER = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """path: decoded, without the query. query: the last value of each name. body: as it came."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""

    def document(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ControlError."""
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            raise ControlError(400, "the body is not JSON") from None
        if not isinstance(found, dict):
            raise ControlError(400, "the body is not a JSON object")
        return found

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, from 1 to `most`. Raises ControlError."""
        text = self.query.get(name, str(default))
        if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
            raise ControlError(400, f"{name} is a whole number from 1 to {most}")
        return int(text)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes
    content_type: str = "application/json"

    @classmethod
    def of(cls, document: object, status: int = 200) -> Reply:
        """JSON."""
        return cls(status, json.dumps(document, ensure_ascii=False).encode())


class ControlError(Exception):
    """A request that is answered with an error. more: further members of the answer."""

    def __init__(self, status: int, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status, self.detail, self.more = status, detail, more


Route: TypeAlias = tuple[str, str, Callable[..., Reply]]
"""Method, pattern of the path whose groups are arguments, and what answers."""

_STATUS = (
    ((NameInvalidError, InputBrokenError, EnrollmentError), 422),
    ((UsageError, InputMissingError), 404),
    ((GalleryLockedError,), 503),
)


def answer(routes: Sequence[Route], request: ControlRequest) -> Reply:
    """What the route says; every error is application/problem+json."""
    allowed = []
    try:
        for method, pattern, call in routes:
            if found := re.fullmatch(pattern, request.path):
                if method == request.method:
                    return call(request, *found.groups())
                allowed.append(method)
        if allowed:
            raise ControlError(405, f"{request.path} takes {', '.join(allowed)}")
        raise ControlError(404, f"there is no {clean(request.path)[:80]}")
    except ControlError as error:
        return problem(error.status, error.detail, **error.more)
    except JetsonFaceError as error:
        status = next((code for kinds, code in _STATUS if isinstance(error, kinds)), 409)
        return problem(status, clean(str(error)))
    except Exception:
        logger.exception("control_failed path=%s", request.path)
        return problem(500, "this request failed inside; see the log")


def problem(status: int, detail: str, **more: object) -> Reply:
    """An error in the one form that there is (RFC 9457)."""
    body = json.dumps({"type": "about:blank", "status": status, "detail": detail, **more})
    return Reply(status, body.encode(), "application/problem+json")


class ControlServer(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Serves a listening Unix socket; at most a few requests at once, the others wait.

    allowed: user ids that may ask, beside root. replays: answers to writes with a key.
    """

    daemon_threads = True

    def __init__(
        self, listener: socket.socket, routes: Sequence[Route], allowed: frozenset[int]
    ) -> None:
        super().__init__("", _Handler)
        self.routes = routes
        self.replays: Replays[Reply] = Replays(lambda reply: reply.status < 500)
        self.socket, self._allowed = listener, allowed | {0}
        self.slots = threading.BoundedSemaphore(_AT_ONCE)
        self.last_used = time.monotonic()
        self.busy = 0

    def fileno(self) -> int:
        """See BaseServer."""
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, str]:
        """See BaseServer."""
        connection, _ = self.socket.accept()
        connection.settimeout(_TIMEOUT_S)
        return connection, ""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Only those whom the kernel says to be one of us."""
        size = _PEER.size
        _, user, _ = _PEER.unpack(request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return user in self._allowed

    def shutdown_request(self, request: Any) -> None:
        """See BaseServer."""
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        logger.debug("control_client_gone", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ControlServer

    def setup(self) -> None:
        """See BaseRequestHandler."""
        super().setup()
        # Frames take precedence over whoever looks at a page; a sandbox may forbid to say so.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)

    def _serve(self) -> None:
        server = self.server
        server.last_used = time.monotonic()
        with server.slots:
            server.busy += 1
            try:
                self._send(self._reply())
            finally:
                server.busy -= 1
                server.last_used = time.monotonic()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - names of the base

    def _reply(self) -> Reply:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,12}", length):
            self.close_connection = True
            return problem(411, "send the body with its length")
        if int(length) > BODY_MAX:
            self.close_connection = True
            return problem(413, f"at most {BODY_MAX >> 20} MiB at once")
        body = self.rfile.read(int(length))
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        request = ControlRequest(
            self.command, unquote(parts.path), query, body, self.headers.get("Content-Type", "")
        )
        with acting_as(self.headers.get("X-Actor", "control")[:120]):
            key = self.headers.get("Idempotency-Key", "")
            if request.method == "GET" or not key:
                return answer(self.server.routes, request)
            try:
                plain = f"{request.method} {request.path}\n".encode() + body
                return self.server.replays.once(
                    key, plain, lambda: answer(self.server.routes, request)
                )
            except KeyUsedError:
                return problem(422, "this Idempotency-Key came with another request before")

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)
