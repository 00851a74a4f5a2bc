"""The status while the networks are still loading: "starting", not silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.errors import ModelError
from jetson_face.service import daemon as subject
from jetson_face.service.recent import RecentErrors
from jetson_face.service.reception import Reception
from jetson_face.service.signals import Signals
from jetson_face.service.status_server import StatusServer, ask


class Loading:
    """A service whose networks load until `let_go`, and then do not."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.gone = threading.Event(), threading.Event()
        self.config = load_config(None, [f"state_dir={folder}"])
        self.socket = self.config.status_socket
        self.error: BaseException | None = None
        monkeypatch.setattr(subject, "build_deck", self._build)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.entered.wait(20)

    def let_go(self) -> None:
        self.gone.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _build(self, config: Config) -> Any:
        self.entered.set()
        assert self.gone.wait(60)
        raise ModelError("a network is damaged")

    def _run(self) -> None:
        try:
            subject.Daemon(self.config, lambda: self.config, RecentErrors(), Signals())
        except ModelError as error:
            self.error = error


@pytest.fixture
def loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    found = Loading(tmp_path, monkeypatch)
    yield found
    found.let_go()


def test_all_pages_say_starting(loading: Loading) -> None:
    pages = {
        path: ask(loading.socket, path) for path in ("/status", "/healthz", "/readyz", "/metrics")
    }
    assert {path: page.status for path, page in pages.items()} == {
        "/status": 200,
        "/healthz": 200,
        "/readyz": 503,
        "/metrics": 200,
    }
    document = json.loads(pages["/status"].body)
    assert (document["ready"], document["alive"]) == (False, True)
    for text in (
        document["status"],
        pages["/healthz"].body.decode(),
        pages["/readyz"].body.decode(),
    ):
        assert text.startswith("starting for ")
        assert "loading the networks" in text
    metrics = pages["/metrics"].body.decode().splitlines()
    assert {"jetson_face_ready 0.0", "jetson_face_alive 1.0"} <= set(metrics)


def test_the_command_says_so_and_that_it_is_not_ready(
    loading: Loading, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--socket", str(loading.socket)]) == 1
    assert capsys.readouterr().out.startswith("not ready, alive: starting for 0 s: loading")


def test_a_start_that_fails_leaves_no_socket(loading: Loading) -> None:
    loading.let_go()
    assert isinstance(loading.error, ModelError)
    assert not loading.socket.exists()


def test_what_ends_the_server_is_raised_where_somebody_looks(tmp_path: Path) -> None:
    def broken(stop: threading.Event) -> None:
        broken_now.set()
        raise OSError("no descriptors left")

    broken_now = threading.Event()
    server = StatusServer({}, unix=tmp_path / "s")
    reception = Reception(SimpleNamespace(run=broken, close=server.close))  # type: ignore[arg-type]
    assert broken_now.wait(10)
    with pytest.raises(OSError, match="no descriptors left"):  # noqa: PT012 - it may take a moment
        while True:
            reception.check()
    reception.close()
    assert not (tmp_path / "s").exists()
