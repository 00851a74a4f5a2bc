"""Which networks run as plans, of which file, in which precision, for which shapes."""

from __future__ import annotations

import hashlib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from jetson_face.config import Config, load_config
from jetson_face.detection.yunet_search import frame_graph
from jetson_face.factory import plan_networks as subject
from jetson_face.factory.files import network_file
from jetson_face.factory.golden import golden_crops
from jetson_face.factory.plan_networks import Network, networks_of
from jetson_face.models.cards import card_dir, load_card
from jetson_face.util import plugins
from tests.factory.small_embedder import small_card, small_network

NO_DETECTOR = ("detector={type: dlib}", "sampling.refine=false")
"""Of networks that a plan may be made of."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The card of an embedder that is quickly read."""
    return small_card(tmp_path)


def config(folder: Path, *words: str) -> Config:
    return load_config(None, [f"engines.cache={folder}", "backend.type=tensorrt", *words])


def told(network: Network) -> tuple[Any, ...]:
    """Name, precision, input, shapes (least, usual, largest) and what stays in fp32."""
    spec = network.spec
    ((name, shapes),) = spec.profiles.items()
    return spec.name, spec.precision, name, shapes.min, shapes.opt, shapes.max, spec.fp32_ops


def test_mtcnns_networks(folder: Path, small: Path) -> None:
    networks = networks_of(
        config(
            folder,
            "backend.precision=int8",
            "detector={type: mtcnn, min_face_px: 50, max_side_px: 300, pyramid_factor: 0.6}",
            "engines.frame_size=[480, 360]",
            f"embedder.model={small}",
        )
    )
    assert list(networks) == ["pnet", "rnet", "onet", "search", "embed"]
    pixels = (1, 225, 300, 3)
    # int8 is for the embedding alone
    kept, levels = ("MatMul", "Reshape", "Transpose"), ("conv1_0", "conv1_1", "conv1_2", "conv1_3")
    assert [told(network) for network in networks.values()][:4] == [
        ("pnet", "fp16", "image", (1, 3, 12, 12), (1, 3, 72, 72), (1, 3, 72, 72), ("conv1",)),
        ("rnet", "fp16", "image", (1, 3, 24, 24), (64, 3, 24, 24), (256, 3, 24, 24), ("conv1",)),
        ("onet", "fp16", "image", (1, 3, 48, 48), (16, 3, 48, 48), (64, 3, 48, 48), ("conv1",)),
        ("search", "fp16", "picture", pixels, pixels, pixels, (*kept, *levels)),
    ]
    assert networks["embed"].spec.precision == "int8"
    for name in ("pnet", "rnet", "onet"):
        (file,) = folder.glob(f"mtcnn-{name}-*.onnx")
        assert networks[name].reference == file.read_bytes()
    (search,) = folder.glob("mtcnn-search-300x225-*.onnx")
    assert networks["search"].reference == search.read_bytes()
    assert all(n.spec.onnx == n.reference for n in networks.values())


def test_mtcnns_plans_are_fastest_at_a_usual_frame_and_take_large_pictures(
    folder: Path, small: Path
) -> None:
    words = ("backend.precision=fp32", "detector={type: mtcnn, min_face_px: 50}")
    networks = networks_of(config(folder, *words, f"embedder.model={small}"))
    assert list(networks) == ["pnet", "rnet", "onet", "embed"]
    assert told(networks["pnet"])[1:6] == (
        "fp32",
        "image",
        (1, 3, 12, 12),
        (1, 3, 173, 307),  # 1280x720 * 12 / 50
        (1, 3, 615, 615),  # 2560 * 12 / 50
    )


