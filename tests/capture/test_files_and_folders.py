"""Video files and folders: whole, in order, repeatable; bad ones end in one clear line."""

from __future__ import annotations

import os
import shutil
import struct
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.capture.folder import natural_key, pictures_of
from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, OpenOptions, Source
from jetson_face.capture.synthetic_scene import SyntheticScene
from jetson_face.core.errors import InputBrokenError, InputMissingError, SourceError, UsageError
from jetson_face.core.types import Frame
from jetson_face.util.images import write_picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames, 160 x 120, 10 per second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (160, 120))
    for n in range(30):
        writer.write(SyntheticScene().draw(n, 160, 120))
    writer.release()
    os.utime(path, (1000.0, 1000.0))
    return path


def frames_of(source: Source) -> list[Frame]:
    frames = []
    while True:
        try:
            frames.append(source.read(1.0))
        except EndOfSource:
            return frames


def test_a_video_is_read_whole_with_media_times(clip: Path) -> None:
    source = open_source(str(clip), "film")
    info = source.info
    assert (info.name, info.is_live, info.width, info.height) == ("film", False, 160, 120)
    assert (info.fps, info.frames) == (10.0, 30)
    frames = frames_of(source)
    assert [f.seq for f in frames] == list(range(30))
    assert [f.captured_ns for f in frames] == [n * 100_000_000 for n in range(30)]
    # When it was read: the file's date (1,000 s after 1970) says nothing of the recording.
    assert [f.wall for f in frames] == sorted(f.wall for f in frames)
    assert abs(frames[0].wall - time.time()) < 60
    assert source.health.counts == {}
    assert source.health.state == "ended"


