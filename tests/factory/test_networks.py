"""What detectors, embedders and back ends are made of; the parts themselves are not opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.errors import ModelError
from jetson_face.detection.padded import Padded
from jetson_face.factory import networks as subject
from tests.factory.made import Made, put_in


def config(*words: str) -> Config:
    return load_config(None, ["backend.type=onnxruntime", *words])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Made]:
    """By name, everything that a detector is made of."""
    monkeypatch.setattr(subject, "load_card", lambda name, *places, **_: f"the card {name}")
    return put_in(
        monkeypatch,
        [
            "jetson_face.detection.haar.Haar",
            "jetson_face.detection.landmarks.OnetPoints",
            "jetson_face.detection.landmarks.EyePoints",
            "jetson_face.detection.landmarks.DlibPoints",
            "jetson_face.detection.landmarks.open_cascade",
            "jetson_face.detection.dlib.DlibDetector",
            "jetson_face.inference.onnxruntime.OnnxBackend",
            "jetson_face.factory.plans.open_network",
            "jetson_face.factory.networks.build_mtcnn",
            "jetson_face.factory.networks.assemble_yunet",
            "jetson_face.factory.networks.network_file",
        ],
    )


HAAR = (
    "detector={type: haar, points: eyes, min_face_px: 33, scale_factor: 1.3, min_neighbours: 7, "
    "max_faces: 3, max_side_px: 640, turn_max_deg: 20, turn_step_deg: 10}"
)


@pytest.mark.parametrize(("relaxed", "hits"), [(False, 7), (True, 3)])
def test_haar_gets_all_of_its_settings_and_a_relaxed_one_needs_half_the_hits(
    made: dict[str, Made], *, relaxed: bool, hits: int
) -> None:
    built: Any = subject.build_detector(config(HAAR), relaxed=relaxed)
    assert built is made["Haar"]
    assert made["Haar"].given == [
        (
            (made["EyePoints"],),
            {
                "angles": (-20.0, -10.0, 0.0, 10.0, 20.0),
                "min_face_px": 33,
                "scale_factor": 1.3,
                "min_neighbours": hits,
                "max_faces": 3,
                "max_side_px": 640,
            },
        )
    ]
    assert type(made["Haar"].given[0][1]["min_neighbours"]) is int
    assert made["open_cascade"].given == [(("haarcascade_eye_tree_eyeglasses.xml",), {})]


@pytest.mark.parametrize("relaxed", [False, True])
def test_haars_points_come_from_an_onet_that_is_as_relaxed(
    made: dict[str, Made], *, relaxed: bool
) -> None:
    wanted = config("detector={type: haar, points: onet}")
    subject.build_detector(wanted, relaxed=relaxed)
    assert made["build_mtcnn"].given == [((wanted,), {"relaxed": relaxed})]
    assert made["OnetPoints"].given == [((made["build_mtcnn"],), {})]
    assert made["Haar"].given[0][0] == (made["OnetPoints"],)


def test_haars_points_come_from_dlib(made: dict[str, Made]) -> None:
    subject.build_detector(config("detector={type: haar, points: dlib5}"))
    assert made["DlibPoints"].given == [(("the card dlib_faces", "dlib5"), {})]
    assert made["Haar"].given[0][0] == (made["DlibPoints"],)


@pytest.mark.parametrize(("relaxed", "threshold"), [(False, 1.25), (True, 0.75)])
def test_dlib_gets_all_of_its_settings_and_a_relaxed_one_is_easier_to_convince(
    made: dict[str, Made], *, relaxed: bool, threshold: float
) -> None:
    settings = "method: cnn, points: dlib5, min_face_px: 33, max_faces: 3, max_side_px: 640"
    wanted = config(f"detector={{type: dlib, threshold: 1.25, {settings}}}")
    built: Any = subject.build_detector(wanted, relaxed=relaxed)
    assert built is made["DlibDetector"]
    assert made["DlibDetector"].given == [
        (
            ("the card dlib_faces",),
            {
                "method": "cnn",
                "points": "dlib5",
                "min_face_px": 33,
                "threshold": threshold,
                "max_faces": 3,
                "max_side_px": 640,
            },
        )
    ]


def test_a_relaxed_mtcnn_searches_a_padded_picture(made: dict[str, Made]) -> None:
    wanted = config("detector.type=mtcnn")
    plain: Any = subject.build_detector(wanted)
    relaxed: Any = subject.build_detector(wanted, relaxed=True)
    searched: Any = made["build_mtcnn"]
    assert plain is searched
    assert type(relaxed) is Padded
    assert relaxed._inner is searched
    assert made["build_mtcnn"].given == [((wanted,), {"relaxed": r}) for r in (False, True)]


@pytest.mark.parametrize("relaxed", [False, True])
def test_yunet_is_put_together_over_its_file(made: dict[str, Made], *, relaxed: bool) -> None:
    wanted = config("detector.type=yunet")
    built: Any = subject.build_detector(wanted, relaxed=relaxed)
    assert built is made["assemble_yunet"]
    assert made["network_file"].given == [((wanted, "the card yunet"), {})]
    assert made["OnnxBackend"].given[0][0] == (made["network_file"],)
    nets = {"yunet": made["OnnxBackend"]}
    assert made["assemble_yunet"].given == [((wanted, nets), {"relaxed": relaxed})]


@pytest.mark.parametrize(
    ("size", "relaxed", "names"),
    [
        ("null", False, ["yunet", "yunet_tiles"]),
        ("null", True, ["yunet", "yunet_tiles"]),
        ("[640, 480]", False, ["yunet", "yunet_tiles", "yunet_frame"]),
        ("[640, 480]", True, ["yunet", "yunet_tiles"]),  # photos are of any size
    ],
)
def test_yunet_has_a_plan_for_each_use(
    made: dict[str, Made], size: str, *, relaxed: bool, names: list[str]
) -> None:
    wanted = config("backend.type=tensorrt", "detector.type=yunet", f"engines.frame_size={size}")
    subject.build_detector(wanted, relaxed=relaxed)
    assert made["open_network"].given == [((wanted, name), {}) for name in names]
    nets = dict.fromkeys(names, made["open_network"])
    assert made["assemble_yunet"].given == [((wanted, nets), {"relaxed": relaxed})]


def test_a_network_runs_with_the_back_ends_settings(made: dict[str, Made]) -> None:
    words = ["backend.providers=[CUDAExecutionProvider]", "backend.threads=3"]
    built: Any = subject.build_backend(config(*words), "embed", Path("x.onnx"))
    assert built is made["OnnxBackend"]
    options = {"providers": ("CUDAExecutionProvider",), "threads": 3}
    (((path,), given),) = made["OnnxBackend"].given
    assert (path, {**given, "providers": tuple(given["providers"])}) == (Path("x.onnx"), options)


def test_a_network_of_tensorrt_is_opened_by_its_name(made: dict[str, Made]) -> None:
    wanted = config("backend.type=tensorrt")
    subject.build_backend(wanted, "embed", Path("x.onnx"))
    assert made["open_network"].given == [((wanted, "embed"), {})]
    assert made["OnnxBackend"].given == []


def test_a_network_that_embeds_no_faces_is_no_embedder() -> None:
    with pytest.raises(ModelError, match="is of kind detector; kind embedder is wanted here"):
        subject.build_embedder(config("embedder.model=yunet"))


def test_the_embedders_file_is_that_of_the_wanted_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files, backends, embedders = Made(), Made(), Made()
    monkeypatch.setattr(
        subject, "network_file", lambda *given: files(*given) and Path("squeezenet.onnx")
    )
    monkeypatch.setattr(subject, "build_backend", backends)
    monkeypatch.setattr("jetson_face.embedding.onnx.OnnxEmbedder", embedders)
    wanted = config("embedder.precision=fp16", "embedder.max_batch=7")
    subject.build_embedder(wanted)
    ((wants, card, precision), _), *_ = files.given
    assert (wants, card.name, precision) == (wanted, "squeezenet_face", "fp16")
    assert backends.given == [((wanted, "embed", Path("squeezenet.onnx")), {})]
    assert embedders.given == [((card, backends), {"max_batch": 7})]


def test_mtcnns_search_of_frames_is_opened_as_it_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs = {"pnet": Path("p.onnx"), "onet": Path("o.onnx")}
    monkeypatch.setattr("jetson_face.detection.mtcnn.graph.ensure_mtcnn", lambda *_: graphs)
    parts = put_in(
        monkeypatch,
        [
            "jetson_face.factory.networks.build_backend",
            "jetson_face.factory.networks.assemble_mtcnn",
            "jetson_face.factory.plans.open_network",
        ],
    )
    wanted = config("backend.type=tensorrt", "detector.type=mtcnn", "engines.frame_size=[64, 48]")
    subject.build_mtcnn(wanted)
    assert parts["build_backend"].given == [
        ((wanted, "pnet", Path("p.onnx")), {}),
        ((wanted, "onet", Path("o.onnx")), {}),
    ]
    assert parts["open_network"].once == ((wanted, "search"), {})
    opened = {"pnet": parts["build_backend"], "onet": parts["build_backend"]}
    nets = {**opened, "search": parts["open_network"]}
    assert parts["assemble_mtcnn"].once == ((wanted, nets), {"relaxed": False})
