"""The page's application without a server or a recogniser, for what needs neither."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import httpx

from jetson_face.web.app import Options, create_app

HERE = "http://localhost"


@contextlib.asynccontextmanager
async def asking(
    folder: Path, hosts: frozenset[str] = frozenset(), *, base: str = HERE
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a page whose accounts are in that folder."""
    app = create_app(Options(folder / "status.sock", folder / "control.sock", folder, hosts))
    inner: Any = app._app
    async with (
        inner.router.lifespan_context(inner),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"{base}/api/v1") as client,
    ):
        yield client


def run(test: Coroutine[Any, Any, None]) -> None:
    """Also where it hangs."""
    asyncio.run(asyncio.wait_for(test, 60))
