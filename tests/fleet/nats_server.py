"""A real nats-server that can be stopped and killed, and asked what its streams hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

nats = pytest.importorskip("nats", reason="the extra `fleet` is not installed")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


PINGS = 'ping_interval: "5s"\nping_max: 2\n'


class NatsServer:
    """A hub with JetStream, or a leaf of one. more: lines for its configuration. host: where it
    listens. prefix: words before its command, as of who runs it in a network namespace."""

    def __init__(
        self,
        folder: Path,
        more: str = "",
        *,
        hub: NatsServer | None = None,
        host: str = "127.0.0.1",
        prefix: Sequence[str] = (),
    ) -> None:
        program = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            pytest.skip("no nats-server here: apt-get install nats-server")
        self._program, self.folder, self._prefix = program, folder, prefix
        folder.mkdir(parents=True, exist_ok=True)
        self.host, self.port, self.leaf_port = host, free_port(), free_port()
        self.config = folder / "nats.conf"
        if hub is None:
            role = (
                f'jetstream {{ domain: fleet, store_dir: "{folder}/js" }}\n'
                f'leafnodes {{ listen: "{host}:{self.leaf_port}" }}\n'
            )
        else:
            role = (
                "leafnodes { reconnect: 1, remotes: [ "
                f'{{ url: "nats://{hub.host}:{hub.leaf_port}" }} ] }}\n'
            )
        self.config.write_text(
            f'listen: "{host}:{self.port}"\nserver_name: {folder.name}_{self.port}\n'
            f"max_payload: 8MB\n{PINGS}{role}{more}"
        )
        self._running: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._running = subprocess.Popen(
                [*self._prefix, self._program, "-c", str(self.config)], stderr=log, stdout=log
            )
        for _ in range(500):
            with contextlib.suppress(OSError):
                socket.create_connection((self.host, self.port), 1).close()
                return
            assert self._running.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        raise AssertionError("nats-server does not start")

    def stop(self, number: int = signal.SIGKILL) -> None:
        """By default without a chance to write anything down."""
        if self._running is not None:
            self._running.send_signal(number)
            self._running.wait(10)
            self._running = None

    def messages(self, stream: str) -> list[tuple[str, dict[str, str], bytes]]:
        """Everything that a stream holds: subject, headers, body."""

        async def read() -> list[tuple[str, dict[str, str], bytes]]:
            client = await nats.connect(self.url)
            try:
                js = client.jetstream()
                state = (await js.stream_info(stream)).state
                found = []
                if state.messages:
                    asked = await js.subscribe(
                        ">", stream=stream, ordered_consumer=True, deliver_policy="all"
                    )
                    for _ in range(state.messages):
                        one = await asked.next_msg(5)
                        found.append((one.subject, dict(one.headers or {}), one.data))
                return found
            finally:
                await client.close()

        return asyncio.run(read())

    def publish(self, subject: str, body: bytes) -> None:
        """As somebody who may do everything."""

        async def tell() -> None:
            client = await nats.connect(self.url)
            await client.jetstream().publish(subject, body)
            await client.close()

        asyncio.run(tell())

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.messages("EVENTS")]


@contextlib.contextmanager
def nats_server(
    folder: Path, more: str = "", hub: NatsServer | None = None
) -> Iterator[NatsServer]:
    server = NatsServer(folder, more, hub=hub)
    try:
        yield server
    finally:
        server.stop()
