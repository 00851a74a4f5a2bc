"""The gate with small networks in the place of real ones: what is compared with what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.core.errors import EngineError, ModelError
from jetson_face.core.types import F32, Detections, ImageU8
from jetson_face.embedding.onnx import OnnxEmbedder
from jetson_face.factory.golden import golden_pictures, on_frame
from jetson_face.factory.parity_gate import EMBEDDER, ParityGate, _Recorder
from jetson_face.inference.backend import Backend
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.key import NetworkSpec
from jetson_face.inference.tensorrt.parity import ParityReport
from jetson_face.models.cards import load_card
from tests.factory.small_embedder import small_card, small_network
from tests.inference.graphs import tiny_conv

PICTURES = golden_pictures()[:2]
FRAME_SIZE = (64, 48)
RIGHT, WRONG = tiny_conv(0), tiny_conv(1)


class Finds:
    """A detector that finds one face, moved by what its last network says of the picture."""

    name = "finds"

    def __init__(self, nets: Mapping[str, Backend], asked: list[tuple[str, Any]]) -> None:
        self.nets, self.asked = dict(nets), asked

    def detect(self, image: ImageU8) -> Detections:
        return self._found("detect", image)

    def close(self) -> None:
        pass

    def _found(self, how: str, image: ImageU8) -> Detections:
        self.asked.append((how, image))
        pixels = image[None, :8, :8].transpose(0, 3, 1, 2).astype(np.float32) / 255
        by = 100 * float([*self.nets.values()][-1].run({"x": pixels})["y"].mean())
        box = np.array([[10 + by, 10, 50 + by, 50]], np.float32)
        points = np.full((1, 5, 2), 20 + by, np.float32)
        return Detections(box, np.ones(1, np.float32), points)


class Follows(Finds):
    """One that follows known faces, too."""

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        found = self._found("refine", image)
        self.asked.append(("boxes", boxes.tolist()))
        return found


class LooksTwice(Follows):
    """One whose search is rougher than its `detect`."""

    def search(self, image: ImageU8) -> Detections:
        return self._found("search", image)

    def follow(self, image: ImageU8, boxes: F32) -> Detections:
        return self._found("follow", image)

    def sharpen(self, image: ImageU8, boxes: F32) -> F32:
        return np.zeros((len(boxes), 5, 2), np.float32)


class Bench:
    """A gate over these networks, and what it did."""

    def __init__(
        self, kind: type[Finds], *names: str, frame_size: tuple[int, int] | None = None
    ) -> None:
        self.made: list[Finds] = []
        self.opened: list[OnnxBackend] = []
        self.asked: list[tuple[str, Any]] = []
        self._kind = kind
        self._gate = ParityGate(
            dict.fromkeys(names, RIGHT),
            PICTURES,
            open_plan=self._open,
            make_detector=self._make,
            make_embedder=None,
            frame_size=frame_size,
        )

    def judge(self, name: str, plan: bytes = RIGHT, precision: str = "fp16") -> ParityReport:
        return self._gate(NetworkSpec(name, RIGHT, precision, {}), plan)

    def _open(self, spec: NetworkSpec, plan: bytes) -> OnnxBackend:
        self.opened.append(OnnxBackend(plan, precision=spec.precision))
        return self.opened[-1]

    def _make(self, nets: Mapping[str, Backend]) -> Finds:
        self.made.append(self._kind(nets, self.asked))
        return self.made[-1]

    def looked_at(self, how: str) -> list[Any]:
        return [what for asked, what in self.asked if asked == how]


def checks(report: ParityReport) -> list[tuple[str, str, float]]:
    """Network, check and limit of each row."""
    return [(row.network, row.check, row.limit) for row in report.rows]


def same_images(some: list[ImageU8], others: list[ImageU8]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))


def detecting(name: str, cosine: float) -> list[tuple[str, str, float]]:
    return [
        (name, "y: cosine", cosine),
        (name, "faces missing or extra", 0),
        (name, "boxes, largest shift (px)", 1.0),
        (name, "landmarks, largest shift (px)", 1.0),
    ]


@pytest.mark.parametrize(("precision", "cosine"), [("fp16", 0.999), ("fp32", 0.9999)])
def test_a_detectors_network_is_judged_by_its_numbers_and_by_the_faces(
    precision: str, cosine: float
) -> None:
    bench = Bench(Finds, "pnet", "rnet", "search", "yunet_frame", EMBEDDER)
    report = bench.judge("rnet", precision=precision)
    assert report.passed
    assert checks(report) == detecting("rnet", cosine)
    # One network is exchanged; what a detector can do without is left out.
    got, wanted = bench.made
    assert [list(each.nets) for each in bench.made] == [["pnet", "rnet"]] * 2
    assert got.nets["rnet"] is bench.opened[0]
    assert isinstance(wanted.nets["rnet"], _Recorder)
    assert got.nets["pnet"] is wanted.nets["pnet"]
    assert same_images(bench.looked_at("detect"), [PICTURES[0]] * 2 + [PICTURES[1]] * 2)


@pytest.mark.parametrize("kind", [Finds, LooksTwice])
@pytest.mark.parametrize("name", ["rnet", "search", "yunet_frame"])
def test_a_wrong_plan_fails_in_its_numbers_and_in_the_faces(name: str, kind: type[Finds]) -> None:
    report = Bench(kind, "rnet", name, frame_size=FRAME_SIZE).judge(name, WRONG)
    assert [row.passed for row in report.rows] == [False, True, False, False]


def test_everything_that_was_opened_is_closed_again() -> None:
    bench = Bench(Finds, "pnet", "rnet")
    bench.judge("rnet")
    nets = [net for detector in bench.made for net in detector.nets.values()]
    assert len(nets) == 4
    for net in nets:
        with pytest.raises(ModelError, match="used after close"):
            net.run({"x": np.zeros((1, 3, 8, 8), np.float32)})


def test_the_search_of_frames_is_judged_by_a_detector_without_it() -> None:
    bench = Bench(Finds, "pnet", "search", frame_size=FRAME_SIZE)
    report = bench.judge("search")
    assert checks(report) == detecting("search", 0.999)
    assert [list(each.nets) for each in bench.made] == [
        ["pnet", "search"],
        ["pnet", "search"],  # which only shows what the network is asked
        ["pnet"],
    ]
    frames = [on_frame(picture, FRAME_SIZE) for picture in PICTURES]
    first, *others = bench.looked_at("detect")
    assert same_images([first], frames[:1])
    assert same_images(others, [frames[0]] * 2 + [frames[1]] * 2)


def test_yunets_frame_is_judged_on_frames_of_that_size() -> None:
    bench = Bench(Finds, "yunet", "yunet_frame", frame_size=FRAME_SIZE)
    assert bench.judge("yunet_frame").passed
    assert [list(each.nets) for each in bench.made] == [["yunet", "yunet_frame"]] * 2
    frames = [on_frame(picture, FRAME_SIZE) for picture in PICTURES]
    assert same_images(bench.looked_at("detect"), [frames[0]] * 2 + [frames[1]] * 2)


@pytest.mark.parametrize("name", ["search", "yunet_frame"])
def test_without_a_frame_size_nothing_of_frames_can_be_judged(name: str) -> None:
    with pytest.raises(EngineError, match=f"{name}: no frame size to judge it at: set engines.f"):
        Bench(Finds, "pnet", name).judge(name)


def test_a_rough_search_is_judged_as_it_is() -> None:
    """Its second look is another network's."""
    bench = Bench(LooksTwice, "yunet")
    assert bench.judge("yunet").passed
    assert {how for how, _ in bench.asked} == {"search"}
    assert same_images(bench.looked_at("search"), [PICTURES[0]] * 2 + [PICTURES[1]] * 2)


