"""`jetson-face models add`: a card asked of a network, of the person, and measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from jetson_face.calibration import curve_measuring
from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.errors import CalibrationError, InputBrokenError, ModelError
from jetson_face.core.types import Embeddings
from jetson_face.evaluation import adding
from jetson_face.evaluation import false_match_curve as curves
from jetson_face.evaluation.asked import ask
from jetson_face.evaluation.pairs import Pair, PairList
from jetson_face.factory.networks import build_embedder
from jetson_face.factory.threshold import curve_of, own_threshold
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.batch import any_batch
from jetson_face.models.cards import card_dir, embedding_space, load_card
from jetson_face.util.images import read_picture, write_picture
from tests.cli.conftest import collins, hopper

__all__ = ["collins", "hopper"]

SHIPPED = (card_dir() / "squeezenet_face.onnx").read_bytes()
SAID = ["--colour=RGB", "--mean=127.5", "--std=127.5", "--alignment=arcface112", "--licence=MIT",
        "--source=me"]  # fmt: skip
Call = Callable[..., tuple[int, str, str]]


def small(shape: list[int | str], out: list[int | str], kind: str = "Flatten") -> bytes:
    """A network of one layer: pictures of `shape` to the mean of each channel, or as `kind`."""
    value = helper.make_tensor_value_info
    tensors = [numpy_helper.from_array(np.array([1, -1], np.int64), "flat")]
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    nodes = {
        "Flatten": [helper.make_node("ReduceMean", ["x"], ["m"], axes=axes, keepdims=1),
                    helper.make_node("Reshape", ["m", "flat"], ["y"])],
        # Each picture minus the mean of all pictures.
        "Mixes": [helper.make_node("ReduceMean", ["x"], ["all"], axes=[0], keepdims=1),
                  helper.make_node("Sub", ["x", "all"], ["s"]),
                  helper.make_node("Add", ["s", "x"], ["t"]),
                  helper.make_node("ReduceMean", ["t"], ["y"], axes=axes, keepdims=0)],
        "Map": [helper.make_node("Identity", ["x"], ["y"])],
    }[kind]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "small",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, out)],
        tensors if kind == "Flatten" else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `models …` with the state in the test's folder: exit code, output, errors."""

    def _call(*words: object, content: bytes | None = None) -> tuple[int, str, str]:
        capsys.readouterr()
        if content is not None:
            (tmp_path / "net.onnx").write_bytes(content)
        where = ["--set", f"state_dir={tmp_path / 'state'}"]
        code = main(["models", *map(str, words), *where])
        said = capsys.readouterr()
        return code, said.out, said.err

    return _call


def home(tmp_path: Path) -> Path:
    return tmp_path / "state" / "models"


def test_a_network_gets_a_card_that_works(call: Call, tmp_path: Path) -> None:
    code, out, err = call("add", tmp_path / "net.onnx", *SAID, "--similarity-min=0.42",
                          content=SHIPPED)  # fmt: skip
    assert (code, err) == (0, "")
    assert "takes 'input' 112×112 NCHW, gives 'embedding' of 128" in out
    assert "ms for a face alone" in out
    ours = load_config(None, [f"state_dir={tmp_path / 'state'}", "embedder.model=net"])
    faces = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3)).astype(np.uint8)
    vectors = build_embedder(ours).embed(faces).vectors
    shipped = build_embedder(load_config(None, ["embedder.precision=fp32"])).embed(faces).vectors
    np.testing.assert_allclose(vectors, shipped, atol=1e-6)
    card = load_card("net", ours.model_places)
    assert (card.similarity_min, card.licence, card.source) == (0.42, "MIT", "me")
    assert call("verify", "net")[0] == 0
    assert call("remove", "net")[0] == 0
    assert {path.name for path in home(tmp_path).iterdir()} == {".lock"}


