"""What the keys of the service change: the real daemon and outbox, with made parts for networks."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.config import Config
from jetson_face.core.types import Frame
from jetson_face.events.history import NewEvent
from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Event, Outbox
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.records import NewTemplate
from jetson_face.privacy.encryption import create_key
from jetson_face.review.queue import REVIEW
from jetson_face.service import plumbing, swap
from jetson_face.service.daemon import Daemon
from jetson_face.service.history import HistoryPages, open_history
from jetson_face.service.notify import Progress
from jetson_face.service.recent import RecentErrors
from jetson_face.service.review_writer import CapturedCandidate, capture_candidate
from jetson_face.service.signals import Signals
from jetson_face.service.status_server import ask
from jetson_face.util.images import decode_picture
from tests.config.keys import Site, shows
from tests.config.parts import SPACE, Rig, Says, unit
from tests.events.event_help import report, sighting

CAMERA = {"sources.uri": "test://?live=1&frames=25&fps=25&width=320&height=240"}
"""One face for a second."""
SOON = 0.1 / 86400
"""A tenth of a second, in days."""


@pytest.fixture(autouse=True)
def doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No networks: every face is like Ada and like Bob."""

    def build_parts(config: Config, *, runs_on: bool) -> Any:
        return Rig(config, says=Says(unit(1, 1))).parts

    monkeypatch.setattr(swap, "build_parts", build_parts)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("LOGS_DIRECTORY", raising=False)


@contextmanager
def daemon(config: Config) -> Iterator[Daemon]:
    """A service that was built and not yet run."""
    with closing(open_gallery(config, SPACE, create=True)) as store, store.transaction():
        for name, vector in (("Ada", unit(1)), ("Bob", unit(0, 1))):
            shade, points = np.full((256, 256, 3), 99, np.uint8), np.zeros((5, 2), np.float32)
            template = NewTemplate(vector, 0.5, name * 9, shade, points, f"{name}.jpg")
            store.add_template(store.add_person(name), template)
    made = Daemon(config, lambda: config, RecentErrors(), Signals())
    try:
        yield made
    finally:
        made.close()


def served(config: Config) -> dict[str, Any]:
    """Run the service until its source ends; its last status."""
    with daemon(config) as made:
        made.run()
        return made.document()


