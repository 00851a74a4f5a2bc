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
