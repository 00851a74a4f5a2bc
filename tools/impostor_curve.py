"""Measure the impostor curve that goes beside a shipped model card.

    python tools/impostor_curve.py --model squeezenet_face --sets FOLDER --cache FOLDER

FOLDER has the unpacked development sets, as for tools/train_evaluate.py: photos (`lfw/`, with their
mirror images, as photos are enrolled) and frames of videos (`video_frames/`, without). Writes
`engines/MODEL.impostors.json`; the card names it with `impostors:`. `jetson-face calibrate --curve`
does the same for a folder of a user's own.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tools")]

from train_evaluate import faces_of  # noqa: E402

from jetson_face.calibration.curve_measuring import measure_curve  # noqa: E402
from jetson_face.calibration.impostors import Impostors, SourceFace, impostors_of  # noqa: E402
from jetson_face.config import Config  # noqa: E402
from jetson_face.core.types import Embeddings  # noqa: E402
from jetson_face.evaluation.pairs import find_pictures, read_pairs  # noqa: E402
from jetson_face.evaluation.people import read_people  # noqa: E402


def development_faces(config: Config, sets: Path, cache: Path) -> Impostors:
    """Everybody of the development sets; 44 people are in both, under the same name."""
    folder = sets / "lfw"
    listed = read_pairs(folder / "pairs.txt").pictures
    photos = find_pictures(folder / "images", listed)
    shots = {s.name: s for own in read_people(sets / "video_frames").values() for s in own}
    sources: list[SourceFace] = []
    vectors = []
    found = faces_of(config, photos, True, cache)
    for name, vector in zip(found.names, found.vectors, strict=True):
        sources.append(SourceFace(photos[name].parent.name, name, name))
        vectors.append(vector)
    space = found.space
    found = faces_of(config, {name: shot.path for name, shot in shots.items()}, False, cache)
    for name, vector in zip(found.names, found.vectors, strict=True):
        person = shots[name].person
        sources.append(SourceFace(person, f"{person}/{shots[name].session}", name))
        vectors.append(vector)
    there = [at for at, vector in enumerate(vectors) if np.isfinite(vector).all()]
    faces = Embeddings(np.stack([vectors[at] for at in there]).astype(np.float32), space)
    return impostors_of([sources[at] for at in there], faces)


def main() -> None:
    """Find, embed, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a card's name")
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/evaluation"))
    parser.add_argument("--out", type=Path, help="default: engines/MODEL.impostors.json")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    config = Config.model_validate({"embedder": {"model": args.model}})
    faces = development_faces(config, args.sets, args.cache)
    note = "photos of LFW's development folds, frames of the YouTube Faces sample"
    curve = measure_curve(faces, note=note)
    out = args.out or REPO / "engines" / f"{args.model}.impostors.json"
    curve.save(out)
    print(f"{out}: {curve.faces} faces of {curve.people} people")


if __name__ == "__main__":
    main()
