"""Sinks: exact events, files whole or not at all, names in any script, errors in one line."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, Person, Report, Sighting, State
from jetson_face.events.jsonl import JsonlSink
from jetson_face.output.console import VisitSink, event_line, media_clock
from jetson_face.output.overlay import COLOURS, draw, draw_on, label
from jetson_face.output.sink import Sink
from jetson_face.output.still import StillSink
from jetson_face.output.video import VideoSink
from jetson_face.util.images import read_picture
from tests.events.event_help import kinds, read_event, read_events

ADA = Person("p-1", "Ada Lovelace")


def sighting(
    state: State = "known", *, changed: bool = True, person: Person | None = ADA, x: float = 20.0
) -> Sighting:
    return Sighting(4, (x, 60.04, x + 50, 120.0), state, person, 0.81234, 6, changed)


def report(seq: int, *sightings: Sighting, ms: int = 40, source: str = "door") -> Report:
    ns = 1_000_000_000 + seq * ms * 1_000_000
    return Report(source, seq, ns, 1_763_000_000.25 + seq, (160, 120), sightings, {}, True)


def frame_of(made: Report, value: int = 90, size: tuple[int, int] = (160, 120)) -> Frame:
    image = np.full((size[1], size[0], 3), value, np.uint8)
    return Frame(image, made.seq, made.captured_ns, made.wall, made.source)


def run(sink: Sink, *reports: Report, size: tuple[int, int] = (160, 120)) -> None:
    sink.open()
    for made in reports:
        sink.write(made, frame_of(made, size=size) if sink.wants_frame else None)
    sink.close()


def test_events_are_private_and_only_written_on_change(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "events.jsonl"
    run(
        JsonlSink(path),
        report(0, sighting("pending", person=None)),
        report(1, sighting()),
        report(2, sighting()),
        report(3),
        report(4, sighting("unknown", person=None)),
    )
    assert [kind[:2] for kind in kinds(read_events(path))] == [
        (0, "appeared"), (1, "decided"), (3, "left"), (4, "appeared"), (4, "decided"),
        (4, "left"),
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_could_read_is_private_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text("")
    path.chmod(0o644)
    run(JsonlSink(path, append=False), report(0, sighting()))
    assert path.stat().st_mode & 0o777 == 0o640


def test_every_line_is_on_the_disk_at_once_and_appended(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text('{"old": 1}\n')
    sink = JsonlSink(path)
    sink.open()
    sink.write(report(0, sighting()), None)
    assert len(path.read_text().splitlines()) == 3
    sink.close()
    assert len(path.read_text().splitlines()) == 4
    run(JsonlSink(path, append=False), report(0, sighting()))
    assert [event["kind"] for event in read_events(path)] == ["appeared", "decided", "left"]


def test_events_go_where_a_pipe_goes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    run(JsonlSink(pipe), report(0, sighting()))
    assert [read_event(line)["kind"] for line in os.read(reader, 65536).splitlines()] == [
        "appeared", "decided", "left",
    ]  # fmt: skip
    os.close(reader)


@pytest.mark.parametrize("how", ["deleted", "moved", "emptied"])
def test_a_file_taken_away_under_a_run_is_begun_again(tmp_path: Path, how: str) -> None:
    path, old = tmp_path / "e.jsonl", tmp_path / "e.jsonl.1"
    sink = JsonlSink(path)
    sink.open()
    sink.write(report(0, sighting()), None)
    if how == "deleted":
        path.unlink()
    elif how == "moved":
        path.rename(old)
    else:  # as logrotate's copytruncate does
        old.write_bytes(path.read_bytes())
        path.write_bytes(b"")
    sink.write(report(1), None)
    sink.write(report(2, sighting("unknown", person=None)), None)
    sink.close()
    assert [event["kind"] for event in read_events(path)] == [
        "left", "appeared", "decided", "left",
    ]  # fmt: skip
    if how != "deleted":
        assert [event["kind"] for event in read_events(old)] == ["appeared", "decided"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_lines_of_a_run_whose_file_is_deleted_while_they_are_written_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.jsonl"
    sink = JsonlSink(path, name="events of the door")
    sink.open()
    sink.write(report(0, sighting()), None)
    write = os.write

    def deleted(fd: int, data: bytes) -> int:
        monkeypatch.undo()
        path.unlink()
        return write(fd, data)

    monkeypatch.setattr(os, "write", deleted)
    sink.write(report(1), None)
    sink.close()
    assert [event["kind"] for event in read_events(path)] == ["left"]
    assert sink.name == "events of the door"


def test_unicode_names_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    run(JsonlSink(path), report(0, sighting(person=Person("x", "Zoë 李"))))
    assert '"Zoë 李"' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [JsonlSink, VideoSink, StillSink], ids=["jsonl", "video", "still"])
def test_a_place_that_cannot_be_written_is_one_line(
    make: type[JsonlSink] | type[VideoSink] | type[StillSink], tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    path = blocked / "out.mp4" if make is VideoSink else blocked / "out.png"
    with pytest.raises(OutputError, match="out") as caught:
        make(path).open()
    assert "\n" not in str(caught.value)


def test_a_full_disk_while_writing_events_is_an_output_error() -> None:
    sink = JsonlSink(Path("/dev/full"))
    sink.open()
    with pytest.raises(OutputError, match=r"/dev/full.*No space"):
        sink.write(report(0, sighting()), None)


@pytest.mark.parametrize("make", [VideoSink, StillSink], ids=["video", "still"])
def test_a_kind_of_file_that_cannot_be_written_is_refused_at_once(
    make: type[VideoSink] | type[StillSink], tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="written as"):
        make(tmp_path / "out.xyz").open()


def read_video(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames: list[np.ndarray] = []
    while True:
        good, image = capture.read()
        if not good:
            return frames
        frames.append(image)


def test_the_video_has_every_frame_and_the_box(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run(VideoSink(path, fps=25), *(report(n, sighting()) for n in range(10)))
    frames = read_video(path)
    assert len(frames) == 10
    assert frames[5].shape == (120, 160, 3)
    assert np.abs(frames[5][60, 45].astype(int) - COLOURS["known"]).max() < 60
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_a_damaged_video_is_said_once_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.mp4"
    monkeypatch.setattr(cv2.VideoCapture, "isOpened", lambda self: False)
    with pytest.raises(OutputError) as caught:
        run(VideoSink(path, fps=25), report(0))
    assert str(caught.value) == f"{path}: the video came out damaged: is the disk full?"
    assert list(tmp_path.iterdir()) == []


def test_frames_that_a_camera_dropped_are_filled_so_that_time_is_right(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run(VideoSink(path, fps=25), *(report(n) for n in (0, 1, 5, 6)))
    assert len(read_video(path)) == 7


def test_a_long_gap_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run(VideoSink(path, fps=10), report(0), report(100_000), report(100_001))
    assert len(read_video(path)) <= 52


def test_a_size_change_and_odd_sides_keep_the_video_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    sink = VideoSink(path, fps=25)
    sink.open()
    for n, size in enumerate([(161, 121), (161, 121), (80, 60)]):
        sink.write(report(n), frame_of(report(n), size=size))
    sink.close()
    assert [f.shape for f in read_video(path)] == [(120, 160, 3)] * 3


def test_a_video_of_nothing_leaves_no_file(tmp_path: Path) -> None:
    run(VideoSink(tmp_path / "out.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_the_video_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an older video")
    sink = VideoSink(path)
    sink.open()
    sink.write(report(0), frame_of(report(0)))
    assert path.read_bytes() == b"an older video"
    sink.close()
    assert len(read_video(path)) == 1
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_video_is_of_one_source(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run(VideoSink(path, fps=25), report(0), report(0, source="yard"), report(1))
    assert len(read_video(path)) == 2


def test_the_still_is_the_frame_that_shows_most(tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    sink = StillSink(path)
    sink.open()
    shown = [
        report(0), report(1, sighting("unknown"), sighting("unknown", x=90)),
        report(2, sighting()), report(3, sighting(), sighting("unknown", x=90)), report(4),
    ]  # fmt: skip
    for made in shown:
        sink.write(made, frame_of(made, value=10 * made.seq))
    sink.close()
    assert int(read_picture(path)[110, 155, 0]) == 30


def test_drawing_leaves_the_frame_alone() -> None:
    frame = frame_of(report(0))
    drawn = draw(frame.image, [sighting()])
    assert (frame.image == 90).all()
    assert (drawn[60, 45] == COLOURS["known"]).all()


@pytest.mark.parametrize(
    "box",
    [
        (-40, -40, 20, 20),
        (150, 110, 400, 300),
        (0, 0, 160, 120),
        (500, 500, 600, 600),
        (5, 5, 5, 5),
    ],
    ids=["left top", "right bottom", "all", "outside", "nothing"],
)
@pytest.mark.parametrize("name", ["A", "x" * 200, "Zoë Ñandú", "李小龍 Вера", "\x1b[31m\n", "🙂"])
def test_any_box_and_any_name_can_be_drawn(
    box: tuple[float, float, float, float], name: str
) -> None:
    canvas = np.zeros((120, 160, 3), np.uint8)
    draw_on(canvas, [Sighting(1, box, "known", Person("p", name), 0.5, 1)])


def test_a_name_in_latin_letters_is_drawn_as_itself() -> None:
    def drawn(name: str) -> np.ndarray:
        return draw(np.zeros((240, 640, 3), np.uint8), [sighting(person=Person("p", name))])

    assert not np.array_equal(drawn("Zoe"), drawn("Zoë"))
    assert not np.array_equal(drawn("Zo?"), drawn("Zoë"))


def test_labels() -> None:
    assert label(sighting()) == "Ada Lovelace 0.81"
    assert label(sighting("unknown")) == "unknown"
    assert len(label(sighting(person=Person("p", "x" * 500)))) < 50


def test_console_lines_cannot_steer_the_terminal() -> None:
    line = event_line("00:01.0", "door", sighting(person=Person("p", "\x1b[2JAda\n")))
    assert line == "00:01.0  door  track 4   known     \\x1b[2JAda\\n  0.81"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00.0"), (59.96, "01:00.0"), (62.5, "01:02.5"), (3661, "1:01:01.0")],
)
def test_media_clock(seconds: float, text: str) -> None:
    assert media_clock(seconds) == text


def test_visits_join_over_short_pauses() -> None:
    sink = VisitSink()
    seen = [*range(25), *range(50, 60), *range(200, 210)]
    run(sink, *(report(n, sighting(changed=False)) if n in seen else report(n) for n in range(220)))
    assert [(round(v.first_s, 2), round(v.last_s, 2), v.frames) for v in sink.visits] == [
        (0.0, 2.36, 35), (8.0, 8.36, 10),
    ]  # fmt: skip
    assert sink.lines(media_time=True) == [
        "Ada Lovelace  door  00:00.0 to 00:02.4  35 frames, similarity up to 0.81",
        "Ada Lovelace  door  00:08.0 to 00:08.4  10 frames, similarity up to 0.81",
    ]
