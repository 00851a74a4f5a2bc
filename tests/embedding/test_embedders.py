"""Embedders: the contract of all, and what the ones here add."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.core.errors import ModelError
from jetson_face.embedding.align import TEMPLATES
from jetson_face.embedding.dlib import DlibResnet128
from jetson_face.embedding.embedder import Embedder
from jetson_face.embedding.mirrored import Mirrored
from jetson_face.embedding.onnx import OnnxEmbedder, preprocess
from jetson_face.inference.backend import BackendInfo, TensorSpec
from jetson_face.models.cards import InputSpec, ModelCard, load_card

DIM = 8


class FakeBackend:
    """Gives, per image, means of its channels and quarters; remembers batch sizes."""

    def __init__(self, dim: int = DIM, value: float | None = None) -> None:
        shape = (None, 3, 112, 112)
        self.inputs: Mapping[str, TensorSpec] = {"input": TensorSpec(np.dtype("f4"), shape)}
        self.outputs: Mapping[str, TensorSpec] = {
            "embedding": TensorSpec(np.dtype("f4"), (None, dim))
        }
        self.info = BackendInfo("fake", "1", "cpu", "fp32")
        self.batches: list[int] = []
        self.closed = False
        self._value = value

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        x = feeds["input"]
        self.batches.append(len(x))
        out = np.concatenate(
            [x.mean(axis=(2, 3)), x[:, 0, ::56, ::56].reshape(len(x), -1), x[:, :1, 9, 9]], axis=1
        )
        if self._value is not None:
            out = np.full_like(out, self._value)
        return {"embedding": out.astype(np.float32)}

    def close(self) -> None:
        self.closed = True


def card(**changes: Any) -> ModelCard:
    content: dict[str, Any] = {
        "name": "fake",
        "kind": "embedder",
        "files": {"fp32": {"path": "x.onnx", "sha256": "a" * 64}},
        "licence": "MIT",
        "source": "here",
        "input": {
            "size": [112, 112],
            "colour": "RGB",
            "mean": [127.5] * 3,
            "std": [128.0] * 3,
        },
        "output": {"dim": DIM},
        "alignment": "arcface112",
        "similarity_min": 0.3,
    }
    return ModelCard.model_validate({**content, **changes})


@pytest.fixture(scope="module", params=["onnx", "dlib", "mirrored"])
def embedder(request: pytest.FixtureRequest) -> Iterator[Embedder]:
    makers: dict[str, Callable[[], Embedder]] = {
        "onnx": lambda: OnnxEmbedder(card(), FakeBackend(), max_batch=2),
        "mirrored": lambda: Mirrored(OnnxEmbedder(card(), FakeBackend(), max_batch=2)),
        "dlib": lambda: DlibResnet128(load_card("dlib_resnet"), max_batch=2),
    }
    made = makers[request.param]()
    yield made
    made.close()


def crops(embedder: Embedder, count: int) -> Any:
    size = TEMPLATES[embedder.alignment].size
    return np.random.default_rng(5).integers(0, 256, (count, size, size, 3), np.uint8)


class TestEmbedderContract:
    """What every embedder must do."""

    def test_unit_vectors_of_its_space(self, embedder: Embedder) -> None:
        found = embedder.embed(crops(embedder, 3))
        assert found.vectors.shape == (3, embedder.space.dim)
        assert found.vectors.dtype == np.float32
        assert found.space == embedder.space
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)

    def test_no_crops_give_no_vectors(self, embedder: Embedder) -> None:
        assert embedder.embed(crops(embedder, 0)).vectors.shape == (0, embedder.space.dim)

    def test_a_vector_does_not_depend_on_its_batch(self, embedder: Embedder) -> None:
        some = crops(embedder, 3)
        together = embedder.embed(some).vectors
        alone = np.concatenate([embedder.embed(some[i : i + 1]).vectors for i in range(3)])
        np.testing.assert_allclose(together, alone, atol=1e-5)

    def test_read_only_and_strided_crops(self, embedder: Embedder) -> None:
        some = crops(embedder, 2)
        view = np.ascontiguousarray(some[:, :, ::-1])[:, :, ::-1]
        view.flags.writeable = False
        np.testing.assert_array_equal(embedder.embed(view).vectors, embedder.embed(some).vectors)

    def test_wrong_crops_are_refused(self, embedder: Embedder) -> None:
        some = crops(embedder, 1)
        for bad in (some[:, :50], some[0], some.astype(np.float32)):
            with pytest.raises(ModelError, match="crops must be"):
                embedder.embed(bad)

    def test_it_says_its_template_and_threshold(self, embedder: Embedder) -> None:
        assert embedder.alignment in TEMPLATES
        assert 0 < embedder.similarity_min < 1


def test_a_face_and_its_mirror_image_are_one() -> None:
    inner = OnnxEmbedder(card(), FakeBackend())
    both = Mirrored(inner)
    some = crops(inner, 3)
    found = both.embed(some).vectors
    np.testing.assert_allclose(found, both.embed(some[:, :, ::-1]).vectors, atol=1e-6)
    mean = inner.embed(some).vectors + inner.embed(some[:, :, ::-1]).vectors
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(found, mean, atol=1e-6)
    assert np.abs(found - inner.embed(some).vectors).max() > 1e-3
    assert both.space == inner.space


def test_batches_are_split() -> None:
    backend = FakeBackend()
    embedder = OnnxEmbedder(card(), backend, max_batch=4)
    embedder.embed(crops(embedder, 9))
    assert backend.batches == [4, 4, 1]
    embedder.close()
    assert backend.closed


@pytest.mark.parametrize(("colour", "red_at"), [("RGB", 0), ("BGR", 2)])
def test_preprocessing_is_the_cards(colour: Any, red_at: int) -> None:
    spec = InputSpec(size=(2, 2), colour=colour, mean=(10, 20, 30), std=(2, 4, 8))
    crop = np.zeros((1, 2, 2, 3), np.uint8)
    crop[..., 2] = 200
    out = preprocess(crop, spec)
    assert out.shape == (1, 3, 2, 2)
    mean, std = (10, 20, 30)[red_at], (2, 4, 8)[red_at]
    assert (out[0, red_at] == (200 - mean) / std).all()
    assert (out[0, 1] == -5).all()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_vector_without_a_direction_is_an_error(value: float) -> None:
    embedder = OnnxEmbedder(card(), FakeBackend(value=value))
    with pytest.raises(ModelError, match="zero or not finite"):
        embedder.embed(crops(embedder, 1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alignment": "arcface999"}, "arcface999"),
        ({"alignment": "dlib150"}, "150x150"),
        ({"output": {"dim": 16}}, "16"),
        ({"output": {"dim": DIM, "name": "other"}}, "other"),
    ],
)
def test_a_card_that_does_not_fit_the_network(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        OnnxEmbedder(card(**changes), FakeBackend())


def test_dlib_weights_are_checked(tmp_path: Path) -> None:
    bad = load_card("dlib_resnet").package["fp32"].model_copy(update={"sha256": "b" * 64})
    with pytest.raises(ModelError, match="SHA-256"):
        DlibResnet128(load_card("dlib_resnet").model_copy(update={"package": {"fp32": bad}}))


def test_dlib_after_close_is_refused() -> None:
    embedder = DlibResnet128(load_card("dlib_resnet"))
    embedder.close()
    with pytest.raises(ModelError, match="close"):
        embedder.embed(np.zeros((1, 150, 150, 3), np.uint8))
