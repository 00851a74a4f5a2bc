"""Made clips: what is drawn is what the ground truth says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.benchmark.clips.cast import Member, choose_cast, people_in
from jetson_face.benchmark.clips.cutout import (
    Cutout,
    Pose,
    cut_out,
    place,
    placed_box,
    visible_share,
)
from jetson_face.benchmark.clips.make import (
    Clip,
    ClipPlan,
    Role,
    compose_clip,
    ground_truth_path,
    in_memory,
    record,
    roles_of,
)
from jetson_face.benchmark.clips.scene import DIFFICULTIES, Difficulty
from jetson_face.benchmark.ground_truth import read_ground_truth
from jetson_face.core.errors import InputBrokenError, InputMissingError, OutputError, UsageError
from jetson_face.core.types import Box, ImageU8
from jetson_face.util.images import write_picture
from tests.output.test_video_on_disk import small_disk

__all__ = ["small_disk"]
FACE: Box = (80, 70, 120, 130)
RED = (0, 0, 255)


def photo(colour: tuple[int, int, int] = RED) -> ImageU8:
    """A plain "face" on grey."""
    image = np.full((200, 200, 3), 90, np.uint8)
    image[70:130, 80:120] = colour
    return image


def red_box(scene: ImageU8) -> Box:
    """Bounds of what is clearly red."""
    red = (scene[..., 2] > 150) & (scene[..., 1] < 80)
    ys, xs = np.nonzero(red)
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def drawn(pose: Pose, cutout: Cutout | None = None) -> tuple[ImageU8, float, Box]:
    scene = np.full((300, 400, 3), 30, np.uint8)
    owners = np.zeros((300, 400), np.int32)
    cutout = cutout or cut_out(photo(), FACE)
    place(scene, owners, cutout, pose, 7)
    box = placed_box(cutout, pose)
    return scene, visible_share(owners, box, 7), box


@given(
    st.floats(100, 300),
    st.floats(100, 200),
    st.floats(30, 90),
)
def test_the_face_is_drawn_where_the_ground_truth_says(x: float, y: float, size: float) -> None:
    scene, visible, box = drawn(Pose((x, y), size))
    assert np.allclose(red_box(scene), box, atol=2.0)
    assert visible > 0.97


def test_a_large_photo_is_shrunk_and_stays_in_place() -> None:
    large = cv2.resize(photo(), None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    cutout = cut_out(large, tuple(8 * edge for edge in FACE))  # type: ignore[arg-type]
    assert len(cutout.image) == 480
    scene, _, box = drawn(Pose((200, 150), 60), cutout)
    assert np.allclose(red_box(scene), box, atol=2.0)


def test_a_turned_face_keeps_its_centre() -> None:
    left, top, right, bottom = red_box(drawn(Pose((200, 150), 80, angle_deg=20))[0])
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((200, 150), abs=1.5)
    assert right - left > 80 * 40 / 60 + 10


@pytest.mark.parametrize(
    ("pose", "least", "most"),
    [
        pytest.param(Pose((200, 150), 60), 0.98, 1.0, id="in full view"),
        pytest.param(Pose((0, 150), 60), 0.45, 0.55, id="half outside"),
        pytest.param(Pose((-60, 150), 60), 0, 0, id="outside"),
        pytest.param(Pose((5000, 150), 60), 0, 0, id="far away"),
        pytest.param(Pose((200, 150), 60, bar=(0.5, 1.1)), 0.45, 0.55, id="half covered"),
    ],
)
def test_visible_share(pose: Pose, least: float, most: float) -> None:
    assert least <= drawn(pose)[1] <= most


def test_a_head_in_front_hides_the_one_behind() -> None:
    scene, owners = np.zeros((300, 400, 3), np.uint8), np.zeros((300, 400), np.int32)
    cutout = cut_out(photo(), FACE)
    for owner in (1, 2):
        place(scene, owners, cutout, Pose((200, 150), 60), owner)
    box = placed_box(cutout, Pose((200, 150), 60))
    assert visible_share(owners, box, 1) == 0
    assert visible_share(owners, box, 2) > 0.97


def test_gain_darkens_and_blur_softens() -> None:
    plain, dark = drawn(Pose((200, 150), 80))[0], drawn(Pose((200, 150), 80, gain=0.4))[0]
    assert dark[150, 200, 2] == pytest.approx(0.4 * plain[150, 200, 2], abs=2)
    soft = drawn(Pose((200, 150), 80, blur_px=4))[0]
    steepest = [int(np.abs(np.diff(s[150, 150:250, 2].astype(int))).max()) for s in (plain, soft)]
    assert steepest[1] < 0.5 * steepest[0]


def roles() -> tuple[Role, ...]:
    return (
        Role("Ann", (cut_out(photo(), FACE),)),
        Role("Bob", (cut_out(photo((0, 255, 0)), FACE),)),
        Role(None, (cut_out(photo((255, 0, 0)), FACE),)),
    )


def small(**changes: object) -> Clip:
    plan = ClipPlan(**{"size": (320, 240), "frames": 20, "at_once": 2, **changes})  # type: ignore[arg-type]
    return compose_clip(plan, roles())


def test_the_same_seed_gives_the_same_pixels_and_ground_truth() -> None:
    first, again, other = in_memory(small()), in_memory(small()), in_memory(small(seed=2))
    assert all(np.array_equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert first[1] == again[1]
    assert first[1] != other[1]


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 8])
def test_everybody_appears_and_places_are_kept(at_once: int) -> None:
    images, ground_truth = in_memory(small(at_once=at_once, frames=60))
    names = {face.name for faces in ground_truth.frames for face in faces}
    assert names == {"Ann", "Bob", None}
    assert max(len(faces) for faces in ground_truth.frames) <= at_once
    assert len(images) == len(ground_truth.frames) == 60
    assert images[0].shape == (240, 320, 3)


@pytest.mark.parametrize("name", DIFFICULTIES)
def test_faces_stay_mostly_visible(name: str) -> None:
    _, ground_truth = in_memory(small(at_once=3, frames=60, difficulty=DIFFICULTIES[name]))
    shares = [face.visible for faces in ground_truth.frames for face in faces]
    assert np.mean(np.array(shares) > 0.5) > 0.85


def test_frames_differ_by_noise_alone_when_nothing_moves() -> None:
    still = Difficulty(turn_deg=0, blur_px=0, dark=1, noise=4, covered=0)
    images, _ = in_memory(compose_clip(ClipPlan((320, 240), 2, difficulty=still), roles()))
    corner = [image[:8, :8].astype(int) for image in images]
    assert 0 < np.abs(corner[0] - corner[1]).mean() < 15


@pytest.mark.parametrize("wrong", [{"size": (10, 10)}, {"frames": 0}, {"at_once": 0}, {"fps": 0}])
def test_impossible_plans_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        small(**wrong)


def test_a_recorded_clip_has_its_ground_truth_and_its_photos_beside_it(tmp_path: Path) -> None:
    source = tmp_path / "photos" / "a.png"
    source.parent.mkdir()
    write_picture(source, photo())
    cast = (Role("Ann", roles()[0].cutouts, (source,)), roles()[2])
    clip = compose_clip(ClipPlan((320, 240), 10, at_once=2), cast)
    done: list[int] = []
    video = tmp_path / "out" / "clip.avi"
    record(clip, video, progress=done.append)
    assert done == list(range(1, 11))
    ground_truth = read_ground_truth(ground_truth_path(video))
    copy = Path(ground_truth.enrol["Ann"][0])
    assert copy.read_bytes() == source.read_bytes()
    assert copy.is_relative_to(video.parent)
    images, expected = in_memory(clip)
    assert ground_truth.frames == expected.frames
    reader = cv2.VideoCapture(str(video))
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == 10
    assert np.abs(reader.read()[1].astype(int) - images[0]).mean() < 6
    assert sorted(p.name for p in video.parent.iterdir()) == ["clip.avi", "clip.json", "clip_enrol"]


def enrolling(photo_file: Path, frames: int = 5) -> Clip:
    """A short clip with one photo to enrol."""
    cast = (Role("Ann", roles()[0].cutouts, (photo_file,)), roles()[2])
    return compose_clip(ClipPlan((160, 120), frames, at_once=1), cast)


def test_a_disk_that_fills_up_leaves_nothing_of_a_clip(small_disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "big.jpg"
    source.write_bytes(bytes(2 << 20))
    video = small_disk / "new" / "clip.avi"
    with pytest.raises(OutputError) as caught:
        record(enrolling(source), video)
    copy = video.parent / "clip_enrol" / "Ann" / "big.jpg"
    assert str(caught.value) == f"{copy}: cannot be written: No space left on device"
    assert list(small_disk.iterdir()) == []


def test_a_clip_that_came_out_short_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetson_face.util.whole_video._frames_in", lambda video, wanted: wanted - 1)
    with pytest.raises(OutputError, match=r"/clip\.mp4: the video came out damaged"):
        record(small(), tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"/file: cannot be written: Not a directory$"):
        record(small(), tmp_path / "file" / "clip.mp4")


def test_a_copy_takes_the_place_of_no_other_photo(tmp_path: Path) -> None:
    photos = tmp_path / "clip_enrol" / "Ann"
    photos.mkdir(parents=True)
    (photos / "a.png").write_bytes(b"a photo")
    before = (photos / "a.png").stat()
    # the folder of the copies is that of the photos
    ground_truth = record(enrolling(photos / "a.png"), tmp_path / "clip.avi")
    assert ground_truth.enrol == {"Ann": ("clip_enrol/Ann/a.png",)}
    assert (photos / "a.png").stat() == before
    other = tmp_path / "a.png"
    other.write_bytes(b"another")
    video = (tmp_path / "clip.avi").read_bytes()
    with pytest.raises(UsageError, match=f"^{photos}/a.png: another photo than {other} is there"):
        record(enrolling(other), tmp_path / "clip.avi", progress=lambda done: pytest.fail("late"))
    assert (photos / "a.png").read_bytes() == b"a photo"
    assert (tmp_path / "clip.avi").read_bytes() == video


@pytest.mark.parametrize("name", ["clip.mkv", "clip"])
def test_other_video_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="mp4"):
        record(small(), tmp_path / name)


def folder_of(tmp_path: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.jpg").write_bytes(f"{name}{i}".encode())
    return tmp_path


def test_the_cast_shows_no_photo_that_is_enrolled(tmp_path: Path) -> None:
    people = people_in(folder_of(tmp_path, {"Ann": 5, "Bob": 4, "Cy": 1, "Di": 2, "none": 0}))
    cast = choose_cast(people, known=2, strangers=2, enrol=3, seed=1)
    assert [member.name is None for member in cast] == [False, False, True, True]
    assert {member.name for member in cast[:2]} == {"Ann", "Bob"}
    for member in cast:
        assert not set(member.show) & set(member.enrol)
        assert len(member.enrol) == (0 if member.name is None else 3)
    assert {photo.parent.name for member in cast[2:] for photo in member.show} == {"Cy", "Di"}


def test_a_copy_of_a_photo_does_not_end_up_on_both_sides(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"Ann": 3})
    for i in range(3):
        (folder / "Ann" / f"copy{i}.jpg").write_bytes((folder / "Ann" / "0.jpg").read_bytes())
    (member,) = choose_cast(people_in(folder), known=1, strangers=0, enrol=2, seed=5)
    contents = [photo.read_bytes() for photo in (*member.show, *member.enrol)]
    assert len(contents) == len(set(contents)) == 3


@pytest.mark.parametrize(
    ("known", "strangers", "part"), [(2, 0, "only 1 people have 3"), (1, 2, "only 1 people are")]
)
def test_too_small_a_folder_is_refused(
    tmp_path: Path, known: int, strangers: int, part: str
) -> None:
    people = people_in(folder_of(tmp_path, {"Ann": 3, "Bob": 2}))
    with pytest.raises(UsageError, match=part):
        choose_cast(people, known=known, strangers=strangers, enrol=2, seed=1)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        people_in(tmp_path / "none")
    with pytest.raises(InputMissingError):
        people_in(folder_of(tmp_path, {"Ann": 0}))


def test_photos_without_a_usable_face_are_passed_over(tmp_path: Path) -> None:
    shown = tuple(tmp_path / f"{i}.jpg" for i in range(4))
    boxes: dict[Path, Box | None] = dict(
        zip(shown, (None, (0, 0, 30, 30), FACE, FACE), strict=True)
    )
    asked: list[Path] = []

    def read(path: Path) -> ImageU8:
        if path == shown[3]:
            raise InputBrokenError("broken")
        asked.append(path)
        return photo()

    def locate(image: ImageU8) -> Box | None:
        return boxes[asked[-1]]

    (role,) = roles_of([Member("Ann", shown)], locate, read=read)
    assert len(role.cutouts) == 1
    with pytest.raises(InputBrokenError, match="no face of 40"):
        roles_of([Member("Ann", shown[:2])], locate, read=read)


def test_the_built_in_clip_has_a_known_person_and_a_stranger() -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    from jetson_face.benchmark.clips.builtin import HOPPER, builtin_clip

    images, ground_truth = in_memory(builtin_clip(ClipPlan((320, 240), 3, at_once=2)))
    assert {face.name for face in ground_truth.frames[0]} == {HOPPER, None}
    assert ground_truth.photos_shared
    assert set(ground_truth.enrol) == {HOPPER}
    assert images[0].std() > 20
