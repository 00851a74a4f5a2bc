"""TensorRT plans from one board to an equal one over a real nats-server, with a stand-in GPU."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from jetson_face.cli.main import main
from jetson_face.core.errors import FleetError
from jetson_face.factory.fleet import fleet_of, link_of
from jetson_face.factory.parts import open_gallery
from jetson_face.fleet import operator
from jetson_face.fleet.keys import make_keys, public_key
from jetson_face.fleet.plans import FILE, PlansHead, PlansTaker, plans_taken
from jetson_face.fleet.running import import_plans
from jetson_face.fleet.status import status_here
from jetson_face.fleet.subjects import plans_for
from tests.fleet.boxes import Box
from tests.fleet.conftest import set_up
from tests.fleet.nats_server import NatsServer
from tests.inference.fake_gpu import FakeModule, put_in


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    return put_in(monkeypatch)


class Pair:
    """An operator with a key, and a board that trusts it."""

    def __init__(self, folder: Path, server: str) -> None:
        seed = f"fleet.credentials={folder}/chief.nk"
        self.chief = Box(folder, server, "chief", seed)
        make_keys(fleet_of(self.chief.config))
        self.signer = public_key(fleet_of(self.chief.config))
        self.board = Box(
            folder, server, "board", f"fleet.plans_from={self.signer}", "fleet.groups=[orin]"
        )
        set_up(self.chief)
        self.taken: list[tuple[bytes, str]] = []

    def push(self, content: bytes, scope: str = "group-orin") -> PlansHead:
        fleet = fleet_of(self.chief.config)
        found: PlansHead = operator.run(
            self.chief.config, lambda server: server.push_plans(fleet, content, scope)
        )
        return found

    def look(self, board: Box | None = None) -> dict[str, str]:
        board = board or self.board

        async def take(path: Path, sha256: str) -> str:
            self.taken.append((path.read_bytes(), sha256))
            return "rnet: taken, parity passed"

        taker = PlansTaker(fleet_of(board.config), board.folder, take)

        async def run() -> None:
            client = await link_of(fleet_of(board.config), "test").connect(5)
            try:
                await taker.look(client.jetstream(domain="fleet", timeout=5))
            finally:
                await client.close()

        asyncio.run(run())
        return plans_taken(board.folder)


@pytest.fixture
def pair(tmp_path: Path, hub: NatsServer) -> Pair:
    return Pair(tmp_path, hub.url)


def test_what_is_pushed_is_taken_once_and_whole(pair: Pair) -> None:
    assert pair.look() == {}
    content = bytes(range(256)) * 10_000  # three parts
    head = pair.push(content)
    assert head.parts == 3
    assert pair.look() == {"group-orin": "rnet: taken, parity passed"}
    assert pair.taken == [(content, hashlib.sha256(content).hexdigest())]
    pair.look()
    assert len(pair.taken) == 1
    pair.push(b"newer plans")
    pair.look()
    assert pair.taken[1][0] == b"newer plans"
    assert not list(pair.board.folder.glob("*.zip"))
    with open_gallery(pair.board.config) as gallery:
        assert status_here(pair.board.config, gallery).plans == pair.look()


def test_what_another_one_signed_or_nobody_is_not_taken(
    tmp_path: Path, pair: Pair, hub: NatsServer
) -> None:
    seed = f"fleet.credentials={tmp_path}/rogue.nk"
    rogue = Box(tmp_path, hub.url, "rogue", seed)
    make_keys(fleet_of(rogue.config))
    operator.run(rogue.config, lambda s: s.push_plans(fleet_of(rogue.config), b"evil", "all"))
    # One that was signed for another scope, and put there.
    good = pair.push(b"plans", "site-south")
    hub.publish(plans_for("group-orin", 1), b"plans")
    hub.publish(plans_for("group-orin", 0), head_bytes(good))
    refused = "plans that fleet.plans_from has not signed were not taken"
    assert pair.look() == {"all": refused, "group-orin": refused}
    assert pair.taken == []


def test_parts_that_are_not_those_signed_are_not_taken(pair: Pair, hub: NatsServer) -> None:
    pair.push(b"plans")
    hub.publish(plans_for("group-orin", 1), b"other plans")
    assert "are not those that were signed" in pair.look()["group-orin"]
    assert pair.taken == []


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\x00",
        b"[]",
        b'{"sha256": "00"}',
        b'{"sha256": "00", "parts": "2", "signature": "00"}',
        b'{"sha256": 7, "parts": 2, "signature": "00"}',
        b"[" * 100_000,
    ],
)
def test_a_head_that_cannot_be_read_is_said_once_and_ends_nothing(
    pair: Pair, hub: NatsServer, head: bytes
) -> None:
    hub.publish(plans_for("group-orin", 0), head)
    told = pair.look()
    assert "cannot be read" in told["group-orin"]
    kept = (pair.board.folder / FILE).stat().st_mtime_ns
    assert pair.look() == told
    assert (pair.board.folder / FILE).stat().st_mtime_ns == kept
    pair.push(b"plans")
    assert pair.look() == {"group-orin": "rnet: taken, parity passed"}


def test_a_board_that_names_nobody_takes_nothing(
    tmp_path: Path, pair: Pair, hub: NatsServer
) -> None:
    pair.push(b"plans", "all")
    assert pair.look(Box(tmp_path, hub.url, "plain")) == {}
    assert pair.taken == []


def head_bytes(head: PlansHead) -> bytes:
    return json.dumps(asdict(head)).encode()


def test_a_real_file_goes_from_board_to_board_and_no_plan_is_built_twice(
    tmp_path: Path, pair: Pair, module: FakeModule, capsys: pytest.CaptureFixture[str]
) -> None:
    def on(box: str, *words: str) -> int:
        wanted = (
            f"engines.cache={tmp_path / 'cache' / box}", "detector.type=mtcnn",
            "detector.min_face_px=80",
        )  # fmt: skip
        return main(["engines", *words, *(x for w in wanted for x in ("--set", w))])

    plans = tmp_path / "plans.zip"
    assert on("first", "build", "rnet") == on("first", "export", str(plans), "rnet") == 0
    found = re.search(r"--sha256 ([0-9a-f]{64})", capsys.readouterr().out)
    assert found is not None
    push = ["fleet", "push-plans", str(plans), "--sha256", found[1], "--to", "group:orin"]
    assert main([*push, *pair.chief.words]) == 0
    assert f"1 plans pushed to group:orin: boxes whose fleet.plans_from is\n{pair.signer}" in (
        capsys.readouterr().out
    )
    pair.look()
    ((content, digest),) = pair.taken
    got = tmp_path / "got.zip"
    got.write_bytes(content)
    assert on("second", "import", str(got), "--sha256", digest) == 0
    assert "rnet: taken, parity passed" in capsys.readouterr().out
    assert module.builds == 1


def test_what_the_import_says_is_what_the_status_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU, and with a stand-in for the program where there is one."""
    path = tmp_path / "plans.zip"
    path.write_bytes(b"no plans")
    digest = hashlib.sha256(b"no plans").hexdigest()
    with pytest.raises(FleetError, match=r"not made by `jetson-face engines export`"):
        asyncio.run(import_plans(path, digest, ()))
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'rnet: taken, parity passed'\necho 'a table'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert asyncio.run(import_plans(path, digest, ())) == "rnet: taken, parity passed"
