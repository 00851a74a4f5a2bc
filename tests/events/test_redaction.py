"""Names leave events that are written already: in place, whole at every moment."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.types import Person
from jetson_face.events import redaction
from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Outbox
from jetson_face.events.redaction import NOBODY, mask_file, mask_id, mask_names, mask_outbox
from jetson_face.events.rotating import RotatingJsonl
from jetson_face.events.schema import to_json
from jetson_face.privacy.audit import files_that_hold
from tests.events.event_help import face_body, read_event, report, sighting

ADA = "0f7a2c1e-1111-4111-8111-111111111111"
BOB = "0f7a2c1e-2222-4222-8222-222222222222"


def event(name: str | None, person: str | None, **more: object) -> bytes:
    document = {"source": "door", "state": "known", "name": name, "person": person, **more}
    return json.dumps(document, ensure_ascii=False).encode()


def masked(line: bytes) -> bytes:
    return mask_id(mask_names(line, ADA), ADA)


@settings(max_examples=200)
@given(name=st.text(min_size=1, max_size=40), source=st.text(max_size=20))
def test_any_name_goes_and_the_line_stays_json_of_the_same_length(name: str, source: str) -> None:
    line = event(name, ADA, crop=f"000-{ADA}.crop", note=source)
    after = masked(line)
    assert len(after) == len(line)
    document = json.loads(after)
    assert set(document["name"]) == {"*"}
    assert (document["person"], document["crop"]) == (NOBODY, f"000-{NOBODY}.crop")
    assert (document["source"], document["note"]) == ("door", source)


def test_of_two_people_in_one_event_only_the_one_is_masked() -> None:
    """As when one name was taken back and another given."""
    maker = EventMaker({"door"})
    maker.of(report(0, sighting("known", Person(ADA, 'Ada "the first"'))))
    (changed,) = maker.of(report(1, sighting("known", Person(BOB, "Bob"))))
    after = read_event(masked(to_json(changed)))
    assert (after["name"], after["person"]) == ("Bob", BOB)
    assert (set(after["before"]["name"]), after["before"]["person"]) == ({"*"}, NOBODY)
    (back,) = maker.of(report(2, sighting("known", Person(ADA, "Ada"))))
    after = read_event(masked(to_json(back)))
    assert (after["name"], after["before"]["name"]) == ("***", "Bob")
    assert mask_names(masked(to_json(back)), BOB).count(b"*") == 6


def test_where_it_is_not_told_whose_a_name_is_all_go() -> None:
    line = b'{"name": "Ada", "note": "x", "crop": "1-' + ADA.encode() + b'.crop"}'
    assert json.loads(masked(line))["name"] == "***"


def test_a_mark_is_as_long_as_an_id_of_any_length() -> None:
    line = event("Ada", "p-ada", crop="000-p-ada.crop")
    after = json.loads(mask_id(line, "p-ada"))
    assert (after["person"], after["crop"]) == ("00000", "000-00000.crop")
    assert json.loads(mask_id(event("Ada", ADA), ADA))["person"] == NOBODY


def test_an_event_of_an_unknown_person_keeps_the_names_in_it() -> None:
    line = event("Bob", BOB, unknown_id=ADA)
    assert mask_names(line, ADA) == line
    # What only looks like that is not one.
    for other in (event("Bob", None, note=f"unknown_id: {ADA}"), event("Bob", None, id=ADA)):
        assert json.loads(mask_names(other, ADA))["name"] == "***"


def test_a_name_of_stars_is_masked_and_others_beside_it_stay() -> None:
    line = event("***", ADA, before={"name": "Bob", "person": BOB})
    assert mask_names(line, ADA) == line


def test_a_torn_write_is_still_json() -> None:
    line, after = event("Ada Lovelace", ADA), masked(event("Ada Lovelace", ADA))
    for cut in range(len(line) + 1):
        json.loads(after[:cut] + line[cut:])


def test_only_lines_of_that_person_change(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    others = [event("Bob", BOB), event(None, None), b"no json at all", event("Ada", BOB)]
    lines = [others[0], event("Ada", ADA), *others[1:], event("Ada", ADA)]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    before = path.stat()
    assert mask_file(path, ADA) == 2
    after = path.stat()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)
    kept = path.read_bytes().splitlines()
    assert [line for line in kept if NOBODY.encode() not in line] == others
    assert files_that_hold([ADA.encode()], [path]) == []
    assert mask_file(path, ADA) == 0


def test_killed_between_names_and_ids_the_next_try_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(event("Ada", ADA) + b"\n")

    class KilledError(BaseException):
        pass

    def killed(line: bytes, person: str) -> bytes:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(redaction, "mask_id", killed)
        with pytest.raises(KilledError):
            mask_file(path, ADA)
    half = json.loads(path.read_bytes())
    assert (half["name"], half["person"]) == ("***", ADA)
    assert mask_file(path, ADA) == 1
    assert json.loads(path.read_bytes())["person"] == NOBODY


def test_a_line_written_between_names_and_ids_keeps_both_for_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(event("Ada", ADA) + b"\n")

    synced: list[int] = []

    def sync(fd: int) -> None:
        synced.append(fd)
        if len(synced) > 1:
            return
        with path.open("ab") as file:
            file.write(event("Ada", ADA) + b"\n")
        path.replace(path.with_name("events.jsonl.1"))  # and the sink begins a new file
        path.write_bytes(event("Ada", ADA) + b"\n")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        assert mask_file(path, ADA) == 1
    assert len(synced) == 2, "names and ids are on the disk, each before what follows"
    files = [path.with_name("events.jsonl.1"), path]
    lines = [json.loads(line) for p in files for line in p.read_bytes().splitlines()]
    assert [(d["name"], d["person"]) for d in lines[:1]] == [("***", NOBODY)]
    assert [(d["name"], d["person"]) for d in lines[1:]] == [("Ada", ADA)] * 2
    assert [mask_file(p, ADA) for p in files] == [1, 1]


def bodies(name: str, person: str, count: int) -> list[tuple[str, bytes]]:
    return [("decided", face_body(Person(person, name))) for _ in range(count)]


def test_a_sink_that_appends_and_rotates_meanwhile_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = RotatingJsonl(path, max_bytes=20_000, files=50)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.subscribe("file")
    written = threading.Event()

    def write() -> None:
        for _ in range(30):
            outbox.append(bodies("Bob", BOB, 20))
            events = outbox.read("file", 100)
            sink.send(events)
            outbox.ack("file", events[-1].seq)
        written.set()

    outbox.append(bodies("Ada", ADA, 20))
    writer = threading.Thread(target=write)
    writer.start()
    gone = 0
    while not written.is_set():
        gone += _mask_all(tmp_path)
    writer.join()
    gone += _mask_all(tmp_path)
    sink.close()
    outbox.close()
    files = list(tmp_path.glob("events.jsonl*"))
    lines = [read_event(line) for p in files for line in p.read_bytes().splitlines()]
    assert len(lines) == 620 == len({document["id"] for document in lines})
    assert gone == sum(document["person"] == NOBODY for document in lines) == 20


def _mask_all(folder: Path) -> int:
    gone = 0
    for path in sorted(folder.glob("events.jsonl*"), key=_number):
        with contextlib.suppress(FileNotFoundError):  # rotated away; the next round has it
            gone += mask_file(path, ADA)
    return gone


def _number(path: Path) -> int:
    return int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0


def test_the_outbox_of_a_running_service_forgets_and_goes_on(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.subscribe("file")
    for index in range(1200):
        outbox.append([("decision", event(*(("Ada", ADA) if index % 2 else ("Bob", BOB))))])
    outbox.ack("file", outbox.read("file", 3)[-1].seq)
    assert mask_outbox(tmp_path / "outbox.db", ADA) == 600
    assert files_that_hold([ADA.encode(), b"Ada"], list(tmp_path.iterdir())) == []
    outbox.append([("decision", event("Bob", BOB))])
    events = outbox.read("file", 2000)
    assert [e.seq for e in events] == list(range(4, 1202))
    assert sum(json.loads(e.body)["person"] == NOBODY for e in events) == 599
    assert outbox.state().counts.get("damaged_rows", 0) == 0
    outbox.close()


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_outbox_killed_in_the_middle_is_whole_and_can_be_finished(
    tmp_path: Path, after: int
) -> None:
    path = tmp_path / "outbox.db"
    with_events = Outbox(path)
    with_events.append([("decision", event("Ada", ADA))] * 1200)
    with_events.close()
    child = os.fork()
    if child == 0:
        _mask_and_die(path, after * 500 + 100)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    again = Outbox(path)
    again.subscribe("file")
    assert len(again.read("file", 2000)) == 1200
    # Transactions of 500: those that were done are done.
    assert mask_outbox(path, ADA) == 1200 - after * 500
    assert {json.loads(e.body)["person"] for e in again.read("file", 2000)} == {NOBODY}
    again.close()


def _mask_and_die(path: Path, rows: int) -> None:
    left = rows

    def dies(line: bytes, person: str) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return line.replace(b'"Ada"', b'"***"')

    setattr(redaction, "mask_names", dies)  # noqa: B010
    mask_outbox(path, ADA)
    os._exit(1)


@pytest.mark.parametrize("content", [b"", b"not a database" * 400])
def test_an_outbox_that_cannot_be_read_is_an_os_error_or_empty(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "outbox.db"
    assert mask_outbox(path, ADA) == 0
    assert not path.exists()
    path.write_bytes(content)
    if content:
        with pytest.raises(OSError, match="not a database"):
            mask_outbox(path, ADA)
    else:
        assert mask_outbox(path, ADA) == 0
