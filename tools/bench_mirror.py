"""What mirror images bring: people found again in another video, by looks that are mirrored or not.

    python tools/bench_mirror.py --videos video_frames_dev [-c FILE] [--json FILE]

VIDEOS/PERSON/VIDEO/FRAME.jpg: each video is enrolled once and asked for once, against all others.
As photos: each frame together with its mirror image. As a camera: every other frame mirrored, which
costs nothing. Rates: pairs of one person's videos accepted where one in 100, 1,000, 10,000 pairs of
different people is; rank-1: the most similar other video is of the same person.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from jetson_face.config import load_config
from jetson_face.core.types import F32, ImageU8
from jetson_face.embedding.mirrored import mirror
from jetson_face.factory.parts import Parts, build_parts
from jetson_face.util.images import read_picture

FARS = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class Row:
    """One way to enrol and one to look; shares of 1."""

    enrolled: str
    looked: str
    tar: tuple[float, ...]
    rank1: float


def crops_of(parts: Parts, videos: Path) -> tuple[ImageU8, list[str], list[int]]:
    """The best face of each frame, its person, and the number of its video."""
    crops, people, numbers = [], [], []
    folders = sorted({path.parent for path in videos.glob("*/*/*.jpg")})
    for number, folder in enumerate(folders):
        for path in sorted(folder.glob("*.jpg")):
            image = read_picture(path)
            found = parts.detector.detect(image)
            if len(found):
                crops.append(parts.aligner.crop(image, found.landmarks[:1])[0])
                people.append(folder.parent.name)
                numbers.append(number)
    return np.stack(crops), people, numbers


def embedded(parts: Parts, crops: ImageU8) -> F32:
    """Unit vectors of single looks."""
    batches = [
        parts.embedder.embed(crops[i : i + 16]).vectors.copy() for i in range(0, len(crops), 16)
    ]
    return np.concatenate(batches)


def unit(vectors: F32) -> F32:
    """Of length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)


def compare(ways: dict[str, F32], people: list[str]) -> list[Row]:
    """Each way against those that a program could combine it with. ways: a vector a video."""
    names = np.array(people)
    same = names[:, None] == names[None, :]
    other = ~np.eye(len(names), dtype=bool)
    repeated = (same & other).any(axis=1)
    rows = []
    for enrolled, looked in (
        ("plain", "plain"), ("plain", "camera"), ("photos", "plain"), ("photos", "camera"),
        ("photos", "photos"), ("one plain", "one plain"), ("one photo", "one photo"),
    ):  # fmt: skip
        scores = ways[looked] @ ways[enrolled].T
        impostors = np.sort(scores[~same])
        genuine = scores[same & other]
        limits = [impostors[-max(1, int(len(impostors) * far))] for far in FARS]
        nearest = np.where(other, scores, -np.inf).argmax(axis=1)
        right = float((names[nearest] == names)[repeated].mean())
        tar = tuple(float((genuine > limit).mean()) for limit in limits)
        rows.append(Row(enrolled, looked, tar, right))
    return rows


def measure(parts: Parts, videos: Path) -> list[Row]:
    """All rows for a folder of people's videos."""
    crops, people, numbers = crops_of(parts, videos)
    plain, mirrored = embedded(parts, crops), embedded(parts, mirror(crops))
    looks: dict[str, list[F32]] = {}
    names = []
    for number in sorted(set(numbers)):
        rows = np.flatnonzero(np.array(numbers) == number)
        names.append(people[rows[0]])
        both = unit(plain[rows] + mirrored[rows])
        turns = np.where((np.arange(len(rows)) % 2 == 1)[:, None], mirrored[rows], plain[rows])
        for way, vector in (
            ("plain", plain[rows].mean(axis=0)), ("photos", both.mean(axis=0)),
            ("camera", turns.mean(axis=0)), ("one plain", plain[rows[0]]), ("one photo", both[0]),
        ):  # fmt: skip
            looks.setdefault(way, []).append(vector)
    return compare({way: unit(np.stack(vectors)) for way, vectors in looks.items()}, names)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with closing(build_parts(load_config(args.config, ["backend.threads=1"]))) as parts:
        rows = measure(parts, args.videos)
    print("| enrolled | looked | TAR at FAR 1 % | 0.1 % | 0.01 % | rank-1 |")
    print("| --- | --- | --: | --: | --: | --: |")
    for row in rows:
        figures = " | ".join(f"{100 * value:.1f} %" for value in (*row.tar, row.rank1))
        print(f"| {row.enrolled} | {row.looked} | {figures} |")
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), "utf-8")


if __name__ == "__main__":
    main()