def test_yunets_networks(folder: Path, small: Path) -> None:
    wanted = config(
        folder,
        "backend.precision=int8",
        "detector={type: yunet, min_face_px: 30, max_side_px: 200}",
        "engines.frame_size=[480, 360]",
        f"embedder.model={small}",
    )
    networks = networks_of(wanted)
    any_size = (1, 3, 32, 32), (1, 3, 160, 224), (1, 3, 224, 224)
    tiles = (1, 3, 96, 64), (8, 3, 96, 64), (32, 3, 128, 128)
    frame = [(1, 360, 480, 4)] * 3
    assert [told(network) for network in networks.values()][:3] == [
        ("yunet", "fp16", "input", *any_size, ()),
        ("yunet_tiles", "fp16", "input", *tiles, ()),
        ("yunet_frame", "fp16", "picture", *frame, ()),
    ]
    onnx = network_file(wanted, load_card("yunet")).read_bytes()
    assert [networks[name].reference for name in ("yunet", "yunet_tiles")] == [onnx, onnx]
    whole = frame_graph(onnx, (480, 360), (200, 150), (160, 224))
    assert networks["yunet_frame"].reference == whole
    assert all(n.spec.onnx == n.reference for n in networks.values())


@pytest.mark.parametrize(
    ("size", "names", "usual"),
    [
        ("null", ["yunet", "yunet_tiles"], (576, 1024)),  # 1280x720 * 24 / 30
        ("[480, 360]", ["yunet", "yunet_tiles", "yunet_frame"], (288, 384)),
    ],
)
def test_yunets_plans_are_fastest_at_the_frames_that_come(
    folder: Path, small: Path, size: str, names: list[str], usual: tuple[int, int]
) -> None:
    words = ("backend.precision=fp32", "detector={type: yunet, min_face_px: 30}")
    more = (f"engines.frame_size={size}", f"embedder.model={small}")
    networks = networks_of(config(folder, *words, *more))
    assert list(networks) == [*names, "embed"]
    shapes = (1, 3, 32, 32), (1, 3, *usual), (1, 3, 2048, 2048)
    assert told(networks["yunet"]) == ("yunet", "fp32", "input", *shapes, ())


def test_cards_are_looked_for_among_those_that_were_added(tmp_path: Path) -> None:
    for name, text in (
        ("mine", (card_dir() / "yunet.yaml").read_text()),
        ("small", small_card(tmp_path).read_text()),
    ):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / f"{name}.yaml").write_text(text)
    (tmp_path / "models" / "small" / "small.onnx").write_bytes(small_network())
    networks = networks_of(
        config(
            tmp_path / "engines",
            f"state_dir={tmp_path}",
            "detector={type: yunet, model: mine}",
            "embedder.model=small",
        )
    )
    assert list(networks) == ["yunet", "yunet_tiles", "embed"]
    assert networks["embed"].reference == small_network()


def written(card: Path, **changes: Any) -> Path:
    """The card with these changes."""
    card.write_text(yaml.safe_dump({**yaml.safe_load(card.read_text()), **changes}))
    return card


@pytest.mark.parametrize(("layout", "each"), [("NCHW", (3, 112, 112)), ("NHWC", (112, 112, 3))])
def test_the_embeddings_plan_takes_what_its_card_says(
    folder: Path, small: Path, layout: str, each: tuple[int, ...]
) -> None:
    spec = {**yaml.safe_load(small.read_text())["input"], "layout": layout, "name": "faces"}
    card = written(small, input=spec)
    words = (f"embedder.model={card}", "embedder.max_batch=6", "backend.precision=fp16")
    (network,) = networks_of(config(folder, *NO_DETECTOR, *words)).values()
    shapes = (1, *each), (4, *each), (6, *each)
    assert told(network) == ("embed", "fp16", "faces", *shapes, ())
    assert network.spec.onnx == network.reference == small_network()


def int8_file(config: Config) -> tuple[bytes, bool]:
    """What an int8 plan is made of, and whether it is judged by the fp32 file."""
    (network,) = networks_of(config).values()
    assert network.spec.precision == "int8"
    return network.spec.onnx, network.reference == small_network()


def test_the_users_own_faces_come_before_those_that_the_model_was_shipped_with(
    tmp_path: Path, small: Path
) -> None:
    wanted = config(
        tmp_path / "engines", *NO_DETECTOR, f"embedder.model={small}", "backend.precision=int8"
    )
    assert int8_file(wanted) == (small_network(), True)  # the build says what is missing
    shipped = small_network(seed=1)
    (tmp_path / "shipped.onnx").write_bytes(shipped)
    files = yaml.safe_load(small.read_text())["files"]
    files["int8"] = {"path": "shipped.onnx", "sha256": hashlib.sha256(shipped).hexdigest()}
    card = load_card(written(small, files=files))
    assert int8_file(wanted) == (shipped, True)
    path = subject.calibrated_path(wanted, card)
    assert path == tmp_path / "engines" / "small-int8.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(small_network(seed=2))
    assert int8_file(wanted) == (small_network(seed=2), True)


