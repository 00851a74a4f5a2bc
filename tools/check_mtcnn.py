"""Compare our MTCNN with the pip package `mtcnn`, picture by picture, and count what it finds.

    python tools/check_mtcnn.py make      # in an environment with mtcnn and tensorflow-cpu
    python tools/check_mtcnn.py compare   # in the project's own
    python tools/check_mtcnn.py recall [--detector yunet]

`make` stores what the package finds (coordinates only) in
tests/detection/golden_mtcnn.json, or with `--of video` what it finds in frames of the 1080p clip in
golden_mtcnn_video.json; `compare` runs our detector with the same parameters on the same pictures.
`recall` counts the pictures of LFW and CFP in whose middle MTCNN, or the detector that is named,
finds a face, as configured by default. The development data are
looked for in $JETSON_FACE_DATA or ../shared/data; without them only the two portraits that
scikit-image and matplotlib carry are compared.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = {
    "pictures": ROOT / "tests" / "detection" / "golden_mtcnn.json",
    "video": ROOT / "tests" / "detection" / "golden_mtcnn_video.json",
}
PARAMETERS = {"min_face_px": 20, "pyramid_factor": 0.709, "thresholds": [0.6, 0.7, 0.8]}
BUNDLED = {
    "astronaut.png": ("scikit-image", "skimage/data/astronaut.png"),
    "grace_hopper.jpg": ("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
}
SAMPLES = {"lfw_dev.zip": 250, "cfp_dev.zip": 150, "video_frames_dev.zip": 100}
CLIP, CLIP_EVERY = "clips/crowd_1080p.mp4", 10
RECALL = {"lfw": "lfw_dev.zip", "cfp": "cfp_dev.zip"}
TOLERANCE_PX = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["make", "compare", "recall"])
    parser.add_argument("--of", choices=list(GOLDEN), default="pictures", help="make, compare")
    parser.add_argument("--golden", type=Path, help="make, compare: another file of faces")
    parser.add_argument("--worst", type=int, default=5, help="compare: faces to list")
    parser.add_argument("--every", type=int, default=1, help="recall: one picture in so many")
    parser.add_argument("--detector", choices=["mtcnn", "yunet"], default="mtcnn", help="recall")
    arguments = parser.parse_args()
    golden = arguments.golden or GOLDEN[arguments.of]
    if arguments.action == "make":
        return make(golden, sample_names() if arguments.of == "pictures" else frame_names())
    if arguments.action == "compare":
        return compare(golden, arguments.worst)
    return recall(arguments.every, arguments.detector)


def data_folder() -> Path:
    return Path(os.environ.get("JETSON_FACE_DATA", ROOT.parent / "shared" / "data"))


def sample_names() -> list[str]:
    """The bundled portraits, and every n-th picture of each archive."""
    names = list(BUNDLED)
    for archive, count in SAMPLES.items():
        path = data_folder() / archive
        if path.is_file():
            with zipfile.ZipFile(path) as opened:
                every = sorted(n for n in opened.namelist() if n.endswith(".jpg"))
            names += [f"{archive}:{n}" for n in every[:: len(every) // count][:count]]
    return names


def frame_names() -> list[str]:
    """Every CLIP_EVERY-th frame of the clip."""
    opened = cv2.VideoCapture(str(data_folder() / CLIP))
    count = int(opened.get(cv2.CAP_PROP_FRAME_COUNT))
    return [f"{CLIP}:{index}" for index in range(0, count, CLIP_EVERY)]


def read_picture(name: str) -> NDArray[np.uint8] | None:
    """BGR pixels; None where the picture is not on this machine."""
    if name in BUNDLED:
        distribution, file = BUNDLED[name]
        path = importlib.metadata.distribution(distribution).locate_file(file)
        data = Path(str(path)).read_bytes()
    elif name.startswith(CLIP):
        return read_frame(int(name.partition(":")[2]))
    else:
        archive, _, member = name.partition(":")
        if not (data_folder() / archive).is_file():
            return None
        data = _archive(data_folder() / archive).read(member)
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def read_frame(index: int) -> NDArray[np.uint8] | None:
    """BGR pixels of a frame of the clip; None where it is not on this machine."""
    opened = _clip(data_folder() / CLIP)
    if not opened.isOpened():
        return None
    # Read on from the frame before: seeking is exact with some decoders only.
    while int(opened.get(cv2.CAP_PROP_POS_FRAMES)) < index:
        opened.grab()
    read, frame = opened.read()
    return np.asarray(frame, np.uint8) if read else None


@lru_cache
def _clip(path: Path) -> cv2.VideoCapture:
    return cv2.VideoCapture(str(path))


@lru_cache
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def make(golden: Path, names: list[str]) -> int:
    from mtcnn import MTCNN  # type: ignore[import-untyped, unused-ignore]

    detector = MTCNN()
    faces: dict[str, Any] = {}
    for name in names:
        image = read_picture(name)
        if image is None:
            continue
        found = detector.detect_faces(
            np.ascontiguousarray(image[:, :, ::-1]),
            min_face_size=PARAMETERS["min_face_px"],
            threshold_onet=0.8,
            box_format="xyxy",
            output_type="numpy",
        )
        # Columns: picture, x1, y1, x2, y2, score, five x, five y.
        faces[name] = [
            {
                "box": [round(float(v), 2) for v in row[1:5]],
                "score": round(float(row[5]), 4),
                "points": [
                    [round(float(row[6 + i]), 2), round(float(row[11 + i]), 2)] for i in range(5)
                ],
            }
            for row in found
        ]
    content = {
        "reference": f"mtcnn {importlib.metadata.version('mtcnn')}",
        "parameters": PARAMETERS,
        "faces": faces,
    }
    golden.parent.mkdir(parents=True, exist_ok=True)
    lines = json.dumps(content, separators=(",", ":")).replace('],"', '],\n"')
    golden.write_text(lines + "\n", "utf-8")
    print(f"{sum(map(len, faces.values()))} faces in {len(faces)} pictures -> {golden}")
    return 0


def open_detector(**settings: Any) -> Any:
    """Ours, on one thread."""
    from jetson_face.detection.mtcnn.detector import Mtcnn
    from jetson_face.detection.mtcnn.graph import ensure_mtcnn
    from jetson_face.detection.mtcnn.layers import NETS
    from jetson_face.inference.onnxruntime import OnnxBackend
    from jetson_face.models.cards import load_card

    with tempfile.TemporaryDirectory() as cache:
        graphs = ensure_mtcnn(load_card("mtcnn"), Path(cache))
        backends = [OnnxBackend(graphs[net], threads=1) for net in NETS]
    return Mtcnn(*backends, **settings)


def compare(golden: Path, worst: int) -> int:
    content = json.loads(golden.read_text("utf-8"))
    parameters = content["parameters"]
    detector = open_detector(
        min_face_px=parameters["min_face_px"],
        pyramid_factor=parameters["pyramid_factor"],
        thresholds=tuple(parameters["thresholds"]),
        max_faces=1000,
    )
    rows: list[tuple[float, float, str]] = []
    extra = skipped = 0
    for name, wanted in content["faces"].items():
        image = read_picture(name)
        if image is None:
            skipped += 1
            continue
        found = detector.detect(image)
        taken = set()
        for face in wanted:
            box_px, point_px, index = nearest(face, found.boxes, found.landmarks)
            taken.add(index)
            rows.append((box_px, point_px, f"{name} score {face['score']}"))
        extra += len(found) - len(taken - {-1})
    report(rows, extra, skipped, worst)
    return 0


def recall(every: int, type_of_detector: str) -> int:
    """Print the share of pictures with a face whose box holds the picture's middle."""
    from jetson_face.config import load_config
    from jetson_face.factory.networks import build_detector

    detector = build_detector(load_config(None, [f"detector.type={type_of_detector}"]))
    for name, archive in RECALL.items():
        if not (data_folder() / archive).is_file():
            print(f"{name}: {data_folder() / archive} is not on this machine")
            continue
        members = sorted(n for n in _archive(data_folder() / archive).namelist() if ".jpg" in n)
        hits: dict[str, list[bool]] = {}
        for member in members[::every]:
            kind = next((k for k in ("frontal", "profile") if f"/{k}/" in member), "")
            image = read_picture(f"{archive}:{member}")
            assert image is not None
            hits.setdefault(kind, []).append(holds_middle(detector.detect(image).boxes, image))
        for kind, found in sorted(hits.items()):
            what = f"{name} {kind}".strip()
            print(f"{what:12} {sum(found)} of {len(found)} ({sum(found) / len(found):.2%})")
    return 0


