"""README and docs/ say what is so: commands run or say why not; keys, files and links exist."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from pydantic import BaseModel

import jetson_face
from jetson_face.cli.main import COMMANDS, build_parser
from jetson_face.config import Config
from jetson_face.core import errors
from jetson_face.util.documents import parse_document
from jetson_face.util.images import read_picture, write_picture
from tests.cli.conftest import clip, collins, hopper
from tests.house.docs_pages import (
    GENERATED,
    OWN_TESTS,
    REPO,
    RUN_HERE,
    blocks,
    command_lines,
    inline_code,
    pages,
    read,
)

__all__ = ["clip", "collins", "hopper"]


def test_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) < 150


# Commands


def test_every_block_of_commands_is_run_or_says_why_not() -> None:
    there = [b for page in pages() for b in blocks(page) if b.commands]
    assert len(there) > 15
    run = {*RUN_HERE, *OWN_TESTS, *GENERATED}
    assert [b.where for b in there if b.page not in run and b.reason is None] == []
    assert [b.where for b in there if b.reason is not None and len(b.reason.split()) < 3] == []


@pytest.mark.parametrize("page", pages())
def test_every_command_line_parses(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for text, words, whole in command_lines(page, "jetson-face"):
        words = [{"N": "1", "COMMAND": "run"}.get(word, word) for word in words]
        try:
            build_parser(words[0] if words[0] in COMMANDS else None).parse_args(words)
        except SystemExit as end:
            said = capsys.readouterr().err
            # In running text a command may be named without what every call must give.
            short = not whole and "arguments are required" in said
            if end.code != 0 and not short:
                wrong.append(f"{text}: {said.splitlines()[-1]}")
    assert wrong == []


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Of a parser and of the parsers of its actions."""
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= {word for sub in action.choices.values() for word in options(sub)}
    return found


def test_every_option_that_is_named_exists() -> None:
    ours = {word for name in COMMANDS for word in options(build_parser(name))}
    tools = "\n".join(p.read_text("utf-8") for p in REPO.glob("tools/*") if p.is_file())
    wrong = []
    for page in pages():
        for text in inline_code(page):
            option = re.match(r"--?[a-z][\w-]*", text)
            if option and option[0] not in ours and f'"{option[0]}"' not in tools:
                wrong.append(f"{page}: {text}")
    assert wrong == []


@pytest.mark.parametrize("page", pages())
def test_every_tool_that_is_named_takes_its_options(page: str) -> None:
    wrong = []
    for program in ("python", "bash", "tools/test_service.sh"):
        for text, words, _ in command_lines(page, program):
            tool = REPO / words[0]
            if not words[0].startswith("tools/"):
                continue
            source = tool.read_text("utf-8")
            options = [word.split("=")[0] for word in words[1:] if word.startswith("--")]
            wrong += [f"{text}: {word}" for word in options if f'"{word}"' not in source]
    assert wrong == []


# Commands, run


@pytest.fixture
def folder(tmp_path: Path, collins: Path, hopper: Path, clip: Path) -> Path:
    """What the pages speak of, tiny: people/, 1.jpg, party.jpg, film.mp4, pairs.txt, site.yaml."""
    portraits = {"Ada Lovelace": read_picture(collins), "Grace Hopper": read_picture(hopper)}
    for name, image in portraits.items():
        one = name.replace(" ", "_")
        (tmp_path / "people" / name).mkdir(parents=True)
        (tmp_path / "images" / one).mkdir(parents=True)
        for number in (1, 2):  # two crops of one portrait
            photo = np.ascontiguousarray(image[:, 6 * number : -6 * number])
            write_picture(tmp_path / "people" / name / f"{number}.jpg", photo)
            write_picture(tmp_path / "images" / one / f"{one}_{number:04}.jpg", photo)
    for number in (1, 2):
        photo = np.ascontiguousarray(portraits["Ada Lovelace"][number:, 10 * number :])
        write_picture(tmp_path / f"{number}.jpg", photo)
    write_picture(tmp_path / "party.jpg", portraits["Ada Lovelace"])
    film = cv2.VideoCapture(str(clip))
    writer = cv2.VideoWriter(
        str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 240)
    )
    while (read := film.read())[0]:
        writer.write(read[1])
    writer.release()
    (tmp_path / "pairs.txt").write_text(
        "fold\ta\tb\tsame\n"
        + "".join(
            f"{fold}\tAda_Lovelace/Ada_Lovelace_0001.jpg\t{other}\t{same}\n"
            for fold in (1, 2)
            for other, same in (
                ("Ada_Lovelace/Ada_Lovelace_0002.jpg", 1),
                (f"Grace_Hopper/Grace_Hopper_000{fold}.jpg", 0),
            )
        )
    )
    for block in blocks("docs/installer.md"):
        if block.language == "yaml" and "sources:" in block.text:
            (tmp_path / "site.yaml").write_text(block.text)
    for name in ("configs", "docs", "engines", "tools"):
        (tmp_path / name).symlink_to(REPO / name)
    program = tmp_path / "bin" / "jetson-face"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jetson_face "$@"\n')
    program.chmod(0o755)
    return tmp_path