def test_a_precision_that_is_not_int8_does_not_take_the_int8_file(
    tmp_path: Path, small: Path
) -> None:
    (tmp_path / "small-int8.onnx").write_bytes(b"never read")
    (network,) = networks_of(config(tmp_path, *NO_DETECTOR, f"embedder.model={small}")).values()
    assert network.spec.onnx == small_network()
    assert network.spec.precision == "fp16"


@pytest.mark.parametrize(("file", "there"), [("x.onnx", True), ("x.t7", False), ("x.dat", False)])
def test_only_onnx_files_become_plans(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, *, there: bool
) -> None:
    asked: list[tuple[Config, str]] = []

    def noted(config: Config, card: Any) -> Path:
        asked.append((config, card.name))
        return Path(file)

    monkeypatch.setattr(subject, "network_file", noted)
    wanted = config(folder)
    card = subject.embedder_card(wanted)
    assert (card is not None) is there
    assert asked == [(wanted, "squeezenet_face")]


@pytest.fixture
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's plug-in of every kind is installed; none is loaded."""
    monkeypatch.setattr(
        plugins, "entry_points", lambda *, group: [EntryPoint("somebodys", "nowhere:It", group)]
    )


@pytest.mark.usefixtures("_offered")
def test_a_plugins_embedder_has_no_plan(folder: Path) -> None:
    wanted = config(folder, "embedder={type: plugin, name: somebodys}")
    assert subject.embedder_card(wanted) is None
    assert subject.reference_embedder(wanted) is None


def test_the_reference_of_an_embedder_is_its_fp32_graph(folder: Path, small: Path) -> None:
    reference = subject.reference_embedder(config(folder, f"embedder.model={small}"))
    assert reference is not None
    vectors = reference.embed(golden_crops("arcface112")[:2]).vectors
    reference.close()
    assert vectors.shape == (2, 16)
    assert reference.space.model == "small"


@pytest.mark.usefixtures("_offered")
@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("detector.type=mtcnn",), True),
        (("detector.type=mtcnn", "sampling.refine=false"), True),
        (("detector.type=yunet",), False),
        (("detector.type=dlib",), True),
        (("detector.type=dlib", "sampling.refine=false"), False),
        (("detector.type=dlib", "refiner.name=somebodys"), False),
        (("detector={type: haar, points: eyes}",), True),
        (("detector={type: haar, points: eyes}", "sampling.refine=false"), False),
        (("detector={type: haar, points: onet}", "sampling.refine=false"), True),
        (("detector={type: plugin, name: somebodys}",), False),
    ],
)
def test_mtcnn_is_needed_to_find_to_follow_or_for_points(
    folder: Path, words: tuple[str, ...], *, needed: bool
) -> None:
    assert subject.needs_mtcnn(config(folder, *words)) is needed


@pytest.mark.parametrize(
    ("words", "one"),
    [
        (("detector.type=mtcnn", "engines.frame_size=[640, 480]"), True),
        (("detector.type=mtcnn",), False),
        (("detector.type=yunet", "engines.frame_size=[640, 480]"), False),
    ],
)
def test_frames_of_a_known_size_are_searched_in_one_plan_by_mtcnn(
    folder: Path, words: tuple[str, ...], *, one: bool
) -> None:
    assert subject.searches_frames(config(folder, *words)) is one


def test_another_back_end_has_tensorrts_defaults(folder: Path) -> None:
    wanted = config(folder, "backend.workspace_mib=77")
    assert subject.tensorrt_config(wanted) is wanted.backend
    other = subject.tensorrt_config(config(folder, "backend={type: onnxruntime}"))
    assert (other.precision, other.workspace_mib) == ("fp16", 1024)
