"""Boxes of a fleet for tests: configurations, galleries made without a network, agents that run."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jetson_face.config import Config, load_config
from jetson_face.core.types import EmbeddingSpace
from jetson_face.factory.parts import open_gallery
from jetson_face.fleet import operator
from jetson_face.fleet.agent import FleetAgent
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.replicated import PersonRecord, record_of
from jetson_face.privacy.encryption import create_key
from tests.review.review_fakes import SPACE, face


class Box:
    """One box: its folder, its configuration, and its agent in a thread."""

    def __init__(
        self,
        folder: Path,
        server: str,
        name: str,
        *more: str,
        site: str = "north",
        space: EmbeddingSpace = SPACE,
        key: Path | None = None,
    ) -> None:
        self.folder, self.name, self.space = folder / name, name, space
        key = key or folder / "fleet.key"
        create_key(key)
        self.settings = [
            f"state_dir={self.folder}", f"fleet.server={server}", f"fleet.site={site}",
            f"fleet.box={name}", f"fleet.key={key}", "fleet.status_s=1", *more,
        ]  # fmt: skip
        self.config: Config = load_config(None, self.settings)
        with open_gallery(self.config, space, create=True):
            pass

    @property
    def words(self) -> list[str]:
        """For a command of this box."""
        return [word for one in self.settings for word in ("--set", one)]

    def enrol(self, name: str, *seeds: int) -> str:
        """Faces of noise; returns the id."""
        with open_gallery(self.config) as gallery:
            known = gallery.find(name)
            person = known or gallery.add_person(name)
            for seed in seeds:
                gallery.add_template(person, template(seed, self.space))
            return person.id

    def record(self, name: str) -> PersonRecord:
        with open_gallery(self.config) as gallery:
            return record_of(gallery, name)

    def send(self, *names: str, to: str = "all") -> None:
        async def work(server: operator.FleetOperator) -> None:
            for name in names:
                await server.send(self.record(name), to)

        operator.run(self.config, work)

    def people(self) -> dict[str, tuple[str, dict[tuple[str, int], bytes]]]:
        """By id: the name, and vectors by photo and face."""
        with open_gallery(self.config) as gallery:
            return {
                info.person.id: (info.person.name, vectors_of(record_of(gallery, info.person.id)))
                for info in gallery.people()
            }

    def names(self) -> list[str]:
        return sorted(name for name, _ in self.people().values())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with running(self):
            yield


def vectors_of(record: PersonRecord) -> dict[tuple[str, int], bytes]:
    return {(one.photo, one.face): one.vector.tobytes() for one, _ in record.templates}


def template(seed: int, space: EmbeddingSpace = SPACE) -> NewTemplate:
    picture = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)
    marks = np.array([[10, 12], [22, 12], [16, 18], [11, 24], [21, 24]], np.float32)
    return NewTemplate(
        face(seed, space).vectors[0], 0.9, f"{seed:064x}", picture, marks, f"{seed}.jpg"
    )


@contextlib.contextmanager
def running(*boxes: Box) -> Iterator[None]:
    """The agents of boxes, in one thread."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        await asyncio.gather(*(FleetAgent(box.config).run(stop) for box in boxes))

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive()
        loop.close()
