"""What `train --export DIR` leaves takes the place of nothing that the training begins with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from jetson_face.cli import train
from jetson_face.cli.main import main
from jetson_face.core.errors import OutputError
from jetson_face.util.files import write_file

SMALL = "architecture: openface\npacked: none.zip\n"
TABLE = """
networks: [alexnet, resnet10]
starts: {resnet10: nets/transfer_resnet10.weights.npz}
pretrain: {packed: none.zip}
"""


@pytest.mark.parametrize(
    ("recipe", "words", "harmed"),
    [
        (SMALL, "-c nets/openface.yaml", "nets/openface.yaml"),
        (SMALL, "-c nets/mine.yaml --set name=mine", "nets/mine.yaml"),
        (SMALL, "-c r.yaml --weights nets/openface.weights.npz", "nets/openface.weights.npz"),
        (TABLE, "-c r.yaml", "nets/transfer_resnet10.weights.npz"),
        (
            "",
            "--finetune people --net resnet10 --weights nets/transfer_resnet10.weights.npz",
            "nets/transfer_resnet10.weights.npz",
        ),
        (
            "",
            "--finetune people --net all --weights nets",
            "nets/transfer_resnet10.weights.npz",
        ),
    ],
)
def test_an_export_in_the_place_of_what_it_begins_with_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    words: str,
    harmed: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("nets", "people"):
        Path(folder).mkdir()
    for name in ("nets/openface.yaml", "nets/mine.yaml", "r.yaml"):
        Path(name).write_text(recipe)
    for name in ("openface", "transfer_resnet10"):
        Path(f"nets/{name}.weights.npz").write_bytes(b"weights")
    before = Path(harmed).read_bytes()
    assert main(["train", *words.split(), "--export", "nets"]) == 2
    what = "the configuration" if harmed.endswith("yaml") else "an input"
    said = capsys.readouterr().err
    assert said == f"jetson-face: {harmed}: it is {what}, and would be overwritten\n"
    assert Path(harmed).read_bytes() == before


def test_a_recipe_of_the_shipped_embedding_is_no_card(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "squeezenet_face.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert main(["train", "-c", str(path), "--export", str(tmp_path)]) == 2
    assert "squeezenet_face.yaml: it is the configuration" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_export_on_a_full_disk_leaves_the_files_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network is written first, its card last."""
    left = tmp_path / "mine.onnx"
    full = [False]

    def save(net: object, outcome: object, config: object, folder: Path) -> Path:
        write_file(folder / "mine.onnx", "new")
        if full[0]:
            raise OutputError(f"{folder / 'mine.yaml'}: cannot be written: No space left on device")
        write_file(folder / "mine.yaml", "card")
        return folder / "mine.yaml"

    def trained(*_: object, **__: object) -> tuple[object, SimpleNamespace]:
        return None, SimpleNamespace()

    monkeypatch.setattr("jetson_face.training.transfer_export.save", save)
    monkeypatch.setattr("jetson_face.training.transfer.train_network", trained)
    monkeypatch.setattr(train, "_print", lambda outcome: None)
    args: Any = SimpleNamespace(weights=None, resume=False, export=tmp_path)
    assert train._train(None, None, args) == 0  # type: ignore[arg-type]
    assert capsys.readouterr().out == f"wrote {tmp_path}/mine.yaml\n"
    left.write_text("old")
    full[0] = True
    with pytest.raises(OutputError, match=f"^{tmp_path}/mine.yaml: cannot be written: No space"):
        train._train(None, None, args)  # type: ignore[arg-type]
    assert left.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.onnx", "mine.yaml"]
