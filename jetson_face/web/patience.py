"""HTTP/1.1 that waits for nobody's headers for long."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""A connection is closed when no request came on it for so long, or half a one for twice that."""


class PatientProtocol(H11Protocol):
    """Uvicorn's, with a time limit for the head of a request: connections that say nothing, or
    their headers a letter at a time, would else be open for ever."""

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._half_looks = 0
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self._look)

    def _look(self) -> None:
        waits = self.cycle is None or self.cycle.response_complete
        half = waits and bool(self.conn.trailing_data[0])
        self._half_looks = self._half_looks + 1 if half else 0
        if self.cycle is None or self._half_looks > 1:
            if not self.transport.is_closing():
                self.transport.close()
            return
        self._look_later()
