"""The recogniser as a Python program has it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from jetson_face.api.face import Face, face_of
from jetson_face.api.images import Image, photos_of, picture_of, several
from jetson_face.api.watch import Handover, Watch, close_behind
from jetson_face.capture.guarded import GuardedSource
from jetson_face.capture.source import Source, SourceInfo
from jetson_face.config import Config
from jetson_face.config.section import check_name
from jetson_face.core.errors import UsageError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.detection.detector import Detector, Refiner
from jetson_face.embedding.embedder import Embedder
from jetson_face.factory.overrides import configure, named, parts_with
from jetson_face.factory.parts import (
    Parts,
    build_canary,
    build_decider,
    build_enroller,
    build_matcher,
    build_recognizer,
    for_photos,
    govern,
    live_people,
    live_policy,
    open_gallery,
    open_sources,
    run_facts,
)
from jetson_face.factory.threshold import calibrated
from jetson_face.gallery.batch import EnrollmentResult
from jetson_face.gallery.records import PersonInfo
from jetson_face.inference.canary import CanaryEvent, CanaryWatch
from jetson_face.live import LivePipeline
from jetson_face.output.guarded import GuardedSink
from jetson_face.output.sink import Sink
from jetson_face.recognition.still import identify

log = logging.getLogger(__name__)


class Recognizer:
    """Recognises people in pictures, videos and cameras.

    It loads its networks when it is made, and keeps them until `close`, or the end of a `with`
    block. Several threads may use one; the networks do one thing at a time.

    config: a YAML file as of `jetson-face run -c`, a `jetson_face.Config`, or None: the defaults
        for this machine. Its `report` and `service` sections are not used here.
    gallery: the file of the enrolled people, made where there is none; None: the configured one
        (which the command line uses too).
    detector, embedder, refiner: a name (`"yunet"`, a model card, a plug-in that is installed), a
        whole section (`{"type": "plugin", "name": …, "options": …}`), or an object that offers what
        `jetson_face.Detector`, `.Embedder`, `.Refiner` say, closed together with the recogniser;
        None: as configured. A refiner follows faces between two searches.
    overrides: any other configuration value by its section, as `sampling={"interval": 2}`, or by
        its whole key, as `**{"matching.similarity_min": 0.5}`.

    Raises ConfigError (with the key), InputMissingError, ModelError, EngineError,
    MissingDependencyError, PluginError (an object breaks its contract), UsageError (no such
    detector), GalleryError, EmbeddingSpaceError (the gallery was made with another embedding).
    """

    def __init__(
        self,
        config: Config | str | os.PathLike[str] | None = None,
        *,
        gallery: str | os.PathLike[str] | Mapping[str, object] | None = None,
        detector: str | Mapping[str, object] | Detector | None = None,
        embedder: str | Mapping[str, object] | Embedder | None = None,
        refiner: str | Mapping[str, object] | Refiner | None = None,
        **overrides: Any,
    ) -> None:
        changes: dict[str, object] = dict(overrides)
        if isinstance(gallery, Mapping):
            changes["gallery"] = gallery
        elif gallery is not None:
            changes["gallery.path"] = Path(gallery)
        if isinstance(detector, str | Mapping):
            changes["detector"], detector = named("detector", detector), None
        if isinstance(embedder, str | Mapping):
            changes["embedder"], embedder = named("embedder", embedder), None
        if isinstance(refiner, str | Mapping):
            changes["refiner"], refiner = named("refiner", refiner), None
        asked = wanted = configure(config, changes)
        wanted, self._parts = parts_with(
            wanted, detector=detector, embedder=embedder, refiner=refiner
        )
        try:
            self._gallery = open_gallery(wanted, self._parts.embedder.space, create=True)
            self._config = calibrated(wanted, self._gallery)
            self._asked = calibrated(asked, self._gallery)
        except BaseException:
            self._parts.close()
            raise
        self._photos = for_photos(self._config, self._parts)
        self._lock = threading.RLock()
        self._watches: WeakSet[Watch] = WeakSet()
        self._closed = False

    @property
    def config(self) -> Config:
        """The configuration in force, with the gallery's calibrated threshold; objects that were
        handed over are not in it."""
        return self._asked

    def enroll(
        self, name: str, images: Image | Iterable[Image], *, force: bool = False
    ) -> EnrollmentResult:
        """Enrol a person from photos, or add photos to somebody who is enrolled.

        A photo must show one large face; what cannot be used is refused with a reason and does not
        stop the others. So is one that looks like somebody else who is enrolled, or that was erased
        with a person, unless `force`. images: one or several, or a folder of photos.

        Returns what became of them: `.added`, `.already` (the same photo was enrolled before),
        `.refused` (each with `.path` and `.reason`), `.warnings`. A photo that is no file is called
        `image N`, by its place from 1. Who has no photo added is not enrolled.

        Raises NameInvalidError, GalleryError, UsageError for a name that is no text and for
        something that is no image.
        """
        if not isinstance(name, str):
            raise UsageError(f"a name is a text, got a {type(name).__name__}: enroll(name, images)")
        photos = [
            photo
            for number, image in enumerate(several(images), 1)
            for photo in photos_of(image, number)
        ]
        with self._lock:
            self._check_open()
            enroller = build_enroller(self._config, self._photos, self._gallery)
            return enroller.enroll_photos(name, photos, force=force)

    def identify(self, image: Image) -> list[Face]:
        """Who is in a picture: its faces, the surest found first; an empty list where there are
        none.

        One picture decides: `state` is never `pending`, but for a face without landmarks, or with
        some that are not a face's.
        Raises InputMissingError, InputBrokenError, GalleryError, UsageError for no image.
        """
        picture = picture_of(image)
        with self._lock:
            self._check_open()
            least = self._parts.embedder.similarity_min
            matcher = build_matcher(self._config, self._gallery.snapshot(), least)
            decider = build_decider(self._config, self._parts.embedder, single=True)
            sightings = identify(picture, self._photos, matcher, decider)
        return [face_of(sighting, track=None, changed=True) for sighting in sightings]

    def watch(
        self,
        source: str | os.PathLike[str] | int | Source | None = None,
        *,
        name: str | None = None,
        frames: int | None = None,
        sinks: Sequence[Sink] = (),
    ) -> Watch:
        """Recognise the faces of a camera, stream, video file or folder, frame by frame.

            for frame, faces in recognizer.watch("rtsp://camera/stream"):
                for face in faces:
                    print(frame.seq, face.track, face.name, face.state, face.box)

        Every decided frame comes, once, with its faces. A file or folder loses no frame and ends by
        itself. Of a camera the newest frame is taken when you ask for the next: what came meanwhile
        is dropped and leaves a gap in `frame.seq`; a lost camera is reconnected. A person who is
        enrolled meanwhile is known a second later.

        Leaving the loop closes the source, whether by `break` or by an error; so do the end of a
        `with recognizer.watch(…) as watch:` block and `close()`.

        source: a URI (`rtsp://…`, `csi://0`, `v4l2:///dev/video0`, `test://`, a plug-in's), the
            path of a video or of a folder of pictures, a camera's number, an object as of
            `jetson_face.Source`, or None: all the configured sources at once (`frame.source`
            says which).
        name: what `frame.source` says, as `sources.name`; None: the first configured source's.
        frames: end after so many of each source, at least 1.
        sinks: objects as of `jetson_face.Sink`, which get every report in a thread of their own.

        `frame.image` is (H, W, 3) uint8 **BGR** and read-only: `frame.image.copy()` to draw on.

        Raises UsageError, InputMissingError, InputBrokenError, SourceError (a camera that is not
        there) now; while iterating InputBrokenError, PluginError, OutputError, GalleryError, and
        whatever a source or sink of yours raises as PluginError.
        """
        self._check_open()
        if frames is not None and frames < 1:
            raise UsageError(f"frames {frames}: at least 1, or None for all")
        config = self._watched(source, name)
        guarded = [GuardedSink(sink, f"sink {type(sink).__name__}") for sink in sinks]
        if source is None or isinstance(source, str | os.PathLike | int):
            sources = open_sources(config, must_open=True)
        else:
            sources = [GuardedSource(source, f"source {type(source).__name__}")]
        handover = Handover(live=any(source.info.is_live for source in sources), lock=self._lock)
        try:
            pipeline = self._pipeline(config, sources, guarded, handover, frames)
        except BaseException:
            for opened in sources:
                opened.close()
            raise
        watch = Watch(pipeline, handover, sources, owner=self)
        self._watches.add(watch)
        return watch

    @property
    def people(self) -> tuple[PersonInfo, ...]:
        """Everybody who is enrolled, by name: `.name`, `.person.id`, `.created` (UTC seconds), and
        `.templates`, one for each photo. Raises GalleryError."""
        with self._lock:
            self._check_open()
            return self._gallery.people()

    def remove(self, who: str) -> PersonInfo:
        """Erase a person, by name or id, with all templates and portraits, from the gallery's file.

        Of a service's events, crops and review items `jetson-face people remove` takes them too.
        Raises UsageError where nobody is called so, GalleryError.
        """
        if not isinstance(who, str):
            raise UsageError(
                f"a person is removed by name or id, got a {type(who).__name__}: as in "
                "remove(people[0].person.id)"
            )
        with self._lock:
            self._check_open()
            return self._gallery.remove(who)

    def close(self) -> None:
        """End every watch, and let networks and gallery go; harmless when repeated.

        Raises what ended a watch that failed, once all the others and the rest are closed.
        """
        if self._closed:
            return
        self._closed = True
        with ExitStack() as ending:
            ending.callback(self._let_go)
            for watch in list(self._watches):
                ending.callback(watch.close)

    def _let_go(self) -> None:
        with self._lock, closing(self._gallery):
            self._parts.close()

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        close_behind(self.close, error)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this Recognizer is closed: make a new one")

    def _watched(self, source: object, name: str | None) -> Config:
        """The configuration with that source in place of the configured ones."""
        if name is not None:
            check_name(name, "name")
        changed: dict[str, object] = {} if name is None else {"name": name}
        if isinstance(source, str | os.PathLike | int):
            changed["uri"] = str(source)
        first = self._config.sources[0]
        sources = (first.model_copy(update=changed),) if changed else self._config.sources
        return self._config.model_copy(update={"sources": sources})

    def _pipeline(
        self,
        config: Config,
        sources: Sequence[Source],
        sinks: Sequence[Sink],
        handover: Handover,
        frames: int | None,
    ) -> LivePipeline:
        """The same one that `jetson-face run` has, with the handover at its recognisers."""
        parts = self._parts
        people = live_people(config, self._gallery, parts.embedder)

        def recognizer(info: SourceInfo) -> FrameProcessor:
            inner = build_recognizer(config, parts, people, stills=info.stills)
            return handover.around(govern(config, inner, info))

        canary: CanaryWatch[Parts] = CanaryWatch(
            lambda parts, drifted: build_canary(config, parts, drifted=drifted), _tell
        )
        return LivePipeline(
            sources,
            recognizer,
            sinks,
            # What it decided is waited for, so a frame must not be begun before its turn.
            policy=replace(live_policy(config, frames=frames), together=1),
            facts=lambda: run_facts(config),
            between_frames=handover.between(partial(canary.poll, parts)),
        )


def _tell(event: CanaryEvent) -> None:
    log.log(logging.ERROR if event.state == "drifted" else logging.WARNING, "canary: %s", event)
