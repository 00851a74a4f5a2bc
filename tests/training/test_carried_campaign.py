"""A campaign carried to another machine in parts, and its checkpoint back in pieces."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

from jetson_face.core.errors import InputBrokenError
from jetson_face.training.campaign import packing, state
from tests.training.test_campaign import REPO, told

__all__ = ["told"]


def test_parts_hold_every_picture_once_and_are_small(told: dict[str, Any], tmp_path: Path) -> None:
    sources = [Path(pack["packed"]) for pack in told["packs"]]
    most = sum(path.stat().st_size for path in sources) // 3
    parts = packing.split_faces(sources, tmp_path / "parts", most)
    assert len(parts) >= 3
    seen: dict[str, bytes] = {}
    people = set()
    for number, part in enumerate(parts):
        assert part.name == f"faces_{number}.zip"
        assert part.stat().st_size <= most
        with zipfile.ZipFile(part) as archive:
            rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
            assert len(rows) == len(archive.namelist()) - 1
            seen |= {row["file"]: archive.read(row["file"]) for row in rows}
            people |= {row["person"] for row in rows}
    assert len(seen) == 48
    with zipfile.ZipFile(sources[1]) as archive:
        assert seen["faces1/5.png"] == archive.read("5.png")
    assert {"", "faces0/p0", "faces1/p0"} <= people, "two packs' people stay apart"


def test_a_picture_that_fits_no_part_is_refused(told: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than a part may have"):
        packing.split_faces([Path(told["packs"][0]["packed"])], tmp_path, 1000)


def test_a_file_goes_in_pieces_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(bytes(range(256)) * 10)
    pieces = packing.split_file(tmp_path / "c.pt", tmp_path / "out", 1000)
    assert [p.name for p in pieces] == ["c.pt.0", "c.pt.1", "c.pt.2", "c.pt.count"]
    assert packing.join_file(tmp_path / "out", tmp_path / "new" / "c.pt")
    assert (tmp_path / "new/c.pt").read_bytes() == (tmp_path / "c.pt").read_bytes()
    assert not packing.join_file(tmp_path, tmp_path / "new" / "other.pt")
    (tmp_path / "out/c.pt.1").write_bytes(b"of another copy")
    with pytest.raises(InputBrokenError, match="pieces"):
        packing.join_file(tmp_path / "out", tmp_path / "new" / "c.pt")
    (tmp_path / "out/c.pt.1").unlink()
    with pytest.raises(InputBrokenError, match="missing"):
        packing.join_file(tmp_path / "out", tmp_path / "new" / "c.pt")


def _call(recipe: Path, carried: Path, store: Path, out: Path) -> subprocess.CompletedProcess[str]:
    shutil.rmtree(out, ignore_errors=True)  # as the machine does it
    more = {
        "RECIPE": recipe,
        "CARRIED": carried,
        "STORE": store,
        "OUT": out,
        "PYTHON": sys.executable,
    }
    return subprocess.run(
        ["bash", str(REPO / "tools" / "train_on_gpu.sh")],
        env=os.environ | {key: str(value) for key, value in more.items()} | {"SECONDS_MOST": "120"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


@pytest.mark.slow
def test_the_calls_of_a_lease(told: dict[str, Any], tmp_path: Path) -> None:
    """Faces in two calls, training in the second, gone on with on a machine that is bare again."""
    carried, store, out = tmp_path / "gpu", tmp_path / "store", tmp_path / "out"
    sources = [Path(pack["packed"]) for pack in told["packs"]]
    parts = packing.split_faces(sources, tmp_path / "parts", 600_000)
    assert len(parts) == 2
    for number, part in enumerate(parts, 1):
        (carried / f"call_{number}").mkdir(parents=True)
        part.rename(carried / f"call_{number}" / part.name)
    (tmp_path / "teacher.onnx").rename(carried / "call_2" / "teacher.onnx")
    told["packs"] = [{"packed": part.name} for part in parts]
    told["teachers"] = {"live": told["teachers"]["live"] | {"file": "teacher.onnx"}}
    told["replay"] = 1
    del told["run"], told["cache"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(told))

    (carried / "call_2").rename(tmp_path / "later")
    first = _call(recipe, carried, store, out)
    assert "not here yet: faces_1.zip, teacher.onnx" in first.stdout
    assert not list(out.iterdir())

    (carried / "call_1").rename(tmp_path / "gone")
    (tmp_path / "later").rename(carried / "call_2")
    second = _call(recipe, carried, store, out)
    assert "96 samples (100.0 %)" in second.stdout
    assert {p.name for p in out.iterdir()} == {"checkpoint.pt.0", "checkpoint.pt.count"}

    bare = tmp_path / "bare"
    for piece in out.iterdir():
        shutil.copy(piece, carried / "call_2")
    shutil.copy(tmp_path / "gone" / "faces_0.zip", carried / "call_2")
    recipe.write_text(yaml.safe_dump(told | {"optim": told["optim"] | {"samples": 120}}))
    third = _call(recipe, carried, bare, out)
    assert "resumed at step 12, 96 samples" in third.stdout
    assert state.read_checkpoint(bare / "run")["samples"] == 120


def test_another_teacher_than_the_recipes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fr_feature.onnx").write_bytes(b"some other network")
    command = [
        sys.executable,
        str(REPO / "tools" / "train_pack.py"),
        "--out",
        str(tmp_path / "gpu"),
    ]
    command += ["--faceplugin", str(tmp_path / "fr_feature.onnx")]
    out = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert out.returncode != 0
    assert "not the file that the recipe was made for" in out.stderr
    assert not (tmp_path / "gpu").exists()
