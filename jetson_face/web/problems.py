"""The one form of error: application/problem+json (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jetson_face.core.errors import JetsonFaceError

logger = logging.getLogger(__name__)
MEDIA = "application/problem+json"


class ProblemDocument(BaseModel):
    """What every error looks like; an error may say more."""

    model_config = ConfigDict(extra="allow")
    type: str = "about:blank"
    title: str = Field(description="what the status means")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="what is wrong and how to fix it, in one line")


class ProblemError(Exception):
    """Ends a request with an error. more: further members. headers: of the answer."""

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers, more


_LOG = "the page cannot do that just now: `journalctl -u jetson-face-web` on the box says why"
HANDLED = (ProblemError, HTTPException, RequestValidationError, JetsonFaceError)
"""Ours; the framework's: no such page, no such method; arguments that do not fit; and what is
broken on the box, as its file of accounts."""


def problem(
    status: int, detail: str, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """The answer."""
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    body = {**more, "type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, MEDIA)


async def of_error(request: Request, error: Exception) -> Response:
    """Handler of each of `HANDLED`."""
    if isinstance(error, ProblemError):
        return problem(error.status, error.detail, error.headers, **error.more)
    if isinstance(error, HTTPException):
        headers = dict(error.headers) if error.headers else None
        return problem(error.status_code, str(error.detail), headers)
    if isinstance(error, JetsonFaceError):
        logger.error("page_failed path=%s error=%s", request.url.path, error)
        return problem(500, _LOG)
    assert isinstance(error, RequestValidationError)
    faults = [
        f"{'.'.join(str(part) for part in one['loc'][1:]) or 'body'}: {one['msg']}"
        for one in error.errors()[:20]
    ]
    return problem(422, faults[0] if faults else "not valid", errors=faults)
