"""The campaign: teachers rebuilt, views, hints, replay, and going on after a kill."""

from __future__ import annotations

import csv
import io
import math
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch

from jetson_face.core.errors import ConfigError, InputBrokenError
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.training.campaign import state, views
from jetson_face.training.campaign.optimisers import orthogonal, rate_part
from jetson_face.training.campaign.rebuild import Rebuilt, Teacher
from jetson_face.training.campaign.settings import CampaignConfig, ViewSettings
from jetson_face.training.campaign.starting import ridge, start_from_onnx
from jetson_face.training.campaign.targets import Lesson, mirrored
from jetson_face.training.campaign.trainer import Campaign
from jetson_face.training.export import fold, to_onnx
from jetson_face.training.net import SqueezeNetFace

DIM, FACES = 16, 40
REPO = Path(__file__).resolve().parents[2]


def teacher_model() -> onnx.ModelProto:
    """(N, 3, 112, 112) to (N, 24): 28, 14 and 7 wide maps of 8, 8 and 12 channels."""
    rng = np.random.default_rng(4)
    held = {
        "w1": rng.normal(size=(8, 3, 5, 5)) * 0.1,
        "b1": rng.normal(size=8) * 0.1,
        "s1": np.full((8, 1, 1), 0.25),
        "w2": rng.normal(size=(8, 1, 3, 3)) * 0.4,
        "w3": rng.normal(size=(8, 8, 1, 1)) * 0.4,
        "w4": rng.normal(size=(12, 8, 3, 3)) * 0.2,
        "w5": rng.normal(size=(24, 12, 7, 7)) * 0.1,
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["input", "w1", "b1"], ["c1"], strides=[4, 4], pads=[2, 2, 2, 2]),
        node("PRelu", ["c1", "s1"], ["m28"]),
        node("Conv", ["m28", "w2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1], group=8),
        node("Conv", ["c2", "w3"], ["c3"]),
        node("Add", ["c2", "c3"], ["m14"]),
        node("Conv", ["m14", "w4"], ["m7"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["m7", "w5"], ["c5"]),
        node("Flatten", ["c5"], ["output"]),
    ]
    value, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "teacher",
        [value("input", kind, ["N", 3, 112, 112])],
        [value("output", kind, ["N", 24])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pack(path: Path, seed: int, count: int) -> None:
    """A zip as the data folder's: coloured patterns, every other one of a named person."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as archive:
        rows = io.StringIO()
        out = csv.writer(rows)
        out.writerow(["file", "person"])
        for i in range(count):
            small = rng.integers(0, 256, (7, 7, 3)).astype(np.uint8)
            picture = cv2.resize(small, (112, 112), interpolation=cv2.INTER_CUBIC)
            archive.writestr(f"{i}.png", cv2.imencode(".png", picture)[1].tobytes())
            out.writerow([f"{i}.png", f"p{i // 4}" if i % 2 else ""])
        archive.writestr("labels.csv", rows.getvalue())


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Any]:
    """A campaign of two packs and two teachers that runs in seconds."""
    rng = np.random.default_rng(3)
    onnx.save(teacher_model(), str(tmp_path / "teacher.onnx"))
    packs = []
    for number, count in enumerate((FACES, 8)):
        pack(tmp_path / f"faces{number}.zip", number, count)
        np.save(tmp_path / f"stored{number}.npy", rng.normal(size=(count, 12)).astype(np.float16))
        vectors = {"stored": str(tmp_path / f"stored{number}.npy")}
        packs.append({"packed": str(tmp_path / f"faces{number}.zip"), "vectors": vectors})
    return {
        "run": str(tmp_path / "run"),
        "cache": str(tmp_path / "cache"),
        "dim": DIM,
        "log_steps": 1,
        "prepare_faces": 256,
        "prepare_rows": 16,
        "held_out": 6,
        "ring": 32,
        "replay": 2,
        "packs": packs,
        "teachers": {
            "live": {
                "file": str(tmp_path / "teacher.onnx"),
                "colour": "BGR",
                "dim": 24,
                "taps": {7: "m7", 14: "m14", 28: "m28"},
            },
            "stored": {"dim": 12, "weight": 0.5},
        },
        "net": {"dim": DIM, "stem": "patch"},
        "loss": {"hints": {7: 0.5, 14: 0.2}},
        "optim": {"batch": 8, "rate": 2e-3, "minutes": 1, "samples": 96, "ema": 0.8},
    }


def campaign(told: dict[str, Any], **more: Any) -> Campaign:
    return Campaign(CampaignConfig.model_validate(told | more))


def test_a_rebuilt_teacher_answers_as_its_file() -> None:
    model = teacher_model()
    teacher = Teacher(Rebuilt(model, ("m7", "m28")), "BGR", 127.0, 128.0, {7: "m7", 28: "m28"})
    faces = np.random.default_rng(0).integers(0, 256, (2, 3, 112, 112)).astype(np.float32)
    raw = OnnxBackend(model.SerializeToString()).run({"input": (faces[:, ::-1] - 127) / 128})
    theirs = raw["output"] / np.linalg.norm(raw["output"], axis=1, keepdims=True)
    vector, maps = teacher(torch.from_numpy(faces))
    np.testing.assert_allclose(vector.numpy(), theirs, atol=1e-5)
    assert {side: tuple(value.shape) for side, value in maps.items()} == {
        7: (2, 12, 7, 7),
        28: (2, 8, 28, 28),
    }


def test_a_graph_that_is_not_known_is_refused() -> None:
    with pytest.raises(InputBrokenError, match="no elsewhere"):
        Rebuilt(teacher_model(), ("elsewhere",))
    model = teacher_model()
    model.graph.node[1].op_type = "Sigmoid"
    with pytest.raises(InputBrokenError, match="Sigmoid"):
        Rebuilt(model)


def _smooth(count: int = 6) -> torch.Tensor:
    rng = np.random.default_rng(1)
    small = [rng.integers(40, 216, (7, 7, 3)).astype(np.uint8) for _ in range(count)]
    large = [cv2.resize(s, (112, 112), interpolation=cv2.INTER_CUBIC) for s in small]
    return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).float()


def _quiet(**on: float) -> ViewSettings:
    names = list(ViewSettings.model_fields)
    return ViewSettings(**(dict.fromkeys(names, 0.0) | on))


def test_nothing_asked_for_changes_nothing() -> None:
    faces = _smooth()
    out = views.changed(faces, _quiet(), torch.Generator().manual_seed(0))
    assert (out - faces).abs().max() < 0.05


def test_the_mirror_image_is_the_mirror_image() -> None:
    faces = _smooth()
    out = views.changed(faces, _quiet(flip=1.0), torch.Generator().manual_seed(0))
    assert (out - faces.flip(3)).abs().max() < 0.05


@pytest.mark.parametrize(
    "name",
    [
        *("shift_px", "scale", "rotate_deg", "shear", "colour", "grey", "small"),
        *("blur", "noise", "jpeg", "occlude", "border"),
    ],
)
def test_each_change_changes_faces_and_nothing_leaves_its_range(name: str) -> None:
    faces = _smooth(12)
    how = _quiet(**{name: {"shift_px": 3.0, "rotate_deg": 5.0}.get(name, 0.5)})
    one = views.changed(faces, how, torch.Generator().manual_seed(5))
    again = views.changed(faces, how, torch.Generator().manual_seed(5))
    other = views.changed(faces, how, torch.Generator().manual_seed(6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    moved = (one - faces).abs().amax((1, 2, 3)) > 0.5
    assert moved.any()
    if name not in ("shift_px", "scale", "rotate_deg", "shear"):
        assert not moved.all(), "half of them are left alone"
    assert one.min() >= 0
    assert one.max() <= 255
    assert torch.equal(faces, _smooth(12)), "the faces themselves are not touched"


def test_block_coding_loses_what_jpeg_loses() -> None:
    """Against OpenCV's own JPEG at the same quality: it loses as much, and the same."""
    faces = _smooth(3) + 12 * torch.randn(
        3, 3, 112, 112, generator=torch.Generator().manual_seed(0)
    )
    faces = faces.clamp(0, 255).round()
    quality = torch.tensor([20.0, 50.0, 90.0])
    ours = views.coded_blocks(faces, quality)
    loss = (ours - faces).square().mean((1, 2, 3)).sqrt()
    assert loss[0] > 1.05 * loss[1]
    assert loss[1] > 1.3 * loss[2]
    for face, mine, q in zip(faces, ours, quality, strict=True):
        rgb = face.permute(1, 2, 0).numpy().astype(np.uint8)
        how = [cv2.IMWRITE_JPEG_QUALITY, int(q), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
        coded = cv2.imencode(".jpg", rgb[..., ::-1], how)[1]
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
        theirs = decoded[..., ::-1].astype(np.float32)
        picture = mine.permute(1, 2, 0).numpy()
        lost = np.abs(theirs - rgb).mean()
        assert np.abs(picture - rgb).mean() == pytest.approx(lost, rel=0.03), f"quality {q}"
        assert np.abs(theirs - picture).mean() < 0.45 * lost, "whole numbers are rounded otherwise"


@pytest.mark.slow
def test_a_network_taken_back_from_its_file_answers_as_the_file() -> None:
    torch.manual_seed(0)
    old = SqueezeNetFace(dim=DIM, stem="patch")
    faces = (_smooth(32) - 127.5) / 127.5
    for _ in range(3):
        old(faces)  # statistics of its own
    old.eval()
    model = to_onnx(old)
    new = SqueezeNetFace(dim=DIM, stem="patch")
    with torch.no_grad():
        theirs = fold(old)(faces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "load", lambda _: model)
        fresh = start_from_onnx(new, Path("net.onnx"), faces)
    assert fresh == ()
    with torch.no_grad():
        assert (new(faces) - theirs).abs().max() < 1e-4
        new.train()
        assert (new(faces) * theirs).sum(1).min() > 0.99, "and as it will train"


@pytest.mark.slow
def test_the_target_is_turned_to_the_network_and_keeps_its_cosines(told: dict[str, Any]) -> None:
    one = campaign(told)
    draw = torch.Generator().manual_seed(0)
    rank = torch.randn(200, DIM, generator=draw)
    joined = rank @ torch.randn(DIM, 36, generator=draw)
    turned, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=draw))
    one.teachers.learn_axes(joined, torch.eye(DIM)[:1].repeat(200, 1))
    before = one.teachers.turn(joined)
    one.teachers.learn_axes(joined, before @ turned)
    after = one.teachers.turn(joined)
    torch.testing.assert_close(after, before @ turned, atol=1e-4, rtol=0)
    whole = torch.nn.functional.normalize(joined, dim=1)
    torch.testing.assert_close(after @ after.T, whole @ whole.T, atol=1e-4, rtol=0)


def test_ridge_finds_a_linear_map() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(200, 5, generator=draw), torch.randn(3, 5, generator=draw)
    got, bias = ridge(x, x @ weight.T + 2, 1e-9)
    torch.testing.assert_close(got, weight, atol=1e-3, rtol=0)
    torch.testing.assert_close(bias, torch.full((3,), 2.0), atol=1e-3, rtol=0)


def test_muon_steps_are_nearly_orthogonal() -> None:
    matrix = torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
    for given in (matrix, matrix.T):
        values = torch.linalg.svdvals(orthogonal(given))
        assert values.min() > 0.6
        assert values.max() < 1.3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_it_learns(told: dict[str, Any], kind: str) -> None:
    told["optim"] |= {"kind": kind, "samples": 320, "batch": 16, "rate": 1e-2, "muon_rate": 0.03}
    told["view"] = dict.fromkeys(("small", "blur", "noise", "jpeg", "occlude", "border"), 0)
    one = campaign(told)
    one.prepare()
    one.train()
    rows = one.curves.rows()
    assert len(rows) == 20
    first, last = rows[:3], rows[-3:]
    assert np.mean([r["total"] for r in last]) < 0.8 * np.mean([r["total"] for r in first])
    assert np.mean([r["hint7"] for r in last]) < np.mean([r["hint7"] for r in first])
    assert one.cosine is not None
    assert one.cosine == one.held_out_cosine()
    assert np.mean([r["cosine"] for r in last]) > np.mean([r["cosine"] for r in first]) + 0.1


@pytest.mark.slow
def test_it_trains_in_half_the_precision_too(told: dict[str, Any]) -> None:
    """As on a GPU: bf16 layers, losses in float32, all three hints, nothing seen twice."""
    told["optim"] |= {"bf16": True, "samples": 24}
    told["loss"]["hints"] = {7: 0.5, 14: 0.2, 28: 0.1}
    told["replay"] = 1
    one = campaign(told)
    one.prepare()
    one.train()
    row = one.curves.rows()[-1]
    assert {"hint7", "hint14", "hint28", "distill", "gram", "bank"} <= row.keys()
    assert all(np.isfinite(value) for value in row.values())
    assert {value.dtype for value in one.net.state_dict().values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("frozen", [True, False])
def test_norms_that_are_frozen_keep_their_statistics(told: dict[str, Any], frozen: bool) -> None:
    told["optim"] |= {"freeze_norms": frozen, "samples": 16}
    one = campaign(told)
    one.prepare()
    before = {k: v.clone() for k, v in one.net.state_dict().items() if "running" in k}
    weight = one.net.head.linear.weight.detach().clone()
    one.train()
    after = one.net.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items()) == frozen
    assert not torch.equal(weight, one.net.head.linear.weight)


def test_a_view_is_seen_as_often_as_replay_says(told: dict[str, Any]) -> None:
    told["optim"]["samples"] = 128
    one = campaign(told)
    one.prepare()
    one.train()
    asked_while_the_ring_filled = 32
    assert one.samples == 128
    assert one.asked == asked_while_the_ring_filled + (128 - asked_while_the_ring_filled) // 2


@pytest.mark.parametrize("chance", [0.0, 1.0, 0.5])
def test_views_seen_again_are_mirrored_with_their_hints_and_not_their_targets(
    told: dict[str, Any], chance: float
) -> None:
    one = campaign(told, replay_flip=chance, ring=64)
    one.prepare()
    while one.ring.filled < one.ring.size:
        first = one.lesson(one._draw(one.asked))
    kept = one.ring.take(512, torch.Generator().manual_seed(1))
    lesson = one.lesson(one._draw(1))
    turns = []
    for row in range(len(first.view) // 2, len(first.view)):
        whose = int((kept.target - lesson.target[row]).abs().sum(1).argmin())
        view, hint = kept.view[whose], kept.hints[7][whose]
        turned = not torch.equal(lesson.view[row], view)
        assert torch.equal(lesson.view[row], view.flip(2) if turned else view)
        assert torch.equal(lesson.hints[7][row], hint.flip(2) if turned else hint)
        assert torch.equal(lesson.target[row], kept.target[whose])
        turns.append(turned)
    if chance in (0.0, 1.0):
        assert set(turns) == {bool(chance)}


def test_a_share_of_the_views_is_mirrored() -> None:
    view = torch.arange(400 * 3 * 4, dtype=torch.uint8).reshape(400, 3, 1, 4)
    lesson = Lesson(view, torch.zeros(400, DIM), {})
    out = mirrored(lesson, 0.25, torch.Generator().manual_seed(2)).view
    turned = (out != view).flatten(1).any(1)
    assert torch.equal(out[turned], view[turned].flip(3))
    assert 0.15 < turned.float().mean() < 0.35


def test_held_out_faces_are_never_asked_for(told: dict[str, Any]) -> None:
    one = campaign(told)
    assert len(one.held_out) == 6
    assert len(one.rows) == FACES + 8 - 6
    walked = one.walk(0, 3 * len(one.rows))
    assert not set(walked) & set(one.held_out)
    assert np.bincount(walked).max() == 3, "every face once a pass"


def test_the_rate_rises_falls_and_begins_again(told: dict[str, Any]) -> None:
    how = CampaignConfig.model_validate(told).optim
    assert rate_part(0.0, how) < 0.05
    assert rate_part(how.warmup, how) == pytest.approx(1)
    assert rate_part(1.0, how) == pytest.approx(how.floor)
    one = campaign(told)
    one.prepare()
    one.train()
    assert one.done == 1
    again = campaign(told)
    assert again.resume()
    assert again.done == 1
    assert again.resume(new_cycle=True)
    assert again.done == 0


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was(told: dict[str, Any]) -> None:
    """Without replay every lesson is a pure function of the step: the very same weights."""
    told["replay"] = 1
    told["loss"] |= {"bank": 0.0}
    whole = campaign(told, run=told["run"] + "_whole")
    whole.prepare()
    whole.train()
    first = campaign(told)
    first.prepare()
    first.train(stop=lambda: first.step >= 5)
    second = campaign(told)
    assert second.resume()
    assert (second.step, second.samples) == (5, 40)
    second.train()
    for name, value in whole.ema.state_dict().items():
        assert torch.equal(value, second.ema.state_dict()[name]), name
    assert [r["step"] for r in second.curves.rows()] == list(range(1, 13))


def test_another_network_is_not_resumed(told: dict[str, Any]) -> None:
    campaign(told).save()
    told["net"]["repeat"] = [3]
    with pytest.raises(ValueError, match="not the one configured"):
        campaign(told).resume()


@pytest.mark.slow
def test_a_killed_process_goes_on(told: dict[str, Any], tmp_path: Path) -> None:
    """SIGKILL in the middle, then the same command with --resume."""
    told["optim"]["samples"] = 100_000
    told["checkpoint_minutes"] = 0.0001
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(told))
    command = [sys.executable, str(REPO / "tools" / "train_campaign.py"), "-c", str(recipe)]
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL) as run:
        _wait_for_step(Path(told["run"]), 4)
        run.send_signal(signal.SIGKILL)
    saved = state.read_checkpoint(Path(told["run"]))["step"]
    assert saved >= 3
    refused = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--resume" in refused.stdout
    told["optim"]["samples"] = (saved + 3) * 8
    recipe.write_text(yaml.safe_dump(told))
    more = [*command, "--resume"]
    out = subprocess.run(more, cwd=REPO, capture_output=True, text=True, check=True).stdout
    assert f"resumed at step {saved}" in out
    assert state.read_checkpoint(Path(told["run"]))["step"] == saved + 3


def _wait_for_step(run: Path, step: int) -> None:
    for _ in range(600):
        curves = run / "curves.csv"
        if curves.exists() and len(curves.read_text().splitlines()) > step:
            return
        time.sleep(0.1)
    raise AssertionError("no step within a minute")


def test_averaged_weights_are_kept_small_and_begun_with(
    told: dict[str, Any], tmp_path: Path
) -> None:
    told["optim"]["samples"] = 24
    one = campaign(told)
    one.prepare()
    one.train()
    kept = tmp_path / "kept.npz"
    state.keep_small(state.read_checkpoint(Path(told["run"])), kept)
    assert kept.stat().st_size < 0.5 * (Path(told["run"]) / "checkpoint.pt").stat().st_size
    again = campaign(told, run=str(tmp_path / "again"), start=str(kept))
    again.prepare()
    faces = (_smooth() - 127.5) / 127.5
    with torch.no_grad():
        assert (again.net.eval()(faces) * one.ema(faces)).sum(1).min() > 0.9999
    assert (again.samples, again.done) == (24, 0)
    torch.testing.assert_close(again.teachers.axes, one.teachers.axes)
    assert again.held_out_cosine() == pytest.approx(one.held_out_cosine(), abs=1e-3)
    again.train()
    assert again.samples == 48
    other = {name: how | {"weight": 0.5} for name, how in told["teachers"].items()}
    turned = campaign(told, run=str(tmp_path / "other"), start=str(kept), teachers=other)
    turned.prepare()  # another target: fitted to the weights, not the old one's axes
    assert not torch.allclose(turned.teachers.axes, one.teachers.axes, atol=1e-3)
    assert turned.samples == 24
    without = campaign(told, start=str(kept), loss=told["loss"] | {"hints": {}})
    without.prepare()  # fewer hints: the same target
    torch.testing.assert_close(without.teachers.axes, one.teachers.axes)
    more = campaign(told, start=str(kept), loss=told["loss"] | {"hints": {7: 0.5, 28: 0.1}})
    more.prepare()  # one that was not there: fitted
    assert more.hints.project["28"].weight.abs().sum() > 0
    kept.write_bytes(b"something else")
    with pytest.raises(InputBrokenError, match="not the kept state"):
        campaign(told, run=str(tmp_path / "third"), start=str(kept)).prepare()


@pytest.mark.parametrize("what", [math.inf, math.nan])
def test_a_number_without_end_is_refused(told: dict[str, Any], what: float) -> None:
    told["optim"]["rate"] = what
    with pytest.raises(ValueError, match="finite number"):
        CampaignConfig.model_validate(told)


def test_mixed_views_are_two_faces_blended_or_with_a_rectangle() -> None:
    faces = torch.arange(64.0)[:, None, None, None].expand(64, 3, 112, 112)
    out = views.mixed(faces, 1.0, torch.Generator().manual_seed(3))
    again = views.mixed(faces, 1.0, torch.Generator().manual_seed(3))
    assert torch.equal(out, again)
    seen = {"blended": 0, "cut": 0}
    for own, view in enumerate(out[:, 0]):
        values = view.unique()
        if len(values) == 1:  # or itself, which one of 64 is drawn for
            seen["blended"] += 1
            continue
        assert len(values) == 2
        assert own in values.tolist()
        other = values[values != own].item()
        assert other == round(other), "another face of the batch as it is"
        place = (view == other).nonzero()
        height, width = (place.amax(0) - place.amin(0) + 1).tolist()
        assert len(place) == height * width, "a rectangle"
        assert 0.17 < len(place) / view.numel() < 0.83
        seen["cut"] += 1
    assert min(seen.values()) > 15, seen
    assert 0 <= out.min() <= out.max() <= 63
    untouched = views.mixed(faces, 0.0, torch.Generator().manual_seed(3))
    assert torch.equal(untouched, faces)
    half = views.mixed(faces, 0.5, torch.Generator().manual_seed(3))
    same = (half == faces).flatten(1).all(1).sum()
    assert 16 < same < 48


def test_a_recipe_that_cannot_be_read_ends_in_one_line(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("run: runs/here\noptim:\n  minutes: -1\n")
    words = [sys.executable, str(REPO / "tools" / "train_campaign.py"), "-c", str(recipe)]
    out = subprocess.run(words, capture_output=True, text=True)
    assert out.returncode == ConfigError.exit_code
    assert f"{recipe}:3: " in out.stdout
    assert "Traceback" not in out.stderr


@pytest.mark.parametrize("mix", [0.0, 1.0], ids=["faces alone", "two faces each"])
def test_faces_alone_lean_to_their_person(told: dict[str, Any], mix: float) -> None:
    told["teachers"] = {"live": told["teachers"]["live"]}
    wants = {"share": 1.0, "least_cosine": -1.0}
    own = campaign(told, ring=2, replay=1, view={"mix": mix})
    leaning = campaign(told, ring=2, replay=1, view={"mix": mix}, people=wants)
    draw = torch.Generator
    plain, lent = own.lesson(draw().manual_seed(1)), leaning.lesson(draw().manual_seed(1))
    assert torch.equal(plain.view, lent.view)
    moved = (plain.target - lent.target).norm(dim=1) > 1e-3
    rows = own.walk(0, len(moved))
    labels = own.faces.labels
    held_out = set(own.held_out.tolist())
    friends = [[f for f in np.flatnonzero(labels == labels[r]) if f not in held_out] for r in rows]
    wanted = [
        mix == 0 and labels[r] >= 0 and len(f) > 1 for r, f in zip(rows, friends, strict=True)
    ]
    assert moved.tolist() == wanted
    assert any(wanted) != bool(mix)


def test_another_teacher_is_asked_again(told: dict[str, Any]) -> None:
    told["teachers"] = {"live": told["teachers"]["live"]}
    told["people"] = {"share": 0.5, "least_cosine": -1.0}
    campaign(told)
    campaign(told)
    assert len(list(Path(told["cache"]).glob("people_*.npy"))) == 1
    model = onnx.load(told["teachers"]["live"]["file"])
    model.doc_string = "another"
    onnx.save(model, told["teachers"]["live"]["file"])
    campaign(told)
    assert len(list(Path(told["cache"]).glob("people_*.npy"))) == 2


def test_mixed_views_want_live_teachers(told: dict[str, Any]) -> None:
    told["view"] = {"mix": 0.5}
    with pytest.raises(ValueError, match=r"view\.mix: the stored vectors of \['.*'\] are of one"):
        CampaignConfig.model_validate(told)
    told["teachers"] = {k: t | {"weight": t.get("weight", 1.0) * ("file" in t)}
                        for k, t in told["teachers"].items()}  # fmt: skip
    one = campaign(told)
    one.prepare()
    before = one.lesson(one._draw(0)).view
    told["view"] = {"mix": 0.0}
    other = campaign(told, run=told["run"] + "-plain")
    other.prepare()
    assert not torch.equal(before, other.lesson(other._draw(0)).view)


def test_hints_need_a_teacher_with_taps(told: dict[str, Any]) -> None:
    told["loss"]["hints"] = {56: 1.0}
    with pytest.raises(ValueError, match=r"no teacher has taps at \[56\]"):
        CampaignConfig.model_validate(told)


def test_stored_vectors_must_fit(told: dict[str, Any], tmp_path: Path) -> None:
    told["teachers"]["stored"]["dim"] = 13
    with pytest.raises(InputBrokenError, match="12 numbers, not 13"):
        campaign(told)