@pytest.mark.parametrize(
    ("cores", "threads", "live"), [(1, 1, 1), (2, 1, 1), (5, 2, 2), (16, 8, 2)]
)
def test_a_video_is_decoded_on_half_of_the_cores_and_a_stream_on_two_at_most(
    clip: Path, cores: int, threads: int, live: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding: type[cv2.VideoCapture] = cv2.VideoCapture
    on = []

    def noted(*words: object) -> cv2.VideoCapture:
        capture = decoding(*words)
        on.append(capture.get(cv2.CAP_PROP_N_THREADS))
        return capture

    monkeypatch.setattr(cv2, "VideoCapture", noted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    open_source(str(clip), "cam").close()
    handler = partial(SimpleHTTPRequestHandler, directory=str(clip.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        open_source(f"http://127.0.0.1:{server.server_port}/{clip.name}", "cam").close()
        server.shutdown()
    assert on == [threads, live]


def test_a_file_uri_and_a_path_are_the_same(clip: Path) -> None:
    by_uri, by_path = (frames_of(open_source(t)) for t in (f"file://{clip}", str(clip)))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(by_uri, by_path, strict=True))


@pytest.mark.parametrize("name", ["2026-11-29T12:30:00.mp4", "http:1.mp4", "a b#c?.mp4"])
def test_a_video_may_have_an_odd_name(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, name)
    assert len(frames_of(open_source(f"./{name}"))) == 30


def test_reading_after_close_is_the_end(clip: Path) -> None:
    source = open_source(str(clip))
    source.read(1)
    source.close()
    source.close()
    with pytest.raises(EndOfSource):
        source.read(1)


def cut(clip: Path, to: Path, share: float) -> Path:
    """The clip's first part, with its index moved to the front so that it still opens."""
    data = clip.read_bytes()
    to.write_bytes(data[: int(len(data) * share)])
    return to


def test_an_mp4_without_its_end_has_no_index_and_is_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputBrokenError, match=r"cut\.mp4: .*(cut off|damaged)"):
        open_source(str(cut(clip, tmp_path / "cut.mp4", 0.6)))


class Endless:
    """A capture that says it has more frames than it gives."""

    def __init__(self, gives: int, says: int) -> None:
        self.left, self.says = gives, says

    def get(self, prop: int) -> float:
        values = {cv2.CAP_PROP_FRAME_COUNT: self.says, cv2.CAP_PROP_FPS: 10.0}
        return float(values.get(prop, 0))

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.left = 0


@pytest.mark.parametrize(("gives", "faults"), [(30, {}), (28, {}), (20, {"truncated": 1})])
def test_a_video_that_breaks_off_is_used_up_to_there_and_named(
    gives: int, faults: dict[str, int], tmp_path: Path
) -> None:
    from jetson_face.capture.opencv import VideoFile

    path = tmp_path / "x.mp4"
    path.write_bytes(b"x")
    source = VideoFile(path, "film", capture=Endless(gives, 30))
    frames = frames_of(source)
    # This capture tells no times: they are made from the frame rate.
    assert [f.captured_ns for f in frames] == [n * 100_000_000 for n in range(gives)]
    assert source.health.counts == faults
    if faults:
        assert "ends after 20 of 30 frames" in str(source.health.last_error)


def starting_late(to: Path, frames: int) -> Path:
    """A Matroska file of 25 frames a second whose first one is due after 0.24 s, as cutting
    programs leave them: its length counts from 0."""
    writer = cv2.VideoWriter(str(to), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (160, 120))
    for n in range(frames):
        writer.write(SyntheticScene().draw(n, 160, 120))
    writer.release()
    data = bytearray(to.read_bytes())
    length = data.index(b"\x44\x89\x88") + 3
    data[length : length + 8] = struct.pack(">d", frames * 40 + 240)
    cluster = data.index(b"\xe7\x81\x00") + 2
    data[cluster] = 240
    to.write_bytes(data)
    return to


@pytest.mark.skipif(not hasattr(cv2, "CAP_PROP_PTS"), reason="OpenCV before 4.11 does not tell")
def test_a_video_that_starts_late_is_whole(tmp_path: Path) -> None:
    path = starting_late(tmp_path / "late.mkv", 20)
    source = open_source(str(path))
    assert source.info.frames == 26
    frames = frames_of(source)
    assert [f.captured_ns for f in frames] == [n * 40_000_000 for n in range(20)]
    assert source.health.counts == {}
    # Cut off, the same file is named; what is missing is counted from its own start.
    cut(path, path, 0.5)
    source = open_source(str(path))
    left = len(frames_of(source))
    assert 0 < left < 15
    assert source.health.counts == {"truncated": 1}
    assert f"ends after {left} of 20 frames" in str(source.health.last_error)


def coded(to: Path, frames: list[np.ndarray], **options: str) -> Path:
    """A recording in H.264, by PyAV."""
    av = pytest.importorskip("av", reason="pip install av")
    with av.open(str(to), "w") as file:
        stream = file.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        file.mux(stream.encode(None))
    return to


def test_interlaced_frames_are_right_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 255, (120, 160, 3), dtype=np.uint8) for _ in range(8)]
    images = [cv2.GaussianBlur(image, (0, 0), 4) for image in images]
    path = coded(tmp_path / "i.mp4", images, **{"x264-params": "interlaced=1", "crf": "15"})
    if cv2.__version__.startswith("4.14"):
        with pytest.raises(InputBrokenError, match=r"i\.mp4: .*interlaced"):
            frames_of(open_source(str(path)))
        return
    for frame, image in zip(frames_of(open_source(str(path))), images, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 8


@pytest.mark.parametrize("codec", ["h264", "MJPG"])
def test_a_scene_that_stands_still_is_no_broken_file(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "still.avi"
    image = SyntheticScene().draw(0, 160, 120)
    if codec == "h264":
        coded(path, [image] * 8, crf="40")
    else:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 120))
        for _ in range(8):
            writer.write(image)
        writer.release()
    found = frames_of(open_source(str(path)))
    assert len(found) == 8
    assert np.array_equal(found[0].image, found[7].image)


