"""People and erasures between boxes, over a real nats-server."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import FleetError, GalleryError, UsageError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, ImageU8
from jetson_face.factory.fleet import fleet_cipher, fleet_of
from jetson_face.factory.networks import build_embedder
from jetson_face.factory.parts import open_gallery
from jetson_face.fleet import applying, operator
from jetson_face.fleet.applying import Applier, LogMessage
from jetson_face.fleet.entries import PeopleEntry, sealed_entry
from jetson_face.fleet.place import read_place
from jetson_face.fleet.status import SeenBox
from jetson_face.fleet.subjects import person_at
from jetson_face.gallery.permission import consents_of, not_recognised, record_consent, withhold
from jetson_face.gallery.person_notes import Consent
from jetson_face.gallery.replicated import record_of
from jetson_face.service.erasure import audit_log, erase
from tests.fleet.boxes import Box, running
from tests.fleet.conftest import set_up
from tests.fleet.nats_server import NatsServer, nats_server
from tests.review.review_fakes import face
from tests.waiting import until


def erase_everywhere(box: Box, person: str, limit_s: float = 60) -> operator.ErasureReport:
    async def work(server: operator.FleetOperator) -> operator.ErasureReport:
        await server.erase(person)
        return await server.wait(person, limit_s, print)

    found: operator.ErasureReport = operator.run(box.config, work)
    return found


def test_who_is_sent_is_on_every_box_and_the_same_there(one: Box, two: Box) -> None:
    one.enrol("Ada", 1, 2)
    one.enrol("Bob", 3)
    one.send("Ada", "Bob")
    with running(one, two):
        until(lambda: two.names() == ["Ada", "Bob"])
        assert two.people() == one.people()
        one.enrol("Ada", 4)
        with open_gallery(one.config) as gallery:
            gallery.rename("Ada", "Ada King")
            gallery.remove_photo(gallery.show("Ada King").person, f"{1:064x}")
            withhold(gallery, "Bob")
            record_consent(gallery, "Ada King", Consent("Ada", "2026-01-01"))
        one.send("Ada King", "Bob")
        until(lambda: two.people() == one.people() and not_on(two))
    with open_gallery(two.config) as gallery:
        (consent,) = consents_of(gallery).values()
    assert consent.given_by == "Ada"
    entries = audit_log(two.config).read()
    assert {entry.actor.partition("@")[0] for entry in entries} == {"fleet"}
    assert [entry.action for entry in entries if entry.action == "renamed"] == ["renamed"]


def not_on(box: Box) -> bool:
    with open_gallery(box.config) as gallery:
        return bool(not_recognised(gallery))


def test_what_is_known_already_changes_nothing(one: Box, two: Box) -> None:
    one.enrol("Ada", 1)
    one.send("Ada")
    with running(one, two):
        until(two.names)
        until(lambda: positions(one) == positions(two) == 1)
        with open_gallery(two.config) as gallery:
            before = gallery.revision()
        one.send("Ada")
        until(lambda: positions(two) == 2)
        with open_gallery(two.config) as gallery:
            assert gallery.revision() - before <= 2  # the place alone: forgotten, and kept
        assert two.people() == one.people()


def positions(box: Box) -> int:
    with open_gallery(box.config) as gallery:
        return read_place(gallery).positions.get("all", 0)


def test_a_box_gets_the_people_of_its_site_and_groups_and_no_others(
    tmp_path: Path, one: Box, two: Box, hub: NatsServer
) -> None:
    three = Box(tmp_path, hub.url, "three", "fleet.groups=[gate]", site="south")
    for seed, name in enumerate(("Everybody", "Northern", "Southern", "Gate"), 1):
        one.enrol(name, seed)
    one.send("Everybody")
    one.send("Northern", to="site-north")
    one.send("Southern", to="site-south")
    one.send("Gate", to="group-gate")
    with running(two, three):
        until(lambda: len(two.names()) == 2 and len(three.names()) == 3)
    assert two.names() == ["Everybody", "Southern"]
    assert three.names() == ["Everybody", "Gate", "Southern"]
    with pytest.raises(UsageError, match="was sent to group-gate and cannot move"):
        one.send("Gate")


def test_a_box_that_was_away_catches_up_and_one_whose_disk_was_lost_begins_again(
    tmp_path: Path, one: Box, two: Box, hub: NatsServer
) -> None:
    ada = one.enrol("Ada", 1)
    one.enrol("Bob", 2)
    one.send("Ada", "Bob")
    with running(one, two):
        until(lambda: len(two.names()) == 2)
    # Two is away for a week; meanwhile:
    one.enrol("Cleo", 3)
    one.send("Cleo")
    with running(one):
        operator.run(one.config, lambda server: server.erase(ada))
        until(lambda: missing(one, ada) == ("south/two",))
    with running(two):
        until(lambda: two.names() == ["Bob", "Cleo"])
        until(lambda: missing(one, ada) == ())
    # And its disk is lost, with everything that remembered anything.
    shutil.rmtree(two.folder)
    again = Box(tmp_path, hub.url, "two", site="south")
    with running(again):
        until(lambda: again.names() == ["Bob", "Cleo"])
    assert again.people() == one.people()


def missing(box: Box, person: str) -> tuple[str, ...]:
    report: operator.ErasureReport = operator.run(box.config, lambda s: s.erasure(person))
    return report.missing


def test_who_was_erased_is_not_sent_again_nor_taken_from_an_old_entry(
    one: Box, two: Box, hub: NatsServer
) -> None:
    ada = one.enrol("Ada", 1)
    one.send("Ada")
    record = one.record("Ada")
    with running(one, two):
        until(two.names)
        assert erase_everywhere(one, ada).complete
    with pytest.raises(UsageError, match="was erased from the fleet"):
        operator.run(one.config, lambda server: server.send(record, "all"))
    # Nothing of her is left on the server but that she was erased.
    assert len(hub.messages("PEOPLE")) == 1
    # An old entry that somebody put back, or one of another scope that comes later.
    with applier(two) as late:
        subject = person_at("site-south", ada)
        log = read_place(late.store).log
        data = sealed_entry(late.cipher, subject, PeopleEntry(log, ada, record))
        late.apply("site-south", [LogMessage(9, subject, data)])
        assert "erased on this box" in read_place(late.store).held[ada].why
    assert two.names() == []


def test_nor_onto_a_box_that_never_had_them(one: Box, two: Box) -> None:
    ada = one.enrol("Ada", 1)
    subject, data = entry(one, "Ada", "site-south")
    with applier(two) as app:
        everywhere = person_at("all", ada)
        gone = sealed_entry(app.cipher, everywhere, PeopleEntry("log", ada, None))
        app.apply("all", [LogMessage(7, everywhere, gone)])
        app.apply("site-south", [LogMessage(3, subject, data)])
    assert two.names() == []


@contextlib.contextmanager
def applier(box: Box) -> Iterator[Applier]:
    def embed(portraits: ImageU8, landmarks: F32) -> Embeddings:
        raise GalleryError("no network here")

    with open_gallery(box.config) as gallery:
        yield Applier(gallery, fleet_cipher(fleet_of(box.config)), embed)


def entry(box: Box, name: str, scope: str = "all") -> tuple[str, bytes]:
    record = box.record(name)
    subject = person_at(scope, record.person.id)
    cipher = fleet_cipher(fleet_of(box.config))
    return subject, sealed_entry(cipher, subject, PeopleEntry("log", record.person.id, record))


def test_a_batch_and_its_place_come_into_force_together_or_not_at_all(
    one: Box, two: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = []
    for seq, name in enumerate(("Ada", "Bob", "Cleo"), 1):
        one.enrol(name, seq)
        messages.append(LogMessage(seq, *entry(one, name)))
    with applier(two) as app:
        with monkeypatch.context() as patch:
            patch.setattr(applying, "write_place", killed)
            with pytest.raises(KeyboardInterrupt):
                app.apply("all", messages)
        assert (two.names(), read_place(app.store).positions) == ([], {})
        app.apply("all", messages)
        app.apply("all", messages)  # twice is once
        assert read_place(app.store).positions == {"all": 3}
    assert two.people() == one.people()


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_whose_name_is_taken_is_held_and_comes_when_it_is_free(
    one: Box, two: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from jetson_face.fleet import agent

    monkeypatch.setattr(agent, "_AGAIN_S", 1.0)
    two.enrol("ada", 9)
    ada = one.enrol("Ada", 1)
    one.enrol("Bob", 2)
    one.send("Ada", "Bob")
    with running(one, two):
        until(lambda: "Bob" in two.names())
        until(lambda: held(one) == {ada: "the name 'Ada' is somebody else's here"})
        with open_gallery(two.config) as gallery:
            gallery.rename("ada", "Ada of Two")
        until(lambda: two.names() == ["Ada", "Ada of Two", "Bob"])
        until(lambda: not held(one))
    assert caplog.text.count("fleet_person_held") == 1


def boxes(box: Box) -> list[SeenBox]:
    found: list[SeenBox] = operator.run(box.config, lambda server: server.boxes())
    return found


def held(box: Box) -> dict[str, str]:
    return {who: why for seen in boxes(box) for who, why in seen.status.held.items()}


OTHER = EmbeddingSpace("other", "1" * 64, 16)


def test_a_box_with_another_network_embeds_again_or_says_so(
    tmp_path: Path, one: Box, hub: NatsServer
) -> None:
    other = Box(tmp_path, hub.url, "other", space=OTHER)
    ada = one.enrol("Ada", 1, 2)
    subject, data = entry(one, "Ada")
    with applier(other) as app:
        app.apply("all", [LogMessage(1, subject, data)])
        assert read_place(app.store).held[ada].why == "not embedded again: no network here"
        assert read_place(app.store).start("all") == 1
        sizes = []

        def embed(portraits: ImageU8, landmarks: F32) -> Embeddings:
            sizes.append(portraits.shape)
            assert landmarks.shape == (2, 5, 2)
            return Embeddings(np.stack([face(s, OTHER).vectors[0] for s in (7, 8)]), OTHER)

        app.embed = embed
        app.apply("all", [LogMessage(1, subject, data)])
        assert read_place(app.store).held == {}
        assert sizes == [(2, 32, 32, 3)]
        record = record_of(app.store, "Ada")
    assert record.space == OTHER
    np.testing.assert_array_equal(record.templates[0][0].vector, face(7, OTHER).vectors[0])


def test_the_network_of_the_configuration_is_what_embeds_again(
    tmp_path: Path, one: Box, hub: NatsServer
) -> None:
    found = build_embedder(one.config)
    real = Box(tmp_path, hub.url, "real", space=found.space)
    found.close()
    one.enrol("Ada", 1)
    one.send("Ada")
    with running(real):
        until(real.names)
    record = real.record("Ada")
    assert record.space == real.space
    assert record.templates[0][0].vector.shape == (real.space.dim,)


def test_on_the_server_nobody_reads_names_or_faces_and_another_key_opens_nothing(
    tmp_path: Path, one: Box, hub: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    one.enrol("Ada Unmistakable", 1)
    one.send("Ada Unmistakable")
    spy = Box(tmp_path, hub.url, "spy", key=tmp_path / "other.key")
    with running(spy):
        until(lambda: "encrypted with another key" in caplog.text)
    assert spy.names() == []
    hub.stop(15)
    record = one.record("Ada Unmistakable").templates[0][0]
    needles = (b"Unmistakable", record.vector.tobytes()[:32], b"JFIF", record.photo.encode())
    for path in hub.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [needle for needle in needles if needle in data], path


def test_an_entry_that_was_changed_or_moved_is_held_and_the_others_come(one: Box, two: Box) -> None:
    ada, bob = one.enrol("Ada", 1), one.enrol("Bob", 2)
    (first, data), (second, other) = entry(one, "Ada"), entry(one, "Bob")
    with applier(two) as app:
        torn = data[:-1] + bytes([data[-1] ^ 1])
        app.apply("all", [LogMessage(1, first, torn), LogMessage(2, second, other)])
        assert list(read_place(app.store).held) == [ada]
        app.apply("all", [LogMessage(3, second, data)])  # Ada's under Bob's subject
        assert set(read_place(app.store).held) == {ada, bob}
        app.apply("site-south", [LogMessage(4, person_at("site-south", ada), data)])
        assert set(read_place(app.store).held) == {ada, bob}
    assert two.names() == ["Bob"]


def test_a_receipt_of_one_box_is_not_taken_for_another_s(
    one: Box, two: Box, hub: NatsServer
) -> None:
    ada = one.enrol("Ada", 1)
    one.send("Ada")
    with running(one, two):
        until(lambda: len(boxes(one)) == 2)
    with running(two):
        operator.run(one.config, lambda server: server.erase(ada))
        until(lambda: missing(one, ada) == ("north/one",))
    ((_, _, receipt),) = hub.messages("RECEIPTS")
    hub.publish(f"jf.north.one.receipts.{ada}", receipt)
    assert missing(one, ada) == ("north/one",)


def test_a_log_that_was_made_again_is_read_from_its_beginning(
    tmp_path: Path, one: Box, two: Box, hub: NatsServer
) -> None:
    for seed, name in enumerate(("Ada", "Bob", "Cleo"), 1):
        one.enrol(name, seed)
    one.send("Ada", "Bob", "Cleo")
    with running(two):
        until(lambda: len(two.names()) == 3)
    hub.stop()
    with nats_server(tmp_path / "hub2") as fresh:  # the hub's disk was lost
        one = Box(tmp_path, fresh.url, "one")
        two = Box(tmp_path, fresh.url, "two", site="south")
        set_up(one)
        one.enrol("Dora", 4)
        one.send("Dora")
        with running(two):
            until(lambda: "Dora" in two.names())
        # Also where the new log is longer by now than the old one was.
        hub_log = positions(two)
        assert hub_log == 1


def test_two_who_send_the_same_person_at_once_do_not_lose_one(one: Box, two: Box) -> None:
    one.enrol("Ada", 1)
    one.send("Ada")
    record = one.record("Ada")

    async def work(server: operator.FleetOperator) -> None:
        people = server.people

        async def slow(person: str = "*") -> list[operator.SentPerson]:
            found = await people(person)
            server.people = people  # type: ignore[method-assign]
            await server.send(record, "all")  # the other one, in between
            return found

        server.people = slow  # type: ignore[method-assign]
        await server.send(record, "all")

    with pytest.raises(FleetError, match="somebody else sends the same person"):
        operator.run(one.config, work)


def test_an_erasure_begun_before_a_kill_is_told_after_it(
    one: Box, two: Box, hub: NatsServer
) -> None:
    ada = one.enrol("Ada", 1)
    one.send("Ada")
    with running(two):
        until(lambda: two.names() and boxes(one))
    operator.run(one.config, lambda server: server.erase(ada))
    # Two erased her, and was killed before it could tell.
    ((subject, _, gone),) = hub.messages("PEOPLE")
    with applier(two) as app:
        assert app.apply("all", [LogMessage(2, subject, gone)])
        assert read_place(app.store).erasing == (ada,)
        erase(two.config, app.store, ada)
    with running(two):
        report = operator.run(one.config, lambda server: server.wait(ada, 60, print))
        assert report.complete
        assert report.receipts["south/two"]["templates"] == 1
        until(lambda: to_erase(two) == ())


def to_erase(box: Box) -> tuple[str, ...]:
    with open_gallery(box.config) as gallery:
        return read_place(gallery).erasing


def test_a_server_that_is_away_costs_one_line_and_nothing_is_lost(
    one: Box, two: Box, hub: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running(one, two):
        until(lambda: len(boxes(one)) == 2)
        for _ in range(2):
            hub.stop()
            until(lambda: caplog.text.count("fleet_down") >= 2)
            hub.start()
        one.enrol("Ada", 1)
        one.send("Ada")
        until(lambda: two.names() == ["Ada"])
        until(lambda: caplog.text.count("fleet_back") == caplog.text.count("fleet_down"))
    assert caplog.text.count("fleet_down") <= 4
