"""People who are not enrolled, known again: from the frame to the event and to the disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.types import Embeddings, Frame, Person, Report, Sighting, State, UnknownFace
from jetson_face.events.history import History, NewEvent
from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.events.schema import to_json
from jetson_face.factory.parts import open_gallery
from jetson_face.privacy.encryption import create_key, open_cipher
from jetson_face.review.sealed_file import Limits
from jetson_face.review.unknowns import UNKNOWNS, UnknownStore
from jetson_face.service.erasure import audit_log, erase
from jetson_face.service.events import EventTap, EventWriter, OnItsWay
from jetson_face.service.unknown_erasure import erase_unknown
from jetson_face.service.unknowns import UnknownPeople
from jetson_face.util.channels import BoundedQueue
from tests.events.event_help import read_event
from tests.review.review_fakes import SPACE, Age, face
from tests.review.test_review_command import enrol, photos

MARKS = np.array([[45, 60], [75, 60], [60, 78], [48, 95], [72, 95]], np.float32)
BOX = (20.0, 20.0, 100.0, 120.0)
ADA = Person("ada", "Ada")
MINUTE = 60.0


class Passing:
    """One face a frame, on a track of its own: of whom, and as what it is taken."""

    def __init__(self) -> None:
        self.track, self.seq = 0, 0
        self.withheld = False

    def process(self, frame: Frame) -> Report:
        state, face_of = self.now
        self.seq += 1
        person = ADA if state == "known" else None
        seen = Sighting(
            self.track, BOX, state, person, 0.2, 5, changed=True, withheld=self.withheld
        )
        unknown: tuple[UnknownFace, ...] = ()
        if face_of is not None:
            unknown = (UnknownFace(self.track, 5, 0.6, face_of, MARKS),)
        return Report(
            frame.source, self.seq, frame.captured_ns, frame.wall, (160, 160), (seen,), {},
            searched=True, unknown_faces=unknown,
        )  # fmt: skip

    now: tuple[State, Embeddings | None] = ("unknown", None)


class Door:
    """The service's way of a face, with time that tests turn by hand."""

    def __init__(self, config: Config, *, bound: float = 0.5) -> None:
        self.config, self.age = config, Age()
        self.faces = Passing()
        path = config.state_dir / UNKNOWNS
        limits = Limits(config.unknown.people_max, 30 * 86400.0)
        cipher = open_cipher(config.state_dir)
        self.people = UnknownPeople(
            lambda: UnknownStore.open(path, cipher, limits=limits, age=self.age),
            lambda: config,
            lambda snapshot: (bound,),
            self.age,
        )
        self.outbox = Outbox(config.state_dir / "outbox.db")
        self.outbox.subscribe("all")
        self.history = History(config.state_dir / "history.db", cipher)
        queue: BoundedQueue[OnItsWay] = BoundedQueue(100, "events")
        recorder = EventRecorder(self.outbox, self.history)
        self.writer = EventWriter(queue, recorder, None, None, self.people)
        maker = EventMaker({"door"}, remembered=self.people.knows)
        self.tap = EventTap(self.faces, queue, maker, history=True, unknown=self.people)
        self.events: list[dict[str, Any]] = []

    def see(
        self, seed: int | None, *, state: State = "unknown", same_track: bool = False
    ) -> dict[str, Any]:
        """The face of a seed passes; the last event about it."""
        self.faces.track += not same_track
        self.faces.now = state, None if seed is None else face(seed)
        image = np.random.default_rng(1).integers(0, 255, (160, 160, 3), np.uint8)
        self.tap.process(Frame(image, 0, 10, 1.7e9 + self.age.now, "door"))
        self.writer.drain()
        self.events = [read_event(event.body) for event in self.outbox.read("all")]
        return self.events[-1]

    def close(self) -> None:
        self.people.close()
        self.outbox.close()
        self.history.close()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    settings = [f"state_dir={tmp_path}", "unknown.remember=true", "gallery.lock_timeout_s=0.2"]
    create_key(tmp_path / "gallery.key")
    return load_config(None, settings)


@pytest.fixture
def door(config: Config) -> Iterator[Door]:
    with closing(Door(config)) as made:
        yield made


@pytest.fixture
def command(config: Config) -> Callable[..., int]:
    return lambda *words: main([*map(str, words), "--set", f"state_dir={config.state_dir}"])


