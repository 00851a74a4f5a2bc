"""Measures the shipped embedding against dlib's ResNet: time on one core, FP16, INT8, accuracy.

JETSON_FACE_DATA=../shared/data python tools/bench_embedding.py [--json FILE]

Crops of the LFW development pictures are cut once (MTCNN, five points) and kept in --crops.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.config import Config, OnnxRuntimeConfig  # noqa: E402
from jetson_face.embedding.align import Aligner  # noqa: E402
from jetson_face.embedding.embedder import Embedder  # noqa: E402
from jetson_face.embedding.mirrored import Mirrored  # noqa: E402
from jetson_face.embedding.onnx import OnnxEmbedder  # noqa: E402
from jetson_face.evaluation import metrics  # noqa: E402
from jetson_face.evaluation.extract import pick_subject  # noqa: E402
from jetson_face.evaluation.pairs import Pair, read_pairs  # noqa: E402
from jetson_face.factory.networks import build_detector  # noqa: E402
from jetson_face.inference.onnxruntime import OnnxBackend  # noqa: E402
from jetson_face.models.cards import ModelCard, load_card, resolve  # noqa: E402

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
DATA = Path(os.environ.get("JETSON_FACE_DATA", REPO.parent / "shared" / "data"))
SETS = {"lfw": ("lfw_dev.zip", "pairs.txt"), "cfp_fp": ("cfp_dev.zip", "pairs_FP.tsv")}
FACES_COMPARED = 1000
MIRRORED = "fp32, with mirror image"


def cut_crops(archive: Path, pairs: list[Pair]) -> dict[str, U8]:
    """Aligned BGR crops (112, 112, 3) of the pictures in the pairs; faceless ones are absent."""
    config = Config(backend=OnnxRuntimeConfig(threads=1))
    detector, relaxed = build_detector(config), build_detector(config, relaxed=True)
    aligner = Aligner("arcface112")
    crops: dict[str, U8] = {}
    with zipfile.ZipFile(archive) as pictures:
        stored = {_bare(n).removeprefix("images/"): n for n in pictures.namelist()}
        for name in dict.fromkeys(n for p in pairs for n in (p.a, p.b)):
            data = np.frombuffer(pictures.read(stored[_bare(name)]), np.uint8)
            image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
            faces = detector.detect(image)
            if len(faces) == 0:
                faces = relaxed.detect(image)
            if len(faces):
                best = pick_subject(faces, (image.shape[0], image.shape[1]))
                crops[name] = aligner.crop(image, faces.landmarks[best : best + 1])[0]
    return crops


def _bare(name: str) -> str:
    return Path(name).with_suffix("").as_posix()


def cached_crops(name: str, folder: Path) -> tuple[list[Pair], dict[str, U8]]:
    """Pairs and crops of a development set, from ``folder`` if they were cut before."""
    archive, listed = SETS[name]
    path = folder / f"{name}.npz"
    with zipfile.ZipFile(DATA / archive) as pictures:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / listed).write_bytes(pictures.read(listed))
    pairs = list(read_pairs(folder / listed).pairs)
    if not path.exists():
        cut = cut_crops(DATA / archive, pairs)
        buffer = io.BytesIO()
        np.savez(buffer, names=np.array(list(cut)), crops=np.stack(list(cut.values())))
        path.write_bytes(buffer.getvalue())
    kept = np.load(path, allow_pickle=False)
    return pairs, dict(zip(kept["names"].tolist(), kept["crops"], strict=True))


def embed_all(card: ModelCard, precision: str, crops: dict[str, U8]) -> dict[str, F32]:
    """Unit vectors by picture; `MIRRORED`: as photos are embedded."""
    part = "fp32" if precision == MIRRORED else precision
    backend = OnnxBackend(resolve(card, part), threads=2)
    embedder: Embedder = OnnxEmbedder(card, backend, max_batch=32)
    if precision == MIRRORED:
        embedder = Mirrored(embedder)
    vectors = embedder.embed(np.stack(list(crops.values()))).vectors
    embedder.close()
    return dict(zip(crops, np.asarray(vectors, np.float32), strict=True))


def accuracy(pairs: list[Pair], vectors: dict[str, F32]) -> dict[str, float]:
    """Over the given folds, a picture without a face being an error in every pair it is in."""
    lost = np.nan
    scores = np.array(
        [
            float(vectors[p.a] @ vectors[p.b]) if p.a in vectors and p.b in vectors else lost
            for p in pairs
        ]
    )
    same = np.array([p.same for p in pairs])
    table = metrics.kfold(scores, same, np.array([p.fold for p in pairs]))
    curve = metrics.roc(scores, same)
    point = metrics.tar_at_far(curve, 1e-3)
    return {
        "accuracy": table.accuracy,
        "std": table.std,
        "auc": metrics.auc(curve),
        "tar_at_far_1e-3": point.tar,
        "threshold_at_far_1e-3": point.threshold,
        "pairs": len(pairs),
        "pairs_without_face": int(np.isnan(scores).sum()),
    }


def time_runs(work: dict[str, Callable[[], object]], rounds: int, each: int) -> dict[str, float]:
    """Median milliseconds a call, the contestants taking turns (A B A B ...)."""
    spent: dict[str, list[float]] = {name: [] for name in work}
    for call in work.values():
        for _ in range(3):
            call()
    for _ in range(rounds):
        for name, call in work.items():
            for _ in range(each):
                start = time.perf_counter()
                call()
                spent[name].append(1000 * (time.perf_counter() - start))
    return {name: median(values) for name, values in spent.items()}


def contestants(card: ModelCard) -> dict[str, Callable[[], object]]:
    """One face through each network, on one thread."""
    import dlib

    rng = np.random.default_rng(0)
    chip = rng.integers(0, 256, (150, 150, 3)).astype(np.uint8)
    face = rng.uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)
    resnet: Any = dlib.face_recognition_model_v1(str(resolve(load_card("dlib_resnet"))))
    work: dict[str, Callable[[], object]] = {
        "dlib_resnet": lambda: resnet.compute_face_descriptor(chip)
    }
    for precision in card.parts:
        work[precision] = _one_face(OnnxBackend(resolve(card, precision), threads=1), face)
    both = np.concatenate([face, face[..., ::-1]])
    work[MIRRORED] = _one_face(OnnxBackend(resolve(card), threads=1), both)
    return work


def _one_face(backend: OnnxBackend, face: F32) -> Callable[[], object]:
    return lambda: backend.run({"input": face})


def measure(card: ModelCard, folder: Path) -> dict[str, Any]:
    """Every figure, by name."""
    ms = time_runs(contestants(card), rounds=10, each=10)
    facts: dict[str, Any] = {"ms_per_face_one_core": ms}
    facts["times_faster_than_dlib"] = {
        p: ms["dlib_resnet"] / ms[p] for p in ms if p != "dlib_resnet"
    }
    for name in SETS:
        pairs, crops = cached_crops(name, folder)
        vectors = {p: embed_all(card, p, crops) for p in (*card.parts, MIRRORED)}
        facts[name] = {p: accuracy(pairs, vectors[p]) for p in vectors}
        if name == "lfw":
            first = list(crops)[:FACES_COMPARED]
            for p in (p for p in card.parts if p != "fp32"):
                cosine = np.array([float(vectors["fp32"][n] @ vectors[p][n]) for n in first])
                facts[f"cosine_{p}_fp32"] = {
                    "faces": len(first), "min": cosine.min().item(), "mean": cosine.mean().item(),
                }  # fmt: skip
    if "int8" in facts["lfw"]:
        lost = facts["lfw"]["fp32"]["accuracy"] - facts["lfw"]["int8"]["accuracy"]
        facts["int8_points_lost_lfw"] = 100 * lost
    return facts


def show(facts: dict[str, Any]) -> None:
    """The figures as a table on standard output."""
    print("| precision | ms/face, one core | x dlib | LFW | CFP-FP |")
    print("| --- | --- | --- | --- | --- |")
    ms, speed = facts["ms_per_face_one_core"], facts["times_faster_than_dlib"]
    print(f"| dlib ResNet | {ms['dlib_resnet']:.2f} | 1 | | |")
    for p, ratio in speed.items():
        lfw, cfp = (100 * facts[name][p]["accuracy"] for name in SETS)
        print(f"| {p} | {ms[p]:.3f} | {ratio:.1f} | {lfw:.2f} % | {cfp:.2f} % |")


def main() -> int:
    """Print a table and, with --json, write every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", default="squeezenet_face")
    parser.add_argument("--crops", type=Path, default=REPO / "runs" / "bench_crops")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    facts = measure(load_card(args.card), args.crops)
    show(facts)
    text = json.dumps(facts, indent=2)
    if args.json is not None:
        args.json.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
