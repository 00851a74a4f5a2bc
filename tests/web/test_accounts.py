"""Passwords, roles, tokens, sessions and limits, without a server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetson_face.core.errors import InputBrokenError, NameInvalidError, OutputError, UsageError
from jetson_face.web.accounts import Accounts, User, at_least
from jetson_face.web.sessions import Limiter, Sessions

GOOD = "correct horse 1"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_password_is_kept_as_argon2_in_a_private_file(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "web")
    assert not accounts.users
    accounts.set_password("ada", GOOD, "operator")
    assert accounts.path.stat().st_mode & 0o777 == 0o600
    text = accounts.path.read_text()
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in text
    assert GOOD not in text
    user = accounts.check_password("ada", GOOD)
    assert user is not None
    assert user.role == "operator"
    assert accounts.check_password("ada", GOOD + "x") is None
    assert accounts.check_password("eve", GOOD) is None


def test_another_process_sees_a_change(tmp_path: Path) -> None:
    one, other = Accounts(tmp_path), Accounts(tmp_path)
    assert one.user("ada") is None
    other.set_password("ada", GOOD, "viewer")
    assert [user.name for user in one.users] == ["ada"]
    other.remove_user("ada")
    assert not one.user("ada")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Others may go through it, other than through pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="for root")
def test_root_writes_as_the_pages_user_and_follows_no_link_of_theirs(open_folder: Path) -> None:
    secret, folder = open_folder / "secret", open_folder / "web"
    secret.write_text("root's")
    secret.chmod(0o600)
    folder.mkdir()
    os.chown(folder, 12345, 12346)
    accounts = Accounts(folder)
    accounts.set_password("ada", GOOD, "admin")
    for path in (accounts.path, folder / "accounts.lock"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)
    assert (os.geteuid(), os.getegid()) == (0, 0)
    (folder / "accounts.lock").unlink()
    (folder / "accounts.lock").symlink_to(secret)
    with pytest.raises(OutputError):
        accounts.remove_user("ada")
    assert (secret.read_text(), secret.stat().st_uid, os.geteuid()) == ("root's", 0, 0)


def test_a_folder_that_takes_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="sudo"):
        Accounts(tmp_path / "file" / "web").add_token("nodered", "viewer")


@pytest.mark.parametrize("password", ["", "short", "aaaaaaaaaaaaaa", "ada lovelace 1", "x" * 201])
def test_a_password_that_is_guessed_at_once_is_refused(tmp_path: Path, password: str) -> None:
    with pytest.raises(UsageError):
        Accounts(tmp_path).set_password("ada", password, "admin")


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 41, "a\nb"])
def test_names_of_accounts(tmp_path: Path, name: str) -> None:
    with pytest.raises(NameInvalidError):
        Accounts(tmp_path).set_password(name, GOOD, "admin")


def test_a_token_is_shown_once_and_kept_as_a_digest(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    shown = accounts.add_token("nodered", "viewer")
    assert shown not in accounts.path.read_text()
    token = accounts.token(shown)
    assert token is not None
    assert (token.name, token.role) == ("nodered", "viewer")
    assert accounts.token(shown + "x") is None
    accounts.remove_token(token.id)
    assert accounts.token(shown) is None
    with pytest.raises(UsageError):
        accounts.remove_token(token.id)


@pytest.mark.parametrize("text", ["", "[]", '{"users": [], "tokens": [{"id": 1}]}',
    '{"users": [{"name": "a", "role": "root", "hash": ""}], "tokens": []}'])  # fmt: skip
def test_a_broken_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    (tmp_path / "accounts.json").write_text(text)
    with pytest.raises(InputBrokenError):
        Accounts(tmp_path).check_password("admin", GOOD)


def test_roles_hold_those_below() -> None:
    assert at_least("admin", "viewer")
    assert at_least("operator", "operator")
    assert not at_least("viewer", "operator")


def test_a_session_ends_by_idleness_and_by_age() -> None:
    clock = Clock()
    sessions = Sessions(100, 1000, clock)
    secret, session = sessions.begin(User("ada", "admin", "h"))
    for now in (99.0, 198.0):
        clock.now = now
        assert sessions.find(secret) is session
    clock.now = 299.0
    assert sessions.find(secret) is None
    secret, _ = sessions.begin(User("ada", "admin", "h"))
    for _ in range(12):
        clock.now += 90
        sessions.find(secret)
    assert sessions.find(secret) is None
    secret, _ = sessions.begin(User("ada", "admin", "h"))
    sessions.end(secret)
    assert sessions.find(secret) is None
    assert sessions.find("guess") is None


def test_who_tries_too_often_waits() -> None:
    clock = Clock()
    limiter = Limiter(3, 60, clock)
    for _ in range(3):
        assert limiter.wait_s("a") == 0
        limiter.failed("a")
    clock.now = 20
    assert limiter.wait_s("a") == 40
    assert limiter.wait_s("b") == 0
    clock.now = 61
    assert limiter.wait_s("a") == 0
    limiter.failed("b")
    limiter.forget("b")
    assert limiter.wait_s("b") == 0
