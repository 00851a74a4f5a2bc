"""The page's application: every route, behind its guard."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from jetson_face.core.version import __version__
from jetson_face.util.idle import IdleShare
from jetson_face.web import problems
from jetson_face.web.accounts import Accounts
from jetson_face.web.api import (
    cameras,
    events,
    fleet,
    people,
    privacy,
    review,
    session,
    system,
    unknown_people,
)
from jetson_face.web.api.common import ERRORS
from jetson_face.web.callers import Doorkeeper
from jetson_face.web.feed import Feeds
from jetson_face.web.guard import Guard
from jetson_face.web.models import Enrolment
from jetson_face.web.sessions import Sessions
from jetson_face.web.tail import Tail
from jetson_face.web.upstream import Upstream

ROUTERS = (session, people, unknown_people, privacy, events, review, cameras, fleet, system)


@dataclass(frozen=True, slots=True)
class Options:
    """status, control: the recogniser's sockets. state_dir: where the accounts are. hosts: names of
    the page beside loopback's. secure: it is served by TLS. idle_s: a session ends after so long
    without a request."""

    status: Path
    control: Path
    state_dir: Path
    hosts: frozenset[str] = frozenset()
    secure: bool = False
    idle_s: float = 1800.0


def create_app(options: Options) -> Guard:
    """The ASGI application."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        idle = IdleShare()
        app.state.upstream = Upstream(options.status, options.control, idle)
        app.state.feeds = Feeds(app.state.upstream, idle)
        app.state.tail = Tail(app.state.upstream)
        app.state.door, app.state.uploads = session.Door(), asyncio.Semaphore(2)
        app.state.streams = app.state.listeners = 0
        try:
            yield
        finally:
            await app.state.feeds.close()
            await app.state.tail.close()
            await app.state.upstream.close()

    app = FastAPI(
        title="jetson-face",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
        exception_handlers=dict.fromkeys(problems.HANDLED, problems.of_error),
    )
    # Strict cookies that a proxy or another page on this host cannot set over plain HTTP.
    cookie = "__Host-jetson-face" if options.secure else "jetson-face"
    app.state.secure = options.secure
    app.state.keeper = Doorkeeper(Accounts(options.state_dir), Sessions(options.idle_s), cookie)
    for module in ROUTERS:
        app.include_router(module.router, prefix="/api/v1", responses=ERRORS)
    _add_static(app)
    app.openapi_schema = _schema(app)
    return Guard(app, options.hosts, secure=options.secure)


def _schema(app: FastAPI) -> dict[str, Any]:
    """OpenAPI, with our one form of error."""
    from fastapi.openapi.utils import get_openapi

    made = get_openapi(
        title=app.title,
        version=app.version,
        routes=app.routes,
        description="Face recognition on one box. Sign in with POST /session and send the cookie, "
        "and with changes the csrf value as X-CSRF-Token; or send Authorization: Bearer TOKEN.",
    )
    parts = made["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts.pop(name, None)
    model: dict[str, Any] = Enrolment.model_json_schema(ref_template="#/components/schemas/{model}")
    parts.update(model.pop("$defs", {}), Enrolment=model)
    parts["ProblemDocument"] = problems.ProblemDocument.model_json_schema()
    made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"token": []}]
    for path in made["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    return made


def _add_static(app: FastAPI) -> None:
    """The page: a few files of ours, in memory."""
    folder = resources.files("jetson_face.web") / "static"
    files: dict[str, tuple[bytes, str, str]] = {}
    for entry in folder.iterdir():
        data = entry.read_bytes()
        kind = mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
        kind = "text/javascript" if entry.name.endswith(".js") else kind
        files[entry.name] = data, kind, f'"{hashlib.sha256(data).hexdigest()[:20]}"'

    def served(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "there is no such file")
        data, kind, tag = files[name]
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=kind, headers=headers)

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return served(request, "index.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return served(request, name)
