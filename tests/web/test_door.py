"""What is refused before anybody looks at it: guesses, other sites, other names."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from jetson_face.web.accounts import Accounts
from tests.web.in_process import asking, run

pytest.importorskip("argon2", reason="passwords need the extra 'web'")


def test_many_guesses_at_once_are_no_more_than_a_few(tmp_path: Path) -> None:
    Accounts(tmp_path).set_password("ada", "correct horse 1", "admin")

    async def test() -> None:
        async with asking(tmp_path) as client:
            guesses = [{"user": "ada", "password": f"wrong {n}"} for n in range(20)]
            found = await asyncio.gather(*(client.post("/session", json=one) for one in guesses))
            said = Counter(answer.status_code for answer in found)
            assert said[401] <= 6  # two at a time are looked at
            assert said[401] + said[429] == 20

    run(test())


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ("fd00::5", "[fd00::5]:8642"),
        ("FD00:0:0::5", "[fd00::5]"),
        ("[fd00::5]", "[fd00::5]"),
        ("Camera.example", "camera.example"),
        ("camera.example:8642", "camera.example:8642"),
    ],
)
def test_a_name_of_the_page_may_be_written_in_more_than_one_way(
    tmp_path: Path, named: str, sent: str
) -> None:
    async def test() -> None:
        async with asking(tmp_path, frozenset({named})) as client:
            for host, status in ((sent, 401), ("[fd00::6]", 421), ("fd00::5", 421)):
                answer = await client.get("/session", headers={"Host": host})
                assert answer.status_code == status, host

    run(test())


@pytest.mark.parametrize(
    "origin", ["http://[", "null", "http://localhost.evil", "http://localhost:1"]
)
def test_an_origin_that_is_another_or_none_is_refused(tmp_path: Path, origin: str) -> None:
    async def test() -> None:
        async with asking(tmp_path) as client:
            answer = await client.post("/session", json={}, headers={"Origin": origin})
            assert answer.status_code == 403
            answer = await client.post("/session", json={}, headers={"Origin": "http://LOCALHOST"})
            assert answer.status_code == 422

    run(test())


def test_a_broken_file_of_accounts_is_said_in_the_one_form_of_errors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "accounts.json").write_text("{")

    async def test() -> None:
        async with asking(tmp_path) as client:
            answer = await client.get("/session", headers={"Authorization": "Bearer x"})
            assert answer.status_code == 500
            assert "journalctl -u jetson-face-web" in answer.json()["detail"]
            assert str(tmp_path) not in answer.text

    run(test())
    assert "set the passwords again" in caplog.text
