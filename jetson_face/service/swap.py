"""The recognisers of a running service, exchanged between two frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from jetson_face.capture.source import SourceInfo
from jetson_face.config import Config
from jetson_face.core.types import Frame, Report
from jetson_face.factory.parts import (
    Parts,
    build_parts,
    build_recognizer,
    govern,
    live_people,
    open_gallery,
)
from jetson_face.factory.threshold import calibrated
from jetson_face.gallery.live import LivePeople
from jetson_face.gallery.store import GalleryStore
from jetson_face.recognition.recognizer import FaceRecognizer
from jetson_face.recognition.steps import Stepping, Steps, steps_of


@dataclass(frozen=True, slots=True)
class Deck:
    """Everything that a reload may exchange. deciding: the configuration with the threshold that
    was calibrated for its gallery."""

    config: Config
    deciding: Config
    parts: Parts
    gallery: GalleryStore
    people: LivePeople

    def close(self, unless: Deck | None = None) -> None:
        """Close what `unless` does not use."""
        if unless is None or unless.parts is not self.parts:
            self.parts.close()
        self.gallery.close()


def build_deck(config: Config, now: Deck | None = None) -> Deck:
    """What `config` asks for; the networks of `now` are used again where nothing changed. The
    gallery is opened and read again in any case.

    Raises what building raises; `now` is as before then.
    """
    reuse = now is not None and _same_parts(config, now.config)
    parts = now.parts if now is not None and reuse else build_parts(config, runs_on=True)
    gallery: GalleryStore | None = None
    try:
        # One that was there and is gone is a mishap; a service that starts makes an empty one.
        create = now is None or now.config.gallery_path != config.gallery_path
        if now is not None:
            now.people.let_go()
        gallery = open_gallery(config, parts.embedder.space, create=create)
        deciding = calibrated(config, gallery)
        people = live_people(deciding, gallery, parts.embedder)
        return Deck(config, deciding, parts, gallery, people)
    except BaseException:
        if gallery is not None:
            gallery.close()
        if not reuse:
            parts.close()
        raise


def _same_parts(one: Config, other: Config) -> bool:
    keys = ["detector", "refiner", "embedder", "backend", "engines", "quality"]
    keys += ["sampling.refine", "sampling.together"]
    return all(attrgetter(key)(one) == attrgetter(key)(other) for key in keys)


class HotSwap:
    """Recognisers by source, of the deck that is in force; `put` exchanges them all at once.

    A lock is held while frames are in work, one of each camera at most: they are decided by the old
    deck, the next ones by the new. Who writes events must never wait for it. Faces in view keep
    their names where the embedding stayed the same.
    """

    def __init__(self, deck: Deck) -> None:
        self.deck = deck
        self._lock = threading.RLock()
        self._slots: list[_SourceSlot] = []

    def recognizer(self, info: SourceInfo) -> _SourceSlot:
        """The recogniser of one source."""
        with self._lock:
            slot = _SourceSlot(self._lock, info, self.deck.config, _build(self.deck, info))
            self._slots.append(slot)
        return slot

    @property
    def every(self) -> int | None:
        """The sampling rate of the first source, which a governor may have changed."""
        return self._slots[0].inner.finder.interval.every_n if self._slots else None

    def use(self, call: Callable[[Deck], None]) -> None:
        """Call with the deck in force, which stays so for the call; not from inside `put`."""
        with self._lock:
            call(self.deck)

    def clear(self) -> None:
        """Forget the sources; the loop starts again."""
        with self._lock:
            self._slots.clear()

    def put(self, deck: Deck) -> None:
        """Exchange; returns when the new deck is in force and the old one is closed."""
        fresh = [_build(deck, slot.info) for slot in self._slots]
        with self._lock:
            old, self.deck = self.deck, deck
            for slot, recognizer in zip(self._slots, fresh, strict=True):
                if _same_tracks(old, deck):
                    recognizer.take_over(slot.inner)
                else:
                    recognizer.begin_after(slot.inner)
                slot.put(deck.config, recognizer)
            old.close(unless=deck)

    def close(self) -> None:
        """Close the deck."""
        with self._lock:
            self.deck.close()


class _SourceSlot(Stepping):
    """One source's recogniser, whichever it is at the moment."""

    def __init__(
        self, lock: threading.RLock, info: SourceInfo, config: Config, inner: FaceRecognizer
    ) -> None:
        self._lock, self.info = lock, info
        self.put(config, inner)

    def put(self, config: Config, inner: FaceRecognizer) -> None:
        """Exchange the recogniser; a governor begins again with it."""
        self.inner = inner
        self._governed = govern(config, inner, self.info)

    def steps(self, frame: Frame) -> Steps[Report]:
        """See Stepping."""
        with self._lock:
            return (yield from steps_of(self._governed, frame))


def _build(deck: Deck, info: SourceInfo) -> FaceRecognizer:
    return build_recognizer(deck.deciding, deck.parts, deck.people, stills=info.stills)


def _same_tracks(old: Deck, new: Deck) -> bool:
    return (
        old.parts.embedder.space == new.parts.embedder.space
        and old.config.tracking == new.config.tracking
        and old.config.fusion.strategy == new.config.fusion.strategy
    )
