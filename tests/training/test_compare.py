"""Networks compared: who is kept apart, what a row holds, and that nothing is done twice."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jetson_face.cli import compare as command  # noqa: E402
from jetson_face.cli.main import main  # noqa: E402
from jetson_face.core.errors import ConfigError, UsageError  # noqa: E402
from jetson_face.models.cards import load_card  # noqa: E402
from jetson_face.training import compare  # noqa: E402
from jetson_face.training.compare import CompareConfig, apart, compare_one  # noqa: E402
from jetson_face.training.small import SmallSet  # noqa: E402
from jetson_face.training.transfer import train_network  # noqa: E402
from jetson_face.training.transfer_settings import TransferConfig  # noqa: E402
from jetson_face.util.documents import load_document  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def crops(people: int, photos: int, side: int = 112) -> SmallSet:
    """Everybody has a colour and a place; the last two faces are of nobody known."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 90, (people * photos + 2, side, side, 3))
    labels = np.append(np.repeat(np.arange(people), photos), [-1, -1])
    for row, who in enumerate(labels[:-2]):
        top, left = 10 + 24 * (who % 3), 10 + 24 * (who // 3)
        faces[row, top : top + 32, left : left + 32, who % 3] += 130
    teacher = rng.normal(size=(len(labels), 128)).astype(np.float16)
    return SmallSet(faces.astype(np.uint8), labels, "made up", teacher)


def test_people_are_kept_apart_from_what_is_learnt_first() -> None:
    given = crops(6, 5)
    given = given.rows(np.arange(len(given.labels)) != 7)  # person 1 has four
    rest, group = apart(given, 2, 3)
    assert rest.teacher is not None
    assert (len(rest.labels), rest.people, len(rest.teacher)) == (21, 4, 21)
    assert sorted(set(rest.labels.tolist())) == [-1, 0, 1, 2, 3]
    assert group.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(group.faces[0], given.faces[0])
    np.testing.assert_array_equal(group.faces[3], given.faces[9])  # person 2: 1 is passed over
    shared = {face.tobytes() for face in rest.faces} & {face.tobytes() for face in group.faces}
    assert not shared
    with pytest.raises(UsageError, match="four photos"):
        apart(crops(3, 3), 2, 3)


def recipe(**more: Any) -> CompareConfig:
    pretrain = {"loss": "teacher", "teacher": "t.npy", "people": 0, "steps": 2, "batch": 8}
    settings = {
        "networks": ("squeezenet",),
        "pretrain": {**pretrain, "side": 64, "threads": 1},
        "finetune": {"steps": 12, "people_each": 3, "photos_each": 3, "rate": 2e-3, "threads": 1},
        "layers": ("last", "all"),
    }
    return CompareConfig.model_validate({**settings, **more})


def test_a_row_holds_every_figure_and_is_kept(tmp_path: Path) -> None:
    general, people = apart(crops(6, 8), 3, 8)
    calls: list[str] = []

    def train(config: Any, *rest: Any) -> Any:
        calls.append(config.layers)
        return train_network(config, *rest)

    row = compare_one(recipe(), "squeezenet", general, people, tmp_path, train)
    assert calls == ["all", "last", "all"]
    last, whole = row["finetune"]
    assert last["trained_parameters"] < whole["trained_parameters"] == whole["parameters"]
    assert (last["side"], last["steps"]) == (64, 12)
    assert whole["accuracy_softmax"] >= 0.5
    assert row["pretrain"]["faces_seen"] == 16
    assert row["mib"] > 1
    card = load_card(tmp_path / "transfer_squeezenet.yaml")
    assert "16 in 2 batches" in card.source
    assert compare_one(recipe(), "squeezenet", general, people, tmp_path, train) == row
    assert len(calls) == 3
    table = command.table([row], ("last", "all"))
    assert "| squeezenet | 64 |" in table
    assert "random weights, then 16 faces" in table
    pytest.importorskip("matplotlib")
    command._plot([row], tmp_path / "networks.png")
    assert (tmp_path / "networks.png").stat().st_size > 0


def test_a_recipe_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not among the networks"):
        recipe(own={"vgg16": {"side": 48}})
    with pytest.raises(ValueError, match="extra"):
        recipe(finetune={"step": 3})
    wrong = tmp_path / "compare.yaml"
    wrong.write_text("networks: [alexnet]\nfinetune: {rate: -1}\n")
    assert main(["train", "-c", str(wrong), "--export", str(tmp_path)]) == ConfigError.exit_code


@pytest.mark.slow
def test_the_command_leaves_a_page_and_the_networks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = crops(6, 5)
    rows = ["file,person"]
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for number, (face, label) in enumerate(zip(given.faces, given.labels, strict=True)):
            data = cv2.imencode(".png", face[:, :, ::-1])[1].tobytes()
            archive.writestr(f"{number}.png", data)
            rows.append(f"{number}.png,{'' if label < 0 else f'p{label}'}")
        archive.writestr("labels.csv", "\n".join(rows) + "\n")
    assert given.teacher is not None
    unit = given.teacher / np.linalg.norm(given.teacher, axis=1, keepdims=True)
    np.save(tmp_path / "t.npy", unit.astype(np.float16))
    words = ["networks=[resnet10]", f"pretrain.packed={tmp_path / 'faces.zip'}", "starts={}"]
    words += [f"pretrain.teacher={tmp_path / 't.npy'}", f"pretrain.cache={tmp_path / 'cache'}"]
    words += ["pretrain.steps=1", "pretrain.batch=4", "finetune.steps=2", "new_people=3", "own={}"]
    words += ["pretrain.faces=30", "finetune.people_each=2"]
    words += ["pretrain.threads=1", "finetune.threads=1"]
    recipe_file = Path(__file__).parents[2] / "configs" / "train_networks.yaml"
    out = tmp_path / "out"
    told = ["--export", str(out), "--markdown", str(out / "t.md"), "--json", str(out / "t.json")]
    sets = [part for word in words for part in ("--set", word)]
    assert main(["train", "-c", str(recipe_file), *sets, *told]) == 0
    assert "| resnet10 | 64 |" in capsys.readouterr().out
    assert "| resnet10 | 64 |" in (out / "t.md").read_text()
    assert (out / "transfer_resnet10.onnx").is_file()
    assert main(["train", "-c", str(recipe_file), *sets]) == UsageError.exit_code


@pytest.mark.parametrize("name", ["openface", "facenet_small", "networks"])
def test_the_recipes_in_the_repository_are_valid(name: str) -> None:
    path = Path(__file__).parents[2] / "configs" / f"train_{name}.yaml"
    if name == "networks":
        config = load_document(path, CompareConfig)
        assert config.networks == compare.NETWORKS
        assert config.second("vgg16", "last").side == 48
    else:
        single = load_document(path, TransferConfig)
        assert (single.architecture, single.loss) == (name, "triplet")
        assert 0 < single.warm < 1