@shows("service.status_socket")
def test_the_status_is_given_there(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "here.sock"
    with daemon(site({"service.status_socket": str(path)})):
        assert path.exists()
        assert ask(path, "/healthz").status == 200


@shows("service.status_port")
def test_the_status_is_given_on_a_port_too(site: Site) -> None:
    port = free_port()
    with daemon(site({"service.status_port": port})):
        assert listens(port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True


def alive_after(made: Daemon, seconds: float, *, decided: int) -> bool:
    """Whether the service is taken for alive when nothing more is decided for so long."""
    health, begun = made._new_health(), time.monotonic()
    running: Progress = {"camera": ("running", decided, decided)}
    health.observe(begun, running)
    still: Progress = {"camera": ("running", decided + 1, decided)}
    return health.observe(begun + seconds, still).alive


@shows("service.stall_s")
def test_the_watchdog_acts_after_so_long_without_a_decision(site: Site) -> None:
    with daemon(site({"service.stall_s": 100})) as made:
        assert alive_after(made, 95, decided=1)
        assert not alive_after(made, 105, decided=1)


@shows("service.start_s")
def test_the_watchdog_acts_after_so_long_without_a_first_decision(site: Site) -> None:
    with daemon(site({"service.start_s": 50})) as made:
        assert alive_after(made, 45, decided=0)
        assert not alive_after(made, 55, decided=0)


@shows("service.crops", "service.review")
def test_pictures_of_events_and_doubtful_faces_are_kept_or_not(site: Site) -> None:
    config = site({**CAMERA, "service.crops": True, "service.review": False})
    document = served(config)
    assert list((config.state_dir / plumbing.CROPS).glob("*.crop"))
    assert document["review"] == {}
    assert not (config.state_dir / REVIEW).exists()


class Receiver(ThreadingHTTPServer):
    """A webhook's receiver; notes each request's path, headers and document."""

    daemon_threads = True

    def __init__(self, wait_s: float = 0.0) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        super().__init__(("127.0.0.1", 0), self._handler(wait_s))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def _handler(self, wait_s: float) -> type[BaseHTTPRequestHandler]:
        noted = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                noted.append((self.path, dict(self.headers), json.loads(body)))
                time.sleep(wait_s)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/faces"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The credential `token`, as systemd hands it over."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    create_key(folder / "gallery.key")
    (folder / "token").write_text("hush\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return "hush"


@shows("service.sinks[webhook].type", "service.sinks[webhook].url", "service.sinks[webhook].name")
def test_events_go_to_the_webhook(site: Site, receiver: Receiver) -> None:
    config = site(
        {
            **CAMERA,
            "service.sinks[webhook].type": "webhook",
            "service.sinks[webhook].url": receiver.url,
            "service.sinks[webhook].name": "hook",
        }
    )
    document = served(config)
    assert {path for path, _, _ in receiver.requests} == {"/faces"}
    assert document["sinks"].keys() == {"hook"}


@shows("service.sinks[webhook].token_credential")
@pytest.mark.usefixtures("secret")
def test_the_webhook_gets_the_token(site: Site, receiver: Receiver) -> None:
    keys = {
        "service.sinks[webhook].url": receiver.url,
        "service.sinks[webhook].token_credential": "token",
    }
    served(site({**CAMERA, **keys}))
    assert {h.get("Authorization") for _, h, _ in receiver.requests} == {"Bearer hush"}


@shows("service.sinks[webhook].timeout_s")
def test_a_webhook_that_does_not_answer_is_given_up_after_so_long(site: Site) -> None:
    slow = Receiver(wait_s=3)
    keys = {"service.sinks[webhook].url": slow.url, "service.sinks[webhook].timeout_s": 0.2}
    document = served(site({**CAMERA, **keys}))
    slow.shutdown()
    slow.server_close()
    assert slow.requests
    assert document["sinks"]["webhook"]["failures"] > 0


class Broker:
    """As much of an MQTT 3.1.1 broker as a publisher needs; notes what comes.

    answers False: takes the connection and says nothing.
    """

    def __init__(self, *, answers: bool = True) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.first_bytes: list[int] = []
        self.users: list[tuple[str, str]] = []
        self.published: list[tuple[str, Any]] = []
        self._answers = answers
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                try:
                    while self._packet(connection, stream):
                        pass
                except (OSError, IndexError, struct.error):
                    continue

    def _packet(self, connection: socket.socket, stream: Any) -> bool:
        head = stream.read(1)
        if not head:
            return False
        self.first_bytes.append(head[0])
        if head[0] == 0x16:  # a TLS handshake
            return False
        length = shift = 0
        while True:
            byte = stream.read(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        body = stream.read(length)
        kind = head[0] >> 4
        if kind == 1 and self._answers:
            self._note_user(body)
            connection.sendall(b"\x20\x02\x00\x00")
        elif kind == 3:
            size = struct.unpack("!H", body[:2])[0]
            topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
            self.published.append((topic, json.loads(rest[2:])))
            connection.sendall(b"\x40\x02" + rest[:2])
        return bool(kind != 14)

    def _note_user(self, body: bytes) -> None:
        texts = []
        flags, at = body[7], 10
        while at < len(body):
            size = struct.unpack("!H", body[at : at + 2])[0]
            texts.append(body[at + 2 : at + 2 + size].decode())
            at += 2 + size
        if flags & 0xC0 == 0xC0:
            self.users.append((texts[-2], texts[-1]))


@pytest.fixture
def broker() -> Iterator[Broker]:
    pytest.importorskip("paho.mqtt.client", reason="the extra `mqtt` is not installed")
    made = Broker()
    yield made
    made.close()


@shows(
    "service.sinks[mqtt].type",
    "service.sinks[mqtt].port",
    "service.sinks[mqtt].topic",
    "service.sinks[mqtt].name",
)
def test_events_go_to_the_broker(site: Site, broker: Broker) -> None:
    config = site(
        {
            **CAMERA,
            "service.sinks[mqtt].type": "mqtt",
            "service.sinks[mqtt].port": broker.port,
            "service.sinks[mqtt].topic": "hall/faces",
            "service.sinks[mqtt].name": "ha",
        }
    )
    document = served(config)
    assert {topic for topic, _ in broker.published} == {"hall/faces"}
    assert document["sinks"].keys() == {"ha"}


@shows("service.sinks[mqtt].host")
def test_the_broker_is_the_one_that_is_named(site: Site) -> None:
    keys = {"service.sinks[mqtt].host": "localhost", "service.sinks[mqtt].port": free_port()}
    document = served(site({**CAMERA, **keys}))
    assert document["sinks"]["mqtt"]["error"].startswith("localhost:")


@shows("service.sinks[mqtt].username", "service.sinks[mqtt].password_credential")
@pytest.mark.usefixtures("secret")
def test_the_broker_is_told_who_we_are(site: Site, broker: Broker) -> None:
    keys = {
        "service.sinks[mqtt].port": broker.port,
        "service.sinks[mqtt].username": "door",
        "service.sinks[mqtt].password_credential": "token",
    }
    served(site({**CAMERA, **keys}))
    assert broker.users == [("door", "hush")]


@shows("service.sinks[mqtt].tls")
def test_the_broker_is_spoken_to_in_tls(site: Site, broker: Broker) -> None:
    keys = {"service.sinks[mqtt].port": broker.port, "service.sinks[mqtt].tls": True}
    served(site({**CAMERA, **keys}))
    assert broker.first_bytes[0] == 0x16


@shows("service.sinks[mqtt].timeout_s")
def test_a_broker_that_does_not_answer_is_given_up_after_so_long(site: Site) -> None:
    pytest.importorskip("paho.mqtt.client", reason="the extra `mqtt` is not installed")
    silent = Broker(answers=False)
    keys = {"service.sinks[mqtt].port": silent.port, "service.sinks[mqtt].timeout_s": 0.2}
    document = served(site({**CAMERA, **keys}))
    silent.close()
    assert document["sinks"]["mqtt"]["failures"] > 0


@shows("service.sinks[jsonl].type", "service.sinks[jsonl].name")
def test_events_go_to_a_file(site: Site) -> None:
    keys = {"service.sinks[jsonl].type": "jsonl", "service.sinks[jsonl].name": "hall"}
    config = site({**CAMERA, **keys})
    served(config)
    lines = {p.name: p.read_text().count("\n") for p in config.state_dir.glob("*.jsonl")}
    assert lines.get("hall.jsonl", 0) >= 1


def large_events(folder: Path, count: int) -> list[Event]:
    """Events of 0.6 MiB each."""
    outbox = Outbox(folder / "large.db")
    outbox.subscribe("all")
    body = json.dumps({"text": "x" * 600_000}).encode()
    outbox.append([("decision", body)] * count)
    found = outbox.read("all", count)
    outbox.close()
    return found


@shows("service.sinks[jsonl].file_mib", "service.sinks[jsonl].files")
def test_full_files_are_rotated_and_the_oldest_goes(site: Site, tmp_path: Path) -> None:
    keys = {"service.sinks[jsonl].file_mib": 1, "service.sinks[jsonl].files": 3}
    config = site(keys)
    sinks = config.service.sinks
    assert sinks
    sink = plumbing.build_sink(sinks[0], config)
    sink.send(large_events(tmp_path, 5))
    sink.close()
    assert len(list(config.state_dir.glob("jsonl.jsonl*"))) == 3


@shows("service.retention.events_days")
def test_events_are_kept_for_so_long(site: Site) -> None:
    outbox, _ = plumbing.open_outbox(site({"service.retention.events_days": SOON}))
    outbox.append([("decision", b"{}")])
    time.sleep(0.15)
    outbox.prune()
    assert outbox.state().rows == 0
    outbox.close()


@shows("service.retention.events_mib")
def test_so_much_of_events_is_kept(site: Site) -> None:
    outbox, _ = plumbing.open_outbox(site({"service.retention.events_mib": 1}))
    body = json.dumps({"text": "x" * 60_000}).encode()
    outbox.append([("decision", body)] * 40)
    outbox.prune()
    assert 0 < outbox.state().rows < 20
    outbox.close()


@shows("service.retention.events_in_memory")
def test_so_many_events_wait_for_the_disk(site: Site) -> None:
    config = site({"service.retention.events_in_memory": 10})
    (config.state_dir / plumbing.OUTBOX).mkdir(parents=True)  # no file can be there
    outbox, _ = plumbing.open_outbox(config)
    outbox.append([("decision", b"{}")] * 30)
    assert outbox.state().memory == 10
    outbox.close()


@contextmanager
def crops(config: Config) -> Iterator[Any]:
    outbox, store = plumbing.open_outbox(config)
    assert store is not None
    try:
        yield store
    finally:
        outbox.close()


@shows("service.retention.crops_days")
def test_pictures_of_events_are_kept_for_so_long(site: Site) -> None:
    with crops(site({"service.crops": True, "service.retention.crops_days": SOON})) as store:
        store.add(b"jpeg")
        time.sleep(0.15)
        store.prune()
        assert list(store.stored()) == []


@shows("service.retention.crops_mib")
def test_so_much_of_pictures_of_events_is_kept(site: Site) -> None:
    with crops(site({"service.crops": True, "service.retention.crops_mib": 1})) as store:
        for _ in range(5):
            store.add(b"x" * 400_000)
        assert len(list(store.stored())) == 2


def candidates(config: Config, count: int) -> list[CapturedCandidate]:
    """So many doubtful faces, each of another track."""
    found = []
    for _ in range(count):
        rig = Rig(config, says=Says(unit(1, 1)))
        for _ in range(12):
            rig.see()
            if rig.report.review_candidates:
                frame = Frame(np.zeros((240, 320, 3), np.uint8), 0, 0, 0.0, "test")
                found.append(capture_candidate(rig.report.review_candidates[0], frame))
    return found


def waiting(config: Config, days_later: float = 0.0) -> int:
    """How many of three doubtful faces wait for a person so much later."""
    now = [0.0]
    review_writer = plumbing.open_review_writer(config, lambda: now[0], lambda: 2.0)
    assert review_writer is not None
    with closing(review_writer):
        for one in candidates(config, 3):
            review_writer.keep(one)
        now[0] = days_later * 86400
        review_writer.prune()
        left: int = review_writer.state()["waiting"]
    return left


@shows("service.retention.review_days")
def test_doubtful_faces_are_kept_for_so_long(site: Site) -> None:
    assert waiting(site({"service.retention.review_days": 2}), days_later=1) == 3
    assert waiting(site({"service.retention.review_days": 2}), days_later=3) == 0


@shows("service.retention.review_items")
def test_so_many_doubtful_faces_are_kept(site: Site) -> None:
    assert waiting(site({"service.retention.review_items": 2})) == 2


def history_pages(config: Config) -> HistoryPages:
    """What the socket answers from, as the files are now."""
    made = HistoryPages()
    made.history = open_history(config, lambda: 0.0)
    return made


@shows("report.history_days")
def test_the_history_is_kept_for_so_long(site: Site) -> None:
    served(site({**CAMERA, "report.history_days": 1}))
    config = site({**CAMERA, "report.history_days": SOON})
    items = json.loads(history_pages(config).page("", {}).body)["items"]
    assert [item["kind"] for item in items] == ["left", "decided", "appeared"]
    late = open_history(config, lambda: 1e6)
    assert late is not None
    assert (late.prune(), late.page()) == (3, [])
    late.close()
    off = site({**CAMERA, "report.history_days": 0})
    assert open_history(off, lambda: 0.0) is None
    assert list(off.state_dir.glob("history.db*")) == []
    assert history_pages(off).page("", {}).status == 503
    assert history_pages(off).document() == {}


@shows("report.history_mib")
def test_so_much_of_the_history_is_kept(site: Site) -> None:
    history = open_history(site({"report.history_mib": 1}), lambda: 0.0)
    assert history is not None
    maker = EventMaker({"door"})
    made = maker.of(report(0, *(sighting("unknown", track=n) for n in range(20))))
    history.add([NewEvent(event, bytes(90_000)) for event in made])
    history.prune()
    assert 0 < sum(stored.has_crop for stored in history.page()) <= 12
    history.close()


def kept_faces(config: Config) -> list[Any]:
    """The face of each event of a served source, or the status of the page that has none."""
    served(config)
    pages = history_pages(config)
    items = json.loads(pages.page("", {}).body)["items"]
    crops = [pages.page(f"{item['id']}/crop", {}) for item in items]
    assert [item["has_crop"] for item in items] == [crop.status == 200 for crop in crops]
    assert not (config.state_dir / "crops").exists()
    return [decode_picture(c.body, "crop").shape if c.status == 200 else c.status for c in crops]


def test_the_history_keeps_faces(site: Site) -> None:
    left, decided, appeared = kept_faces(site(CAMERA))
    assert left == 404
    assert max(*decided, *appeared) <= 240


@shows("report.history_crops")
def test_the_history_keeps_no_faces(site: Site) -> None:
    assert kept_faces(site({**CAMERA, "report.history_crops": False})) == [404] * 3
