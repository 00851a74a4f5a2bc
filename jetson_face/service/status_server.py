"""The status server: one thread, a Unix socket and, if wanted, HTTP on loopback; and its client."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import selectors
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jetson_face.core.errors import InputMissingError, JetsonFaceError, OutputError, SourceError
from jetson_face.service.http import (
    BadRequestError,
    Folders,
    Page,
    Routes,
    answer,
    parse_request,
    problem,
)
from jetson_face.util.bell import Bell

logger = logging.getLogger(__name__)

_CONNECTIONS_MAX = 16
_SECONDS_MAX = 3.0
_WAIT_S = 2.0


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    trusted: bool
    deadline: float
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: memoryview | None = None


class StatusServer:
    """Answers `routes` until stopped; a slow or silent client never holds up another.

    unix: path of a socket (mode 0660), None for none. port: on 127.0.0.1, None for none, 0 for any.
    Raises OutputError when it cannot listen.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        unix: Path | None,
        port: int | None = None,
        folders: Folders = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routes, self._folders, self._clock = routes, folders, clock
        self._bound: Path | None = None
        self._selector = selectors.DefaultSelector()
        self._bell = Bell()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._listeners: list[socket.socket] = []
        self._connections: dict[int, _Connection] = {}
        self.port: int | None = None
        where, key = str(unix), "service.status_socket"
        try:
            if unix is not None:
                self._listen_unix(unix)
            where, key = f"127.0.0.1:{port}", "service.status_port"
            if port is not None:
                self._listen_tcp(port)
        except OSError as error:
            self.close()
            raise OutputError(
                f"{where}: the status cannot be served there: {error.strerror or error}; set "
                f"another `{key}`"
            ) from error

    def run(self, stop: threading.Event) -> None:
        """The thread's loop; `wake` ends a wait once `stop` is set."""
        try:
            while not stop.is_set():
                # Without clients there is no deadline to keep.
                self.step(0.2 if self._connections else _WAIT_S)
        finally:
            self.close()

    def wake(self) -> None:
        """Let `run` look whether it should stop; from any thread."""
        self._bell.ring()

    def step(self, timeout_s: float) -> None:
        """Wait for something to do, at most `timeout_s`, and do it."""
        for key, _ in self._selector.select(timeout_s):
            if key.fd == self._bell.fileno():
                self._bell.wait(0)
            elif key.fileobj in self._listeners:
                self._accept(key.data)
            elif connection := self._connections.get(key.fd):
                self._serve(connection)
        now = self._clock()
        for connection in list(self._connections.values()):
            if now > connection.deadline:
                self._drop(connection)

    def close(self) -> None:
        """Stop listening and drop everybody; harmless when repeated."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        for listener in self._listeners:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(listener)
            listener.close()
        if self._bound is not None:
            self._bound.unlink(missing_ok=True)
            self._bound = None
        self._listeners.clear()
        self._selector.close()
        self._bell.close()

    def _listen_unix(self, path: Path) -> None:
        listener = listen_unix(path, _CONNECTIONS_MAX)
        self._listeners.append(listener)
        self._bound = path
        self._start(listener, trusted=True)

    def _listen_tcp(self, port: int) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listeners.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_CONNECTIONS_MAX)
        self.port = listener.getsockname()[1]
        self._start(listener, trusted=False)

    def _start(self, listener: socket.socket, *, trusted: bool) -> None:
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, (listener, trusted))

    def _accept(self, data: tuple[socket.socket, bool]) -> None:
        listener, trusted = data
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        if len(self._connections) >= _CONNECTIONS_MAX:
            # The oldest has had its turn: many silent clients must not shut everybody out.
            self._drop(next(iter(self._connections.values())))
        sock.setblocking(False)
        connection = _Connection(sock, trusted, self._clock() + _SECONDS_MAX)
        self._connections[sock.fileno()] = connection
        self._selector.register(sock, selectors.EVENT_READ)

    def _serve(self, connection: _Connection) -> None:
        try:
            if connection.outgoing is None:
                self._read(connection)
            if connection.outgoing is not None:
                sent = connection.sock.send(connection.outgoing)
                connection.outgoing = connection.outgoing[sent:]
                if not connection.outgoing:
                    self._drop(connection)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)

    def _read(self, connection: _Connection) -> None:
        data = connection.sock.recv(4096)
        if not data:
            self._drop(connection)
            return
        connection.incoming += data
        try:
            request = parse_request(bytes(connection.incoming))
            if request is None:
                return
            page = answer(request, self._routes, self._folders, trusted=connection.trusted)
        except BadRequestError as error:
            page = problem(400, str(error))
        except Exception:
            logger.exception("status_page_failed")
            page = problem(500, "this page failed; see the log")
        connection.outgoing = memoryview(page.encode())
        self._selector.modify(connection.sock, selectors.EVENT_WRITE)

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection.sock.fileno(), None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()


def ask(unix: Path, path: str, method: str = "GET", *, timeout_s: float = 5.0) -> Page:
    """Ask a running service over its Unix socket.

    Raises InputMissingError where none runs, SourceError where it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            with short_path(unix) as address:
                sock.connect(address)
            sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii"))
            response = http.client.HTTPResponse(sock, method=method)
            response.begin()
            kind = response.getheader("Content-Type", "")
            return Page(response.status, response.read(), kind)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise InputMissingError(
            f"no service runs here ({unix}): start it with `systemctl start jetson-face`, or with "
            f"`jetson-face service run`"
        ) from error
    except PermissionError as error:
        raise SourceError(
            f"{unix}: you may not ask this service: use sudo, or join the group jetson-face"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(
            f"{unix}: the service does not answer ({error}); see `jetson-face service logs`"
        ) from error


def ask_status(unix: Path) -> dict[str, Any]:
    """What a running service says of itself; empty where none answers."""
    try:
        found = json.loads(ask(unix, "/status").body)
    except (JetsonFaceError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def listen_unix(path: Path, backlog: int) -> socket.socket:
    """A Unix socket (mode 0660) that listens. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with contextlib.suppress(FileNotFoundError):
        # Left behind by a killed process; the state folder's lock says that we are alone.
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as address:
            listener.bind(address)
        path.chmod(0o660)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """An address for `path` that fits the 108 bytes of a Unix socket's, however deep it is."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
