"""What the keys of people who are not enrolled change: the real service and its file."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jetson_face.config import Config
from jetson_face.core.types import Embeddings, Frame, Person, Report, UnknownFace
from jetson_face.factory.threshold import unknown_thresholds
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.models.cards import embedding_space, load_card
from jetson_face.privacy.encryption import create_key, open_cipher
from jetson_face.review.unknowns import UNKNOWNS, UnknownStore
from jetson_face.service import plumbing, swap
from tests.config.keys import Site, shows
from tests.config.parts import SPACE, Rig, Says, gallery, points, unit
from tests.config.test_keys_service import CAMERA, daemon
from tests.review.review_fakes import Age

NETWORK = embedding_space(load_card("squeezenet_face"))


def remembered(config: Config) -> list[str]:
    """Who is in the file."""
    path = config.state_dir / UNKNOWNS
    if not path.exists():
        return []
    with UnknownStore.open(path, open_cipher(config.state_dir)) as store:
        return store.ids()


@shows("unknown.remember")
def test_people_who_are_not_enrolled_are_remembered(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_parts(config: Config, **_: Any) -> Any:
        return Rig(config, says=Says(unit(0, 0, 1))).parts

    monkeypatch.setattr(swap, "build_parts", build_parts)
    config = site({**CAMERA, "unknown.remember": True})
    with daemon(config) as made:
        made.run()
        document, events = made.document(), list(made._writer.decisions)
    assert len(remembered(config)) == 1
    who = remembered(config)[0]
    assert [event["unknown_id"] for event in events] == [who]
    assert events[0]["seen_before"]["visits"] == 0
    assert (document["unknown"]["on"], document["unknown"]["remembered"]) == (True, 1)


class Passers:
    """What a service with this configuration says of faces that pass."""

    def __init__(self, config: Config) -> None:
        if not (config.state_dir / "gallery.key").exists():
            create_key(config.state_dir / "gallery.key")
        self.age, self.track = Age(), 0
        deck = SimpleNamespace(
            config=config,
            deciding=config,
            parts=SimpleNamespace(embedder=SimpleNamespace(similarity_min=0.5)),
            people=SimpleNamespace(snapshot=gallery()),
        )
        made = plumbing.open_unknowns(lambda: deck, self.age)  # type: ignore
        assert made is not None
        self.people = made

    def see(self, *vector: float) -> dict[str, Any]:
        self.track += 1
        marks = points(np.array([[40, 40, 120, 140]], np.float32))[0]
        face = UnknownFace(self.track, 5, 0.5, Embeddings(unit(*vector)[None], SPACE), marks)
        frame = Frame(np.zeros((160, 160, 3), np.uint8), 0, 0, 1e9, "door")
        report = Report("door", 0, 0, 1e9, (160, 160), (), {}, True, unknown_faces=(face,))
        seen, kept = self.people.see(frame, report)
        for one in kept:
            self.people.keep(one)
        return seen[self.track]


@shows("unknown.visit_gap_min")
def test_seen_again_within_so_long_is_the_same_visit(site: Site) -> None:
    with closing(
        (door := Passers(site({"unknown.remember": True, "unknown.visit_gap_min": 60}))).people
    ):
        door.see(1)
        door.age.now = 59 * 60.0
        assert door.see(1)["seen_before"]["visits"] == 0
        door.age.now = 121 * 60.0
        assert door.see(1)["seen_before"]["visits"] == 1


@shows("unknown.people_max")
def test_so_many_people_are_remembered(site: Site) -> None:
    config = site({"unknown.remember": True, "unknown.people_max": 2})
    with closing((door := Passers(config)).people):
        for at, vector in enumerate(((1,), (0, 1), (0, 0, 1))):
            door.age.now = at
            last = door.see(*vector)
        assert door.people.state()["remembered"] == 2
    assert len(remembered(config)) == 2
    assert remembered(config)[0] == last["unknown_id"]


@shows("service.retention.unknown_days")
def test_who_was_not_seen_for_so_long_is_erased(site: Site) -> None:
    config = site({"unknown.remember": True, "service.retention.unknown_days": 2})
    with closing((door := Passers(config)).people):
        first = door.see(1)
        assert first["seen_before"]["days"] == 2
        door.age.now = 1.9 * 86400
        door.people.prune()
        assert remembered(config) == [first["unknown_id"]]
        door.age.now = 2.1 * 86400
        door.people.prune()
        assert remembered(config) == []


@shows("unknown.fpir")
def test_the_cosine_follows_from_the_share_of_new_people_taken_for_old_ones(site: Site) -> None:
    def least(config: Config, count: int) -> tuple[float, ...]:
        vectors = np.eye(count, NETWORK.dim, dtype=np.float32)
        known = tuple(Person(str(n), str(n)) for n in range(count))
        unknowns = GallerySnapshot(NETWORK, vectors, np.arange(count), known)
        return unknown_thresholds(config, config, GallerySnapshot.empty(NETWORK), unknowns, 0.42)

    usual, strict = least(site(), 50), least(site({"unknown.fpir": 0.001}), 50)
    assert len(usual) > 1, "for averages, too"
    assert strict[0] > usual[0] + 0.02
    assert least(site(), 100)[0] > usual[0]
