"""Made parts in the place of networks: coloured squares for faces, colours for who they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jetson_face.config import Config
from jetson_face.core.types import (
    F32,
    Detections,
    Embeddings,
    EmbeddingSpace,
    Frame,
    ImageU8,
    Person,
)
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import QualityGate, Verdict
from jetson_face.factory.parts import Parts, build_matcher, build_quality, build_recognizer
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.recognition.recognizer import FaceRecognizer

SPACE = EmbeddingSpace("made", "0" * 64, 3)
ADA, BOB, EVE = Person("1", "Ada"), Person("2", "Bob"), Person("3", "Eve")
MS = 1_000_000
BOX = (40, 40, 120, 140)


def unit(*values: float) -> F32:
    """A unit vector of SPACE."""
    vector = np.array([*values, *[0.0] * (3 - len(values))], np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


class Squares:
    """Detector and refiner: finds the faces it was told of, whatever the picture shows."""

    name = "squares"

    def __init__(self, boxes: Sequence[tuple[int, int, int, int]] = (BOX,)) -> None:
        self.boxes, self.score, self.points = list(boxes), 0.9, points
        self.close = lambda: None

    def detect(self, image: ImageU8) -> Detections:
        boxes = np.array(self.boxes, np.float32).reshape(-1, 4)
        return Detections(boxes, np.full(len(boxes), self.score, np.float32), self.points(boxes))

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        found = self.detect(image)
        scores = np.zeros(len(boxes), np.float32)
        landmarks = np.full((len(boxes), 5, 2), np.nan, np.float32)
        for row, box in enumerate(boxes):
            for index, other in enumerate(found.boxes):
                if np.abs(box - other).max() < 20:
                    scores[row], landmarks[row] = self.score, found.landmarks[index]
        return Detections(np.array(boxes, np.float32), scores, landmarks)


def points(boxes: F32) -> F32:
    """Five points where a frontal face has them."""
    shares = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]], np.float32)
    return np.asarray(boxes[:, None, :2] + shares * (boxes[:, None, 2:] - boxes[:, None, :2]))


class Says:
    """An embedder that says of every face what it is told to, and notes the crops."""

    space = SPACE
    alignment = "arcface112"

    def __init__(self, vector: F32 | None = None, similarity_min: float = 0.5) -> None:
        self.vector = unit(1) if vector is None else vector
        self.similarity_min = similarity_min
        self.crops: list[ImageU8] = []
        self.close = lambda: None

    def embed(self, crops: ImageU8) -> Embeddings:
        self.crops += list(crops.copy())
        return Embeddings(np.repeat(self.vector[None], len(crops), axis=0), SPACE)


class Quality(QualityGate):
    """Every face has this quality."""

    def __init__(self, score: float = 0.5, like: QualityGate | None = None) -> None:
        like = like or QualityGate()
        super().__init__(landmarks_min=like.landmarks_min, detection_min=like.detection_min)
        self.score = score

    def scores(self, crops: ImageU8, faces: Detections) -> F32:
        return np.full(len(crops), self.score, np.float32)

    def verdict(self, crops: ImageU8, faces: Detections) -> Verdict:
        return Verdict(self.score, ("blurred",))


def gallery(*people: tuple[Person, Sequence[F32]]) -> GallerySnapshot:
    """People with their templates."""
    vectors = np.array([v for _, own in people for v in own], np.float32).reshape(-1, 3)
    index = np.array([i for i, (_, own) in enumerate(people) for _ in own], np.int64)
    return GallerySnapshot(SPACE, vectors, index, tuple(person for person, _ in people))


class Rig:
    """The recogniser that a configuration makes over these parts, and what it says frame by frame.

    frames are 40 ms apart. moves: its pictures stand still; they count as moving all over all the
    same, unless this is false.
    """

    def __init__(
        self,
        config: Config,
        *,
        says: Says | None = None,
        quality: float = 0.5,
        people: GallerySnapshot | None = None,
        refine: bool = True,
        moves: bool = True,
    ) -> None:
        self.detector, self.embedder, self.now_ms = Squares(), says or Says(), 0
        self.parts = Parts(
            detector=self.detector,
            refiner=self.detector if refine else None,
            aligner=Aligner("arcface112"),
            quality=Quality(quality, build_quality(config)),
            embedder=self.embedder,
        )
        known = people or gallery((ADA, [unit(1)]), (BOB, [unit(0, 1)]))
        matcher = build_matcher(config, known)
        self.recognizer: FaceRecognizer = build_recognizer(config, self.parts, lambda _: matcher)
        if moves:
            self.recognizer.finder._moved = None
        self.embedded = 0

    def see(self, frames: int = 1, *, apart_ms: int = 40) -> list[str]:
        """What is said of the first face on each of so many frames: a state, or a name."""
        said = []
        for _ in range(frames):
            self.now_ms += apart_ms
            image = np.zeros((240, 320, 3), np.uint8)
            image[:, 70:] = 200  # the left and the right of a face differ
            frame = Frame(image, self.now_ms, self.now_ms * MS, 0.0, "test")
            self.report = self.recognizer.process(frame)
            self.embedded += self.report.embedded
            first = self.report.sightings[0] if self.report.sightings else None
            name = first.person.name if first is not None and first.person is not None else ""
            said.append("" if first is None else name or first.state)
        return said

    def searched(self, frames: int) -> list[int]:
        """Which of so many frames are searched, from 0."""
        found = []
        for number in range(frames):
            self.see()
            if self.report.searched:
                found.append(number)
        return found


def matched(config: Config, people: GallerySnapshot, probe: F32) -> tuple[str, float, float]:
    """Name, similarity and margin that the configuration's matcher gives a face."""
    matcher: Matcher = build_matcher(config, people)
    (found,) = matcher.match(Embeddings(probe[None], SPACE))
    return "" if found.person is None else found.person.name, found.similarity, found.margin