def test_everything_that_is_missing_is_asked_for_at_once(call: Call, tmp_path: Path) -> None:
    code, _, err = call("add", tmp_path / "net.onnx", content=SHIPPED)
    assert code == 2
    assert err.count("\n") == 1
    for option in ("colour RGB or BGR", "mean", "std", "alignment arcface112", "licence", "source",
                   "similarity-min X, or --pairs FILE with --images DIR"):  # fmt: skip
        assert f"--{option}" in err
    assert not home(tmp_path).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--alignment=dlib150"], "another --alignment than dlib150: arcface112"),
        (["--mean", "1", "2"], "--mean with one number or three"),
        (["--std=0"], "--std above 0"),
        (["--similarity-min=2"], "--similarity-min from -1 to 1"),
        (["--name=../x"], "--name of letters"),
        (["--name=sface"], "another --name: there is a model sface"),
        (["--licence="], "--licence TEXT"),
    ],
)
def test_what_does_not_fit_is_named(
    call: Call, tmp_path: Path, words: list[str], said: str
) -> None:
    given = [*SAID, "--similarity-min=0.4", *words]
    code, _, err = call("add", tmp_path / "net.onnx", *given, content=SHIPPED)
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no network", "net.onnx: not a model this runtime can run"),
        (small(["N", 1, 112, 112], ["N", 1], "Map"), r"takes float32 \(None, 1, 112, 112\)"),
        (small(["N", 3, "H", "W"], ["N", 3], "Map"), "export it for a square size"),
        (small([4, 3, 112, 112], [4, 3], "Map"), "takes float32 .4, 3"),
        (small(["N", 3, 112, 112], ["N", 3, 112, 112], "Map"), r"\(1, numbers\) is wanted"),
    ],
)
def test_a_network_that_embeds_no_face_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        ask(content, "net.onnx")


def test_a_size_without_alignment_is_refused(call: Call, tmp_path: Path) -> None:
    content = small(["N", 3, 64, 64], ["N", 3])
    code, _, err = call("add", tmp_path / "net.onnx", content=content)
    assert code == 10
    assert "no alignment has 64 pixels; there are: arcface112 112" in err


def test_a_network_for_one_picture_takes_many(call: Call, tmp_path: Path) -> None:
    content = small([1, 3, 112, 112], [1, 3])
    with pytest.raises(ModelError):
        OnnxBackend(content).run({"x": np.ones((2, 3, 112, 112), np.float32)})
    code, _, err = call("add", tmp_path / "net.onnx", *SAID, "--similarity-min=0.4",
                        content=content)  # fmt: skip
    assert (code, err) == (0, "")
    assert yaml.safe_load((home(tmp_path) / "net" / "net.yaml").read_text())["fold"] == "batch"
    faces = np.random.default_rng(0).normal(size=(5, 3, 112, 112)).astype(np.float32)
    answer = OnnxBackend(any_batch(content)).run({"x": faces})["y"]
    np.testing.assert_allclose(answer, faces.mean((2, 3)), atol=1e-6)


def test_a_network_of_channels_last_is_taken(call: Call, tmp_path: Path) -> None:
    content = small(["N", 112, 112, 3], ["N", 3], "Mixes")
    assert ask(content, "net").layout == "NHWC"
    assert ask(small([1, 3, 112, 112], [1, 3]), "net").one_at_a_time


def test_a_network_that_mixes_its_pictures_is_refused(call: Call, tmp_path: Path) -> None:
    for shape, out in ((["N", 3, 112, 112], ["N", 3]), ([1, 3, 112, 112], [1, 3])):
        content = small([*shape], [*out], "Mixes")
        code, _, err = call("add", tmp_path / "net.onnx", *SAID, "--similarity-min=0.4",
                            content=content)  # fmt: skip
        assert code == 10
        assert "faces together give other vectors than each alone" in err
    assert {path.name for path in home(tmp_path).iterdir()} == {".lock"}


def test_what_takes_exactly_four_pictures_stays_so() -> None:
    with pytest.raises(InputBrokenError, match="exactly 4 pictures"):
        any_batch(small([4, 3, 112, 112], [4, 3]))
    with pytest.raises(InputBrokenError, match="not an ONNX file"):
        any_batch(b"no network")


def test_a_weight_that_is_reshaped_keeps_its_shape() -> None:
    model = onnx.load_model_from_string(small([1, 3, 112, 112], [1, 3]))
    weight = numpy_helper.from_array(np.ones((3, 1), np.float32), "weight")
    model.graph.initializer.append(weight)
    model.graph.node.append(helper.make_node("Reshape", ["weight", "flat"], ["w"]))
    model.graph.node.append(helper.make_node("Add", ["y", "w"], ["z"]))
    model.graph.output[0].name = "z"
    backend = OnnxBackend(any_batch(model.SerializeToString()))
    assert backend.run({"x": np.zeros((4, 3, 112, 112), np.float32)})["z"].tolist() == [[1] * 3] * 4


# The impostor curve