def test_somebody_who_comes_again_has_the_same_id_and_a_count(door: Door) -> None:
    first = door.see(1)
    assert first["seen_before"] == {"visits": 0, "days": 30.0, "last": None}
    other = door.see(2)
    assert other["unknown_id"] != first["unknown_id"]
    for day in (1, 2, 3):
        door.age.now = day * 86400.0
        again = door.see(1)
    assert again["unknown_id"] == first["unknown_id"]
    assert again["seen_before"] == {
        "visits": 3, "days": 30.0, "last": "2023-11-16T22:13:20.000Z",
    }  # fmt: skip
    left = [event for event in door.events if event["kind"] == "left"]
    assert left[0]["unknown_id"] == first["unknown_id"]
    appeared = [event for event in door.events if event["kind"] == "appeared"]
    assert not any("unknown_id" in event for event in appeared)


def test_within_the_gap_it_is_the_same_visit(door: Door) -> None:
    door.see(1)
    door.age.now = 9 * MINUTE
    assert door.see(1)["seen_before"]["visits"] == 0
    door.age.now = 18 * MINUTE  # ten after the first, nine after the second
    assert door.see(1)["seen_before"]["visits"] == 0
    door.age.now = 30 * MINUTE
    assert door.see(1)["seen_before"]["visits"] == 1


def test_they_are_known_again_after_a_restart(config: Config) -> None:
    with closing(Door(config)) as door:
        first = door.see(1)
    with closing(Door(config)) as door:
        door.age.now = 3600.0
        again = door.see(1)
        assert again["unknown_id"] == first["unknown_id"]
        assert again["seen_before"]["visits"] == 1


def test_old_visits_count_no_more_and_old_people_are_forgotten(door: Door) -> None:
    first = door.see(1)
    door.age.now = 29 * 86400.0
    assert door.see(1)["seen_before"]["visits"] == 1
    door.age.now = 31 * 86400.0
    assert door.see(1)["seen_before"]["visits"] == 1, "the first is more than 30 days ago"
    door.age.now = 62 * 86400.0
    door.people.prune()
    assert door.people.state()["remembered"] == 0
    assert door.see(1)["unknown_id"] != first["unknown_id"]


def test_there_are_no_more_than_people_max(config: Config) -> None:
    few = config.model_copy(update={"unknown": config.unknown.model_copy(update={"people_max": 2})})
    with closing(Door(few)) as door:
        first = door.see(1)
        for seed in (2, 3):
            door.age.now += 1
            door.see(seed)
        assert door.people.state()["remembered"] == 2
        assert door.see(1)["unknown_id"] != first["unknown_id"]


def test_a_face_that_is_recognised_after_all_is_not_remembered(door: Door) -> None:
    event = door.see(1)
    assert door.people.knows(event["unknown_id"])
    changed = door.see(None, state="known", same_track=True)
    assert (changed["kind"], changed["name"]) == ("changed", "Ada")
    assert "unknown_id" not in changed
    assert not door.people.knows(event["unknown_id"])
    assert door.people.state()["remembered"] == 0
    with UnknownStore.open(
        door.config.state_dir / UNKNOWNS, open_cipher(door.config.state_dir)
    ) as s:
        assert s.ids() == []


def test_a_face_that_must_not_be_recognised_after_all_is_not_remembered(door: Door) -> None:
    who = door.see(1)["unknown_id"]
    door.faces.withheld = True
    door.see(None, same_track=True)
    assert not door.people.knows(who)
    folder = door.config.state_dir
    with UnknownStore.open(folder / UNKNOWNS, open_cipher(folder)) as s:
        assert s.ids() == []


