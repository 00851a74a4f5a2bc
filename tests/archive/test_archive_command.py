"""`jetson-face archive`: index, search with its log of use, erase, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import pytest

from jetson_face.cli.main import main
from jetson_face.config import load_config
from jetson_face.core.errors import InputBrokenError
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.permission import withhold
from jetson_face.util.images import read_picture, write_picture
from jetson_face.util.locks import file_lock
from tests.archive.made import recording
from tests.cli.conftest import Command, Outcome

Archive = Callable[..., Outcome]


@pytest.fixture
def ours(cli: Command, tmp_path: Path) -> Archive:
    """A command with an archive that may be searched."""
    settings = [
        *("--set", f"archive.path={tmp_path / 'archive'}"),
        *("--set", "archive.search=true"),
        *("--set", "archive.piece_s=2"),
    ]
    return lambda *words: cli(*words, *settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, collins: Path, hopper: Path) -> Path:
    """Collins at the door in March, Hopper in the yard in April: `rec`, `archive`, and its key in
    `state`; said: what the command printed."""
    folder = tmp_path_factory.mktemp("made")
    recording(folder / "rec" / "door" / "2026-03-14T08-00-00.mp4", collins, seconds=4)
    upper = folder / "upper.png"
    write_picture(upper, cv2.resize(read_picture(hopper)[20:440, 60:480], (512, 512)))
    recording(folder / "rec" / "yard" / "2026-04-02T10-00-00.mp4", upper, seconds=2)
    settings = [f"state_dir={folder / 'state'}", "archive.piece_s=2"]
    said = io.StringIO()
    with redirect_stdout(said):
        words = ["archive", "index", str(folder / "rec"), "--into", str(folder / "archive")]
        assert main([*words, *(word for one in settings for word in ("--set", one))]) == 0
    (folder / "said").write_text(said.getvalue())
    return folder


@pytest.fixture
def indexed(made: Path, tmp_path: Path) -> str:
    """A copy of it; what the command printed."""
    shutil.copytree(made / "archive", tmp_path / "archive")
    shutil.copytree(made / "state", tmp_path / "state")
    return (made / "said").read_text()


@pytest.fixture
def enrolled(ours: Archive, indexed: str, collins: Path) -> None:
    """Collins is, too."""
    assert ours("enroll", collins, "--name", "Eileen Collins").code == 0


def test_the_way_from_recordings_to_a_visit(
    ours: Archive, enrolled: None, indexed: str, tmp_path: Path, collins: Path
) -> None:
    assert "2 recordings indexed, 0 known before, 0 refused" in indexed
    assert "an hour and core" in indexed
    sheet, clips = tmp_path / "sheet.jpg", tmp_path / "clips"
    said = ours(
        *("archive", "search", "eileen collins", "--reason", "case 7"),
        *("--sheet", sheet, "--clips", clips),
    )
    assert said.code == 0, said.err
    first = said.out.splitlines()[1]
    assert first.startswith("1. door  2026-03-14 08:00:00 UTC to 2026-03-14 08:00:0")
    assert "FPIR < 0.0001 %" in first
    assert "yard" not in said.out.replace("2 cameras", "")
    assert read_picture(sheet).shape[1] >= 160
    (clip,) = clips.glob("01-door-2026-03-14T08-00-*.mp4")
    capture = cv2.VideoCapture(str(clip))
    assert 20 <= int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) <= 40
    capture.release()
    # the same with a photo, within a time, of another camera
    found = ours("archive", "search", collins, "--reason", "again", "--json")
    (visit,) = json.loads(found.out)["visits"]
    assert visit["camera"] == "door"
    none = ours("archive", "search", collins, "--reason", "april", "--from", "2026-04-01", "--json")
    assert json.loads(none.out) == {
        "searched": 1,
        "cameras": ["yard"],
        "fpir_measured": True,
        "visits": [],
    }
    other = ours("archive", "search", collins, "--reason", "x", "--camera", "yard", "--json")
    assert json.loads(other.out)["visits"] == []


def test_clips_that_cannot_be_cut_are_named(
    ours: Archive, indexed: str, tmp_path: Path, collins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    search = ("archive", "search", collins, "--reason", "x", "--clips")
    said = ours(*search, tmp_path / "file" / "clips")
    assert said.code == 15, said.err
    assert "Not a directory" in said.err

    def broken(*_: object) -> None:
        raise InputBrokenError("door.mp4: damaged since")

    monkeypatch.setattr("jetson_face.archive.showing.pictures", broken)
    said = ours(*search, tmp_path / "clips")
    assert said.code == 0, said.err
    assert "door.mp4: damaged since" in said.out + said.err


def test_a_clip_takes_the_place_of_no_recording(
    ours: Archive, tmp_path: Path, collins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where clips of an earlier search were indexed."""
    film = tmp_path / "clips" / "01-door-2026-03-14T08-00-00.mp4"
    recording(film, collins, seconds=1)
    before = film.read_bytes()
    assert ours("archive", "index", film, "--camera", "door").code == 0
    search = ("archive", "search", collins, "--reason", "x", "--sheet", tmp_path / "s.jpg")
    said = ours(*search, "--clips", film.parent)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"jetson-face: {film}: it is an input, and would be overwritten\n"
    assert (film.read_bytes(), (tmp_path / "s.jpg").exists()) == (before, False)
    # those of an earlier search are replaced
    for _ in range(2):
        said = ours(*search, "--clips", tmp_path / "new")
        assert (said.code, f"wrote {tmp_path}/new/{film.name}" in said.out) == (0, True)
    kept = (tmp_path / "new" / film.name).read_bytes()
    monkeypatch.setattr("jetson_face.util.whole_video._frames_in", lambda video, wanted: 0)
    said = ours(*search, "--clips", tmp_path / "new")
    assert (said.code, "the video came out damaged" in said.err) == (15, True)
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == [kept]


