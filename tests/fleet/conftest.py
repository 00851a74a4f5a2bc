"""A hub with the fleet's streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jetson_face.fleet import operator
from tests.fleet.boxes import Box
from tests.fleet.nats_server import NatsServer, nats_server


def set_up(box: Box) -> None:
    operator.run(box.config, lambda server: server.set_up(keep_days=30, max_mib=None))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def one(tmp_path: Path, hub: NatsServer) -> Box:
    box = Box(tmp_path, hub.url, "one")
    set_up(box)
    return box


@pytest.fixture
def two(tmp_path: Path, hub: NatsServer) -> Box:
    return Box(tmp_path, hub.url, "two", site="south")
