"""A real HTTP server on loopback that gives a file as it was told to, well or badly."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request, with what an answer is made of."""

    protocol_version = "HTTP/1.1"
    web: Web

    def do_GET(self) -> None:
        self.web.asked.append((unquote(self.path), self.headers.get("Range")))
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client went away, as it should
            self.web.answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def head(self, status: int = 200, **headers: object) -> None:
        """Status and headers; names are written with _ for -."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def give(self, data: bytes) -> None:
        """The file from where it is asked for, as a good server gives it."""
        start = self.start
        if start:
            self.head(
                206,
                Content_Length=len(data) - start,
                Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}",
            )
        else:
            self.head(Content_Length=len(data))
        self.wfile.write(data[start:])

    @property
    def start(self) -> int:
        """The first byte that is asked for."""
        asked = self.headers.get("Range", "bytes=0-")
        return int(asked.removeprefix("bytes=").partition("-")[0])


class Web:
    """asked: path and Range of every request, in order. stop: set at the end."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.asked = answer, list[tuple[str, str | None]]()
        self.stop = threading.Event()
        handler = type("Own", (Request,), {"web": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def drip(self, request: Request, data: bytes, every_s: float = 0.02) -> None:
        """Byte by byte, until the end of the test."""
        for byte in data:
            if self.stop.wait(every_s):
                return
            request.wfile.write(bytes([byte]))
            request.wfile.flush()


@contextmanager
def serving(answer: Answer) -> Iterator[Web]:
    """The server, while inside."""
    web = Web(answer)
    thread = threading.Thread(target=web.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.stop.set()
        web.server.shutdown()
        web.server.server_close()
        thread.join(5)
