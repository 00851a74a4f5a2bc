"""Enrols and decides, and says on standard output what was acknowledged; to be killed at any time.

Usage: python victim.py FOLDER SEED   Lines: `event N ID`, `person NAME`, `delivered ID`, `end`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.core.errors import JetsonFaceError
from jetson_face.core.types import EmbeddingSpace, Person, Report, Sighting
from jetson_face.events.delivery import Deliverer
from jetson_face.events.history import History, NewEvent
from jetson_face.events.making import EventMaker
from jetson_face.events.older import document
from jetson_face.events.outbox import Event, Outbox, OutboxLimits
from jetson_face.events.recorder import EventRecorder
from jetson_face.events.rotating import RotatingJsonl
from jetson_face.gallery.ledger import Ledger
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import AuditLog
from jetson_face.privacy.encryption import AesGcm

SPACE = EmbeddingSpace("victim", "0" * 64, 16)
CIPHER = AesGcm(bytes(32))
STEPS = 40


def say(line: str) -> None:
    """One line, whole, to whoever killed us."""
    os.write(1, (line + "\n").encode())


class Sink:
    """The file that sinks write, and what it acknowledged."""

    def __init__(self, folder: Path) -> None:
        self._file = RotatingJsonl(folder / "sink" / "events.jsonl", max_bytes=1 << 20, files=40)

    def send(self, events: Sequence[Event]) -> None:
        self._file.send(events)
        for event in events:
            say(f"delivered {json.loads(document(event))['id']}")

    def close(self) -> None:
        self._file.close()


def open_gallery(folder: Path, *, create: bool = False) -> GalleryStore:
    """The gallery with everything that guards it."""
    return GalleryStore.open(
        folder / "gallery.db",
        SPACE,
        create=create,
        cipher=CIPHER,
        ledger=Ledger([folder / "ledger", folder / "witness"], CIPHER),
        recorder=AuditLog(folder / "audit.jsonl"),
    )


def enrol(gallery: GalleryStore, name: str, draw: np.random.Generator) -> None:
    """A person with two templates, all or nothing."""
    with gallery.transaction():
        person = gallery.add_person(name)
        for index in range(2):
            vector = draw.normal(size=SPACE.dim)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
            portrait = draw.integers(0, 255, (64, 64, 3), np.uint8)
            gallery.add_template(
                person,
                NewTemplate(
                    vector, 0.9, f"{name}{index}", portrait, np.zeros((5, 2), np.float32), "x"
                ),
            )
        gallery.act("enrolled", person, {})


def decided(maker: EventMaker, frame: int) -> dict[str, Any]:
    """The event of a face that is on this frame only."""
    person = Person(f"p{frame}", f"somebody {frame}")
    sighting = Sighting(frame, (1.0, 2.0, 3.0, 4.0), "known", person, 0.9, 3)
    report = Report("victim", frame, frame, 1.7e9, (160, 120), (sighting,), {}, True)
    return maker.of(report)[-1]


def main(folder: Path, seed: int) -> None:
    """Go on from whatever the last victim left."""
    draw = np.random.default_rng(seed)
    outbox = Outbox(folder / "outbox.db", OutboxLimits(retry_s=0.0))
    recorder = EventRecorder(outbox, History(folder / "history.db", CIPHER, age=outbox.age))
    deliverer = Deliverer("file", outbox, Sink(folder))
    gallery = open_gallery(folder, create=True)
    say("started")
    maker = EventMaker({"victim"})
    waiting: list[str] = []
    for step in range(STEPS):
        number = f"{seed}-{step}"
        event = decided(maker, seed * STEPS + step)
        waiting.append(f"{event['frame']} {event['id']}")
        if recorder.append([NewEvent(event, b"a face")]).durable:
            # What waited in memory went to the disk with it.
            for done in waiting:
                say(f"event {done}")
            waiting.clear()
        if step % 3 == 0:
            try:
                enrol(gallery, f"p{number}", draw)
            except JetsonFaceError as error:
                say(f"refused {type(error).__name__}")
            else:
                say(f"person p{number}")
        if step % 5 == 4:
            deliverer.step()
        if step % 10 == 9:
            outbox.prune()
    recorder.close()
    gallery.close()
    say("end")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
