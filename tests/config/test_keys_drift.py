"""A service whose unnamed faces become more alike says so once, with the command that helps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from jetson_face.config import Config
from jetson_face.core.types import Embeddings, Frame, Person, Sighting
from jetson_face.events.older import document
from jetson_face.events.outbox import Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.factory.parts import build_matcher
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.models.cards import embedding_space, load_card
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.item import ReviewItem
from jetson_face.review.queue import ReviewQueue
from jetson_face.service.drift import ServiceDrift
from jetson_face.util.images import encode_jpeg
from tests.config.keys import Site, shows
from tests.config.parts import ADA, BOB, SPACE, gallery, unit
from tests.events.event_help import read_event


def drifting(config: Config, folder: Path, *, repeat: bool = False) -> list[dict[str, Any]]:
    """Events of 60 people without a name who look very much like somebody enrolled."""
    space = embedding_space(load_card("squeezenet_face"))
    known = tuple(Person(str(n), str(n)) for n in range(10))
    vectors = np.eye(10, space.dim, dtype=np.float32)
    people = SimpleNamespace(snapshot=GallerySnapshot(space, vectors, np.arange(10), known))
    parts = SimpleNamespace(embedder=SimpleNamespace(similarity_min=0.42))
    swap: Any = SimpleNamespace(
        deck=SimpleNamespace(config=config, deciding=config, people=people, parts=parts)
    )
    folder.mkdir()
    outbox = Outbox(folder / "outbox.db")
    outbox.subscribe("test")
    drift = ServiceDrift(swap, EventRecorder(outbox))
    frame = Frame(np.zeros((8, 8, 3), np.uint8), 1, 1, 0.0, "door")
    for track in range(60):
        sighting = Sighting(1 if repeat else track, (0, 0, 8, 8), "unknown", None, 0.39, 3)
        report: Any = SimpleNamespace(sightings=(sighting,))
        drift.see(frame, report)
    events = [read_event(document(event)) for event in outbox.read("test", 10)]
    outbox.close()
    return events


@shows("matching.drift_faces")
def test_faces_that_are_too_alike_are_an_event(site: Site, tmp_path: Path) -> None:
    found = drifting(site({"matching.drift_faces": 50}), tmp_path / "on")
    assert len(found) == 1
    event = found[0]
    assert (event["kind"], event["state"], event["faces"]) == ("similarity", "drifted", 50)
    assert "jetson-face calibrate --impostors FOLDER --write" in event["text"]
    assert drifting(site({"matching.drift_faces": 0}), tmp_path / "off") == []


def test_one_face_that_stays_counts_once(tmp_path: Path) -> None:
    config = Config.model_validate({"matching": {"drift_faces": 50}})
    assert drifting(config, tmp_path / "one", repeat=True) == []


@shows("matching.negatives")
def test_a_rejected_face_counts_against_who_it_is_not(site: Site) -> None:
    def nearest(config: Config) -> list[str]:
        said = []
        face = Embeddings(unit(1, 0, 1)[None], SPACE)
        people = gallery((ADA, [unit(1)]), (BOB, [unit(0, 1)]))
        portrait = encode_jpeg(np.zeros((16, 16, 3), np.uint8))
        marks = np.zeros((5, 2), np.float32)
        item = ReviewItem(ADA.id, 0.7, 0.0, 1e9, "door", 1, 0.8, face, portrait, marks)
        path = config.state_dir / "review.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        cipher = open_cipher(config.state_dir, create=True)
        with ReviewQueue.open(path, cipher) as queue:
            number = queue.add(item, same_face_min=2.0)
            assert number is not None
            said.append(_name(config, people, face))
            queue.answer(number, "rejected", None)
            said.append(_name(config, people, face))
            queue.reopen(number)
            said.append(_name(config, people, face))
            queue.throw_away(number)
        return said

    assert nearest(site()) == ["Ada", "Bob", "Ada"]
    assert nearest(site({"matching.negatives": False})) == ["Ada", "Ada", "Ada"]


def _name(config: Config, people: GallerySnapshot, face: Embeddings) -> str:
    (match,) = build_matcher(config, people, 0.5).match(face)
    assert match.person is not None
    return match.person.name
