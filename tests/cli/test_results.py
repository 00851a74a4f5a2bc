"""Results never take the place of what a command reads, of what is kept, or of each other."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetson_face.cli.main import main
from jetson_face.cli.results import STATE_FOLDERS, STATE_NAMES, check_results
from jetson_face.config import Config
from jetson_face.core.errors import OutputError, UsageError
from jetson_face.fleet import link_state, plans
from jetson_face.privacy import audit, encryption, use_log
from jetson_face.review import queue, unknowns
from jetson_face.service import health_day, history, page_settings, plumbing
from jetson_face.service.control import measuring

Command = Callable[..., Any]


@pytest.fixture
def album(tmp_path: Path, collins: Path, hopper: Path) -> Path:
    """A folder with `a.jpg` and `b.png`."""
    folder = tmp_path / "album"
    folder.mkdir()
    shutil.copy(hopper, folder / "a.jpg")
    shutil.copy(collins, folder / "b.png")
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The configuration of a service, with its gallery and its history."""
    state = tmp_path / "svc"
    state.mkdir()
    (state / "gallery.db").write_bytes(b"everybody who is enrolled")
    (state / "history.db").write_bytes(b"what happened")
    (state / "fleet-link.json").write_bytes(b"what a fleet sent")
    path = tmp_path / "site.yaml"
    sources = f"sources:\n  - uri: {tmp_path / 'ok.mp4'}\n"
    path.write_text(f"state_dir: {state}\narchive: {{search: true}}\n{sources}")
    return path


WORDS = [
    ("run ok.mp4 --report ok.mp4", "ok.mp4", "the source"),
    ("run ok.mp4 -c site.yaml --report site.yaml", "site.yaml", "the configuration"),
    ("run ok.mp4 -c site.yaml --report svc/gallery.db", "svc/gallery.db", "the gallery"),
    ("run ok.mp4 -c site.yaml --events svc/history.db", "svc/history.db", "the history of events"),
    ("run album --still album/a.jpg", "album/a.jpg", "a picture of album"),
    ("run sequence:album --still album/b.png", "album/b.png", "a picture of album"),
    ("run album --still link.jpg", "album/a.jpg", "a picture of album"),
    ("identify album/a.jpg --draw album/a.jpg", "album/a.jpg", "the source"),
    ("identify album/a.jpg --draw link.jpg", "album/a.jpg", "the source"),
    ("tune ok.mp4 --fps 1 --out ok.mp4", "ok.mp4", "the source"),
    ("tune -c site.yaml --fps 1 --out svc/gallery.db", "svc/gallery.db", "the gallery"),
    ("calibrate --impostors album --pack album/a.jpg", "album/a.jpg", "a picture of album"),
    ("calibrate --impostors album/b.png --pack album/b.png", "album/b.png", "an input"),
    ("calibrate -c site.yaml --impostors album --curve site.yaml", "site.yaml", "the configur"),
    ("use-log svc/gallery.db --format csv -c site.yaml", "svc/gallery.db", "the gallery"),
    ("use-log site.yaml --format csv -c site.yaml", "site.yaml", "the configuration"),
    ("events export svc/history.db --format csv -c site.yaml", "svc/history.db", "the history"),
    ("events tail --after 0 -n 1 --cursor-file site.yaml -c site.yaml", "site.yaml", "the config"),
    ("explain out/occlusion.png --out out", "out/occlusion.png", "the source"),
    ("review show 1 --out svc/history.db -c site.yaml", "svc/history.db", "the history of events"),
    ("unknown show u --out svc/gallery.db -c site.yaml", "svc/gallery.db", "the gallery"),
    ("archive search g.csv --reason x --sheet g.csv -c site.yaml", "g.csv", "an input"),
    ("clips make --people album --out album/a.mp4 -c album/a.json", "album/a.json", "the config"),
    ("clips make --out svc/fleet-link.mp4 -c site.yaml", "svc/fleet-link.json", "a file of the s"),
    ("eval groups --images album --groups g.csv --json g.csv", "g.csv", "an input"),
    ("eval centre --images album --markdown site.yaml -c site.yaml", "site.yaml", "the config"),
    ("bench ok.mp4 --csv ok.mp4", "ok.mp4", "the source"),
    ("bench ok.mp4 --json ok.json", "ok.json", "an input"),
    ("engines export site.yaml -c site.yaml", "site.yaml", "the configuration"),
    ("engines unrecognisable --pictures album --out album/b.png", "album/b.png", "a picture of"),
    ("train --pairs g.csv --images album --export g.csv", "g.csv", "an input"),
    ("train style --content g.csv --style ok.mp4 --out ok.mp4", "ok.mp4", "the source"),
    ("train style --content c.zip --style s --vectors c.npy --out c.zip", "c.npy", "an input"),
]


