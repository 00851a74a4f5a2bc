"""What is measured: the networks of a configuration, with the people of a clip enrolled."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.ground_truth import GroundTruth
from jetson_face.config import Config
from jetson_face.core.errors import EnrollmentError, UsageError
from jetson_face.factory.parts import (
    Parts,
    build_enroller,
    build_matcher,
    build_parts,
    build_recognizer,
    for_photos,
    open_gallery,
)
from jetson_face.factory.threshold import calibrated
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.recognizer import FaceRecognizer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class BenchSubject:
    """The networks of one configuration, and the people that a clip's ground truth enrols.

    stills: for pictures that stand alone, not for a clip.
    """

    config: Config
    parts: Parts
    matcher: Matcher
    stills: bool = False

    def recognizer(self, *, every: int | None = None) -> FaceRecognizer:
        """A fresh recogniser; every: another sampling rate than the configuration's."""
        config = self.config if every is None else with_settings(self.config, every=every)
        return build_recognizer(config, self.parts, lambda now_ns: self.matcher, stills=self.stills)


@contextmanager
def open_subject(
    config: Config,
    ground_truth: GroundTruth | None = None,
    *,
    matcher: Matcher | None = None,
    stills: bool = False,
) -> Iterator[BenchSubject]:
    """Load the networks; enrol the ground truth's people into a gallery that is thrown away after.

    Without ground truth the configuration's own gallery is used where there is one. matcher: of an
    earlier subject with the same embedder, instead of enrolling again. stills: see BenchSubject.
    Raises EnrollmentError when a person of the ground truth cannot be enrolled, and the networks'
    errors.
    """
    parts = build_parts(config)
    try:
        if matcher is None and ground_truth is None and config.gallery_path.exists():
            with open_gallery(config, parts.embedder.space) as gallery:
                config = calibrated(config, gallery)
                least = parts.embedder.similarity_min
                matcher = build_matcher(config, gallery.snapshot(), least)
        elif matcher is None:
            matcher = _enrolled(
                config,
                for_photos(config, parts),
                {} if ground_truth is None else ground_truth.enrol,
            )
        yield BenchSubject(config, parts, matcher, stills=stills)
    finally:
        parts.close()


class Subjects:
    """Opens the networks of methods; the people of a clip are enrolled once for each method."""

    def __init__(self, configs: Mapping[str, Config]) -> None:
        self._configs = configs
        self._matchers: dict[tuple[str, str], Matcher] = {}

    @contextmanager
    def open(self, method: str, size: int | None, material: Material) -> Iterator[BenchSubject]:
        """The networks of a method at an image size; see `open_subject`."""
        config = with_settings(every_search(self._configs[method]), size=size)
        known = self._matchers.get((method, material.name))
        with open_subject(config, material.ground_truth, matcher=known) as subject:
            self._matchers[method, material.name] = subject.matcher
            yield subject


def every_search(config: Config) -> Config:
    """The same, without `sampling.motion` unless it is set: what is measured must hold for a camera
    where something moves everywhere, whatever the clip shows."""
    if "motion" in config.sampling.model_fields_set:
        return config
    sampling = config.sampling.model_copy(update={"motion": False})
    return config.model_copy(update={"sampling": sampling})


def _enrolled(config: Config, parts: Parts, people: dict[str, tuple[str, ...]]) -> Matcher:
    with tempfile.TemporaryDirectory(prefix="jetson-face-bench-") as folder:
        private = config.gallery.model_copy(
            update={"path": Path(folder) / "gallery.db", "encrypt": False}
        )
        own = config.model_copy(update={"gallery": private, "state_dir": Path(folder)})
        with open_gallery(own, parts.embedder.space, create=True) as gallery:
            enroller = build_enroller(own, parts, gallery)
            for name, photos in people.items():
                result = enroller.enroll_photos(name, [Path(photo) for photo in photos])
                for refusal in result.refused:
                    log.info("%s: not enrolled: %s", refusal.path, refusal.reason)
                if result.person is None:
                    why = result.refused[0].reason if result.refused else "there are none"
                    raise EnrollmentError(f"no photo of {name} could be enrolled: {why}")
            return build_matcher(own, gallery.snapshot(), parts.embedder.similarity_min)


def with_settings(
    config: Config,
    *,
    every: int | None = None,
    size: int | None = None,
    min_face: int | None = None,
) -> Config:
    """The configuration with another sampling rate, longest side to search, smallest face.

    Raises UsageError where its detector has no such setting.
    """
    changed: dict[str, object] = {}
    if every is not None:
        changed["sampling"] = config.sampling.model_copy(update={"interval": every})
    wanted = {"max_side_px": size, "min_face_px": min_face}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    for key in wanted:
        if key not in type(config.detector).model_fields:
            raise UsageError(f"detector {config.detector.type} has no {key}: leave it out")
    if wanted:
        changed["detector"] = config.detector.model_copy(update=wanted)
    return config.model_copy(update=changed)
