"""A service whose unnamed faces become more alike says so once, with the command that helps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from jetson_face.config import Config
from jetson_face.core.types import Frame, Person, Report, Sighting
from jetson_face.events.older import document
from jetson_face.events.outbox import Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.models.cards import embedding_space, load_card
from jetson_face.service.drift import ServiceDrift
from tests.config.keys import Site, shows
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
        tapped = drift.tap(SimpleNamespace(process=lambda frame, report=report: report))
        found: Report = tapped.process(frame)
        assert found is report
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