def test_a_video_without_a_single_frame_is_broken(tmp_path: Path) -> None:
    from jetson_face.capture.opencv import VideoFile

    path = tmp_path / "x.mp4"
    path.write_bytes(b"x")
    with pytest.raises(InputBrokenError, match="no frame can be decoded"):
        VideoFile(path, "film", capture=Endless(0, 30)).read(1)


def test_bad_files_say_what_and_where(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path, error, says in [
        (tmp_path / "nope.mp4", InputMissingError, "no such file"),
        (text, InputBrokenError, "not a video"),
        (empty, InputBrokenError, "0 bytes"),
    ]:
        with pytest.raises(error, match=says) as caught:
            open_source(str(path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_camera_that_does_not_exist_is_a_source_error() -> None:
    with pytest.raises(SourceError, match="/dev/video987"):
        open_source("987")
    with pytest.raises(SourceError, match="/dev/nosuch"):
        open_source("v4l2:///dev/nosuch")


def test_a_file_through_gstreamer_is_refused_instead_of_ignored(clip: Path) -> None:
    with pytest.raises(UsageError, match="OpenCV"):
        open_source(str(clip), options=OpenOptions(backend="gstreamer"))


def test_a_folder_is_read_in_natural_order_and_bad_files_are_counted(tmp_path: Path) -> None:
    for n in (10, 2, 1):
        write_picture(tmp_path / f"p{n}.png", np.full((8, 8, 3), n, np.uint8))
    (tmp_path / "p3.jpg").touch()
    (tmp_path / "notes.txt").write_text("not looked at")
    source = open_source(str(tmp_path), "pictures")
    frames = frames_of(source)
    assert [int(f.image[0, 0, 0]) for f in frames] == [1, 2, 10]
    assert [f.seq for f in frames] == [0, 1, 2]
    assert source.health.counts == {"skipped": 1}
    assert "p3.jpg" in str(source.health.last_error)


def test_pictures_that_are_not_read_are_counted_in_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_picture(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    for name in ("p10.heic", "p9.heic", ".hidden.heic", "notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    for name in ("p11", ".thumbnails"):
        (tmp_path / name).mkdir()
    source = open_source(str(tmp_path), "pictures")
    assert caplog.messages == [
        "pictures_unread source=pictures count=3 first=p9.heic why=HEIC is not read: convert it to "
        "JPEG or PNG"
    ]
    assert len(frames_of(source)) == 1
    assert source.health.counts == {"skipped": 1}
    assert source.health.last_error == f"{tmp_path}/gone.jpg: no such file"


def test_hidden_files_of_a_folder_are_left_out(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", ".c.png"):
        write_picture(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7Mac OS X")
    assert [path.name for path in pictures_of(tmp_path)] == ["a.png", "b.png"]
    assert pictures_of(tmp_path / ".c.png") == [tmp_path / ".c.png"]
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".a.png").touch()
    with pytest.raises(InputBrokenError, match="no pictures in this folder"):
        pictures_of(tmp_path / "hidden")


def test_one_picture_is_a_source_of_one_frame(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert len(frames_of(open_source(str(tmp_path / "a.png")))) == 1


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputBrokenError, match="no pictures"):
        open_source(str(tmp_path))
    (tmp_path / "2024").mkdir()
    with pytest.raises(InputBrokenError, match="; 2024: a folder in a folder of photos is not lo"):
        open_source(str(tmp_path))
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputBrokenError, match="none of its files"):
        open_source(str(tmp_path)).read(1)


def test_what_only_looks_like_a_number_is_text() -> None:
    assert sorted(["1²3.png", "1².png", "12.png"], key=natural_key)[-1] == "12.png"


def test_natural_order() -> None:
    names = ["b.png", "a10.png", "a2.png", "A1.png", "10.png", "9.png"]
    assert sorted(names, key=natural_key) == [
        "9.png",
        "10.png",
        "A1.png",
        "a2.png",
        "a10.png",
        "b.png",
    ]
