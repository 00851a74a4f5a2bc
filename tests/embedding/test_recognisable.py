"""Crops that show nobody: their centroid, its file, and what the shipped one says of real crops."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.benchmark.clips import decoys
from jetson_face.config import Config
from jetson_face.core.errors import EmbeddingSpaceError, InputMissingError, ModelError
from jetson_face.core.types import Embeddings, EmbeddingSpace
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.factory.golden import golden_face
from jetson_face.factory.networks import build_embedder
from jetson_face.factory.parts import build_recognisability

SPACE = EmbeddingSpace("made", "0" * 64, 2)
OTHER = EmbeddingSpace("made", "1" * 64, 2)
ONNX = {"type": "onnxruntime"}


def of(*rows: tuple[float, float], space: EmbeddingSpace = SPACE) -> Embeddings:
    return Embeddings(np.array(rows, np.float32), space)


def test_the_score_falls_from_one_to_nothing_towards_the_centroid() -> None:
    made = Recognisability.of([of((1, 0))])
    scores = made.scores(of((1, 0), (0.6, 0.8), (0, 1), (-1, 0)))
    np.testing.assert_allclose(scores, [0, 0.4, 1, 1], atol=1e-6)


def test_the_nearest_kind_of_crop_counts() -> None:
    made = Recognisability.of([of((1, 0), (0.8, 0.6)), of((0, 1))])
    wanted = np.array([(0.9487, 0.3162), (0, 1)])
    np.testing.assert_allclose(made.centroids, wanted, atol=1e-4)
    scores = made.scores(of((0, 1), (0.9487, 0.3162), (-1, 0), (0.6, 0.8)))
    np.testing.assert_allclose(scores, [0, 0, 1, 0.1778], atol=1e-3)
    with pytest.raises(EmbeddingSpaceError):
        Recognisability.of([of((1, 0)), of((0, 1), space=OTHER)])


def test_what_is_written_is_read_back_and_only_for_its_network(tmp_path: Path) -> None:
    path = tmp_path / "centroid.json"
    made = Recognisability.of([of((0.6, 0.8))])
    made.write(path)
    read = Recognisability.read(path, SPACE).centroids
    np.testing.assert_allclose(read, [[0.6, 0.8]], atol=1e-5)
    # as it was written before there was one a kind
    path.write_text(
        path.read_text().replace("centroids", "centroid").replace("[[", "[").replace("]]", "]")
    )
    read = Recognisability.read(path, SPACE).centroids
    np.testing.assert_allclose(read, [[0.6, 0.8]], atol=1e-5)
    with pytest.raises(ModelError, match="was made for"):
        Recognisability.read(path, OTHER)
    whole = path.read_text()
    broken: list[object] = [5, [], [0.6, 0.8], [[0.6]], [[[0.6, 0.8]]], [[3, 4]], [[0.6, 0.8], [1]]]
    for rows in broken:
        space = {"model": "made", "digest": "0" * 64, "dim": 2}
        told = {"kind": "unrecognisable", "space": space, "centroids": rows}
        path.write_text(json.dumps(told))
        with pytest.raises(ModelError, match="no centroids"):
            Recognisability.read(path, SPACE)
    path.write_text(whole[:-20])
    with pytest.raises(ModelError, match="no centroids"):
        Recognisability.read(path, SPACE)
    with pytest.raises(InputMissingError):
        Recognisability.read(tmp_path / "none.json", SPACE)


def test_the_shipped_centroid_tells_a_face_from_what_is_none() -> None:
    config = Config.model_validate({"backend": ONNX})
    embedder = build_embedder(config)
    shipped = build_recognisability(config, embedder)
    assert shipped is not None
    face = golden_face(Aligner(embedder.alignment))
    random = np.random.default_rng(99)
    made = [decoys.back_of_head(random).image, decoys.texture(random).image]
    nobody = np.stack([cv2.resize(image[16:-16, 16:-16], face.shape[1:3]) for image in made])
    blurred = cv2.GaussianBlur(face[0], (0, 0), 14)[None]
    good = shipped.scores(embedder.embed(face))
    bad = [*shipped.scores(embedder.embed(nobody)), *shipped.scores(embedder.embed(blurred))]
    embedder.close()
    assert good[0] > 0.8
    assert max(bad) < config.quality.recognisable_min


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_it_serves_every_precision_of_its_network(precision: str) -> None:
    config = Config.model_validate({"embedder": {"precision": precision}, "backend": ONNX})
    embedder = build_embedder(config)
    found = build_recognisability(config, embedder)
    embedder.close()
    assert found is not None