def holds_middle(boxes: Any, image: NDArray[np.uint8]) -> bool:
    """Whether the middle of the picture lies in one of the boxes."""
    x, y = image.shape[1] / 2, image.shape[0] / 2
    inside = (boxes[:, :2] <= [x, y]).all(axis=1) & (boxes[:, 2:] >= [x, y]).all(axis=1)
    return bool(inside.any())


def nearest(face: Any, boxes: Any, landmarks: Any) -> tuple[float, float, int]:
    """Largest coordinate differences to the face of ours that is nearest, and its row."""
    if not len(boxes):
        return np.inf, np.inf, -1
    box_px = np.abs(boxes - np.array(face["box"])).max(axis=1)
    index = int(box_px.argmin())
    point_px = np.abs(landmarks[index] - np.array(face["points"])).max()
    return float(box_px[index]), float(point_px), index


def report(rows: list[tuple[float, float, str]], extra: int, skipped: int, worst: int) -> None:
    values = np.array([row[:2] for row in rows])
    both = (values <= TOLERANCE_PX).all(axis=1)
    print(f"reference faces           {len(rows)} (pictures not on this machine: {skipped})")
    print(f"box and points <= {TOLERANCE_PX} px  {both.sum()} ({both.mean():.2%})")
    for column, what in enumerate(("box", "points")):
        p50, p95, p99 = np.percentile(values[:, column], [50, 95, 99])
        print(f"{what:6} px p50 {p50:.3f}  p95 {p95:.3f}  p99 {p99:.3f}")
    print(f"faces that only we find   {extra}")
    for box_px, point_px, name in sorted(rows, key=lambda r: -max(r[:2]))[:worst]:
        print(f"  box {box_px:.2f} points {point_px:.2f}  {name}")


if __name__ == "__main__":
    sys.exit(main())