def test_a_track_of_today_was_seen_before(ours: Archive, indexed: str, collins: Path) -> None:
    found = ours("archive", "search", collins, "--reason", "x", "--json")
    (visit,) = json.loads(found.out)["visits"]
    first, second = visit["tracks"][:2]
    before = ours("archive", "search", first, "--reason", "seen before?", "--json")
    (again,) = json.loads(before.out)["visits"]
    assert first not in again["tracks"]
    assert second in again["tracks"]
    none = ours("archive", "search", "0" * 16 + first[16:], "--reason", "x")
    assert (none.code, "there is no track" in none.err) == (2, True)


def test_every_search_is_in_the_log_of_use(
    ours: Archive, enrolled: None, tmp_path: Path, collins: Path
) -> None:
    ours("archive", "search", "Eileen Collins", "--reason", "case 7", "--camera", "door")
    until = ("--to", "2026-03-15T00:00:00Z")
    shown = ours("archive", "search", collins, "--reason", "lost child", *until, "--json")
    log = tmp_path / "state" / "archive_uses.jsonl"
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    assert (first["action"], first["name"]) == ("archive_searched", "Eileen Collins")
    assert "@" in first["actor"]
    assert first["details"]["why"] == "case 7"
    assert first["details"]["reference"].startswith("gallery ")
    assert (first["details"]["camera"], first["details"]["visits_shown"]) == ("door", 1)
    head = json.loads((tmp_path / "archive" / "archive.json").read_text())
    assert first["details"]["archive"] == head["id"]
    assert second["details"]["reference"] == f"photo {collins.name}"
    (visit,) = json.loads(shown.out)["visits"]
    assert len(visit["tracks"]) > 1
    assert second["details"]["tracks"] == visit["tracks"]
    assert second["person"].startswith("photo-")
    assert second["details"]["tracks_searched"] < first["details"]["tracks_searched"] + 5
    assert log.stat().st_mode & 0o077 == 0
    told = tmp_path / "use.json"
    assert ours("use-log", told).code == 0
    searches = [one for one in json.loads(told.read_text()) if one["record"] == "search"]
    assert [one["reason"] for one in searches] == ["case 7", "lost child"]
    assert searches[0]["archive"] == head["id"]
    # what cannot be written down is not shown
    log.unlink()
    log.mkdir()
    said = ours("archive", "search", "Eileen Collins", "--reason", "case 8")
    assert (said.code, said.out) == (15, "")


