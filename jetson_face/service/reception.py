"""The status server in a thread of its own: it answers before anything is loaded, and until the
end."""

from __future__ import annotations

import contextlib
import threading

from jetson_face.service.status_server import StatusServer
from jetson_face.util.channels import Courier, StillBusyError

_END_S = 2.0


class Reception:
    """Runs `server` from now until `close`, which closes it."""

    def __init__(self, server: StatusServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self._courier: Courier[None] = Courier("status")
        self.check()

    def check(self) -> None:
        """Raises what ended the thread, if anything did."""
        with contextlib.suppress(StillBusyError):
            self._courier.fetch(lambda: self._server.run(self._stop), timeout_s=0)

    def close(self) -> None:
        """Stop answering; harmless when repeated."""
        self._stop.set()
        self._server.wake()
        self._courier.close()
        self._courier.join(_END_S)
        self._server.close()