def test_a_file_that_cannot_be_used_costs_what_is_remembered_only(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    (door.config.state_dir / UNKNOWNS).write_bytes(b"no database " * 100)
    event = door.see(1)
    assert door.see(1)["unknown_id"] == event["unknown_id"], "it is in memory"
    state = door.people.state()
    assert (state["not_kept"], "damaged" in state["error"]) == (2, True)
    assert "unknown_not_kept" in caplog.text
    (door.config.state_dir / UNKNOWNS).unlink()
    door.see(2)
    assert door.people.state()["error"] is None


def test_what_is_erased_is_forgotten_by_the_service_and_masked(
    door: Door, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    eve, mal = door.see(1)["unknown_id"], door.see(2)["unknown_id"]
    line = to_json(door.events[-1]) + b"\n"
    file = door.config.state_dir / "events.jsonl"
    file.write_bytes(line)
    assert command("unknown", "erase", mal) == 2, "nobody sits at a terminal"
    assert command("unknown", "erase", mal, "--yes") == 0
    assert "1 person erased, with 2 pictures and the ids in 3 events" in capsys.readouterr().out
    assert door.people.knows(eve)
    assert not door.people.knows(mal)
    for path in (file, *door.config.state_dir.glob("outbox.db*")):
        assert mal.encode() not in path.read_bytes()
    shown = [stored.event.get("unknown_id") for stored in door.history.page(kind="decided")]
    assert shown == ["0" * 16, eve]
    assert door.see(None, same_track=True)["kind"] == "decided", "no event for what stays"
    left = [door.see(9)] and [event for event in door.events if event["kind"] == "left"]
    assert "unknown_id" not in left[-1]
    assert [entry.action for entry in audit_log(door.config).read()] == ["unknown_erased"]
    assert command("unknown", "erase", mal, "--yes") == 2
    assert command("unknown", "erase") == 2
    assert command("unknown", "erase", "--all", "--yes") == 0
    assert door.people.state()["remembered"] == 2
    assert not door.people.knows(eve)


@pytest.mark.parametrize("reached", ["the queue", "the disk"])
def test_who_comes_while_everybody_is_erased_does_not_stay(
    door: Door, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, reached: str
) -> None:
    """Seen after the list was made, and kept before or after the file was emptied."""
    door.see(1)
    if reached == "the disk":
        ids = UnknownStore.ids

        def late(store: UnknownStore) -> list[str]:
            found = ids(store)
            monkeypatch.undo()
            door.see(2)
            return found

        monkeypatch.setattr(UnknownStore, "ids", late)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(door.writer, "drain", lambda: None)
            door.see(2)
    assert command("unknown", "erase", "--all", "--yes") == 0
    door.writer.drain()
    with UnknownStore.open(
        door.config.state_dir / UNKNOWNS, open_cipher(door.config.state_dir)
    ) as store:
        assert store.people() == []
    who = door.see(3)["unknown_id"]
    assert door.people.state()["remembered"] == 1
    assert door.people.knows(who)
    again = door.see(1)
    assert again["seen_before"]["visits"] == 0


def test_erasing_keeps_the_names_of_others_in_the_same_event(door: Door) -> None:
    who = door.see(1)["unknown_id"]
    event = door.events[-1] | {
        "kind": "retracted", "before": {"state": "known", "name": "Ada", "person": "ada"},
        "id": door.events[-1]["id"][:-2] + "ff",
    }  # fmt: skip
    door.history.add([NewEvent(event)])
    erase_unknown(door.config, [who])
    (stored,) = door.history.page(kind="retracted")
    assert stored.event["before"]["name"] == "Ada"
    assert stored.event["unknown_id"] == "0" * 16


def test_the_list_and_the_faces_of_one(
    door: Door, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("unknown", "list") == 0
    assert "nobody who is not enrolled" in capsys.readouterr().out
    who = door.see(1)["unknown_id"]
    door.age.now = 3600.0
    door.see(1)
    assert command("unknown", "list") == 0
    told = capsys.readouterr().out
    assert told == f"{who}: 2 visits, the last 2023-11-14T23:13:20+00:00 at door\n"
    assert command("unknown", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0] | {"last": ""} == {
        "id": who, "visits": 2, "last": "", "source": "door", "faces": 2,
    }  # fmt: skip
    out = tmp_path / "who.png"
    assert command("unknown", "show", who, "--out", out) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert command("unknown", "show", "nobody", "--out", out) == 2


def test_a_remembered_person_gets_a_name_in_one_step(
    door: Door, config: Config, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        enrol(gallery, "Ada", 90)
    who = door.see(1)["unknown_id"]
    door.age.now = 3600.0
    door.see(1)
    assert command("review", "clusters") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"cluster {who}, 1 face", f"  {who}: nobody enrolled: jetson-face unknown list",
    ]  # fmt: skip
    assert command("review", "name", who, "Eve", "--preview") == 0
    assert capsys.readouterr().out.splitlines()[0] == "Eve: 2 faces more"
    assert command("review", "name", who, "Eve") == 0
    assert photos(config) == {"Ada": 1, "Eve": 1}, "one picture, twice"
    assert not door.people.knows(who)
    assert command("review", "undo") == 0
    capsys.readouterr()
    assert command("review", "list") == 0
    assert "nobody enrolled? (0.00, quality 0.60)" in capsys.readouterr().out
    assert command("review", "accept", 1) == 2


def test_who_is_removed_is_removed_as_unknown_too(door: Door, config: Config) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        ada = enrol(gallery, "Ada", 1)
        enrol(gallery, "Bob", 2)
        mine, other = door.see(1)["unknown_id"], door.see(7)["unknown_id"]
        receipt, _ = erase(config, gallery, ada.id)
    assert (receipt.unknown_people, receipt.failed) == (1, ())
    assert not door.people.knows(mine)
    assert door.people.knows(other)
    assert not any(stored.event.get("unknown_id") == mine for stored in door.history.page())
