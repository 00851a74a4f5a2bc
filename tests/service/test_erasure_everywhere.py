"""Erasing a person beyond the gallery: review items and events; while a service runs; killed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.types import Embeddings, Person
from jetson_face.events.outbox import Outbox
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import files_that_hold
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import ReviewQueue
from jetson_face.service import confirming, erasure
from jetson_face.service.erasure import audit_log, erase, interrupted
from jetson_face.service.http import Page
from jetson_face.service.lock import state_lock
from jetson_face.service.status_server import StatusServer
from tests.review.review_fakes import SPACE, face, review_item


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(None, [f"state_dir={tmp_path}", "gallery.refresh_s=0"])


@pytest.fixture
def gallery(config: Config) -> Iterator[GalleryStore]:
    with open_gallery(config, SPACE, create=True) as gallery:
        yield gallery


def enrol(gallery: GalleryStore, name: str, seed: int) -> Person:
    person = gallery.add_person(name)
    picture = np.random.default_rng(seed).integers(0, 255, (96, 96, 3), np.uint8)
    marks = np.zeros((5, 2), np.float32)
    vector = face(seed).vectors[0]
    gallery.add_template(person, NewTemplate(vector, 0.9, name, picture, marks, "photo.jpg"))
    return person


def body(person: Person) -> bytes:
    return json.dumps({"state": "known", "name": person.name, "person": person.id}).encode()


def leave_traces(config: Config, *people: Person) -> None:
    """What a service leaves of people: events, files of events, crops and review items."""
    outbox = Outbox(config.state_dir / "outbox.db")
    crops = SnapshotStore(config.state_dir / "crops", open_cipher(config.state_dir), age=outbox.age)
    for person in people:
        outbox.append([("decision", body(person))] * 3)
        crops.add(b"a face", person.id)
        for name in ("jsonl.jsonl", "jsonl.jsonl.1", "mine.jsonl"):
            with (config.state_dir / name).open("ab") as file:
                file.write((body(person) + b"\n") * 2)
    (config.state_dir / "outbox.db.broken").write_bytes(b"torn" + people[0].id.encode())
    outbox.close()
    ask(config, *((person.id, index) for index, person in enumerate(people, 50)))


def ask(config: Config, *items: tuple[str, int]) -> None:
    path = config.state_dir / "review.db"
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        for candidate, seed in items:
            queue.add(review_item(candidate, seed), same_face_min=0.9)


def left_of(config: Config, person: Person) -> list[str]:
    """Files, but for receipts and audit log, that still know a person."""
    files = [path for path in config.state_dir.rglob("*") if path.is_file()]
    held = files_that_hold([person.id.encode(), f'"{person.name}"'.encode()], files)
    named = [path.name for path in files if person.id in path.name]
    ours = [path.name for path in held if path.parent.name != "receipts"]
    return [name for name in [*ours, *named] if not name.startswith(("removed-", "audit."))]


def test_everything_that_names_a_person_goes_and_the_receipt_counts_it(
    config: Config, gallery: GalleryStore
) -> None:
    ada, bob = enrol(gallery, "Ada", 1), enrol(gallery, "Bob", 2)
    leave_traces(config, ada, bob)
    assert left_of(config, ada)
    receipt, path = erase(config, gallery, "Ada")
    assert left_of(config, ada) == []
    assert receipt.complete
    assert (receipt.queued_events, receipt.event_lines) == (3, 6)
    assert (receipt.review_items, len(receipt.crops)) == (1, 1)
    assert {"outbox.db", "review.db", "mine.jsonl", "jsonl.jsonl.1"} <= set(receipt.verified)
    assert json.loads(path.read_text())["queued_events"] == 3
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    # The other one is as before.
    assert len((config.state_dir / "jsonl.jsonl").read_text().split(body(bob).decode())) == 3
    assert left_of(config, bob)
    assert erase(config, gallery, "Bob")[0].queued_events == 3


def test_a_review_item_between_two_people_goes_with_either(
    config: Config, gallery: GalleryStore
) -> None:
    ada, bob = enrol(gallery, "Ada", 1), enrol(gallery, "Bob", 2)
    # Somebody between the two of them, and a stranger who is like neither of them but nearer Bob.
    between = face(1).vectors + face(2).vectors
    between /= np.linalg.norm(between)
    path = config.state_dir / "review.db"
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        for candidate, vector in ((bob, between), (bob, face(2).vectors), (ada, face(1).vectors)):
            item = review_item(candidate.id)
            object.__setattr__(item, "face", Embeddings(vector.astype(np.float32), SPACE))
            queue.add(item, same_face_min=2)
        assert erase(config, gallery, "Ada")[0].review_items == 2
        assert queue.numbers() == [2]


STEPS = ("remove", "confirm", "erase_crops", "_erase_review", "mask_outbox",
         "mask_file", "write_receipt", "_note")  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_try_finishes(
    config: Config, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        ada, bob = enrol(gallery, "Ada", 1), enrol(gallery, "Bob", 2)
    leave_traces(config, ada, bob)
    child = os.fork()
    if child == 0:
        _erase_until(config, step)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert [e.name for e in interrupted(config)] == ["Ada"]
    set_state = ["--set", f"state_dir={config.state_dir}"]
    assert main(["people", "list", *set_state]) == 0
    assert f"jetson-face people remove {ada.id}" in capsys.readouterr().err
    assert main(["people", "remove", "ada", "--yes", *set_state]) == 0
    assert left_of(config, ada) == []
    assert left_of(config, bob)
    assert interrupted(config) == []
    assert [e.action for e in audit_log(config).read()] == ["removed", "erased"]


def _erase_until(config: Config, step: str) -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), 9)

    setattr(GalleryStore if step == "remove" else erasure, step, die)
    with open_gallery(config, SPACE) as gallery:
        erase(config, gallery, "Ada")
    os._exit(1)


def test_a_namesake_enrolled_since_is_not_taken_for_the_unfinished(
    config: Config, gallery: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = enrol(gallery, "Ada", 1)
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "_sweep", _stopped)
        with pytest.raises(KeyboardInterrupt):
            erase(config, gallery, "Ada")
    new = enrol(gallery, "Ada", 3)
    assert erase(config, gallery, "Ada")[0].person == new.id
    assert erase(config, gallery, "Ada")[0].person == old.id


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def served(config: Config) -> Iterator[Callable[..., None]]:
    """Answer at the service's socket from now on."""
    stop, threads = threading.Event(), []

    def serve(**pages: Callable[[], dict[str, object]]) -> None:
        def page(make: Callable[[], dict[str, object]]) -> Callable[[], Page]:
            return lambda: Page(200, json.dumps(make()).encode())

        ways = {"gallery": "POST", "status": "GET"}
        routes = {(ways[name], f"/{name}"): page(make) for name, make in pages.items()}
        server = StatusServer(routes, unix=config.status_socket)
        threads.append(threading.Thread(target=server.run, args=(stop,)))
        threads[-1].start()

    yield serve
    stop.set()
    for thread in threads:
        thread.join()


