"""Who may use the page: names, roles and Argon2 hashes in one file, and tokens for programs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from jetson_face.core.errors import InputBrokenError, NameInvalidError, OutputError, UsageError
from jetson_face.util.files import write_file
from jetson_face.util.locks import HeldError, file_lock
from jetson_face.util.optional import needs, pip_install

if TYPE_CHECKING:
    from argon2 import PasswordHasher

Role: TypeAlias = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
PASSWORD_MIN, PASSWORD_MAX = 10, 200
"""Characters."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,39}")
# OWASP's second choice: a small box has little memory, and several may sign in at once.
_MEMORY_KIB, _PASSES = 19 * 1024, 2
TOKEN_PREFIX = "jf_"


def at_least(role: Role, wanted: Role) -> bool:
    """Whether `role` may do what `wanted` may."""
    return ROLES.index(role) >= ROLES.index(wanted)


@dataclass(frozen=True, slots=True)
class User:
    """hash: Argon2id, with its parameters."""

    name: str
    role: Role
    hash: str


@dataclass(frozen=True, slots=True)
class Token:
    """What a program shows instead of a password. digest: hex SHA-256; the token itself is kept
    nowhere."""

    id: str
    name: str
    role: Role
    digest: str
    created: str


@dataclass(frozen=True, slots=True)
class _Known:
    users: tuple[User, ...] = ()
    tokens: tuple[Token, ...] = ()


class Accounts:
    """The file `accounts.json` (0600) of a folder; read again when it changed. Any thread.

    Every method raises InputBrokenError for a file that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "accounts.json"
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._known = _Known()
        self._nobody: str | None = None

    @property
    def users(self) -> tuple[User, ...]:
        """Everybody who may sign in."""
        return self._now().users

    @property
    def tokens(self) -> tuple[Token, ...]:
        """What programs may show."""
        return self._now().tokens

    def user(self, name: str) -> User | None:
        """The user of that name."""
        return next((user for user in self.users if user.name == name), None)

    def check_password(self, name: str, password: str) -> User | None:
        """The user, if this is the password; takes as long for a name that nobody has."""
        from argon2.exceptions import Argon2Error, InvalidHashError

        user = self.user(name)
        if user is None and self._nobody is None:
            self._nobody = _hasher().hash(secrets.token_hex())
        wanted = (self._nobody or "") if user is None else user.hash
        try:
            _hasher().verify(wanted, password[:PASSWORD_MAX])
        except (Argon2Error, InvalidHashError):
            return None
        return user

    def token(self, shown: str) -> Token | None:
        """The token that a program shows, if there is one like it."""
        wanted = digest(shown)
        found = None
        for token in self.tokens:
            if secrets.compare_digest(token.digest, wanted):
                found = token
        return found

    def set_password(self, name: str, password: str, role: Role) -> None:
        """Make a user, or give one another password and role. Raises NameInvalidError, UsageError
        for a password that is too short or too simple."""
        _check_name(name)
        check_strength(name, password)
        user = User(name, role, _hasher().hash(password))
        self._change(
            lambda now: replace(now, users=(*(u for u in now.users if u.name != name), user))
        )

    def remove_user(self, name: str) -> None:
        """Raises UsageError for nobody of that name."""
        if self.user(name) is None:
            raise UsageError(f"nobody is called {name!r}: see `jetson-face web users`")
        self._change(lambda now: replace(now, users=tuple(u for u in now.users if u.name != name)))

    def add_token(self, name: str, role: Role) -> str:
        """Make a token for a program; it is returned, and shown never again."""
        _check_name(name)
        shown = TOKEN_PREFIX + secrets.token_urlsafe(32)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        token = Token(secrets.token_hex(4), name, role, digest(shown), created)
        self._change(lambda now: replace(now, tokens=(*now.tokens, token)))
        return shown

    def remove_token(self, key: str) -> None:
        """By its id. Raises UsageError where there is none."""
        if all(token.id != key for token in self.tokens):
            raise UsageError(f"there is no token {key!r}: see `jetson-face web users`")
        self._change(lambda now: replace(now, tokens=tuple(t for t in now.tokens if t.id != key)))

    def _now(self) -> _Known:
        with self._lock:
            try:
                facts = self.path.stat()
                stamp = (facts.st_mtime_ns, facts.st_ino)
                if stamp != self._stamp:
                    self._known = _parsed(self.path)
                    self._stamp = stamp
            except FileNotFoundError:
                self._known, self._stamp = _Known(), None
            except OSError as error:
                raise InputBrokenError(f"{self.path}: {error.strerror}") from error
            return self._known

    def _change(self, change: Callable[[_Known], _Known]) -> None:
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _as_owner(folder), file_lock(self.path.with_suffix(".lock")):
                known = change(self._now())
                write_file(self.path, json.dumps(asdict(known), indent=2) + "\n", mode=0o600)
        except HeldError as error:
            raise UsageError(f"{self.path}: another process changes it: try again") from error
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written: {error.strerror}: is `sudo` missing?"
            ) from error


@contextmanager
def _as_owner(folder: Path) -> Iterator[None]:
    """root writes what the page's user reads as that user: no link that lies in their folder may
    lead root to a file elsewhere."""
    if os.geteuid() != 0:
        yield
        return
    owner, group = folder.stat(), os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def check_strength(name: str, password: str) -> None:
    """Raises UsageError for a password that is guessed at once."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise UsageError(f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    if len(set(password)) < 5 or (len(name) > 2 and name.lower() in password.lower()):
        raise UsageError("this password is guessed at once: not the name, not one letter again")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise NameInvalidError(
            f"{name[:40]!r} is no name for an account: letters, digits, . _ @ -, at most 40"
        )


def _hasher() -> PasswordHasher:
    with needs(f"passwords need argon2-cffi: {pip_install('web')}"):
        from argon2 import PasswordHasher
    return PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1)


def digest(shown: str) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(shown.encode()).hexdigest()


def _parsed(path: Path) -> _Known:
    try:
        found = json.loads(path.read_text("utf-8"))
        known = _Known(
            tuple(User(**one) for one in found["users"]),
            tuple(Token(**one) for one in found["tokens"]),
        )
        roles = [user.role for user in known.users] + [token.role for token in known.tokens]
        if not set(roles) <= set(ROLES):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise InputBrokenError(
            f"{path}: is not a file of accounts: remove it, and set the passwords again"
        ) from error
    return known
