"""The pictures of recordings as cameras make them: each once, at its time, upright."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.archive import pictures as pictures_module
from jetson_face.archive.pictures import RecordedPicture, pictures
from jetson_face.archive.pieces import cut, outline
from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import ImageU8
from tests.archive.made import encoded, moving

pytest.importorskip("av", reason="needs the extra `archive`")
FRAMES = 100
OPEN = {"x264-params": "open-gop=1:bframes=3:scenecut=0:keyint=25"}
MADE: dict[str, dict[str, str]] = {
    "h264.mp4": {},
    "b_frames.mkv": {"bf": "3"},
    "open_groups.mp4": OPEN,
    "open_groups.ts": OPEN,
    "stream.ts": {"bf": "3"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "intra_refresh.mp4": {"x264-params": "intra-refresh=1:keyint=25"},
}
Without = Callable[[], None]


@pytest.fixture(autouse=True)
def _said_anew() -> Iterator[None]:
    pictures_module.pyav.cache_clear()
    yield
    pictures_module.pyav.cache_clear()


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> Without:
    """Calling it takes PyAV away."""

    def _without() -> None:
        monkeypatch.setitem(sys.modules, "av", None)
        pictures_module.pyav.cache_clear()

    return _without


@pytest.fixture(scope="module", params=sorted(MADE))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / str(request.param)
    return encoded(path, moving(FRAMES), **MADE[path.name])


def by_pieces(path: Path, *, keys_only: bool = False) -> list[tuple[int, ImageU8]]:
    """Time in ms and picture of all, read as the workers read them: in pieces of a second."""
    seen, found = outline(path), []
    for start, stop in cut(seen, 1.0):
        for one in pictures(path, start, seen.fps, keys_only=keys_only):
            if one.at_ms >= stop - 20:
                break
            found.append((round(one.at_ms), image_of(one)))
    return found


def image_of(picture: RecordedPicture) -> ImageU8:
    image = picture.fetch()
    assert image is not None
    return image


def played(path: Path) -> list[tuple[int, ImageU8]]:
    """The same by OpenCV, from the beginning to the end."""
    capture, found = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while capture.grab():
        found.append((round(capture.get(cv2.CAP_PROP_POS_MSEC)), capture.retrieve()[1]))
    capture.release()
    return found


def assert_same(one: list[tuple[int, ImageU8]], other: list[tuple[int, ImageU8]]) -> None:
    assert [at for at, _ in one] == [at for at, _ in other]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(one, other, strict=True))


def test_the_pieces_are_all_pictures_once(made: Path, without_av: Without) -> None:
    """By both decoders. OpenCV, asked for frame 0 of a transport stream, gives its second key
    frame; and where no picture stands alone its pieces begin with damaged ones."""
    whole = played(made)
    assert len(whole) == FRAMES
    assert len(cut(outline(made), 1.0)) > 2
    assert_same(by_pieces(made), whole)
    without_av()
    found = by_pieces(made)
    assert [at for at, _ in found] == [at for at, _ in whole]
    if made.name != "intra_refresh.mp4":
        assert_same(found, whole)


def test_key_frames_are_pictures_of_the_whole_at_their_times(made: Path) -> None:
    """Also where a decoder that passes over the rest gives them in another order, or damaged."""
    whole = dict(played(made))
    found = by_pieces(made, keys_only=True)
    assert len(found) == len(outline(made).key_ms) >= 4
    assert [at for at, _ in found] == sorted(at for at, _ in found)
    for at, image in found:
        assert np.array_equal(image, whole[at]), at


@pytest.mark.parametrize("name", ["h264.mp4", "open_groups.ts", "mpeg4.avi"])
def test_without_pyav_they_are_the_same(tmp_path: Path, name: str, without_av: Without) -> None:
    path = encoded(tmp_path / name, moving(FRAMES), **MADE[name])
    found = by_pieces(path, keys_only=True)
    assert len(found) == len(outline(path).key_ms) >= 4
    without_av()
    assert_same(by_pieces(path, keys_only=True), found)


def test_what_is_between_key_frames_is_not_decoded(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mp4", moving(200, (640, 480)))

    def seconds(*, keys_only: bool) -> float:
        began = time.process_time()
        for _ in pictures(path, 0, 25, keys_only=keys_only):
            pass
        return time.process_time() - began

    seconds(keys_only=True)
    assert min(seconds(keys_only=True) for _ in range(3)) < 0.4 * seconds(keys_only=False)


def test_that_pyav_is_missing_is_said_once(
    tmp_path: Path, without_av: Without, caplog: pytest.LogCaptureFixture
) -> None:
    path = encoded(tmp_path / "a.mp4", moving(10))
    without_av()
    for _ in range(2):
        assert len(list(pictures(path, 0, 25))) == 10
    (said,) = [r.getMessage() for r in caplog.records if "av_missing" in r.getMessage()]
    assert "pip install '.[archive]'" in said


@pytest.mark.parametrize("keys_only", [False, True])
@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_camera_that_hangs_the_other_way_is_set_upright(
    tmp_path: Path, turned: int, keys_only: bool
) -> None:
    plain = encoded(tmp_path / "plain.mp4", moving(30), bf="0")
    sine, cosine = {90: (1, 0), 180: (0, -1), 270: (-1, 0)}[turned]
    matrix = [cosine, sine, 0, -sine, cosine, 0]
    data = bytearray(plain.read_bytes())
    at = data.index(b"tkhd") + 44  # the matrix of the track's header
    data[at : at + 36] = struct.pack(">9i", *(value << 16 for value in matrix), 0, 0, 1 << 30)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    upright = image_of(next(pictures(plain, 0, 25)))
    image = image_of(next(pictures(path, 0, 25, keys_only=keys_only)))
    assert np.array_equal(image, np.rot90(upright, -turned // 90))
    assert np.array_equal(image, played(path)[0][1])


def test_interlaced_pictures_are_what_was_recorded(tmp_path: Path) -> None:
    """OpenCV 4.14 says that it fetched them, and gives what its memory held."""
    images = list(moving(30))
    path = encoded(tmp_path / "a.mp4", images, **{"x264-params": "interlaced=1"})
    found = [image_of(one) for one in pictures(path, 0, 25)]
    assert len(found) == 30
    for image, other in zip(found, images, strict=True):
        assert np.abs(image.astype(int) - other).mean() < 6


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "text": lambda data: b"no video at all\n" * 100,
    "no_index": lambda data: data[: len(data) // 2],
    "rubbish": lambda data: data[:64] + bytes(len(data) - 64),
}


@pytest.mark.parametrize("keys_only", [False, True])
@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_refused_alike(
    tmp_path: Path, kind: str, keys_only: bool, without_av: Without
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(BROKEN[kind](encoded(tmp_path / "whole.mp4", moving(50)).read_bytes()))
    for _ in range(2):
        with pytest.raises(InputBrokenError, match=r"a\.mp4: (not a video|no frame)"):
            list(pictures(path, 0, 25, keys_only=keys_only))
        without_av()


@pytest.mark.parametrize("keys_only", [False, True])
def test_what_is_damaged_within_is_passed_over(tmp_path: Path, keys_only: bool) -> None:
    """A disk's lost sectors cost the pictures there, and those up to the next key frame."""
    path = encoded(tmp_path / "a.ts", moving(FRAMES))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    found = [one.at_ms for one in pictures(path, 0, 25, keys_only=keys_only)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] >= 3000
    assert len(found) >= (3 if keys_only else FRAMES // 2)
