"""Sinks that cannot be built yet: down with the reason from the start, and built when they can."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetson_face.cli.status import describe
from jetson_face.config import Config
from jetson_face.events.outbox import Outbox
from jetson_face.service import pages
from jetson_face.service.plumbing import build_deliverers, build_sink
from tests.events.test_webhook import EVENT, Hook, hook  # noqa: F401 - a fixture


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def config_with(**sink: object) -> Config:
    return Config.model_validate({"service": {"sinks": [{"type": "webhook", **sink}]}})


def test_a_sink_without_its_token_is_down_until_it_comes(
    hook: Hook,  # noqa: F811
    outbox: Outbox,
    credentials: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    (deliverer,) = build_deliverers(
        config_with(url=hook.url, token_credential="hook.token"), outbox
    )
    # Before there is anything to send.
    assert deliverer.failures == 1
    assert str(deliverer.last_error).startswith("there is no credential 'hook.token'")
    (record,) = caplog.records
    assert record.getMessage().startswith("sink_not_built sink=webhook error=there is no")
    state = outbox.state()
    status = describe({"outbox": pages.outbox(state), "sinks": pages.sinks([deliverer], state)})
    assert status[-1].startswith("sink webhook: 0 sent, 0 waiting, down: there is no credential")
    outbox.append([("decision", b'{"n": 1}')])
    assert deliverer.step() > 0
    (credentials / "hook.token").write_text("a-token\n")
    assert deliverer.step() == 0
    assert deliverer.last_error is None
    assert hook.headers[0]["Authorization"] == "Bearer a-token"
    deliverer.sink.close()


def test_a_credential_in_an_address_is_filled_in_and_hidden(
    hook: Hook,  # noqa: F811
    credentials: Path,
) -> None:
    (credentials / "hook.path").write_text("zq path/of-this-test\n")
    config = config_with(url=hook.url.replace("/hook", "/{credential:hook.path}"))
    sink = build_sink(config.service.sinks[0], config)
    sink.send([EVENT])
    sink.close()
    assert hook.targets == ["/zq%20path%2Fof-this-test?box=1"]
