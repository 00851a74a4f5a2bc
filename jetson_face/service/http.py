"""The least of HTTP/1.1 that the status needs: one short request without a body, one answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote

REQUEST_MAX = 8192
_LINE = re.compile(rb"^([A-Z]{1,16}) (/[!-~]{0,1000}) HTTP/1\.[01]$")
_HEADER = re.compile(rb"^([!#-'*+.0-9A-Z^-z|~-]{1,100}):[ \t]*([ -~\t\x80-\xff]{0,4000}?)[ \t]*$")
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_REASONS = {
    200: "OK",
    202: "Accepted",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class BadRequestError(ValueError):
    """What came is not a request that this server takes."""


@dataclass(frozen=True, slots=True)
class Request:
    """method: upper case. path: without the query. host: the Host header without its port.
    query: the last value of each name."""

    method: str
    path: str
    host: str | None
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    status: int
    body: bytes
    content_type: str = "application/json"

    def encode(self) -> bytes:
        """The whole answer; the connection closes after it."""
        head = (
            f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Status')}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode("ascii") + self.body


Routes: TypeAlias = Mapping[tuple[str, str], Callable[[], Page]]
"""(method, path) to what makes the page."""
Folders: TypeAlias = Mapping[str, Callable[[str, Mapping[str, str]], Page]]
"""The beginning of a path, ending in /, to what makes the page of its rest and the query; GET, and
over the Unix socket only."""


def parse_request(data: bytes) -> Request | None:
    """The request in `data`; None while its end has not come. Raises BadRequestError."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > REQUEST_MAX:
            raise BadRequestError("the request is too long")
        return None
    line, *rest = data[:end].split(b"\r\n")
    match = _LINE.match(line)
    if match is None:
        raise BadRequestError("not an HTTP request")
    host: str | None = None
    for header in rest:
        found = _HEADER.match(header)
        if found is None:
            raise BadRequestError("a header is not valid")
        if found[1].lower() == b"host":
            host = re.sub(r":\d*$", "", found[2].decode("latin-1").lower())
    path, _, query = match[2].decode("ascii").partition("?")
    return Request(match[1].decode("ascii"), path, host, dict(parse_qsl(query)))


def answer(
    request: Request,
    routes: Routes,
    folders: Folders = MappingProxyType({}),
    *,
    trusted: bool,
) -> Page:
    """The page for a request.

    trusted: it came over the Unix socket, whose mode says who may ask. Over TCP only reading is
    allowed, and only under a local host name: a web page elsewhere must not reach us by DNS.
    """
    if not trusted and request.host not in _LOCAL:
        return problem(403, "ask under localhost or 127.0.0.1")
    page = routes.get((request.method, request.path))
    start, _, rest = request.path[1:].partition("/")
    if page is None and trusted and request.method == "GET" and f"/{start}/" in folders:
        return folders[f"/{start}/"](unquote(rest), request.query)
    if page is None:
        if any(path == request.path for _, path in routes):
            return problem(405, f"{request.path} does not take {request.method}")
        return problem(404, "there are: " + " ".join(sorted({path for _, path in routes})))
    if request.method != "GET" and not trusted:
        return problem(403, "changes are taken over the Unix socket only")
    return page()


def problem(status: int, message: str) -> Page:
    """A short text."""
    return Page(status, message.encode("utf-8", "replace") + b"\n", "text/plain; charset=utf-8")
