"""`jetson-face calibrate`: from a gallery and a folder to the threshold that `identify` uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.calibration.impostors import Impostors
from jetson_face.config import load_config
from jetson_face.core.types import Embeddings
from jetson_face.factory.parts import open_gallery
from jetson_face.util.images import read_picture, write_picture

Command = Callable[..., Any]


def blurred(cli: Command, photo: Path, folder: Path) -> Path:
    """The photo so far out of focus that its similarity lies between 0.5 and 0.85."""
    path = folder / "blurred.png"
    for sigma in range(3, 12):
        write_picture(
            path, np.asarray(cv2.GaussianBlur(read_picture(photo), (0, 0), sigma), np.uint8)
        )
        faces = json.loads(cli("identify", path, "--json").out)[0]["faces"]
        if len(faces) == 1 and 0.5 < faces[0]["similarity"] < 0.85:
            return path
    raise AssertionError("no such blur")


def test_a_calibrated_threshold_is_in_force_until_it_is_forgotten(
    cli: Command, people: Path, hopper: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    few = cli("calibrate", "--fpir", "0.05")
    assert few.code == 18
    assert few.err.startswith("jetson-face: too few strangers for FPIR 0.05: 2 faces of 2 people")
    with open_gallery(load_config(None, [f"state_dir={tmp_path / 'state'}"])) as gallery:
        snapshot = gallery.snapshot()
    # strangers who all look a lot like Grace Hopper: cosines of 0.6 to 0.9
    rng = np.random.default_rng(3)
    away = rng.normal(size=(400, snapshot.space.dim))
    away -= (away @ snapshot.vectors[1])[:, None] * snapshot.vectors[1]
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    near = rng.uniform(0.6, 0.9, (400, 1))
    vectors = (near * snapshot.vectors[1] + np.sqrt(1 - near**2) * away).astype(np.float32)
    faces = Embeddings(vectors, snapshot.space)
    pack = tmp_path / "pack.npz"
    Impostors(faces, np.arange(400), np.arange(400), ("x.jpg",) * 400).save(pack)

    shown = cli("calibrate", "--fpir", "0.02", "--impostors", pack)
    assert shown.code == 0
    assert "400 faces of 400 people who are not enrolled" in shown.out
    assert "named: x.jpg as Grace Hopper (0." in shown.out
    assert "--write keeps it" in shown.out
    told_before = json.loads(cli("calibrate", "--impostors", pack, "--json").out)["lines"]
    in_force = [line["threshold"] for line in told_before[:2]]
    assert f"similarity {in_force[0]:.3f}, impostor curve" in cli("people", "list").out
    assert in_force[1] != in_force[0], "averaged frames have a cosine of their own"
    assert [line.split()[1:3] for line in shown.out.splitlines()[2:4]] == [["in", "force"]] * 2
    asked = ("calibrate", "--fpir", "0.02", "--impostors", pack, "--write", "--json")
    told = json.loads(cli(*asked).out)
    found = told["calibration"]
    assert 0.88 < found["similarity_min"] < 0.9
    assert found["low"] < 0.02 < found["high"]
    assert [line["threshold"] for line in told["lines"]][2:] == [found["similarity_min"]] * 2

    # Grace Hopper in her own photo still is, at a cosine of 1; out of focus she is no longer
    assert "Grace Hopper" in cli("identify", hopper).out
    assert "unknown" in cli("identify", blurred(cli, hopper, tmp_path)).out
    other = cli("identify", tmp_path / "blurred.png", "--set", "matching.top_k=1")
    assert "Grace Hopper" in other.out, "another way of matching has the default threshold"
    assert cli("calibrate", "--forget").out == "the default threshold is in force again\n"
    assert "Grace Hopper" in cli("identify", tmp_path / "blurred.png").out
    assert cli("calibrate", "--fpir", "0.9").code == 2
    assert cli("calibrate", "--pack", tmp_path / "x.npz").code == 2


def test_a_centre_of_the_site_is_kept_with_its_threshold(
    cli: Command, people: Path, hopper: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    with open_gallery(load_config(None, [f"state_dir={tmp_path / 'state'}"])) as gallery:
        space = gallery.snapshot().space
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(400, space.dim)) + 2 * rng.normal(size=space.dim)
    unit = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
    pack = tmp_path / "pack.npz"
    Impostors(Embeddings(unit, space), np.arange(400), np.arange(400), ("x.jpg",) * 400).save(pack)
    asked = ("calibrate", "--fpir", "0.02", "--impostors", pack, "--centre", "--write")
    assert "of centred vectors is kept with the gallery" in cli(*asked).out
    told = json.loads(cli(*asked, "--json").out)["calibration"]
    assert len(told["centre"]) == space.dim
    assert told["low"] < 0.02 < told["high"]
    assert "site calibration, centred on the site" in cli("people", "list").out
    assert "Grace Hopper" in cli("identify", hopper).out
    assert json.loads(cli("calibrate", "--forget", "--json").out) == {"calibration": None}
    assert "centred" not in cli("people", "list").out
    assert cli("calibrate", "--centre").code == 2
    few = Impostors(Embeddings(unit[:90], space), np.arange(90), np.arange(90), ("x.jpg",) * 90)
    few.save(pack)
    refused = cli(*asked)
    assert refused.code == 18
    assert "a site's centre needs 100" in refused.err


def test_strangers_too_few_for_a_rate_move_the_networks_curve(
    cli: Command, people: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    with open_gallery(load_config(None, [f"state_dir={tmp_path / 'state'}"])) as gallery:
        space = gallery.snapshot().space
    rng = np.random.default_rng(4)

    def packed(common: float, count: int) -> Path:
        """So many people, who all have something in common with everybody enrolled, or nothing."""
        with open_gallery(load_config(None, [f"state_dir={tmp_path / 'state'}"])) as gallery:
            middle = gallery.snapshot().vectors.mean(axis=0)
        made = rng.normal(size=(count, space.dim)) / np.sqrt(space.dim) + common * middle
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        path, number = tmp_path / f"{common}_{count}.npz", np.arange(count)
        faces = Embeddings(made.astype(np.float32), space)
        Impostors(faces, number, number, tuple(map(str, number))).save(path)
        return path

    alike, apart = (
        json.loads(cli("calibrate", "--impostors", packed(common, 40), "--json").out)
        for common in (0.9, 0.0)
    )
    assert apart["curve_moved"] < 0 < alike["curve_moved"]
    unmoved = [
        found["calibration"]["similarity_min"] - found["curve_moved"] for found in (alike, apart)
    ]
    assert unmoved[0] == pytest.approx(unmoved[1], abs=2e-4), "the curve's own"
    assert 0.3 < unmoved[0] < 0.5
    shown = cli("calibrate", "--impostors", packed(0.9, 40), "--write")
    assert "too few strangers for FPIR 0.01: this is the network's impostor curve" in shown.out
    assert "moved by +0." in shown.out
    assert cli("calibrate", "--impostors", packed(0.9, 9)).code == 18


@pytest.mark.parametrize("option", ["--write", "--forget", "--centre"])
def test_a_curve_is_not_measured_where_something_else_is_asked_for_too(
    cli: Command, tmp_path: Path, option: str
) -> None:
    done = cli("calibrate", "--curve", tmp_path / "c.json", "--impostors", tmp_path, option)
    assert done.code == 2
    assert "--curve measures a network, not the gallery" in done.err
