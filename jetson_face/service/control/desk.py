"""What the requests of the control socket share: configuration, gallery, networks for photos."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from jetson_face.config import Config, EmbedderConfig, OnnxRuntimeConfig
from jetson_face.core.errors import JetsonFaceError
from jetson_face.factory.parts import Parts, build_parts, for_photos, open_gallery
from jetson_face.gallery.store import GalleryStore
from jetson_face.models.cards import load_card
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import REVIEW, ReviewQueue
from jetson_face.service.erasure import audit_log
from jetson_face.service.review import Review
from jetson_face.service.status_server import ask, ask_status


class Desk:
    """See the module. load: reads the configuration, with what the page changed.

    Gallery and review queue are opened for one request at a time: closing a file that another
    thread has open, as the proof of an erasure does, would take that one's locks.
    """

    def __init__(self, load: Callable[[], Config]) -> None:
        self._load = load
        self._files, self._networks = threading.Lock(), threading.Lock()
        self._parts: tuple[Config, Parts] | None = None

    @property
    def config(self) -> Config:
        """As the file says now."""
        return self._load()

    @contextmanager
    def gallery(self, *, create: bool = False) -> Iterator[tuple[Config, GalleryStore]]:
        """The gallery, alone. create: made where there is none. Raises the gallery's errors."""
        config = self.config
        if create and not config.gallery_path.exists():
            with self.photo_parts() as (_, parts), self._files:
                open_gallery(config, parts.embedder.space, create=True).close()
        with self._files, open_gallery(config) as store:
            yield config, store

    @contextmanager
    def alone(self) -> Iterator[Config]:
        """For who opens files of the state folder without the gallery."""
        with self._files:
            yield self.config

    @contextmanager
    def review(self) -> Iterator[tuple[Config, Review, ReviewQueue, GalleryStore]]:
        """The answers, the questions and the gallery. Raises the errors of the last two."""
        with self.gallery() as (config, store):
            path = config.state_dir / REVIEW
            cipher = open_cipher(config.state_dir, create=not path.exists())
            with ReviewQueue.open(path, cipher) as queue:
                yield config, Review(store, queue, audit_log(config)), queue, store

    @contextmanager
    def photo_parts(self) -> Iterator[tuple[Config, Parts]]:
        """The networks for pictures that stand alone, on one CPU core: those that decide frames
        are not touched. Raises what building raises."""
        config = photo_config(self.config)
        with self._networks:
            if self._parts is None or self._parts[0] != config:
                if self._parts is not None:
                    self._parts[1].close()
                    self._parts = None
                self._parts = config, for_photos(config, build_parts(config))
            yield self._parts

    def told(self) -> None:
        """Let a running service read the gallery now, rather than within a second."""
        with suppress(JetsonFaceError):  # it reads it by itself soon, or none runs
            ask(self.config.status_socket, "/gallery", "POST")

    def status(self) -> dict[str, Any]:
        """What the running service says of itself; empty where none answers."""
        return ask_status(self.config.status_socket)


def photo_config(config: Config) -> Config:
    """The same on ONNX Runtime with one thread, whatever decides the frames."""
    backend = config.backend
    if isinstance(backend, OnnxRuntimeConfig):
        backend = backend.model_copy(update={"threads": 1})
    else:
        backend = OnnxRuntimeConfig(threads=1)
    return config.model_copy(update={"backend": backend})


def same_person_min(config: Config) -> float:
    """Cosine at or above which two faces are one person, as the network's card says."""
    if not isinstance(config.embedder, EmbedderConfig):
        return 1.0
    return load_card(config.embedder.model, config.model_places).similarity_min or 1.0
