"""Measure a campaign's averaged weights on the development sets, and log a line.

    python tools/train_evaluate.py --run RUN --sets FOLDER [--log engines/training_log.csv]

FOLDER has the unpacked development sets: `video_frames/`, `lfw/` and `cfp/`, the latter two with
`pairs.txt` or `pairs_FP.tsv` and `images/`. The figures are those of `jetson-face eval video
--divisions 40` and `eval verification` (photos with their mirror images); faces that were found
before are kept in `--cache`.
"""

from __future__ import annotations

import argparse
import csv
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.config import Config  # noqa: E402
from jetson_face.evaluation.cache import FaceCache  # noqa: E402
from jetson_face.evaluation.divisions import over_divisions  # noqa: E402
from jetson_face.evaluation.extract import ExtractedFaces  # noqa: E402
from jetson_face.evaluation.method import build_method, log_progress  # noqa: E402
from jetson_face.evaluation.pairs import find_pictures, read_pairs  # noqa: E402
from jetson_face.evaluation.people import Shot, read_people  # noqa: E402
from jetson_face.evaluation.verification import verify  # noqa: E402

COLUMNS = (
    "date",
    "commit",
    "recipe",
    "hours",
    "samples",
    "lfw",
    "cfp_fp",
    "dir_single",
    "dir_video",
    "rank1_single",
    "held_out_cosine",
    "note",
)
log = logging.getLogger("train_evaluate")


def faces_of(
    config: Config, pictures: dict[str, Path], photos: bool, cache: Path
) -> ExtractedFaces:
    """The subjects of pictures, found before where the cache knows them."""
    method = build_method(config, photos=photos)
    kept = FaceCache(
        cache, {**method.facts, "detector_settings": config.detector.model_dump(mode="json")}
    )
    kept.recall(method.extractor)
    out = method.extractor.extract(pictures, log_progress("pictures", 1000))
    kept.keep(method.extractor)
    return out


def on_videos(config: Config, folder: Path, cache: Path) -> dict[str, float]:
    """DIR at FPIR 1 % and rank-1, per cent, over 40 divisions."""
    people = read_people(folder)
    pictures = {shot.name: shot.path for shots in people.values() for shot in shots}
    faces = faces_of(config, pictures, False, cache)
    for name, value in pairs_of_videos(people, faces).items():
        print(f"pairs of pictures, {name}: {value:.4f}")
    told = over_divisions(people, faces.vectors, faces.row_of)
    return {
        "dir_single": told["single: DIR at FPIR 0.01"]["mean"],
        "dir_video": told["video: DIR at FPIR 0.01"]["mean"],
        "rank1_single": told["single: rank-1"]["mean"],
    }


def pairs_of_videos(
    people: Mapping[str, Sequence[Shot]], faces: ExtractedFaces
) -> dict[str, float]:
    """Cosines of pairs of pictures: of one person in two videos, and of two people.

    The share over the highest in ten thousand of two people's is all pairs' say on what a few
    divisions decide: it varies less from one training to the next.
    """
    row_of = faces.row_of
    shots = [s for of in people.values() for s in of if faces.found[row_of[s.name]]]
    vectors = faces.vectors[[row_of[s.name] for s in shots]]
    cosines = vectors @ vectors.T
    person = np.array([s.person for s in shots])
    video = np.array([f"{s.person}/{s.session}" for s in shots])
    once = np.triu(np.ones(cosines.shape, bool), 1)
    same = person[:, None] == person
    genuine = cosines[once & same & (video[:, None] != video)]
    impostor = cosines[once & ~same]
    high, highest = np.quantile(impostor, [1 - 1e-3, 1 - 1e-4])
    return {
        "of one person, mean": float(genuine.mean()),
        "of two people, highest in a thousand": float(high),
        "of two people, highest in ten thousand": float(highest),
        "of one person, share over the former": float((genuine > high).mean()),
        "of one person, share over the latter": float((genuine > highest).mean()),
    }


def on_pairs(config: Config, listed: Path, cache: Path) -> float:
    """Accuracy, per cent, with mirror images; pictures without a face are errors."""
    pairs = read_pairs(listed)
    pictures = find_pictures(listed.parent / "images", pairs.pictures)
    faces = faces_of(config, pictures, True, cache)
    result = verify(pairs, faces, rng=np.random.default_rng(1), method={}, resamples=0)
    return 100 * float(result.as_json()["accuracy"])


def commit() -> str:
    """The short name of the commit that is checked out."""
    asked = ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def add_line(path: Path, row: dict[str, str]) -> None:
    """Append to the log; its first line names the columns."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        out = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh:
            out.writeheader()
        out.writerow(row)


def main() -> None:
    """Export, measure, log, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="run folder of a campaign")
    parser.add_argument("--model", default=None, help="or a card's name or path, to compare with")
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/evaluation"))
    parser.add_argument("--log", type=Path, help="append a line to this CSV file")
    parser.add_argument("--recipe", default="configs/train_campaign.yaml")
    parser.add_argument("--commit", help="of the recipe; default: the one checked out")
    parser.add_argument("--note", default="")
    parser.add_argument("--video-only", action="store_true")
    parser.add_argument("--precision", default="fp32", help="of --model: fp32, fp16, int8")
    parser.add_argument("--keep", type=Path, metavar="FILE.npz", help="also the averaged weights")
    args = parser.parse_args()
    if (args.run is None) == (args.model is None):
        parser.error("give --run or --model")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    row = dict.fromkeys(COLUMNS, "")
    if args.run is None:
        model = args.model
    else:
        from jetson_face.training.campaign.state import (
            export_averaged,
            keep_small,
            read_checkpoint,
        )
        from jetson_face.training.settings import CardSettings

        state = read_checkpoint(args.run)
        model = str(export_averaged(args.run, args.run / "averaged", "campaign", CardSettings()))
        if args.keep is not None:
            keep_small(state, args.keep)
        row |= {"hours": f"{state['spent_s'] / 3600:.2f}", "samples": str(state["samples"])}
        if state["held_out_cosine"] is not None:
            row["held_out_cosine"] = f"{state['held_out_cosine'][0]:.4f}"
    # MTCNN, whatever else is installed: a line of the log is compared with the lines before it
    embedder = {"model": model, "precision": args.precision}
    config = Config.model_validate({"detector": {"type": "mtcnn"}, "embedder": embedder})
    figures = on_videos(config, args.sets / "video_frames", args.cache)
    if not args.video_only:
        figures["lfw"] = on_pairs(config, args.sets / "lfw" / "pairs.txt", args.cache)
        figures["cfp_fp"] = on_pairs(config, args.sets / "cfp" / "pairs_FP.tsv", args.cache)
    row |= {name: f"{value:.2f}" for name, value in figures.items()}
    row |= {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
        "commit": args.commit or commit(),
        "recipe": args.recipe,
        "note": args.note,
    }
    for name in COLUMNS:
        if row[name]:
            print(f"{name}: {row[name]}")
    if args.log is not None:
        add_line(args.log, row)


if __name__ == "__main__":
    main()