@pytest.mark.parametrize(("words", "harmed", "what"), WORDS, ids=[row[0] for row in WORDS])
def test_a_result_in_the_place_of_something_else_is_refused(
    tmp_path: Path,
    album: Path,
    site: Path,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    harmed: str,
    what: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    clip.rename("ok.mp4")
    (tmp_path / "link.jpg").symlink_to(album / "a.jpg")
    (tmp_path / "out").mkdir()
    shutil.copy(album / "b.png", "out/occlusion.png")
    for name in ("g.csv", "ok.json", "c.zip", "c.npy"):
        Path(name).write_text("person,sex\n")
    (album / "a.json").write_text("{}")
    before = Path(harmed).read_bytes()
    assert main(words.split()) == 2
    assert Path(harmed).read_bytes() == before
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f": it is {what}" in said
    assert said.endswith("and would be overwritten\n")


@pytest.mark.parametrize(
    ("words", "pictures"),
    [
        ("bench album --plots album", "album"),
        ("bench sequence:album --plots link", "album"),
        ("eval centre --images . --plots album", "."),
        ("eval bakeoff --pairs p --images x --people . --plots ./album", "."),
    ],
)
def test_plots_among_the_pictures_that_are_measured_are_refused(
    tmp_path: Path,
    album: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    pictures: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(album)
    before = sorted(path.name for path in album.iterdir())
    assert main(words.split()) == 2
    folder = words.split()[-1].removeprefix("./")
    assert capsys.readouterr().err == (
        f"jetson-face: {folder}: pictures of {pictures} are in it: give the plots a folder of "
        "their own\n"
    )
    assert sorted(path.name for path in album.iterdir()) == before


def test_plots_beside_the_pictures_are_fine(tmp_path: Path, album: Path) -> None:
    plots = album / "plots"
    for _ in range(2):  # the second time the plots of before are there
        check_results({}, sources=[album], plots=plots)
        plots.mkdir(exist_ok=True)
        shutil.copy(album / "b.png", plots / "roc.png")
    check_results({}, sources=[plots / "roc.png"], inputs=[tmp_path / "none"], plots=album)
    check_results({}, inputs=[album], plots=tmp_path)
    check_results({}, inputs=[album], plots=None)
    (album / "notes").mkdir()
    check_results({}, inputs=[album], plots=album / "notes")


@pytest.mark.parametrize(
    "words",
    ["--still same.png --report same.png", "--events same.json --report ./same.json"],
)
def test_two_results_under_one_name_are_refused(
    cli: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("run", clip, "--frames", 1, *words.split())
    assert done.code == 2
    options = [word for word in words.split() if word.startswith("--")]
    assert "both: give each a file of its own" in done.err
    assert all(option in done.err for option in options)
    assert not list(tmp_path.glob("same*"))


def test_results_of_an_earlier_run_are_replaced(
    cli: Command, clip: Path, tmp_path: Path, album: Path
) -> None:
    words = ("--report", tmp_path / "r.json", "--still", tmp_path / "s.png")
    for _ in range(2):
        assert cli("run", clip, "--frames", 1, *words).code == 0
        assert cli("identify", album / "a.jpg", "--draw", tmp_path / "d.png").code == 0


def test_new_files_beside_inputs_and_state_are_fine(tmp_path: Path, album: Path) -> None:
    config = Config(state_dir=tmp_path)
    for name in ("new.jpg", "a.json", "a.jpg.png"):
        check_results({"--x": album / name}, sources=[album], inputs=[album], config=config)
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "history.db.csv").write_text("")
    for name in ("results.json", "history.db.csv", "history.db"):
        check_results({"--x": tmp_path / name}, config=config)
    check_results({"--out": None})
    check_results({"--a": Path(os.devnull), "--b": Path(os.devnull)})


def test_pictures_further_down_are_inputs_and_not_part_of_a_source(
    tmp_path: Path, album: Path
) -> None:
    deep = tmp_path / "people" / "Ada"
    deep.parent.mkdir()
    album.rename(deep)
    still = {"--still": deep / "a.jpg"}
    check_results(still, sources=[str(tmp_path / "people")])
    with pytest.raises(UsageError, match="a picture of"):
        check_results(still, inputs=[tmp_path / "people"])


def test_a_picture_that_a_folder_has_by_a_link_is_one_of_it(tmp_path: Path, album: Path) -> None:
    own = tmp_path / "own.jpg"
    (album / "a.jpg").rename(own)
    (album / "a.jpg").symlink_to(own)
    with pytest.raises(UsageError, match=r"own\.jpg: it is a picture of"):
        check_results({"--still": own}, sources=[str(album)])


@pytest.mark.parametrize(
    "name",
    [
        "gallery.db-wal", "gallery.db.ledger", "history.db-shm", "outbox.db.broken", "use.log.3",
        "door.jsonl", "door.jsonl.2", "models/mine/mine.yaml", "receipts/p-1.json", "cache/a.plan",
        "fleet.key", "fits.json", "e.jsonl",
    ],
)  # fmt: skip
def test_what_is_kept_beside_is_kept(tmp_path: Path, name: str) -> None:
    config = Config.model_validate(
        {
            "state_dir": tmp_path,
            "service": {"sinks": [{"type": "jsonl", "name": "door"}]},
            "engines": {"cache": tmp_path / "cache"},
            "fleet": {"server": "nats://x:1", "site": "s", "key": tmp_path / "fleet.key"},
            "matching": {"pair_weights": tmp_path / "fits.json"},
            "report": {"events": tmp_path / "e.jsonl"},
        }
    )
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("kept")
    with pytest.raises(UsageError, match="would be overwritten"):
        check_results({"--json": path}, config=config)


def test_the_names_of_the_state_folder_are_those_of_the_code() -> None:
    names = {
        queue.REVIEW, unknowns.UNKNOWNS, encryption.KEY_NAME, audit.AUDIT, audit.ARCHIVE_USES,
        use_log.LOG, use_log.ALIVE, history.HISTORY, plumbing.OUTBOX, page_settings.FILE,
        health_day.FILE, link_state.FILE, plans.FILE, Config().gallery_path.name,
    }  # fmt: skip
    assert names - STATE_NAMES == set()
    assert {plumbing.CROPS, measuring.FOLDER} - {*STATE_FOLDERS} == set()


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("album", "Is a directory"),
        ("ok.mp4/result.json", "Not a directory"),
        ("ok.mp4/deep/result.json", "Not a directory"),
        ("album/locked/deep/result.json", "Permission denied"),
        ("album/readonly/result.json", "Read-only file system"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(
    tmp_path: Path, album: Path, result: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ok.mp4").touch()
    for name in ("locked", "readonly"):
        (album / name).mkdir()
    really, status = os.access, os.statvfs(album)
    monkeypatch.setattr(
        os, "access", lambda at, mode: at.name not in ("locked", "readonly") and really(at, mode)
    )
    told = os.statvfs_result([*status[:8], os.ST_RDONLY, status[9]])
    monkeypatch.setattr(os, "statvfs", lambda at: told if at.name == "readonly" else status)
    path = tmp_path / result
    with pytest.raises(OutputError, match=f"{re.escape(str(path))}: cannot be written: {why}"):
        check_results({"--json": path})
    if "deep" not in result and path != album:
        with pytest.raises(OutputError, match=f"cannot be written: {why}"):
            check_results({}, plots=path.parent)


def test_a_folder_that_may_not_be_looked_into_is_no_place_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(OutputError, match=r"r\.json: cannot be written: Permission denied"):
        check_results({"--json": tmp_path / "r.json"})


def test_places_that_can_be_written_are_left_alone(album: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("/dev/null", "/dev/stdout", f"{tmp_path}/pipe", f"{tmp_path}/new/a.json"):
        check_results({"--json": Path(name)})
    check_results({"--json": album / "a.jpg"}, plots=tmp_path / "plots")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "plots").exists()


def test_a_bench_is_not_run_for_a_result_without_a_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--json", str(tmp_path)]) == OutputError.exit_code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.strip().endswith(f"{tmp_path}: cannot be written: Is a directory")