def test_what_a_running_service_still_writes_goes_too(
    config: Config,
    gallery: GalleryStore,
    served: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada = enrol(gallery, "Ada", 1)
    outbox = Outbox(config.state_dir / "outbox.db")
    mine = open_gallery(config, SPACE)
    looks: list[int] = []

    def look() -> dict[str, object]:
        # Decides without her from the third time on; one event was still under way then.
        looks.append(1)
        outbox.append([("decision", body(ada))])
        late = len(looks) > 2
        return {"id": mine.id, "generation": mine.revision() if late else 0, "error": None}

    monkeypatch.setattr(confirming, "_SETTLE_S", 0.05)
    served(gallery=look, status=lambda: {})
    receipt, _ = erase(config, gallery, "Ada")
    assert (receipt.complete, receipt.service) == (True, "confirmed")
    outbox.subscribe("all")
    events = outbox.read("all", 10_000)
    assert receipt.queued_events == len(events) == 3
    assert all(ada.id.encode() not in e.body for e in events)
    outbox.close()
    mine.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"id": "another", "generation": 99, "error": None}, "it reads another gallery"),
        ({"error": "the file is damaged"}, "the file is damaged"),
        (None, "answered 404"),
    ],
)
def test_a_service_that_does_not_confirm_makes_the_receipt_say_so(
    config: Config,
    served: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, object] | None,
    why: str,
) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        ada = enrol(gallery, "Ada", 1)
    monkeypatch.setattr(confirming, "LIMIT_S", 0.1)
    monkeypatch.setattr(confirming, "_SETTLE_S", 0)
    served(status=lambda: {}, **({} if answer is None else {"gallery": lambda: answer}))
    set_state = ["--set", f"state_dir={config.state_dir}"]
    assert main(["people", "remove", "Ada", "--yes", *set_state]) == 1
    said = capsys.readouterr().err
    assert "the running service may still name Ada: not confirmed: " in said
    assert why in said
    (receipt,) = (config.state_dir / "receipts").glob("removed-*.json")
    document = json.loads(receipt.read_text())
    assert (document["complete"], document["service"][:13]) == (False, "not confirmed")
    assert [erasure.person for erasure in interrupted(config)] == [ada.id]