def test_a_search_is_off_until_it_is_turned_on_and_needs_a_reason(
    cli: Command, ours: Archive, indexed: str, tmp_path: Path, collins: Path
) -> None:
    settings = ("--set", f"archive.path={tmp_path / 'archive'}")
    said = cli("archive", "search", collins, "--reason", "x", *settings)
    assert said.code == 2
    assert "searching the archive is off" in said.err
    assert ours("archive", "search", collins).code == 2
    assert ours("archive", "search", collins, "--reason", " ").code == 2
    assert not (tmp_path / "state" / "archive_uses.jsonl").exists()


def test_what_is_wrong_is_one_line_and_a_code(
    ours: Archive, cli: Command, tmp_path: Path, collins: Path
) -> None:
    blank = tmp_path / "blank.png"
    write_picture(blank, read_picture(collins)[:64, :64] * 0)
    cases = [
        (ours("archive", "index", tmp_path / "nobody.mp4"), 4, "no such file"),
        (ours("archive", "search", collins, "--reason", "x"), 4, "there is no archive"),
        (cli("archive", "index", collins), 2, "no archive is named"),
        (ours("archive", "erase", "--yes"), 2, "one of them"),
    ]
    recording(tmp_path / "a.mp4", collins, seconds=1)
    assert ours("archive", "index", tmp_path / "a.mp4", "--camera", "c").code == 0
    cases += [
        (ours("archive", "search", blank, "--reason", "x"), 5, "no face found"),
        (ours("archive", "search", "Nobody", "--reason", "x"), 4, "there is no gallery yet"),
        (ours("archive", "erase", "--before", "2027-01-01"), 2, "say so with --yes"),
        (cli("archive", "search", collins, "--reason", "x"), 2, "search"),
        (
            ours(
                *("archive", "index", tmp_path / "a.mp4"),
                *("--set", "embedder.model=sface"),
            ),
            9,
            "into a new archive",
        ),
    ]
    (tmp_path / "bad.mp4").write_text("no video")
    cases += [(ours("archive", "index", tmp_path / "bad.mp4"), 5, "no frame can be read")]
    for said, code, text in cases:
        assert (said.code, text in said.err) == (code, True), said
        assert "Traceback" not in said.err
        own = [line for line in said.err.splitlines() if line.startswith("jetson-face:")]
        assert len(own) == 1, said.err
    with pytest.raises(SystemExit) as stop:
        main(["archive", "search", "x", "--from", "yesterday"])
    assert stop.value.code == 2


def test_erase_takes_a_persons_tracks_and_nobody_elses(
    ours: Archive, indexed: str, made: Path, tmp_path: Path, collins: Path, hopper: Path
) -> None:
    before = ours("archive", "search", hopper, "--reason", "x", "--json")
    assert json.loads(before.out)["visits"][0]["camera"] == "yard"
    said = ours("archive", "erase", collins, "--yes")
    assert said.code == 0, said.err
    (receipt,) = (tmp_path / "state" / "receipts").glob("removed-photo-*.json")
    document = json.loads(receipt.read_text())
    assert document["complete"]
    assert document["archive_tracks"] >= 1
    gone = ours("archive", "search", collins, "--reason", "x", "--json")
    assert json.loads(gone.out)["visits"] == []
    after = ours("archive", "search", hopper, "--reason", "x", "--json")
    assert json.loads(after.out)["visits"] == json.loads(before.out)["visits"]
    # the recordings are known: another run does not bring anything back
    assert "2 known before" in ours("archive", "index", made / "rec").out
    gone = ours("archive", "search", collins, "--reason", "x", "--json")
    assert json.loads(gone.out)["visits"] == []


