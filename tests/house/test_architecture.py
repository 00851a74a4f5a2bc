"""docs/architecture.md says what is so: folders, arrows, and the modules on the three ways."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "architecture.md").read_text("utf-8")
PACKAGE = REPO / "jetson_face"


def layers_of_the_contract() -> list[set[str]]:
    config = configparser.ConfigParser()
    config.read(REPO / ".importlinter")
    lines = config["importlinter:contract:layers"]["layers"].split("\n")
    return [set(re.findall(r"\w+", line)) for line in lines if line.strip()]


def folders_of_the_page() -> list[str]:
    return re.findall(r"^\| [\w ]*\| `(\w+)` \|", PAGE, re.MULTILINE)


def test_the_page_names_every_folder_and_loose_module_once() -> None:
    there = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    loose = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    named = folders_of_the_page()
    assert len(named) == len(set(named))
    assert set(named) == there | loose


def test_only_the_api_and_the_live_loop_are_loose_modules() -> None:
    assert {p.stem for p in PACKAGE.glob("*.py")} <= {"__init__", "__main__", "api", "live"}


def test_the_page_has_the_order_of_the_contract() -> None:
    rank = {name: i for i, layer in enumerate(layers_of_the_contract()) for name in layer}
    order = [rank[name] for name in folders_of_the_page()]
    assert order == sorted(order), dict(zip(folders_of_the_page(), order, strict=True))


def test_the_three_ways_have_ten_lines_of_modules_that_exist() -> None:
    ways = re.split(r"^## The way of ", PAGE, flags=re.MULTILINE)[1:]
    assert len(ways) == 3
    for way in ways:
        lines = re.findall(r"^\d+\. .*(?:\n(?!\d+\.|\n|#).*)*", way.split("\n## ")[0], re.MULTILINE)
        assert len(lines) == 10, way.splitlines()[0]
        for line in lines:
            names = re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)*)`", line)
            found = [name for name in names if is_module(name)]
            assert found, f"no module is named: {line}"
            dotted = [n for n in names if "." in n]
            assert not [n for n in dotted if not is_module(n)], line


def is_module(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_tests_lie_in_the_shape_of_the_house() -> None:
    subjects = {p.name for p in PACKAGE.iterdir() if p.is_dir()} | {"live"}
    beside = {"house", "fuzz", "tools", "plugins"}  # the house, tools/, and packages of others
    folders = {path.relative_to(REPO / "tests").parts[0] for path in REPO.glob("tests/*/**/*.py")}
    assert folders <= subjects | beside