def test_a_service_that_runs_and_has_no_socket_is_not_taken_for_none(
    config: Config, gallery: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(gallery, "Ada", 1)
    monkeypatch.setattr(confirming, "LIMIT_S", 0.1)
    monkeypatch.setattr(confirming, "_SETTLE_S", 0)
    with state_lock(config.state_dir):
        receipt, _ = erase(config, gallery, "Ada")
    assert not receipt.complete
    assert f"it runs (pid {os.getpid()}) and does not answer" in receipt.service
    receipt, _ = erase(config, gallery, receipt.person)
    assert (receipt.complete, receipt.service) == (True, "none runs")


def test_events_in_the_memory_of_a_service_leave_the_erasure_unfinished(
    config: Config,
    gallery: GalleryStore,
    served: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada = enrol(gallery, "Ada", 1)
    monkeypatch.setattr(confirming, "_SETTLE_S", 0)
    memory = [3, 0]
    served(
        gallery=lambda: {"id": gallery.id, "generation": gallery.revision()},
        status=lambda: {"outbox": {"memory": memory.pop(0)}},
    )
    receipt, _ = erase(config, gallery, "Ada")
    assert receipt.failed == ("the memory of the service, whose disk takes no events",)
    leave_traces(config, ada)  # the disk is back
    receipt, _ = erase(config, gallery, "Ada")
    assert receipt.complete
    assert (receipt.queued_events, left_of(config, ada)) == (3, [])


@pytest.mark.parametrize("broken", ["outbox.db", "review.db"])
def test_a_part_that_cannot_be_read_keeps_no_other_part_and_is_named(
    config: Config, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        ada, bob = enrol(gallery, "Ada", 1), enrol(gallery, "Bob", 2)
    leave_traces(config, bob, ada)
    for path in config.state_dir.glob(f"{broken}*"):
        path.unlink()
    (config.state_dir / broken).write_bytes(b"no database " * 100 + ada.id.encode())
    set_state = ["--set", f"state_dir={config.state_dir}"]
    assert main(["people", "remove", "Ada", "--yes", *set_state]) == 1
    said = capsys.readouterr().err
    assert f"traces are left in {broken}:" in said
    assert f"people remove {ada.id}" in said
    assert left_of(config, ada) == [broken, f"unfinished-{ada.id}.json"]
    (config.state_dir / broken).unlink()
    assert main(["people", "remove", ada.id, "--yes", *set_state]) == 0
    assert left_of(config, ada) == []
