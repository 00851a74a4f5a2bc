"""Who is signed in, and who tried too often."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from jetson_face.web.accounts import Role, User, digest

_SESSIONS_MAX = 500
_KEYS_MAX = 10_000


@dataclass(slots=True)
class WebSession:
    """One sign-in. csrf: what changes must show beside the cookie. password: fingerprint of the
    hash it was made with: another password ends it. began, used: monotonic seconds."""

    user: str
    role: Role
    csrf: str
    password: str
    began: float
    used: float


class Sessions:
    """In memory only: a restart of the page signs everybody out.

    idle_s, most_s: a session ends so long after its last request, and after its beginning.
    """

    def __init__(
        self, idle_s: float, most_s: float = 12 * 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._idle_s, self._most_s, self._clock = idle_s, most_s, clock
        self._lock = threading.Lock()
        self._open: OrderedDict[str, WebSession] = OrderedDict()

    def begin(self, user: User) -> tuple[str, WebSession]:
        """A new session; its secret for the cookie."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        session = WebSession(
            user.name, user.role, secrets.token_urlsafe(24), fingerprint(user), now, now
        )
        with self._lock:
            self._open[digest(secret)] = session
            while len(self._open) > _SESSIONS_MAX:
                self._open.popitem(last=False)
        return secret, session

    def find(self, secret: str) -> WebSession | None:
        """The session of a cookie, unless it is over."""
        now, key = self._clock(), digest(secret)
        with self._lock:
            session = self._open.get(key)
            if session is None:
                return None
            if now - session.used > self._idle_s or now - session.began > self._most_s:
                del self._open[key]
                return None
            session.used = now
            return session

    def end(self, secret: str) -> None:
        """Sign out."""
        with self._lock:
            self._open.pop(digest(secret), None)


def fingerprint(user: User) -> str:
    """Of a user's password and role."""
    return digest(f"{user.role}\n{user.hash}")


class Limiter:
    """At most `most` in `seconds` for each key (an address, a name)."""

    def __init__(
        self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """How long this key has to wait; 0: it may try now."""
        now = self._clock()
        with self._lock:
            times = self._times.get(key)
            while times and now - times[0] > self._seconds:
                times.popleft()
            if not times or len(times) < self._most:
                return 0.0
            return self._seconds - (now - times[0])

    def failed(self, key: str) -> None:
        """Count a try that failed."""
        with self._lock:
            self._times.setdefault(key, deque(maxlen=self._most)).append(self._clock())
            self._times.move_to_end(key)
            while len(self._times) > _KEYS_MAX:
                self._times.popitem(last=False)

    def forget(self, key: str) -> None:
        """It succeeded."""
        with self._lock:
            self._times.pop(key, None)
