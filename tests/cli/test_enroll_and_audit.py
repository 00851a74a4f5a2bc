"""Enrolling and erasing as a process at a terminal: interrupted, asked first, refused, audited."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import pytest

from jetson_face.config import load_config
from jetson_face.factory.parts import open_gallery
from jetson_face.privacy.audit import AuditLog
from jetson_face.util.images import read_picture
from tests.waiting import PATIENCE

Command = Callable[..., Any]
COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def audited(state: Path) -> list[tuple[str, str, dict[str, Any]]]:
    return [(e.action, e.name, dict(e.details)) for e in AuditLog(state / "audit.jsonl").read()]


def started(state: Path, *words: object, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jetson_face", *map(str, words)]
    return subprocess.Popen([*command, "--set", f"state_dir={state}"], text=True, **streams)


def templates(state: Path) -> int:
    """How many are in the gallery of another process."""
    try:
        with closing(sqlite3.connect(f"file:{state}/gallery.db?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM templates").fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.fixture
def many(tmp_path: Path, hopper: Path) -> Path:
    """Forty people with a photo each: the same face in forty files."""
    picture = cv2.resize(read_picture(hopper), None, fx=0.4, fy=0.4)
    for number in range(40):
        folder = tmp_path / "many" / f"Person {number:02d}"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "photo.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 60 + number])
    return tmp_path / "many"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_audit_log_has_exactly_who_was_enrolled_before_the_end(
    state: Path, many: Path, number: signal.Signals
) -> None:
    for least in (3, 12):
        process = started(state, "enroll", many, "--force", "--set", "quality.enroll_min_px=30",
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
        end = time.monotonic() + 30 * PATIENCE
        while templates(state) < least and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(number)
        _, said = process.communicate(timeout=30 * PATIENCE)
        assert process.returncode == (130 if number == signal.SIGINT else -number), said
        if number == signal.SIGINT:
            assert said.endswith("jetson-face: interrupted\n")
        else:  # who comes next brings the log up to date
            open_gallery(load_config(None, [f"state_dir={state}"])).close()
        log = AuditLog(state / "audit.jsonl").read()
        with open_gallery(load_config(None, [f"state_dir={state}"])) as gallery:
            enrolled = [info.person for info in gallery.people()]
        assert least <= len(enrolled) < 40
        assert sorted((e.person, e.name) for e in log) == sorted((p.id, p.name) for p in enrolled)
        assert {(e.action, e.details["photo"]) for e in log} == {("enrolled", "photo.jpg")}
        assert len({e.id for e in log}) == len(log)


def test_each_photo_is_audited_and_a_rename_says_the_old_name(
    cli: Command, state: Path, people: Path, tmp_path: Path, hopper: Path
) -> None:
    cli("enroll", people)
    copy = tmp_path / "again.png"
    cv2.imwrite(str(copy), read_picture(hopper))
    cli("enroll", "--name", HOPPER, copy, hopper)
    cli("people", "rename", HOPPER, "Admiral Hopper")
    assert audited(state) == [
        ("enrolled", COLLINS, {"photo": "astronaut.png", "photos": 1}),
        ("enrolled", HOPPER, {"photo": "grace_hopper.jpg", "photos": 1}),
        ("photos_added", HOPPER, {"photo": "again.png", "photos": 1}),
        ("renamed", "Admiral Hopper", {"before": HOPPER}),
    ]


def test_a_photo_of_somebody_else_is_refused_unless_forced(
    cli: Command, state: Path, people: Path, tmp_path: Path, collins: Path, hopper: Path
) -> None:
    cli("enroll", people)
    (person,) = (p["id"] for p in json.loads(cli("people", "list", "--json").out)[:1])
    wrong, right = tmp_path / "wrong.png", tmp_path / "right.png"
    cv2.imwrite(str(wrong), read_picture(collins))
    cv2.imwrite(str(right), read_picture(hopper))
    one = cli("enroll", "--name", HOPPER, wrong)
    assert one.code == 14
    assert f"refused {wrong}: looks more like {COLLINS} (1.00)" in one.err
    assert "--force" in one.err
    several = cli("enroll", "--name", HOPPER, wrong, right)
    assert (several.code, several.out) == (0, f"{HOPPER}: 1 added\n")
    assert f"refused {wrong}" in several.err
    assert str(right) not in several.err
    new = cli("enroll", "--name", "Somebody", wrong)
    assert (new.code, "looks like Eileen Collins" in new.err) == (14, True)
    assert "Somebody" not in cli("people", "list").out
    forced = cli("enroll", "--name", HOPPER, wrong, "--force")
    assert (forced.code, forced.out) == (0, f"{HOPPER}: 1 added\n")
    assert audited(state)[-1] == (
        "photos_added",
        HOPPER,
        {"photo": "wrong.png", "photos": 1, "forced": True, "looks_like": person},
    )


def test_an_erased_photo_comes_back_only_when_forced(
    cli: Command, state: Path, people: Path, hopper: Path
) -> None:
    cli("enroll", people)
    assert cli("people", "remove", HOPPER, "--yes").code == 0
    again = cli("enroll", people)
    assert again.code == 0
    assert "grace_hopper.jpg: it was erased together with a person" in again.err
    assert HOPPER not in cli("people", "list").out
    assert cli("enroll", "--name", HOPPER, hopper, "--force").code == 0
    assert audited(state)[-1][2] == {
        "photo": "grace_hopper.jpg",
        "photos": 1,
        "forced": True,
        "was_erased": True,
    }


def test_without_a_terminal_an_erasure_wants_yes(cli: Command, state: Path, people: Path) -> None:
    cli("enroll", people)
    process = started(state, "people", "remove", HOPPER, stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    out, said = process.communicate("y\n", timeout=30)
    assert (process.returncode, out) == (2, "")
    assert said == (
        "jetson-face: this erases Grace Hopper with 1 photo for good: say so with --yes\n"
    )
    assert HOPPER in cli("people", "list").out
    assert [action for action, _, _ in audited(state)] == ["enrolled", "enrolled"]


@pytest.mark.parametrize(
    ("answer", "code"), [("\n", 1), ("n\n", 1), ("yes please\n", 1), ("y\n", 0)]
)
def test_at_a_terminal_an_erasure_asks(
    cli: Command, state: Path, people: Path, answer: str, code: int
) -> None:
    cli("enroll", people)
    ours, theirs = pty.openpty()
    process = started(state, "people", "remove", HOPPER, stdin=theirs, stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE)  # fmt: skip
    os.close(theirs)
    os.write(ours, answer.encode())
    out, said = process.communicate(timeout=30 * PATIENCE)
    os.close(ours)
    assert process.returncode == code, said
    assert said.startswith("Erase Grace Hopper with 1 photo for good? [y/N] ")
    assert ("is erased" in out) == (code == 0)
    assert (HOPPER in cli("people", "list").out) == (code != 0)


@pytest.mark.parametrize(
    "words",
    [
        ("people", "list"),
        ("people", "show", HOPPER),
        ("people", "remove", HOPPER, "--yes"),
        ("identify", "{hopper}"),
        ("gallery", "check"),
        ("gallery", "accept-restored"),
        ("review", "list"),
        ("calibrate", "--forget"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
@pytest.mark.parametrize("there", ["the gallery", "nothing"])
def test_a_command_that_reads_makes_no_key(
    cli: Command, state: Path, people: Path, hopper: Path, words: tuple[str, ...], there: str
) -> None:
    if there == "the gallery":
        cli("enroll", people)
        (state / "gallery.key").unlink()
        shutil.copy(hopper, state / "review.db")  # so that `review` looks further
    before = sorted(state.rglob("*"))
    done = cli(*(word.format(hopper=hopper) for word in words))
    if there == "the gallery":
        assert done.code == 7
        assert "gallery.key: the key is not there" in done.err
    assert len(done.err.strip().splitlines()) <= 1
    assert sorted(state.rglob("*")) == before
