"""From a campaign's kept weights to what ships: ONNX in three precisions, golden, card, curves.

    python tools/train_ship.py -c configs/train_campaign_wide.yaml --kept FILE.npz --sets FOLDER
        [--folder engines] [--cache FOLDER]

The recipe's first pack calibrates INT8. FOLDER has the unpacked development sets, as for
tools/train_evaluate.py: from them come the impostor curve, the centroids of unrecognisable crops,
the weights of pair verification and the card's threshold, which one in a thousand pairs of two
people of LFW reaches.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from pathlib import Path

import numpy as np
import yaml

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tools")]

from impostor_curve import development_faces  # noqa: E402
from train_evaluate import faces_of  # noqa: E402

from jetson_face.benchmark.unrecognisable import make_recognisability  # noqa: E402
from jetson_face.calibration.curve_measuring import measure_curve  # noqa: E402
from jetson_face.config import Config  # noqa: E402
from jetson_face.evaluation.false_match_curve import (  # noqa: E402
    false_match_curve,
    people_of,
    threshold_at,
)
from jetson_face.evaluation.pairs import find_pictures, read_pairs  # noqa: E402
from jetson_face.training import data  # noqa: E402
from jetson_face.training.campaign.settings import CampaignConfig  # noqa: E402
from jetson_face.training.campaign.state import read_small  # noqa: E402
from jetson_face.training.export import export_run, spread, write_card  # noqa: E402
from jetson_face.training.loop import build_net  # noqa: E402
from jetson_face.training.pair_fit import fit_to_list  # noqa: E402
from jetson_face.util.documents import load_document  # noqa: E402
from jetson_face.util.files import write_file  # noqa: E402

CALIBRATION_FACES = 1000
PAIRS = 400


def files(recipe: CampaignConfig, kept: Path, folder: Path) -> Path:
    """Write networks, golden tensors and a first card; its path."""
    net = build_net(recipe.net)
    net.load_state_dict(read_small(kept)["ema"])
    faces, _ = data.open_packed(recipe.packs[0].packed, recipe.cache)
    some = np.asarray(faces[spread(len(faces), CALIBRATION_FACES, 0)], np.float32)
    given = np.ascontiguousarray(((some - 127.5) / 127.5).transpose(0, 3, 1, 2))
    return export_run(net.eval(), folder, recipe.name, given, recipe.card)


def threshold(config: Config, listed: Path, cache: Path) -> float:
    """The cosine that one in a thousand pairs of two people reaches, rounded up to a hundredth."""
    pairs = read_pairs(listed)
    pictures = find_pictures(listed.parent / "images", pairs.pictures)
    faces = faces_of(config, pictures, False, cache)
    there = faces.found
    curve = false_match_curve(faces.vectors[there], people_of(pairs, faces.names)[there])
    point = threshold_at(curve)
    logging.info("one in a thousand of %d pairs reaches %.4f", curve.pairs, point)
    return math.ceil(100 * point) / 100


def main() -> None:
    """Export, measure, and name all in the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", type=Path, required=True, help="the campaign's recipe")
    parser.add_argument("--kept", type=Path, required=True, help="its kept weights, .npz")
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=REPO / "engines")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/evaluation"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    recipe = load_document(args.config, CampaignConfig)
    path = files(recipe, args.kept, args.folder)
    config = Config.model_validate(
        {"detector": {"type": "mtcnn"}, "embedder": {"model": str(path)}}
    )
    told = yaml.safe_load(path.read_text("utf-8"))
    notes = told.pop("notes")
    told["similarity_min"] = threshold(config, args.sets / "lfw" / "pairs.txt", args.cache)
    told["impostors"] = f"{recipe.name}.impostors.json"
    note = "photos of LFW's development folds, frames of the YouTube Faces sample"
    curve = measure_curve(development_faces(config, args.sets, args.cache), note=note)
    curve.save(args.folder / told["impostors"])
    told["unrecognisable"] = f"{recipe.name}.unrecognisable.json"
    nobody = make_recognisability(config, args.sets / "video_frames")
    nobody.write(args.folder / told["unrecognisable"])
    cfp = args.sets / "cfp"
    pairs, what, right = fit_to_list(
        cfp / "pairs_FF.tsv", cfp / "images", PAIRS, None, [f"embedder.model={path}"]
    )
    write_file(args.folder / f"siamese_{recipe.name}.json", pairs.as_json() + "\n")
    logging.info("pair verification: %.1f %% right of %s", 100 * right, what)
    write_card(path, told | {"notes": notes})
    print(path)


if __name__ == "__main__":
    main()
