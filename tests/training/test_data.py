"""The sampler, the caches and the augmentation are repeatable, balanced and loud."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.training import data
from jetson_face.training.augment import augment_batch
from jetson_face.training.settings import AugmentSettings, DataSettings

LABELS = np.array([0] * 90 + [1] * 6 + [2] * 4 + [3] + [-1] * 20)


def test_every_face_is_seen_once_an_epoch() -> None:
    sampler = data.BatchSampler(LABELS, 11, seed=3)
    seen = np.concatenate([sampler(step) for step in range(11)])
    assert sorted(seen) == list(range(121))
    assert not np.array_equal(seen[:11], sampler(11))


def test_a_batch_depends_on_seed_and_step_only() -> None:
    one, other = (data.BatchSampler(LABELS, 20, 5, identity_share=0.6) for _ in range(2))
    for step in range(30):
        one(step)
    assert np.array_equal(one(12), other(12))
    assert not np.array_equal(other(12), data.BatchSampler(LABELS, 20, 6, identity_share=0.6)(12))


def test_people_come_equally_often_however_many_pictures_they_have() -> None:
    sampler = data.BatchSampler(LABELS, 8, seed=0, identity_share=1.0, photos_each=4)
    drawn = LABELS[np.concatenate([sampler(step) for step in range(600)])]
    counts = np.bincount(drawn, minlength=4)
    assert counts[3] == 0  # a single picture makes no pair
    assert counts[:3].min() > 0.9 * 1600
    assert len(set(LABELS[sampler(0)])) == 2


def test_shares_add_up_to_the_batch() -> None:
    sampler = data.BatchSampler(LABELS, 32, seed=0, identity_share=0.5, photos_each=4)
    assert len(sampler(0)) == 32
    assert sampler.epoch(121) == pytest.approx(32.0)


def test_focused_faces_come_more_often_and_nobody_is_left_out() -> None:
    focus = np.array([3, 5])
    sampler = data.BatchSampler(LABELS, 20, seed=0, focus=focus, focus_share=0.3)
    drawn = np.concatenate([sampler(step) for step in range(121)])
    counts = np.bincount(drawn, minlength=121)
    assert len(sampler(0)) == 20
    assert counts.min() == 14  # 14 of 20 places walk through all 121 faces
    assert counts[focus].sum() == 2 * 14 + 6 * 121


def test_border_blackens_a_side_and_keeps_the_middle() -> None:
    white = np.full((40, 112, 112, 3), 255, np.uint8)
    how = AugmentSettings(
        flip=0, shift_px=0, scale=0, rotate_deg=0, colour=0, grey=0, lowres=0, jpeg=0, occlude=0
    )
    cut = augment_batch(white, how.model_copy(update={"border": 1.0}), (0,))
    assert (cut[:, 56, 56] == 255).all()
    assert ((cut == 0).any(axis=(1, 2, 3))).mean() > 0.9
    assert set(np.unique(cut)) == {0, 255}


def test_folders_are_read_once_and_in_order(toy_folder: Path, tmp_path: Path) -> None:
    how = DataSettings(folder=toy_folder, cache=tmp_path / "cache")
    first = data.load(how)
    assert first.faces.shape == (24, 112, 112, 3)
    assert first.labels.tolist() == sorted([0, 1, 2, 3, 4, 5] * 4)
    picture = np.asarray(cv2.imread(str(toy_folder / "p0" / "0.png")))[:, :, ::-1]
    assert np.array_equal(first.faces[0], picture)
    (made,) = (tmp_path / "cache").iterdir()
    stamp = made.stat().st_mtime_ns
    assert np.array_equal(data.load(how).faces, first.faces)
    assert made.stat().st_mtime_ns == stamp


def _zip(path: Path, pictures: list[bytes], people: list[str]) -> Path:
    rows = io.StringIO()
    rows.write("file,person\n")
    with zipfile.ZipFile(path, "w") as archive:
        for i, (picture, person) in enumerate(zip(pictures, people, strict=True)):
            archive.writestr(f"a/{i}.webp", picture)
            rows.write(f"a/{i}.webp,{person}\n")
        archive.writestr("labels.csv", rows.getvalue())
    return path


def _picture(shade: int) -> bytes:
    return bytes(cv2.imencode(".png", np.full((112, 112, 3), shade, np.uint8))[1])


def test_packed_set_knows_who_is_unknown(tmp_path: Path) -> None:
    packed = _zip(tmp_path / "f.zip", [_picture(9), _picture(8), _picture(7)], ["b", "", "a"])
    faces = data.load(DataSettings(packed=packed, cache=tmp_path))
    assert faces.labels.tolist() == [1, -1, 0]
    assert faces.people == ("a", "b")
    assert faces.faces[:, 0, 0, 0].tolist() == [9, 8, 7]


def test_a_broken_picture_is_named_and_leaves_no_cache(tmp_path: Path) -> None:
    packed = _zip(tmp_path / "f.zip", [_picture(9), b"no picture"], ["", ""])
    with pytest.raises(InputBrokenError, match=r"a/1\.webp"):
        data.load(DataSettings(packed=packed, cache=tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_teacher_of_another_length_is_refused(tmp_path: Path) -> None:
    packed = _zip(tmp_path / "f.zip", [_picture(9)], [""])
    np.save(tmp_path / "t.npy", np.zeros((2, 4), np.float16))
    how = DataSettings(packed=packed, teacher=tmp_path / "t.npy", cache=tmp_path)
    with pytest.raises(InputBrokenError, match="2 vectors for 1 faces"):
        data.load(how)


def test_absent_set_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETSON_FACE_DATA", str(tmp_path))
    with pytest.raises(InputMissingError, match="JETSON_FACE_DATA"):
        data.load(DataSettings(packed=Path("nowhere.zip")))


def _faces(count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)


def test_augmentation_is_the_same_with_and_without_threads() -> None:
    how = AugmentSettings(grey=0.5, lowres=0.5, jpeg=0.5, occlude=0.5)
    alone = augment_batch(_faces(), how, (1, 2))
    with ThreadPoolExecutor(2) as pool:
        together = augment_batch(_faces(), how, (1, 2), pool)
    assert np.array_equal(alone, together)
    assert not np.array_equal(alone, augment_batch(_faces(), how, (1, 3)))


def test_augmentation_leaves_its_input_alone_and_can_do_nothing() -> None:
    faces = _faces()
    before = faces.copy()
    nothing = AugmentSettings(
        flip=0, shift_px=0, scale=0, rotate_deg=0, colour=0, grey=0, lowres=0, jpeg=0, occlude=0
    )
    assert np.array_equal(augment_batch(faces, nothing, (0,)), before)
    mirror = augment_batch(faces, nothing.model_copy(update={"flip": 1.0}), (0,))
    assert np.array_equal(mirror, before[:, :, ::-1])
    augment_batch(faces, AugmentSettings(occlude=1.0), (0,))
    assert np.array_equal(faces, before)
