"""Events of the service as a process: sinks that come and go, files that are taken away, a
receiver that says no."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetson_face.events.outbox import Outbox
from tests.events.event_help import face_body
from tests.events.test_refused import Receiver
from tests.service.test_service_daemon import CONFIG, Service
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)
SINKS = "sinks: [{{type: jsonl}}]"


class WithWebhook(Service):
    """A service whose outbox holds ten events for a webhook."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.receiver = receiver
        outbox = Outbox(folder / "state" / "outbox.db")
        outbox.append([("decided", face_body(frame=frame)) for frame in range(10)])
        outbox.close()
        super().__init__(folder)

    def configure(self, *, fps: int = 15, every: int = 5, more: str = "") -> None:
        sinks = f"sinks: [{{{{type: webhook, url: '{self.receiver.url}'}}}}, {{{{type: jsonl}}}}]"
        text = CONFIG.replace(SINKS, sinks)
        self.config.write_text(text.format(state=self.state, fps=fps, every=every, more=more))

    def sink(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status().get("sinks", {}).get("webhook", {})
        return found

    @property
    def jsonl(self) -> Path:
        return self.state / "jsonl.jsonl"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    server.status = 403
    yield server
    server.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[WithWebhook]:
    service = WithWebhook(tmp_path_factory.mktemp("events"), receiver)
    yield service
    sys.stdout.write(service.log.read_text())
    service.close()


def test_a_receiver_that_says_no_costs_nothing_and_is_named(
    service: WithWebhook, receiver: Receiver
) -> None:
    until(lambda: service.sink().get("failures", 0) >= 2)
    _, said = service.command("status")
    (line,) = [line for line in said.splitlines() if line.startswith("sink webhook")]
    assert line.startswith("sink webhook: 0 sent, 10 waiting, down since 20")
    assert "answered 403 Forbidden" in line
    receiver.status = 200
    until(lambda: len(receiver.got) == 10)
    assert sorted(receiver.frames) == list(range(10))
    until(lambda: service.sink().get("error", "") is None)
    assert len(service.jsonl.read_text().splitlines()) == 10


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file says nothing"),
        ("# sources: [0]\n---\n", "the file says nothing"),
        ("state_dir: {state}\n", "names no sources any more"),
        ("state_dir: {state}\nsources: [{{uri: '{uri}'}}]\n", "names no sinks any more"),
        (
            "state_dir: {state}\nsources: [{{uri: '{uri}'}}]\nservice:\n  stall_s: 20\n",
            "names no sinks",
        ),
    ],
)
def test_a_file_that_was_cut_off_is_refused_and_the_old_goes_on(
    service: WithWebhook, text: str, reason: str
) -> None:
    before = service.config.read_text()
    uri = "test://?live=1&frames=1000000&fps=15&width=160&height=120"
    service.config.write_text(text.format(state=service.state, uri=uri))
    service.process.send_signal(1)
    until(lambda: reason in str(service.status().get("reload", {}).get("error")))
    status = service.status()
    assert (set(status["cameras"]), set(status["sinks"])) == ({"door"}, {"webhook", "jsonl"})
    service.config.write_text(before)
    code, said = service.command("reload")
    assert code == 0, said


def test_a_sink_that_was_away_gets_nothing_twice(service: WithWebhook, receiver: Receiver) -> None:
    requests = receiver.requests
    text = service.config.read_text()
    start, _, rest = text.partition("sinks: [")
    service.config.write_text(f"{start}sinks: []{rest.partition(']')[2]}")
    assert service.command("reload")[0] == 0
    until(lambda: service.status().get("sinks") == {})
    service.config.write_text(text)
    assert service.command("reload")[0] == 0
    until(lambda: service.status().get("outbox", {}).get("lag") == {"webhook": 0, "jsonl": 0})
    seen = service.decided()
    until(lambda: service.decided() > seen)
    assert receiver.requests == requests
    assert len(service.jsonl.read_text().splitlines()) == 10


def test_an_outbox_deleted_under_the_service_is_noticed(service: WithWebhook) -> None:
    for path in service.state.glob("outbox.db*"):
        path.unlink()
    until(lambda: service.status()["outbox"]["given_up"].get("replaced_files") == 1, 10)
    assert service.status()["outbox"]["rows"] == 10
    assert (service.state / "outbox.db").exists()
    assert "outbox_replaced" in service.log.read_text()


def test_an_outbox_that_is_no_outbox_does_not_stop_the_start(service: WithWebhook) -> None:
    service.process.kill()
    service.process.wait()
    (service.state / "outbox.db").write_bytes(b"\xff\x00" * 5000)
    service.start()
    until(lambda: service.decided() > 0)
    status = service.status()
    assert status["outbox"]["given_up"] == {"damaged_files": 1}
    assert status["outbox"]["error"] is None
    assert (service.state / "outbox.db.broken").read_bytes() == b"\xff\x00" * 5000