def shell(folder: Path, *words: str) -> str:
    """Run in the folder, where `jetson-face` is the one under test; everything it printed."""
    package = str(Path(str(jetson_face.__file__)).parents[1])
    done = subprocess.run(
        words,
        env={
            **os.environ,
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": package,
            "XDG_STATE_HOME": str(folder / "state"),
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{words[-1]}\n{done.stdout}"
    return done.stdout


def run_blocks(page: str, folder: Path, before: dict[str, str] | None = None) -> str:
    """Every block of a page that is not marked, one after the other. before: by a command that a
    block begins with, what happens on a box before somebody gives it."""
    said = ""
    for block in blocks(page):
        for begin, happens in (before or {}).items():
            if block.text.startswith(begin):
                shell(folder, "bash", "-euc", happens)
        if block.reason is None and block.commands:
            said += shell(folder, "bash", "-euc", block.text)
        elif block.language == "python" and page != "README.md":  # tests/api/test_examples.py
            said += shell(folder, sys.executable, "-c", block.text)
    return said


@pytest.mark.timeout(300)
def test_the_commands_of_readme(folder: Path) -> None:
    said = run_blocks("README.md", folder)
    assert "Ada Lovelace: 2 added" in said
    assert "party.jpg: 1 face\n" in said
    events = (folder / "events.jsonl").read_text("utf-8")
    assert '"name": "Ada Lovelace"' in events
    assert {"out.jpg", "out.mp4", "report.json"} <= {path.name for path in folder.iterdir()}


@pytest.mark.timeout(300)
def test_the_commands_of_the_installer(folder: Path) -> None:
    said = run_blocks("docs/installer.md", folder)
    assert "site.yaml: valid" in said
    assert "would be done" in said


@pytest.mark.timeout(300)
def test_the_commands_of_the_operator(folder: Path) -> None:
    # A doubtful face comes by: with this margin whoever is like nobody is doubtful.
    (folder / "door.yaml").write_text(
        "sources: [{uri: film.mp4, name: door}]\nmatching: {review_margin: 1}\n"
    )
    film = "jetson-face service run -c door.yaml"
    said = run_blocks("docs/operator.md", folder, {"jetson-face review": film})
    assert re.search(r"^1: .* door track 1: Grace Hopper\? \(", said, re.MULTILINE)
    assert "Ada King" in said
    assert {"out.mp4", "still.png", "tuned.yaml", "face.png"} <= {p.name for p in folder.iterdir()}


@pytest.mark.timeout(300)
def test_the_commands_of_the_engineer(folder: Path) -> None:
    shell(folder, "jetson-face", "enroll", "people/")
    said = run_blocks("docs/engineer.md", folder)
    assert "Ada Lovelace 2 added 0 refused" in said
    assert re.search(r"^\d+ 1 known Ada Lovelace$", said, re.MULTILINE)
    assert {"after.json", "plots", "clip.mp4", "verification.json", "explained"} <= {
        path.name for path in folder.iterdir()
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_of_the_archive(folder: Path) -> None:
    pytest.importorskip("pyarrow", reason="archives need the extra `archive`")
    said = run_blocks("docs/archive.md", folder)
    assert "1 recordings indexed, 0 known before, 0 refused" in said


def test_a_block_that_fails_is_seen(folder: Path) -> None:
    with pytest.raises(AssertionError, match=r"no_such\.jpg"):
        shell(folder, "bash", "-euc", "jetson-face identify no_such.jpg\ntrue")


def test_the_configurations_of_the_installer_are_valid() -> None:
    found = [b for b in blocks("docs/installer.md") if b.language == "yaml"]
    assert len(found) > 1
    for block in found:
        parse_document(block.text, block.where, Config)


# Keys


def inside(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a key may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in inside(part)]


def is_key(sections: list[type[BaseModel]], words: list[str]) -> bool:
    """Whether words, as in sources, 0, uri, lead to a key of one of the sections."""
    if not words:
        return True
    if words[0].isdigit():
        return is_key(sections, words[1:])
    found = [s.model_fields[words[0]] for s in sections if words[0] in s.model_fields]
    free = any(f.annotation is not None and "dict" in str(f.annotation) for f in found)
    return bool(found) and (
        free or is_key([m for f in found for m in inside(f.annotation)], words[1:])
    )


@pytest.mark.parametrize("page", pages())
def test_every_key_of_the_configuration_exists(page: str) -> None:
    wrong = []
    for text in inline_code(page):
        for key in re.findall(r"(?<![\w./-])[a-z_]+(?:\[\])?(?:\.[a-z_0-9]+)+(?![\w/(*-])", text):
            words = key.replace("[]", "").split(".")
            module = REPO.joinpath("jetson_face", *words)
            if words[0] not in Config.model_fields or words[-1] in FILES:
                continue
            if module.is_dir() or module.with_suffix(".py").is_file():
                continue
            if key not in ATTRIBUTES and not is_key([Config], words):
                wrong.append(f"{page}: {text}")
    assert wrong == []


ATTRIBUTES = {"report.sightings"}  # of Python objects
FILES = {"json", "key", "ledger", "jsonl", "txt", "db", "yaml", "py", "md", "png", "mp4"}


# Files, links, lists


@pytest.mark.parametrize("page", pages())
def test_every_file_that_is_named_exists(page: str) -> None:
    texts = [*inline_code(page), *(b.text for b in blocks(page) if b.language in ("", "bash"))]
    folders = "docs|engines|tools|configs|tests|systemd|jetson_face|.ci"
    named = {
        path.rstrip(".,")
        for text in texts
        for path in re.findall(rf"(?<![\w./$-])(?:{folders})/[\w./*-]*", text)
    }
    made = {"docs/bakeoff.md", "docs/transfer.md"}
    missing = {name for name in named - made if not list(REPO.glob(name.rstrip("/")))}
    assert missing == set()


def anchors(path: Path) -> set[str]:
    """What GitHub calls a page's headings in links."""
    heads = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_somewhere(page: str) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match("https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = ((REPO / page).parent / name) if name else REPO / page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            wrong.append(target)
    assert wrong == []


def test_the_installer_is_told_every_extra() -> None:
    setup = (REPO / "setup.py").read_text("utf-8")
    there = set(re.findall(r'^    "(\w+)":', setup.split("EXTRAS = {")[1], re.MULTILINE))
    table = read("docs/installer.md").split("| extra |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == there


def test_the_operator_is_told_every_exit_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {k.exit_code for k in kinds if issubclass(k, errors.JetsonFaceError)}
    table = read("docs/operator.md").split("| code |", 1)[1]
    told = {int(code) for code in re.findall(r"\| (\d+) (?=\|)", table)}
    assert told == codes | {0, 130}


OLD_WORDS = (
    r"mend(?:s|ed|ing)?|anew|it is she|goes before it|named rightly|misnamed|"
    r"(?:single|two|other|one|a) looks?(?! at)"
)


@pytest.mark.parametrize("page", pages())
def test_the_words_of_the_field(page: str) -> None:
    found = re.findall(rf"\b(?:{OLD_WORDS})\b", read(page), re.IGNORECASE)
    assert found == []
