"""Who asks: by the cookie of a session, or by a token; and what they may."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from jetson_face.web.accounts import Accounts, Role, Token, at_least
from jetson_face.web.problems import ProblemError
from jetson_face.web.sessions import Limiter, Sessions, WebSession, fingerprint

CSRF = "x-csrf-token"


@dataclass(frozen=True, slots=True)
class Caller:
    """name: for the audit log. session: None for a program with a token."""

    name: str
    role: Role
    session: WebSession | None

    @property
    def actor(self) -> str:
        """As the audit log has it."""
        return f"web:{self.name}" if self.session is not None else f"token:{self.name}"


class Doorkeeper:
    """Finds out who asks. cookie: the name of the session's cookie."""

    def __init__(self, accounts: Accounts, sessions: Sessions, cookie: str) -> None:
        self.accounts, self.sessions, self.cookie = accounts, sessions, cookie
        self._wrong = Limiter(10, 60.0)

    def caller(self, request: Request) -> Caller:
        """Raises ProblemError: 401 for nobody, 403 for a change without the CSRF token, 429."""
        shown = request.headers.get("authorization")
        if shown is not None:
            return self._program(request, shown)
        session = self._session(request)
        if request.method not in ("GET", "HEAD"):
            sent = request.headers.get(CSRF, "")
            if not secrets.compare_digest(sent.encode(), session.csrf.encode()):
                raise ProblemError(403, f"send the session's csrf value as {CSRF}")
        return Caller(session.user, session.role, session)

    def goes_on(self, request: Request) -> bool:
        """Whether who asked is still somebody: a stream is one request for hours, in which a
        session may end, and a user or token may be taken away."""
        shown = request.headers.get("authorization")
        if shown is not None:
            return self._token(shown) is not None
        try:
            self._session(request)
        except ProblemError:
            return False
        return True

    def _session(self, request: Request) -> WebSession:
        secret = request.cookies.get(self.cookie, "")
        session = self.sessions.find(secret) if secret else None
        if session is None:
            raise ProblemError(401, "sign in")
        user = self.accounts.user(session.user)
        if user is None or fingerprint(user) != session.password:
            self.sessions.end(secret)
            raise ProblemError(401, "sign in again: the password or the role was changed")
        return session

    def _program(self, request: Request, shown: str) -> Caller:
        address = request.client.host if request.client else ""
        if wait := self._wrong.wait_s(address):
            raise ProblemError(429, "too many wrong tokens", {"Retry-After": str(int(wait) + 1)})
        known = self._token(shown)
        if known is None:
            self._wrong.failed(address)
            raise ProblemError(401, "this token is not known", {"WWW-Authenticate": "Bearer"})
        return Caller(known.name, known.role, None)

    def _token(self, shown: str) -> Token | None:
        scheme, _, token = shown.partition(" ")
        return self.accounts.token(token.strip()) if scheme.lower() == "bearer" else None


def needs_role(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, who has at least this role. It waits for nothing: as a function it
    would cost every request a thread."""

    async def caller(request: Request) -> Caller:
        keeper: Doorkeeper = request.app.state.keeper
        found = keeper.caller(request)
        if not at_least(found.role, role):
            raise ProblemError(403, f"this needs the role {role}; yours is {found.role}")
        return found

    return caller


Viewer = Annotated[Caller, Depends(needs_role("viewer"))]
Operator = Annotated[Caller, Depends(needs_role("operator"))]
Admin = Annotated[Caller, Depends(needs_role("admin"))]
