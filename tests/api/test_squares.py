"""The API over fakes: what goes in, what comes out, and that nothing is left running."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jetson_face
from jetson_face import (
    Face,
    Frame,
    GalleryError,
    InputBrokenError,
    PluginError,
    Recognizer,
    Report,
    SourceError,
    UsageError,
)
from jetson_face.util.images import write_picture
from tests.api.conftest import Make, red_picture
from tests.api.threads import working_threads
from tests.waiting import until


class Tally:
    """A sink that counts."""

    name = "tally"
    wants_frame = False

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.closed = False

    def open(self) -> None:
        pass

    def write(self, report: Report, frame: Frame | None) -> None:
        self.seen.append(report.seq)

    def close(self) -> None:
        self.closed = True


class FullDisk(Tally):
    """A sink that fails at the third report."""

    name = "disk"

    def write(self, report: Report, frame: Frame | None) -> None:
        super().write(report, frame)
        if len(self.seen) == 3:
            raise RuntimeError("no room\nat all")


def test_a_person_is_known_in_every_kind_of_image(make: Make, tmp_path: Path) -> None:
    recognizer = make()
    image = red_picture()
    write_picture(tmp_path / "ada.png", image)
    result = recognizer.enroll("Ada", image)
    assert [str(path) for path in result.added] == ["image 1"]
    pillow = Image.fromarray(image[:, :, ::-1])
    for given in (tmp_path / "ada.png", str(tmp_path / "ada.png"), image, pillow):
        (face,) = recognizer.identify(given)
        assert (face.name, face.state, face.track) == ("Ada", "known", None)
        assert face.similarity == pytest.approx(1, abs=0.01)
        assert face.box == (60, 40, 180, 160)
        assert face.landmarks is not None
        assert face.landmarks.shape == (5, 2)
        assert [c.person.name for c in face.candidates] == ["Ada"]
        assert face.quality is not None
    (blue,) = recognizer.identify(np.ascontiguousarray(image[:, :, ::-1]))  # RGB is another person
    assert (blue.name, blue.state) == (None, "unknown")


def test_what_is_refused_says_why_and_does_not_stop_the_rest(make: Make, tmp_path: Path) -> None:
    empty = np.full((240, 320, 3), 90, np.uint8)
    write_picture(tmp_path / "ada.png", red_picture())
    (tmp_path / "text.jpg").write_text("not a picture")
    photos: list[Any] = [empty, tmp_path / "ada.png", tmp_path / "text.jpg", tmp_path / "none.jpg"]
    result = make().enroll("Ada", photos)
    assert result.person is not None
    assert result.added == [tmp_path / "ada.png"]
    reasons = {refusal.path.name: refusal.reason for refusal in result.refused}
    assert reasons["image 1"] == "no face found"
    assert "not a picture" in reasons["text.jpg"]
    assert "no such file" in reasons["none.jpg"]


def test_the_same_photo_twice_is_said_and_a_folder_is_its_photos(
    make: Make, tmp_path: Path
) -> None:
    recognizer = make()
    folder = tmp_path / "ada"
    folder.mkdir()
    write_picture(folder / "1.png", red_picture())
    assert recognizer.enroll("Ada", folder).added == [folder / "1.png"]
    again = recognizer.enroll("Ada", [folder, red_picture()])
    assert (again.already, [str(path) for path in again.added]) == ([folder / "1.png"], ["image 2"])


@pytest.mark.parametrize("bad", [7, b"jpeg", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_no_image_is_refused(make: Make, bad: Any) -> None:
    recognizer = make()
    with pytest.raises(UsageError, match="an image is"):
        recognizer.identify(bad)


def test_what_is_handed_over_by_mistake_is_named(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = make()
    monkeypatch.chdir(tmp_path)
    write_picture(Path("here.png"), red_picture())
    nothing: Any
    for nothing in (None, 5, Path("Ada"), ["1.jpg"]):
        with pytest.raises(UsageError, match=f"a name is a text, got a {type(nothing).__name__}"):
            recognizer.enroll(nothing, "here.png")
    with pytest.raises(UsageError, match="path is empty"):
        recognizer.enroll("Ada", "")  # the current folder has a photo
    with pytest.raises(UsageError, match=r"got a bytes: open it with PIL\.Image\.open"):
        recognizer.enroll("Ada", Path("here.png").read_bytes())  # type: ignore[arg-type]
    for size in ((0, 0), (0, 7), (7, 0)):
        said = f"the picture has no pixels: {size[0]} x {size[1]}"
        with pytest.raises(InputBrokenError, match=said):
            recognizer.identify(Image.new("RGB", size))
    assert list(recognizer.people) == []
    recognizer.enroll("Ada", "here.png")
    for nothing in (recognizer.people[0], recognizer.people[0].person, None):
        with pytest.raises(UsageError, match=r"by name or id, got a \w+: as in remove\(people"):
            recognizer.remove(nothing)
    recognizer.remove(recognizer.people[0].person.id)
    for few in (0, -1):
        with pytest.raises(UsageError, match=f"frames {few}: at least 1"):
            recognizer.watch("test://", frames=few)


def test_people_are_listed_and_removed_and_it_is_written_down(make: Make, tmp_path: Path) -> None:
    recognizer = make()
    recognizer.enroll("Ada", red_picture())
    assert [(who.name, len(who.templates)) for who in recognizer.people] == [("Ada", 1)]
    recognizer.remove("ada")
    assert recognizer.people == ()
    (face,) = recognizer.identify(red_picture())
    assert (face.state, face.similarity) == ("unknown", None)
    with pytest.raises(UsageError, match="nobody is called"):
        recognizer.remove("Ada")
    lines = (tmp_path / "state" / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["enrolled", "removed"]


def test_every_frame_of_a_file_comes_once_in_order_however_slow_the_loop_is(
    make: Make, squares: ModuleType
) -> None:
    recognizer = make()
    recognizer.enroll("Ada", red_picture())
    tally = Tally()
    seqs: list[int] = []
    last: tuple[Face, ...] = ()
    for frame, faces in recognizer.watch(squares.open_squares("squares://", "door"), sinks=[tally]):
        assert (frame.source, frame.image.shape) == ("door", (240, 320, 3))
        seqs.append(frame.seq)
        last = faces
        time.sleep(0.02 if frame.seq < 5 else 0)
    assert seqs == tally.seen == list(range(20))
    assert tally.closed
    assert {(face.name, face.state) for face in last} == {("Ada", "known"), (None, "unknown")}
    assert {face.track for face in last} == {1, 2}
    assert all(face.box[2] > face.box[0] for face in last)
    assert working_threads() == set()


def test_of_a_camera_the_newest_frame_counts_and_break_ends_it(make: Make) -> None:
    seqs: list[int] = []
    for frame, _ in make().watch("test://?live=1&fps=100&width=320&height=240", name="yard"):
        age_ms = (time.monotonic_ns() - frame.captured_ns) / 1e6
        assert frame.source == "yard"
        if seqs:
            assert age_ms < 200  # the loop takes 250 ms: not one that waited for it
        seqs.append(frame.seq)
        if len(seqs) == 4:
            break
        time.sleep(0.25)
    assert seqs == sorted(set(seqs))
    assert seqs[-1] >= 20  # dropped in between
    assert working_threads() == set()


def test_an_error_in_the_loop_or_the_end_of_a_block_closes_the_camera(make: Make) -> None:
    recognizer = make()

    def fail() -> None:
        for _ in recognizer.watch("test://?live=1&fps=50&width=320&height=240"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert working_threads() == set()
    with recognizer.watch("test://?live=1&fps=50&width=320&height=240") as watch:
        next(watch)
    assert next(watch, None) is None
    assert working_threads() == set()
    assert watch.report().sources[0].processed >= 1


def test_frames_ends_it_and_an_unused_watch_leaves_nothing(make: Make) -> None:
    recognizer = make()
    camera = "test://?live=1&fps=100&width=320&height=240"
    assert len(list(recognizer.watch(camera, frames=3))) <= 3
    recognizer.watch(camera)
    assert working_threads() == set()


def test_a_camera_that_is_away_and_a_file_that_is_not_there_are_said_at_once(make: Make) -> None:
    recognizer = make()
    with pytest.raises(SourceError):
        recognizer.watch("v4l2:///dev/nosuchcamera")
    with pytest.raises(jetson_face.InputMissingError):
        recognizer.watch("no/such/film.mp4")
    with pytest.raises(UsageError, match="unknown scheme"):
        recognizer.watch("nosuch://camera")


def test_what_a_sink_raises_ends_the_loop_with_its_name(make: Make, squares: ModuleType) -> None:
    disk = FullDisk()
    with pytest.raises(PluginError) as caught:
        list(make().watch(squares.open_squares("squares://", "door"), sinks=[disk]))
    assert str(caught.value) == "sink FullDisk: RuntimeError: no room"
    assert disk.closed
    assert working_threads() == set()


def test_a_source_that_fails_midway_ends_the_loop(make: Make, squares: ModuleType) -> None:
    class Torn(squares.SquareSource):  # type: ignore[name-defined, misc]
        def read(self, timeout_s: float) -> Frame:
            frame: Frame = super().read(timeout_s)
            if frame.seq == 4:
                raise ValueError("torn")
            return frame

    seqs: list[int] = []
    watch = make().watch(Torn("door", "squares://", 20))
    with pytest.raises(PluginError, match="source Torn: ValueError: torn"):
        seqs.extend(frame.seq for frame, _ in watch)
    assert seqs == [0, 1, 2, 3][: len(seqs)]
    assert working_threads() == set()


def test_closing_the_recogniser_ends_its_watches_and_is_final(make: Make) -> None:
    recognizer = make()
    watch = recognizer.watch("test://?live=1&fps=50&width=320&height=240")
    next(watch)
    recognizer.close()
    recognizer.close()
    assert next(watch, None) is None
    assert working_threads() == set()
    for use in (lambda: recognizer.identify(red_picture()), lambda: recognizer.people):
        with pytest.raises(UsageError, match="closed"):
            use()


def test_a_watch_that_failed_keeps_nothing_else_open(make: Make, squares: ModuleType) -> None:
    recognizer, disk = make(), FullDisk()
    people = recognizer._gallery
    camera = recognizer.watch("test://?live=1&fps=50&width=320&height=240")
    next(camera)
    film = recognizer.watch(squares.open_squares("squares://", "door"), sinks=[disk])
    next(film)
    until(lambda: disk.closed)
    with pytest.raises(PluginError, match="sink FullDisk: RuntimeError: no room"):
        recognizer.close()
    assert working_threads() == set()
    with pytest.raises(GalleryError, match="closed"):
        people.people()


def test_what_a_block_raises_comes_before_what_its_end_does(
    make: Make, squares: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    recognizer, disk = make(), FullDisk()
    film = recognizer.watch(squares.open_squares("squares://", "door"), sinks=[disk])
    next(film)
    until(lambda: disk.closed)
    with pytest.raises(ZeroDivisionError), recognizer:
        raise ZeroDivisionError
    assert "no room" in caplog.text
    assert working_threads() == set()


def test_a_sink_may_end_the_watch_that_feeds_it(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Enough(Tally):
        def write(self, report: Report, frame: Frame | None) -> None:
            super().write(report, frame)
            if len(self.seen) == 3:
                watch.close()

    enough = Enough()
    watch = make().watch("test://?live=1&fps=50&width=320&height=240", sinks=[enough])
    began = time.monotonic()
    for _ in watch:
        pass
    until(lambda: enough.closed)
    assert time.monotonic() - began < 8  # it waited 15 s for its own end
    assert len(enough.seen) == 3
    assert working_threads() == set()
    assert "watch_not_ended" not in caplog.text


def test_a_loop_may_enrol_and_identify_and_the_new_person_is_known(make: Make) -> None:
    recognizer = make(gallery={"refresh_s": 0})
    names: set[str | None] = set()
    camera = PatientSquares(recognizer)
    for _, faces in recognizer.watch(camera):
        names |= {face.name for face in faces}
    assert names == {None, "Ada"}


class PatientSquares:
    """Forty frames of a red square; Ada is enrolled at the tenth, in the reading thread."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.info = jetson_face.SourceInfo("door", "red", False, 320, 240)
        self.health = jetson_face.SourceHealth("running", {})
        self._recognizer, self._seq = recognizer, 0

    def read(self, timeout_s: float) -> Frame:
        seq, self._seq = self._seq, self._seq + 1
        if seq == 40:
            raise jetson_face.EndOfSource
        if seq == 10:
            self._recognizer.enroll("Ada", red_picture())
        return Frame(red_picture(), seq, seq * 40_000_000, 0.0, "door")

    def close(self) -> None:
        pass


