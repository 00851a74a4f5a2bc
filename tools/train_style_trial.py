"""Two packs of as many faces, to train with and without faces in a camera's look.

    python tools/train_style_trial.py --faces FACES.zip --vectors VECTORS.npy --styled styled.zip \\
        --out runs/style

`--styled` is what `jetson-face train style --content FACES` wrote. without.zip: the faces that were
rendered, as they are, and as many others; with.zip: the rendered ones, and the same others. Beside
each its stored vectors (.npy), which are those of the clean faces.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.training import data  # noqa: E402
from jetson_face.training.campaign.packing import write_pack  # noqa: E402

_QUALITY = 97
"""Of the JPEG files, as of rendered faces."""


def make(faces: Path, vectors: Path, styled: Path, out: Path, seed: int) -> int:
    """Write both packs; returns how many faces each has. Raises InputMissingError and
    InputBrokenError as `open_packed`, ValueError where the styled faces are not of these."""
    plain, people = data.open_packed(faces, out / "cache")
    rendered, _ = data.open_packed(styled, out / "cache")
    known = np.load(data.find(vectors), mmap_mode="r", allow_pickle=False)
    beside = np.load(styled.with_suffix(".npy"), allow_pickle=False)
    chosen = rows_of(beside, np.asarray(known))
    left = np.setdiff1d(np.arange(len(plain)), chosen)
    others = np.sort(np.random.default_rng(seed).choice(left, len(chosen), replace=False))
    rows = np.concatenate([chosen, others])
    first = {"without": np.asarray(plain[chosen]), "with": np.asarray(rendered)}
    for name, pictures in first.items():
        images = np.concatenate([pictures, plain[others]])
        pack = [(f"{n:06}.jpg", people[n], jpeg(i)) for n, i in zip(rows, images, strict=True)]
        write_pack(out / f"{name}.zip", pack)
        np.save(out / f"{name}.npy", known[rows])
    return len(rows)


def rows_of(some: npt.NDArray[Any], every: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The row of each vector of `some` in `every`. Raises ValueError where one is not there."""
    place = {vector.tobytes(): row for row, vector in enumerate(every)}
    try:
        return np.array([place[vector.tobytes()] for vector in some], np.int64)
    except KeyError:
        raise ValueError("the styled faces were not rendered from these faces") from None


def jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """An RGB picture as a file."""
    done, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return content.tobytes()


def main() -> None:
    """Write, and say how many."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("faces", "vectors", "styled", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    count = make(args.faces, args.vectors, args.styled, args.out, args.seed)
    print(f"wrote with.zip and without.zip of {count} faces each into {args.out}")


if __name__ == "__main__":
    main()