def test_the_tiles_are_judged_by_following_the_faces_that_were_found() -> None:
    bench = Bench(LooksTwice, "yunet", "yunet_tiles")
    report = bench.judge("yunet_tiles")
    assert report.passed
    assert checks(report) == detecting("yunet_tiles", 0.999)
    assert {how for how, _ in bench.asked} == {"detect", "refine", "boxes"}
    assert same_images(bench.looked_at("refine"), [PICTURES[0]] * 2 + [PICTURES[1]] * 2)
    bench.asked.clear()
    report = bench.judge("yunet_tiles", WRONG)
    assert [row.passed for row in report.rows] == [False, True, False, False]
    # Both follow what the reference found.
    one, other, *_ = bench.looked_at("boxes")
    assert one == other


def test_tiles_of_a_detector_that_follows_no_faces_cannot_be_judged() -> None:
    with pytest.raises(EngineError, match="finds follows no faces"):
        Bench(Finds, "yunet", "yunet_tiles").judge("yunet_tiles")


def test_a_network_that_nothing_runs_cannot_be_judged() -> None:
    gate = ParityGate(
        {"pnet": RIGHT, EMBEDDER: small_network()},
        PICTURES,
        open_plan=lambda spec, plan: OnnxBackend(plan),
        make_detector=None,
        make_embedder=None,
    )
    with pytest.raises(EngineError, match="pnet: the configured detector runs no network"):
        gate(NetworkSpec("pnet", RIGHT, "fp16", {}), RIGHT)
    with pytest.raises(EngineError, match="embed: the configured embedder runs no network"):
        gate(NetworkSpec(EMBEDDER, small_network(), "fp16", {}), small_network())


@pytest.mark.parametrize(("precision", "cosine"), [("fp16", 0.999), ("int8", 0.98)])
def test_the_embedding_is_judged_by_its_vectors_and_what_follows_of_them(
    tmp_path: Path, precision: str, cosine: float
) -> None:
    card = load_card(small_card(tmp_path))
    made: list[Backend] = []

    def make(backend: Backend) -> OnnxEmbedder:
        made.append(backend)
        return OnnxEmbedder(card, backend)

    gate = ParityGate(
        {EMBEDDER: small_network()},
        PICTURES,
        open_plan=lambda spec, plan: OnnxBackend(plan),
        make_detector=None,
        make_embedder=make,
    )
    spec = NetworkSpec(EMBEDDER, small_network(), precision, {})
    assert checks(gate(spec, small_network())) == [
        ("embed", "embedding: cosine", cosine),
        ("embed", "vectors, least cosine", cosine),
        ("embed", "decisions that changed", 0),
        ("embed", "rankings that changed", 0),
    ]
    assert [isinstance(backend, _Recorder) for backend in made] == [True, False]
    failed = [row.check for row in gate(spec, small_network(seed=1)).rows if not row.passed]
    assert failed[:2] == ["embedding: cosine", "vectors, least cosine"]


def test_what_a_network_was_asked_is_kept_as_it_was() -> None:
    recorder = _Recorder(OnnxBackend(RIGHT))
    pixels = np.ones((1, 3, 8, 8), np.float32)
    answer = recorder.run({"x": pixels})
    pixels[:] = 0
    assert answer["y"].shape == (1, 4, 6, 6)
    recorder.run({"x": np.ones((0, 3, 8, 8), np.float32)})  # says nothing
    (asked,) = recorder.feeds
    assert list(asked) == ["x"]
    assert asked["x"].min() == 1
    recorder.close()
