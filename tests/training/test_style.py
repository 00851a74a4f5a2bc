"""Faces in a camera's look: the maths, the loop, the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import train_style_trial  # noqa: E402

from jetson_face.cli.main import main  # noqa: E402
from jetson_face.core.errors import InputBrokenError  # noqa: E402
from jetson_face.core.types import ImageU8  # noqa: E402
from jetson_face.embedding.onnx import OnnxEmbedder  # noqa: E402
from jetson_face.inference.onnxruntime import OnnxBackend  # noqa: E402
from jetson_face.models.cards import load_card, resolve  # noqa: E402
from jetson_face.training import data  # noqa: E402
from jetson_face.training.campaign.packing import write_pack  # noqa: E402
from jetson_face.training.net import to_input  # noqa: E402
from jetson_face.training.style import (  # noqa: E402
    STYLE,
    Features,
    Restyle,
    StyleSettings,
    gram,
    pieces,
    share,
)
from jetson_face.util.images import read_picture  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads on a busy machine wait for each other at every layer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scene(seed: int, dark: float = 1.0) -> ImageU8:
    """A frame (96, 128, 3) of soft blobs."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (128, 96)) * dark, np.uint8)


def some_faces(count: int) -> ImageU8:
    """(N, 112, 112, 3) uint8: ovals with eyes and a mouth, no two alike."""
    out = np.full((count, 112, 112, 3), 90, np.uint8)
    for row, face in enumerate(out):
        cv2.ellipse(face, (56, 58), (34 + row, 46), 0, 0, 360, (210, 170, 140 + 9 * row), -1)
        for x in (38 + row, 74 - row):
            cv2.circle(face, (x, 48), 4, (40, 30, 20), -1)
        cv2.ellipse(face, (56, 86), (12 + row, 5), 0, 0, 180, (150, 60, 60), -1)
    return out


def test_the_maps_are_of_the_embedding_itself() -> None:
    faces = some_faces(3)
    with torch.no_grad():
        maps, vectors = Features()(to_input(faces))
    card = load_card("squeezenet_face")
    embedder = OnnxEmbedder(card, OnnxBackend(resolve(card), threads=1))
    told = embedder.embed(np.ascontiguousarray(faces[:, :, :, ::-1])).vectors
    np.testing.assert_allclose(vectors.numpy(), told, atol=2e-4)
    assert [maps[at].shape[-1] for at in STYLE] == [56, 28, 28, 14]


def test_a_gram_matrix_forgets_where_things_are() -> None:
    maps = torch.rand(1, 5, 6, 6)
    moved = maps.flatten(2)[:, :, torch.randperm(36)].view_as(maps)
    torch.testing.assert_close(gram(maps), gram(moved))
    by_hand = sum(float(maps[0, 1, y, x] * maps[0, 3, y, x]) for y in range(6) for x in range(6))
    assert float(gram(maps)[0, 1, 3]) == pytest.approx(by_hand / 36, rel=1e-4)


def test_descent_brings_the_style_nearer_and_keeps_who_it_is() -> None:
    faces = some_faces(2)
    styles = pieces([scene(1, 0.3)], 2, seed=4)
    features = Features()
    made = Restyle(StyleSettings(steps=8), features)(faces, styles)
    assert made.shape == faces.shape
    assert made.dtype == np.uint8

    def apart(pictures: ImageU8) -> float:
        with torch.no_grad():
            mine, theirs = features(to_input(pictures))[0], features(to_input(styles))[0]
            return sum(float(share(gram(mine[i]), gram(theirs[i])).sum()) for i in STYLE)

    assert apart(made) < 0.7 * apart(faces)
    assert made.mean() < 0.8 * faces.mean()  # a dark camera makes dark faces
    with torch.no_grad():
        before, after = features(to_input(faces))[1], features(to_input(made))[1]
    assert float((before * after).sum(1).min()) > 0.7


def test_pieces_are_drawn_by_the_seed_and_need_a_frame_of_some_size() -> None:
    frames = [scene(2)]
    np.testing.assert_array_equal(pieces(frames, 3, 7), pieces(frames, 3, 7))
    assert (pieces(frames, 3, 7) != pieces(frames, 3, 8)).any()
    with pytest.raises(InputBrokenError, match="48 pixels"):
        pieces([frames[0][:40]], 3, 7)


def test_the_command_makes_a_pack_that_training_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    coded = [(f"{n}.png", f"p{n // 2}", _png(face)) for n, face in enumerate(some_faces(5))]
    write_pack(tmp_path / "faces.zip", coded)
    np.save(tmp_path / "t.npy", np.arange(10).reshape(5, 2))
    (tmp_path / "site").mkdir()
    cv2.imwrite(str(tmp_path / "site" / "a.png"), scene(3))
    monkeypatch.setattr("jetson_face.training.style.StyleSettings", _short)
    words = ["train", "style", "--content", "faces.zip", "--style", "site", "--faces", "3"]
    words += ["--out", "styled.zip", "--vectors", "t.npy", "--sheet", "sheet.png"]
    assert main(words) == 0
    assert "styled.zip: 3 faces; mean cosine" in capsys.readouterr().out
    faces, people = data.open_packed(tmp_path / "styled.zip", tmp_path / "cache")
    assert faces.shape == (3, 112, 112, 3)
    kept = np.load(tmp_path / "styled.npy")
    assert people == [f"p{int(row[0]) // 4}" for row in kept]
    assert read_picture(tmp_path / "sheet.png").shape == (336, 336, 3)
    assert main(["train", "style", "--content", "faces.zip"]) == 2
    assert main([*words[:-4], "--vectors", "site/a.png", "--faces", "0"]) == 2


def _short() -> StyleSettings:
    return StyleSettings(steps=2)


def _png(face: ImageU8) -> bytes:
    return bytes(cv2.imencode(".png", face[:, :, ::-1])[1])


def test_a_trial_with_and_without_rendered_faces_differs_in_these_alone(tmp_path: Path) -> None:
    plain = some_faces(6)
    files = [train_style_trial.jpeg(face) for face in plain]
    write_pack(tmp_path / "all.zip", [(f"{n}.jpg", str(n), file) for n, file in enumerate(files)])
    vectors = np.eye(6, 4, dtype=np.float32) + 0.1 * np.arange(6, dtype=np.float32)[:, None]
    np.save(tmp_path / "all.npy", vectors)
    white = train_style_trial.jpeg(np.full((112, 112, 3), 255, np.uint8))
    write_pack(tmp_path / "styled.zip", [("000001.jpg", "1", white), ("000004.jpg", "4", white)])
    np.save(tmp_path / "styled.npy", vectors[[1, 4]])
    paths = tmp_path / "all.zip", tmp_path / "all.npy", tmp_path / "styled.zip"
    assert train_style_trial.make(*paths, tmp_path, 0) == 4
    with_, without = (
        data.open_packed(tmp_path / f"{name}.zip", tmp_path / "cache")
        for name in ("with", "without")
    )
    assert with_[1] == without[1]
    assert with_[1][:2] == ["1", "4"]
    assert np.load(tmp_path / "with.npy").tolist() == vectors[list(map(int, with_[1]))].tolist()
    assert np.load(tmp_path / "without.npy").tolist() == np.load(tmp_path / "with.npy").tolist()
    np.testing.assert_array_equal(with_[0][2:], without[0][2:])
    assert (np.asarray(with_[0][:2]) > 250).all()
    assert np.abs(without[0][:2].astype(int) - plain[[1, 4]]).mean() < 4
    with pytest.raises(ValueError, match="not rendered from these"):
        train_style_trial.rows_of(vectors + 1, vectors)
