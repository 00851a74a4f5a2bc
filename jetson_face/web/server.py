"""Serves the application with uvicorn, until told to stop."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetson_face.core.errors import InputBrokenError, OutputError, UsageError
from jetson_face.util.optional import needs, pip_install
from jetson_face.web.accounts import Accounts

logger = logging.getLogger(__name__)
_CONNECTIONS_MAX = 256
_HEAD_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the page is served. tls: certificate and key, PEM; None: without TLS."""

    host: str = "127.0.0.1"
    port: int = 8642
    tls: tuple[Path, Path] | None = None

    @property
    def is_local(self) -> bool:
        """Only this box can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def address(self) -> str:
        """For people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}/"


def check(listening: Listening, accounts: Accounts) -> None:
    """Raises UsageError where the network could reach a page that nobody guards, or a certificate
    is not there; InputBrokenError where that one cannot be used."""
    if not listening.is_local and not accounts.users:
        raise UsageError(
            f"{listening.host} can be reached from the network, and there is no password: run "
            "`jetson-face web passwd` first"
        )
    if listening.tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(*listening.tls)
        except (OSError, ssl.SSLError) as error:
            where = " and ".join(str(path) for path in listening.tls)
            raise InputBrokenError(f"{where}: no certificate with its key: {error}") from error


def serve(app: Any, listening: Listening, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT. started: called once it listens. Raises OutputError where the
    port cannot be had, MissingDependencyError."""
    with needs(f"the page needs uvicorn: {pip_install('web')}"):
        import uvicorn

        from jetson_face.web.patience import PatientProtocol
    certificate, key = listening.tls or (None, None)
    config = uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS_MAX,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
    )
    for chatty in ("uvicorn", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    server = uvicorn.Server(config)
    sockets = _bound(listening)

    async def run() -> None:
        task = asyncio.create_task(server.serve(sockets))
        while not server.started and not task.done():
            await asyncio.sleep(0.02)
        if server.started:
            started()
        await task

    try:
        asyncio.run(run())
    except SystemExit as error:
        raise OutputError(f"{listening.address}: the page did not start") from error


def _bound(listening: Listening) -> list[socket.socket]:
    """A socket for each address of the host. Raises OutputError."""
    found: list[socket.socket] = []
    failed: OSError | None = None
    try:
        asked = socket.getaddrinfo(listening.host, listening.port, type=socket.SOCK_STREAM)
        for family, _, _, _, place in asked:
            try:
                found.append(socket.create_server(place, family=family))
            except OSError as error:
                # one of a name's addresses may be of a network that is off
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                failed = error
        if failed is not None and not found:
            raise failed
    except OSError as error:
        for one in found:
            one.close()
        taken = error.errno == errno.EADDRINUSE
        more = "; another program has the port: use --port" if taken else ""
        number = error.errno or 0  # below 0 where a name has no address
        why = os.strerror(number) if number > 0 else error.strerror
        raise OutputError(f"{listening.address}: cannot be served there: {why}{more}") from error
    return found
