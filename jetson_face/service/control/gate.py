"""Holds the control socket, and starts the process that answers on it when somebody asks."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from jetson_face.core.errors import OutputError
from jetson_face.service.status_server import listen_unix
from jetson_face.util.bell import Bell
from jetson_face.util.channels import Courier, StillBusyError

logger = logging.getLogger(__name__)
_AGAIN_S = 2.0
_END_S = 2.0
_BACKLOG = 32


class ControlGate:
    """Listens at `path` (mode 0660) until closed, in a thread of its own.

    command: starts the process; `--listener N --parent N` are added, numbers of open files. None:
    nobody answers, and there is no socket.
    Raises OutputError where it cannot listen.
    """

    def __init__(self, path: Path, command: Sequence[str]) -> None:
        self._path, self._command = path, list(command)
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        if not self._command:
            self._stop.set()
            return
        self._bell = Bell()
        self._listener = _listen(path)
        self._courier: Courier[None] = Courier("control")
        self.check()

    def check(self) -> None:
        """Raises what ended the thread, if anything did."""
        if not self._command:
            return
        with contextlib.suppress(StillBusyError):
            self._courier.fetch(self._run, timeout_s=0)

    def close(self) -> None:
        """Stop listening, and end the process; harmless when repeated."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._process is not None:
            self._process.terminate()
        self._bell.ring()
        self._courier.close()
        self._courier.join(_END_S)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        self._bell.close()

    def _run(self) -> None:
        import selectors

        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while not self._stop.is_set():
                selector.select()
                if not self._stop.is_set():
                    self._answer()

    def _answer(self) -> None:
        """Start the process and wait for its end."""
        mine, others = os.pipe()
        try:
            listener = self._listener.fileno()
            self._process = subprocess.Popen(
                [*self._command, "--listener", str(listener), "--parent", str(mine)],
                pass_fds=(listener, mine),
                stdin=subprocess.DEVNULL,
            )
            if self._stop.is_set():
                self._process.terminate()
            code = self._process.wait()
        except OSError as error:
            logger.error("control_not_started error=%s", error)
            code = 1
        finally:
            os.close(mine)
            os.close(others)
        if code and not self._stop.is_set():
            logger.error("control_failed code=%s again_s=%g", code, _AGAIN_S)
            self._stop.wait(_AGAIN_S)


def _listen(path: Path) -> socket.socket:
    try:
        return listen_unix(path, _BACKLOG)
    except OSError as error:
        raise OutputError(
            f"{path}: the control socket cannot be made there: {error.strerror or error}; set "
            "another `service.status_socket`"
        ) from error
