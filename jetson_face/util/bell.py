"""Wakes a thread that waits, from other threads and from signal handlers, so that it need not look
around many times a second."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Iterator


class Bell:
    """One thread waits, any may ring. Ringing takes no lock: a signal handler may."""

    def __init__(self) -> None:
        self._ear, self._clapper = socket.socketpair()
        self._ear.setblocking(False)
        self._clapper.setblocking(False)

    def ring(self) -> None:
        """End the wait, or the next one."""
        with contextlib.suppress(OSError):  # full: it will be heard anyway; closed: nobody waits
            self._clapper.send(b"\0")

    def fileno(self) -> int:
        """For a selector: readable once it rang."""
        return self._ear.fileno()

    def wait(self, timeout_s: float) -> bool:
        """Whether it rang within `timeout_s`, or since the last wait."""
        if not select.select([self._ear], [], [], timeout_s)[0]:
            return False
        with contextlib.suppress(BlockingIOError):
            while self._ear.recv(4096):
                pass
        return True

    @contextlib.contextmanager
    def rung_by_signals(self) -> Iterator[None]:
        """Inside, every signal that Python handles rings; only in the main thread can it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.set_wakeup_fd(self._clapper.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def close(self) -> None:
        """Let the sockets go; ringing does nothing from now on."""
        self._clapper.close()
        self._ear.close()