def test_two_loops_at_once_share_the_networks(make: Make, squares: ModuleType) -> None:
    class Alone(squares.SquareDetector):  # type: ignore[name-defined, misc]
        busy = False

        def detect(self, image: Any) -> Any:
            assert not self.busy, "two at once"
            self.busy = True
            time.sleep(0.005)
            self.busy = False
            return super().detect(image)

    recognizer = make(detector=Alone())
    one = recognizer.watch(squares.open_squares("squares://", "one"))
    two = recognizer.watch(squares.open_squares("squares://", "two"))
    seen = [(a.seq, b.seq, a.source, b.source) for (a, _), (b, _) in zip(one, two, strict=True)]
    assert seen == [(seq, seq, "one", "two") for seq in range(20)]


def test_a_folder_is_watched_picture_by_picture(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        write_picture(folder / f"{number}.png", red_picture())
    seen = [(frame.seq, len(faces)) for frame, faces in make().watch(folder)]
    assert seen == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("name", ["../door", "", "front door", "x" * 41])
def test_a_source_has_no_name_that_the_configuration_would_refuse(make: Make, name: str) -> None:
    with pytest.raises(UsageError, match="a camera's name is up to 40 letters"):
        make().watch("test://?frames=1&width=320&height=240", name=name)


def test_all_configured_sources_are_watched_where_none_is_named(make: Make) -> None:
    source = "test://?frames=3&width=320&height=240"
    recognizer = make(sources=[{"uri": source, "name": "door"}, {"uri": source, "name": "yard"}])
    seen = sorted((frame.source, frame.seq) for frame, _ in recognizer.watch())
    assert seen == [(name, seq) for name in ("door", "yard") for seq in range(3)]


def test_a_detector_that_can_refine_is_the_refiner_and_one_may_be_given(
    make: Make, squares: ModuleType
) -> None:
    class Both(squares.SquareDetector, squares.SquareRefiner):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            squares.SquareDetector.__init__(self)
            squares.SquareRefiner.__init__(self)
            self._detector = squares.SquareDetector()

    for settings, followed in (
        ({}, False),
        ({"detector": Both()}, True),
        ({"refiner": squares.SquareRefiner()}, True),
        ({"refiner": squares.SquareRefiner(), "sampling": {"refine": False, "interval": 2}}, False),
    ):
        recognizer = make(**settings)
        second = list(recognizer.watch(squares.open_squares("squares://?frames=2", "door")))[1][1]
        assert [face.detected for face in second] == [followed] * 2, settings
        assert all((face.landmarks is not None) == followed for face in second)


class Mute:
    name = "mute"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"detector": Mute()}, "detector Mute: Mute has no detect, close"),
        ({"embedder": Mute()}, "embedder Mute: Mute has no space, alignment"),
        ({"refiner": Mute()}, "refiner Mute: Mute has no refine"),
    ],
)
def test_an_object_that_is_none_is_refused(make: Make, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"sampling": {"intervl": 2}},
            r"Recognizer: sampling.intervl: unknown key; did you mean interval",
        ),
        (
            {"sampling.interval": 0},
            r"Recognizer: sampling.interval: must be at least 1|sampling.interval: must be",
        ),
        ({"nosuch": 1}, "Recognizer: nosuch: unknown key"),
        ({"detector": "yunnet"}, "no detector 'yunnet': built in are auto, mtcnn"),
        ({"refiner": "nosuch"}, "no refiner plug-in 'nosuch' is installed"),
    ],
)
def test_settings_that_are_wrong_name_the_key(
    make: Make, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises((jetson_face.ConfigError, UsageError), match=said):
        make(**settings)


def test_settings_change_what_a_file_says_and_leave_the_rest(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("sampling: {interval: 7, refine: false}\nmatching: {top_k: 2}\n")
    config = make(config=path, sampling={"interval": 3}, **{"matching.similarity_min": 0.9}).config
    assert (config.sampling.interval, config.sampling.refine) == (3, False)
    assert (config.matching.top_k, config.matching.similarity_min) == (2, 0.9)
    assert make(config=config, gallery=tmp_path / "p.db").config.gallery_path == tmp_path / "p.db"
    assert (tmp_path / "p.db").is_file()


def test_a_gallery_of_another_embedding_is_refused(make: Make, squares: ModuleType) -> None:
    make().enroll("Ada", red_picture())
    other = squares.ColourEmbedder()
    other.space = jetson_face.EmbeddingSpace("colour", "2", 3)
    with pytest.raises(jetson_face.EmbeddingSpaceError):
        make(embedder=other)


class Worse:
    """Detectors and embedders that break their contract, by what they give."""

    def __init__(self, squares: ModuleType, fault: str) -> None:
        self._fault = fault
        self._detector, self._embedder = squares.SquareDetector(), squares.ColourEmbedder()
        self.name, self.space = "worse", self._embedder.space
        self.alignment = "nosuch" if fault == "alignment" else "arcface112"
        self.similarity_min = 0.95

    def detect(self, image: Any) -> Any:
        found = self._detector.detect(image)
        if self._fault == "nan":
            found.boxes[0, 0] = np.nan
        if self._fault == "score":
            found.scores[0] = 1.5
        if self._fault == "corner":
            found.boxes[0] = found.boxes[0, [2, 3, 0, 1]]
        return found

    def embed(self, crops: Any) -> Any:
        found = self._embedder.embed(crops)
        if self._fault == "length":
            found.vectors[...] *= 2
        if self._fault == "few":
            return jetson_face.Embeddings(found.vectors[1:], found.space)
        return found.vectors if self._fault == "bare" else found

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("part", "fault", "said"),
    [
        ("detector", "nan", "not finite"),
        ("detector", "score", "scores outside 0 to 1"),
        ("detector", "corner", "not x1, y1, x2, y2"),
        ("embedder", "alignment", "no alignment 'nosuch'; there are arcface112"),
        ("embedder", "length", "not finite and of length 1"),
        ("embedder", "few", "gave 1 vectors of colour/1/3 for 2 crops"),
        ("embedder", "bare", "gave a ndarray, not jetson_face.Embeddings"),
    ],
)
def test_what_breaks_its_contract_is_named(
    make: Make, squares: ModuleType, part: str, fault: str, said: str
) -> None:
    with pytest.raises(PluginError, match=f"{part} Worse: .*{said}"):
        make(**{part: Worse(squares, fault)}).identify(red_picture())


def test_a_detector_may_leave_sorting_and_clipping_to_the_program(
    make: Make, squares: ModuleType
) -> None:
    class Loose(squares.SquareDetector):  # type: ignore[name-defined, misc]
        def detect(self, image: Any) -> Any:
            found = super().detect(image)
            found.scores[:] = [0.3, 0.8]
            found.boxes[0, 0] = -20
            return found

    image = red_picture()
    image[100:220, 200:300] = (230, 40, 40)
    first, second = make(detector=Loose()).identify(image)
    assert first.box[0] == 200
    assert second.box == (0, 40, 180, 160)


def test_recognisers_work_from_several_threads(make: Make) -> None:
    recognizer = make()
    recognizer.enroll("Ada", red_picture())
    names: list[str | None] = []

    def ask() -> None:
        names.extend(face.name for _ in range(5) for face in recognizer.identify(red_picture()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert names == ["Ada"] * 20


def test_objects_are_closed_once_with_the_recogniser(make: Make, squares: ModuleType) -> None:
    closed: list[str] = []

    class Detector(squares.SquareDetector):  # type: ignore[name-defined, misc]
        def close(self) -> None:
            closed.append("detector")

    class Both(Detector, squares.SquareRefiner):  # type: ignore[name-defined, misc]
        pass

    class Refiner(squares.SquareRefiner):  # type: ignore[name-defined, misc]
        def close(self) -> None:
            closed.append("refiner")

    class Embedder(squares.ColourEmbedder):  # type: ignore[name-defined, misc]
        def close(self) -> None:
            closed.append("embedder")

    make(detector=Detector(), embedder=Embedder(), refiner=Refiner()).close()
    assert sorted(closed) == ["detector", "embedder", "refiner"]
    closed.clear()
    make(detector=Both()).close()
    assert closed == ["detector"]
