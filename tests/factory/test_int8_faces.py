"""Calibration from a camera, down to the graph: real frames, real faces, a network of one layer."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jetson_face.capture.source import OpenOptions
from jetson_face.config import Config, load_config
from jetson_face.core.errors import EngineError, InputMissingError, OutputError, UsageError
from jetson_face.core.types import Detections, ImageU8
from jetson_face.embedding.onnx import OnnxEmbedder
from jetson_face.factory import int8_faces
from jetson_face.factory.golden import golden_crops, golden_pictures
from jetson_face.factory.int8_faces import calibrate_embedder, face_feeds
from jetson_face.factory.plan_networks import embedder_card, networks_of
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.precision import has_quantisation
from jetson_face.models.cards import InputSpec
from jetson_face.util.images import write_picture
from tests.factory.small_embedder import small_card

GREY = (127.5, 127.5, 127.5)
SPEC = InputSpec(size=(112, 112), colour="RGB", mean=GREY, std=GREY)
CARD: Any = SimpleNamespace(name="net", input=SPEC, alignment="arcface112")


class Sees:
    """A detector that sees a face in what is not black."""

    name = "sees"

    def detect(self, image: ImageU8) -> Detections:
        if not image.any():
            return Detections.empty()
        points = np.array([[[30, 40], [60, 40], [45, 60], [33, 75], [57, 75]]], np.float32)
        return Detections(np.ones((1, 4), np.float32), np.ones(1, np.float32), points)

    def close(self) -> None:
        pass


def test_a_camera_with_broken_frames_calibrates_the_configured_network(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    write_picture(faces / "face.png", golden_pictures()[0][50:190, 85:225])
    config = load_config(
        None,
        [
            f"engines.cache={tmp_path / 'engines'}",
            f"embedder.model={small_card(tmp_path)}",
            "backend={type: tensorrt, precision: int8}",
            "detector={type: mtcnn, min_face_px: 40}",
        ],
    )
    camera = f"test://?width=320&height=240&frames=20&faces={faces}&faults=broken@3:2"
    path, count = calibrate_embedder(config, pictures=None, source=camera, faces_max=17)
    assert count == 17
    graph = path.read_bytes()
    assert has_quantisation(graph, "small")
    card, crops = embedder_card(config), golden_crops("arcface112")
    assert card is not None
    network = networks_of(config)["embed"]
    assert network.spec.onnx == graph  # what the user calibrated is what is built
    assert network.reference != graph
    wanted, got = (
        OnnxEmbedder(card, OnnxBackend(onnx)).embed(crops).vectors
        for onnx in (network.reference, graph)
    )
    assert np.sum(wanted * got, axis=1).min() > 0.98


def small_config(tmp_path: Path) -> Config:
    return load_config(
        None,
        [
            f"engines.cache={tmp_path / 'engines'}",
            f"embedder.model={small_card(tmp_path)}",
            "detector={type: mtcnn, min_face_px: 40}",
        ],
    )


def test_a_few_pictures_are_too_few(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    write_picture(faces / "face.png", golden_pictures()[0])
    with pytest.raises(EngineError, match="small: 1 faces are too few"):
        calibrate_embedder(small_config(tmp_path), pictures=faces, source=None, faces_max=9)
    (faces / "face.png").unlink()
    with pytest.raises(InputMissingError, match="faces: no pictures"):
        calibrate_embedder(small_config(tmp_path), pictures=faces, source=None, faces_max=9)


def test_a_full_disk_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_faces, "calibrate", lambda onnx, feeds, what: (b"graph", 9))
    config = small_config(tmp_path)
    calibrate_embedder(config, pictures=tmp_path, source=None, faces_max=9)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jetson_face.util.files.os.fsync", full)
    with pytest.raises(OutputError, match=r"small-int8\.onnx: .*set engines\.cache to another"):
        calibrate_embedder(config, pictures=tmp_path, source=None, faces_max=9)


def test_a_folder_is_searched_with_all_that_is_below(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    below = tmp_path / "b" / "of 2019"
    below.mkdir(parents=True)
    for number, side in enumerate((2400, 10)):
        write_picture(tmp_path / f"{number}.png", np.full((side, 20, 3), 90, np.uint8))
    (tmp_path / "1.png").rename(below / "1.PNG")
    (tmp_path / "a.jpg").write_bytes(b"none")
    (tmp_path / "notes.txt").write_text("of the pictures")
    sizes = [image.shape for image in int8_faces._from_folder(tmp_path)]
    assert sizes == [(2000, 17, 3), (10, 20, 3)]
    (said,) = caplog.messages
    assert said.startswith(f"calibration_skipped reason={tmp_path / 'a.jpg'}: ")


def test_images_end_where_too_many_in_a_row_show_no_face() -> None:
    looked: list[int] = []

    def images(*runs: tuple[int, bool]) -> Iterator[ImageU8]:
        for count, somebody in runs:
            for _ in range(count):
                looked.append(1)
                yield np.full((120, 120, 3), 255 * somebody, np.uint8)

    def batches(given: Iterator[ImageU8], idle_max: int | None = 40) -> list[int]:
        looked.clear()
        feeds = face_feeds(Sees(), CARD, given, 99, idle_max)
        return [len(feed["input"]) for feed in feeds]

    assert batches(images((100, False))) == []
    assert len(looked) == 41
    assert batches(images((40, False), (1, True), (40, False), (1, True))) == [2]
    assert batches(images((1, True), (41, False), (1, True))) == [1]
    assert batches(images((1, True), (41, False), (1, True)), None) == [2]


@pytest.mark.parametrize(("pictures", "idle_max"), [(True, None), (False, 400)])
def test_a_camera_with_nobody_before_it_is_given_up_and_a_folder_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, pictures: bool, idle_max: int | None
) -> None:
    asked: list[int | None] = []

    def feeds(*given: Any) -> Iterator[Any]:
        asked.append(given[-1])
        return iter([])

    monkeypatch.setattr(int8_faces, "face_feeds", feeds)
    with pytest.raises(EngineError, match="0 faces are too few"):
        calibrate_embedder(
            small_config(tmp_path),
            pictures=tmp_path if pictures else None,
            source="test://",
            faces_max=9,
        )
    assert asked == [idle_max]


def test_a_network_without_an_alignment_gets_no_faces() -> None:
    for card in (
        SimpleNamespace(name="net", input=SPEC, alignment=None),
        SimpleNamespace(name="net", input=None, alignment="arcface112"),
    ):
        wanted: Any = card
        with pytest.raises(EngineError, match="'net' is no embedder"):
            next(face_feeds(Sees(), wanted, iter([]), 9))


def test_the_camera_is_opened_as_it_is_configured(tmp_path: Path) -> None:
    config = load_config(None, [f"engines.cache={tmp_path / 'engines'}", "detector.type=mtcnn"])
    options = OpenOptions(sensor_mode=1)
    with pytest.raises(UsageError, match="sensor_mode"):
        calibrate_embedder(config, pictures=None, source="test://", faces_max=1, options=options)
