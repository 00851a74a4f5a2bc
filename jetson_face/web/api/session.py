"""`/session`: sign in, who am I, sign out."""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jetson_face.web.callers import Doorkeeper, Viewer
from jetson_face.web.models import Credentials, SessionInfo
from jetson_face.web.problems import ProblemError
from jetson_face.web.sessions import Limiter, WebSession

logger = logging.getLogger(__name__)
router = APIRouter(tags=["session"])
_TRIES, _TRIES_S = 5, 300.0
_NAME_TRIES = 20


class Door:
    """Slows down who guesses: by address, and by name from anywhere; a few hashes at a time."""

    def __init__(self) -> None:
        self.by_address = Limiter(_TRIES, _TRIES_S)
        self.by_name = Limiter(_NAME_TRIES, _TRIES_S)
        self.hashing = asyncio.Semaphore(2)

    def check(self, address: str, name: str) -> None:
        """Raises ProblemError for who has to wait."""
        if wait := max(self.by_address.wait_s(address), self.by_name.wait_s(name)):
            raise ProblemError(
                429, "too many wrong passwords: wait a little", {"Retry-After": str(int(wait) + 1)}
            )


@router.post("/session", response_model=SessionInfo)
async def sign_in(request: Request, wanted: Credentials) -> Response:
    """Sign in: the answer sets the session's cookie."""
    keeper: Doorkeeper = request.app.state.keeper
    door: Door = request.app.state.door
    address = request.client.host if request.client else ""
    door.check(address, wanted.user)
    if not keeper.accounts.users:
        raise ProblemError(
            403, "nobody may sign in yet: run `jetson-face web passwd` on the box first"
        )
    async with door.hashing:
        # Again: many that came at once waited here, and those before may have been wrong.
        door.check(address, wanted.user)
        check = keeper.accounts.check_password
        user = await asyncio.to_thread(check, wanted.user, wanted.password)
        if user is None:
            door.by_address.failed(address)
            door.by_name.failed(wanted.user)
    if user is None:
        logger.warning("sign_in_refused address=%s", address)
        raise ProblemError(401, "user or password is wrong")
    door.by_address.forget(address)
    secret, session = keeper.sessions.begin(user)
    logger.info("signed_in name=%s role=%s address=%s", user.name, user.role, address)
    answer = JSONResponse(_info(session))
    secure: bool = request.app.state.secure
    answer.set_cookie(
        keeper.cookie, secret, httponly=True, secure=secure, samesite="strict", path="/"
    )
    return answer


@router.get("/session", response_model=SessionInfo)
async def who_am_i(caller: Viewer) -> object:
    """Who asks, and what they may."""
    if caller.session is not None:
        return _info(caller.session)
    return {"user": caller.name, "role": caller.role, "csrf": None}


@router.delete("/session", status_code=204)
async def sign_out(request: Request, caller: Viewer) -> Response:
    """End the session."""
    keeper: Doorkeeper = request.app.state.keeper
    keeper.sessions.end(request.cookies.get(keeper.cookie, ""))
    answer = Response(status_code=204)
    answer.delete_cookie(keeper.cookie, path="/")
    return answer


def _info(session: WebSession) -> dict[str, str]:
    return {"user": session.user, "role": session.role, "csrf": session.csrf}
