"""A real mosquitto that can be killed, with or without what it retains, and one who listens."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

paho = pytest.importorskip("paho.mqtt.client", reason="the extra `mqtt` is not installed")


class Mosquitto:
    """A broker that keeps retained messages over restarts. password: of the user `box`, without
    which nobody may come."""

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            pytest.skip("no mosquitto here: apt-get install mosquitto")
        self._program, self._config = program, folder / "mosquitto.conf"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        users, anonymous = "", str(password is None).lower()
        if password is not None:
            passwords = folder / "passwords"
            passwords.touch()
            subprocess.run(["mosquitto_passwd", "-b", passwords, "box", password], check=True)
            passwords.chmod(0o644)
            users = f"password_file {passwords}\n"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous {anonymous}\nuser root\n{users}"
            f"persistence true\npersistence_location {folder}/\n"
        )
        self._running: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._running = subprocess.Popen(
            [self._program, "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("mosquitto does not start")

    def stop(self) -> None:
        """With SIGTERM, on which it keeps what it retains.

        It listens before its loop begins, and forgets a signal that comes in between: so it is
        told again.
        """
        if self._running is not None:
            for _ in range(10):
                self._running.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._running.wait(1)
                    break
            self._running.wait(1)
            self._running = None


class Retained:
    """What a broker retains, as Home Assistant would see it at its start and after.

    topics: by topic, without cleared ones. sent: every message, in order.
    """

    def __init__(self, port: int) -> None:
        self.topics: dict[str, bytes] = {}
        self.sent: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._note
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _note(self, client: Any, data: Any, message: Any) -> None:
        with self._changed:
            self.sent.append((message.topic, message.payload))
            if message.payload:
                self.topics[message.topic] = message.payload
            else:
                self.topics.pop(message.topic, None)
            self._changed.notify_all()

    def wait(self, done: Callable[[dict[str, bytes]], object], timeout_s: float = 30) -> None:
        """Until the topics are as wanted."""
        with self._changed:
            assert self._changed.wait_for(lambda: done(self.topics), timeout_s), self.topics

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
