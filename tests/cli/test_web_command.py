"""`jetson-face web`: who may sign in, and what is refused before anything is served."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jetson_face.cli.main import main
from jetson_face.web.accounts import Accounts

Web = Callable[..., int]


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    def _web(*words: str, typed: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return main(["web", *words, "--state", str(tmp_path / "web")])

    return _web


def test_users_and_tokens(web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("argon2", reason="passwords need the extra 'web'")
    assert web("users") == 0
    assert "nobody may sign in yet" in capsys.readouterr().out
    assert web("passwd", "--user", "ada", "--role", "operator", typed="correct horse 1\n") == 0
    assert web("token", "nodered") == 0
    shown = capsys.readouterr().out.splitlines()[-1]
    accounts = Accounts(tmp_path / "web")
    assert accounts.check_password("ada", "correct horse 1") is not None
    token = accounts.token(shown)
    assert token is not None
    assert web("users", "--json") == 0
    known = json.loads(capsys.readouterr().out)
    assert known["users"] == [{"name": "ada", "role": "operator"}]
    assert known["tokens"][0]["id"] == token.id
    assert web("remove", "ada") == 0
    assert web("remove", token.id) == 0
    assert (accounts.users, accounts.tokens) == ((), ())
    capsys.readouterr()
    assert web("remove", "ada") == 2
    assert "jetson-face web users" in capsys.readouterr().err


def test_a_weak_password_is_refused(web: Web) -> None:
    assert web("passwd", typed="short\n") == 2
    assert web("passwd", typed="\n") == 2


def test_the_network_gets_no_page_without_a_password(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    assert web("run", "--host", "0.0.0.0", "--port", "1") == 2
    assert "jetson-face web passwd" in capsys.readouterr().err
    assert web("run", "--tls-cert", "x.pem") == 2
    assert "go together" in capsys.readouterr().err
    assert web("run", "--tls-cert", "x.pem", "--tls-key", "y.pem") == 5
    assert "no certificate with its key" in capsys.readouterr().err


def test_a_port_that_another_program_has_is_one_line(
    web: Web, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("uvicorn", reason="the page needs the extra 'web'")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert web("run", "--port", port) == 15
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Address already in use; another program has the port: use --port")
    assert not [one for one in caplog.records if one.levelname == "ERROR"]