def test_the_curve_counts_each_pair_of_different_people_once() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(700, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    person = np.repeat(np.arange(350), 2)
    curve = curves.false_match_curve(vectors, person)
    scores = (vectors @ vectors.T)[np.triu(person[:, None] != person[None])]
    assert (curve.pairs, curve.people) == (len(scores), 350)
    for similarity, share in curve.curve:
        assert share == pytest.approx(np.mean(scores >= similarity), rel=0.01)
    least = curves.threshold_at(curve)
    assert np.mean(scores >= least) <= 1e-3 < np.mean(scores >= least - 0.001)
    assert [share for _, share in curve.curve] == sorted(
        (share for _, share in curve.curve), reverse=True
    )
    assert curve.curve[-1][1] * curve.pairs >= 0.5 * curves.SEEN


def test_too_few_people_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"10 pairs of different people.*needs 10000"):
        curves.false_match_curve(np.eye(5, dtype=np.float32), np.arange(5))


def test_equal_pairs_and_folders_make_one_person() -> None:
    rows = [("x.jpg", "y.jpg", True), ("y.jpg", "z.jpg", True), ("A/1.jpg", "B/1.jpg", False),
            ("A/1.jpg", "z.jpg", False)]  # fmt: skip
    pairs = PairList(tuple(Pair(1, a, b, same) for a, b, same in rows), 0, 0)
    names = ["x.jpg", "y.jpg", "z.jpg", "A/1.jpg", "A/2.jpg", "B/1.jpg"]
    assert curves.people_of(pairs, names).tolist() == [0, 0, 0, 1, 1, 2]


def test_the_threshold_is_measured_on_pairs(
    call: Call, tmp_path: Path, collins: Path, hopper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "SEEN", 0.01)  # two people are enough for a test
    monkeypatch.setattr(adding, "LEAST_PEOPLE", 2)
    monkeypatch.setattr(curve_measuring, "LEAST_PEOPLE", 2)
    rows = ["fold\ta\tb\tsame"]
    for name, portrait in (("Ada", collins), ("Eve", hopper)):
        image = read_picture(portrait)
        (tmp_path / name).mkdir()
        for number in range(4):
            side = 4 * number
            crop = np.ascontiguousarray(image[side:, side : image.shape[1] - side])
            write_picture(tmp_path / name / f"{number}.jpg", crop)
            rows.append(f"1\tAda/{number}.jpg\tEve/0.jpg\t0")
            rows.append(f"1\t{name}/0.jpg\t{name}/{number}.jpg\t1")
    (tmp_path / "pairs.tsv").write_text("\n".join(dict.fromkeys(rows)))
    code, out, err = call("add", tmp_path / "net.onnx", *SAID, "--pairs", tmp_path / "pairs.tsv",
                          "--images", tmp_path, "--set", "detector.type=yunet",
                          content=SHIPPED)  # fmt: skip
    assert (code, err) == (0, "")
    config = load_config(None, [f"state_dir={tmp_path / 'state'}", "embedder.model=net"])
    card = load_card("net", config.model_places)
    assert card.false_match is not None
    assert card.false_match.people == 2
    assert card.similarity_min is not None
    assert -0.5 < card.similarity_min < 0.5
    assert "100.00% of 6 pairs of one person reach it" in out
    assert "0 of 8 pictures show no face" in card.notes or "of 7 pictures" in card.notes
    assert card.impostors is None  # two people draw no line
    assert own_threshold(config) == card.similarity_min
    assert call("remove", "net")[0] == 0
    assert {path.name for path in home(tmp_path).iterdir()} == {".lock"}


def test_the_impostor_curve_is_one_that_thresholds_come_from(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(120), 4)
    vectors = rng.normal(size=(120, 128)).repeat(4, 0) + 2 * rng.normal(size=(480, 128))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"{number}.jpg" for number in range(480)]

    def curve(config: Config, told: object, folder: Path) -> adding._Measured:
        space = embedding_space(load_card(config.embedder.model))
        faces = Embeddings(vectors.astype(np.float32), space)
        return adding._Measured(
            0.4, "measured", impostors=adding.impostor_file(faces, person, names, folder)
        )

    monkeypatch.setattr(adding, "_measure", curve)
    code, _, err = call("add", tmp_path / "net.onnx", *SAID, "--similarity-min=0.4",
                        content=SHIPPED)  # fmt: skip
    assert (code, err) == (0, "")
    config = load_config(None, [f"state_dir={tmp_path / 'state'}", "embedder.model=net"])
    found = curve_of(config, embedding_space(load_card("net", config.model_places)))
    assert found is not None
    assert (found.people, found.faces) == (120, 480)
    assert call("remove", "net")[0] == 0
    assert {path.name for path in home(tmp_path).iterdir()} == {".lock"}