def test_removing_a_person_reaches_the_archive_with_the_receipt(
    ours: Archive, enrolled: None, tmp_path: Path, collins: Path
) -> None:
    said = ours("people", "remove", "Eileen Collins", "--yes")
    assert said.code == 0, said.err
    assert "tracks in the archive" in said.out
    (receipt,) = (tmp_path / "state" / "receipts").glob("removed-*.json")
    document = json.loads(receipt.read_text())
    assert (document["complete"], document["name"]) == (True, "Eileen Collins")
    assert document["archive_tracks"] >= 1
    gone = ours("archive", "search", collins, "--reason", "x", "--json")
    assert json.loads(gone.out)["visits"] == []


def test_nobody_is_removed_while_the_archive_cannot_be_searched(
    ours: Archive, enrolled: None, tmp_path: Path
) -> None:
    """Without the templates nothing would tell afterwards whose tracks are in it."""
    shutil.move(tmp_path / "archive", tmp_path / "away")
    said = ours("people", "remove", "Eileen Collins", "--yes")
    assert (said.code, "there is no archive" in said.err) == (4, True)
    assert "Eileen Collins" in ours("people", "list").out
    shutil.move(tmp_path / "away", tmp_path / "archive")
    assert ours("people", "remove", "Eileen Collins", "--yes").code == 0


def test_a_removal_that_found_the_archive_busy_is_finished_later(
    ours: Archive, enrolled: None, tmp_path: Path, collins: Path
) -> None:
    with file_lock(tmp_path / "archive" / ".lock"):
        said = ours("people", "remove", "Eileen Collins", "--yes")
    assert said.code == 1
    assert "traces are left in the archive of recordings" in said.err
    person = said.err.split("people remove ")[1].split("`")[0]
    assert "was not finished" in ours("people", "list").err
    # the gallery does not know them any more: which tracks they were was written down before
    assert ours("people", "remove", person, "--yes").code == 0
    gone = ours("archive", "search", collins, "--reason", "x", "--json")
    assert json.loads(gone.out)["visits"] == []
    assert ours("people", "list").err == ""


def test_who_must_not_be_recognised_is_neither_searched_nor_shown_nor_kept(
    ours: Archive, enrolled: None, made: Path, tmp_path: Path, collins: Path, hopper: Path
) -> None:
    every = ("--fpir", "1", "--reason", "x", "--json")
    before = json.loads(ours("archive", "search", hopper, *every).out)["visits"]
    assert before[0]["camera"] == "yard"
    assert "door" in {visit["camera"] for visit in before}
    config = load_config(None, [f"state_dir={tmp_path / 'state'}"])
    with open_gallery(config) as gallery:
        withhold(gallery, "Eileen Collins")
    for who in ("Eileen Collins", collins):
        said = ours("archive", "search", who, "--reason", "x")
        assert (said.code, said.out) == (2, "")
        assert "do-not-recognise list is not searched" in said.err
    shown = json.loads(ours("archive", "search", hopper, *every).out)["visits"]
    assert [visit["camera"] for visit in shown] == ["yard"]
    words = ("archive", "index", made / "rec", "--into", tmp_path / "b", "--json")
    report = json.loads(ours(*words).out)
    assert (report["withheld"] >= 1, report["tracks"] >= 1) == (True, True)
    assert {path.parent.name for path in (tmp_path / "b").rglob("*.parquet")} == {"camera=yard"}
    # to be taken out of the archive is another thing
    assert ours("archive", "erase", "Eileen Collins", "--yes").code == 0


def test_days_go_by_hand(ours: Archive, indexed: str, tmp_path: Path) -> None:
    said = ours("archive", "erase", "--before", "2026-04-01", "--yes")
    assert (said.code, said.out) == (0, "1 days of a camera are deleted\n")
    left = {path.parent.parent.name for path in (tmp_path / "archive").rglob("*.parquet")}
    assert left == {"day=2026-04-02"}
