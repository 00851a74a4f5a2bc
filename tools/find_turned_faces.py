"""Lists the training faces that look most to the side, for `data.focus` of a training recipe.

python tools/find_turned_faces.py --faces runs/cache/faces_KEY.npy --yunet yunet.onnx --out FILE.npy

Turned = the nose far from the middle of the eyes, in units of the larger of eye distance and half
the eye-to-mouth distance (in a profile the eyes fall together). Needs YuNet as an ONNX file with a
dynamic size.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.inference.onnxruntime import OnnxBackend  # noqa: E402

F32 = NDArray[np.float32]
SIDE = 128
STRIDES = (8, 16, 32)


def landmarks(backend: OnnxBackend, faces: NDArray[np.uint8]) -> F32:
    """Five points (N, 5, 2), pixels, of the surest face of each RGB crop (N, 112, 112, 3)."""
    pixels = np.zeros((len(faces), SIDE, SIDE, 3), np.float32)
    pixels[:, : faces.shape[1], : faces.shape[2]] = faces[..., ::-1]
    name = next(iter(backend.inputs))
    raw = backend.run({name: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})
    scores, points = [], []
    for stride in STRIDES:
        cells = SIDE // stride
        grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1).reshape(1, -1, 1, 2)
        sure = raw[f"cls_{stride}"].clip(0, 1) * raw[f"obj_{stride}"].clip(0, 1)
        scores.append(sure.reshape(len(faces), -1))
        offsets = raw[f"kps_{stride}"].reshape(len(faces), -1, 5, 2)
        points.append((offsets + grid) * stride)
    best = np.concatenate(scores, 1).argmax(1)
    chosen = np.concatenate(points, 1)[np.arange(len(faces)), best]
    return np.asarray(chosen, np.float32)


def turn(points: F32) -> F32:
    """How far each face (N, 5, 2) looks to the side; 0 is straight ahead, about 1 a profile."""
    eyes = points[:, :2].mean(1)
    across = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    down = np.linalg.norm(points[:, 3:].mean(1) - eyes, axis=1)
    return np.asarray(abs(points[:, 2, 0] - eyes[:, 0]) / np.maximum(across, down / 2), np.float32)


def main() -> int:
    """Write the numbers of the most turned faces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.12, help="part of all faces to list")
    args = parser.parse_args()
    faces = np.load(args.faces, mmap_mode="r", allow_pickle=False)
    backend = OnnxBackend(args.yunet, threads=1)
    turned = np.concatenate(
        [turn(landmarks(backend, faces[i : i + 64])) for i in range(0, len(faces), 64)]
    )
    chosen = np.sort(np.argsort(-turned, kind="stable")[: round(args.share * len(faces))])
    np.save(args.out, chosen.astype(np.int64), allow_pickle=False)
    print(f"{len(chosen)} of {len(faces)} faces, turned {turned[chosen].min():.2f} or more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
