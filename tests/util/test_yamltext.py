"""YAML as it may come from anywhere: refused in our words, and at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from jetson_face.core.errors import ConfigError, InputMissingError, MissingDependencyError
from jetson_face.models.cards import load_card, resolve
from jetson_face.util.documents import parse_document
from jetson_face.util.yamltext import NODES_MAX, YamlTextError, read_yaml, shown


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: object = None
    many: tuple[int, ...] = ()


def bomb(first: str, each: str) -> str:
    """Nine lines, each ten times the one before."""
    lines = [f"a0: &a0 {first}"]
    for n in range(1, 9):
        lines.append(f"a{n}: &a{n} " + each.format(",".join([f"*a{n - 1}"] * 10)))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\n? [b]\n: x", 2, "a key that is not a plain value"),
        ("? {b: c}\n: x", 1, "a key that is not a plain value"),
        (
            "a: 1\nb: 12:30", 2,
            "not valid YAML: 12:30 would be of base 60: put it in quotes, or write the number",
        ),
        (
            "a: 1:30.5", 1,
            "not valid YAML: 1:30.5 would be of base 60: put it in quotes, or write the number",
        ),
        (
            "a: 01773", 1,
            "not valid YAML: 01773 would be octal: leave the 0 out, or put it in quotes",
        ),
        ("a: " + "1:" * 200 + "1.5", 1, "not valid YAML: a number of 403 characters"),
        ("a: 0x" + "f" * 5000, 1, "not valid YAML: a number of 5002 characters"),
        ("a: !!timestamp x", 1, "not valid YAML: a tag that does not fit its value"),
        ("a: !!bool x", 1, "not valid YAML: a tag that does not fit its value"),
        ("a: !!int ''", 1, "not valid YAML: a tag that does not fit its value"),
        ("a: !!float ''", 1, "not valid YAML: a tag that does not fit its value"),
        ("a: 2001-99-99", 1, "not valid YAML: month must be in 1..12"),
        ('a: 1\nb: "\\0"', 2, "not valid YAML: the character '\\x00' in a text"),
        ('a: "\\uD800"', 1, "not valid YAML: the character '\\ud800' in a text"),
        ("a: &x [*x]", 1, "not valid YAML: an alias inside of what it stands for"),
        ("&x {a: *x}", 1, "not valid YAML: an alias inside of what it stands for"),
        ("a: 1\na: 2", 2, "a: written twice"),
        ("a: &x {b: 1, b: 2}", 1, "b: written twice"),
        ("a: " + "[" * 5000, 1, "nested too deeply"),
        ("a: !" + "%41" * 3000 + " x", 1, None),
    ],
    ids=["list as key", "mapping as key", "base 60", "base 60 with a part", "octal", "overflow",
         "long hex", "no time", "no bool", "no int", "no float", "no date", "nul", "surrogate",
         "self", "self in mapping", "twice", "twice below", "deep", "long tag"],
)  # fmt: skip
def test_what_yaml_allows_and_we_do_not(text: str, line: int, problem: str | None) -> None:
    with pytest.raises(YamlTextError) as caught:
        read_yaml(text)
    assert caught.value.line == line
    assert problem is None or caught.value.problem == problem
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        bomb("[x,x]", "[{}]"),
        bomb("{k: v}", "{{<<: [{}]}}"),
        "many:\n" + "- 1\n" * (NODES_MAX + 1),
        "{" + "a," * 100_000 + "}",
        "a: " + "1:" * 100_000 + "1",
    ],
    ids=["aliases", "merges", "long list", "many keys", "base 60"],
)
def test_no_text_keeps_the_reader_busy(text: str) -> None:
    start = time.thread_time()
    with pytest.raises(YamlTextError):
        read_yaml(text)
    assert time.thread_time() - start < 5  # these took from seconds to many minutes


def test_aliases_that_stay_small_are_taken() -> None:
    text = "a: &a {x: 1}\nb: [*a, *a]\nc: {<<: *a, y: 2}"
    assert read_yaml(text)[1] == {"a": {"x": 1}, "b": [{"x": 1}] * 2, "c": {"x": 1, "y": 2}}


def test_the_first_fifty_faults_are_told() -> None:
    text = "".join(f"key{n}: 1\n" for n in range(5000))
    start = time.thread_time()
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "a.yaml", Strict)
    lines = str(caught.value).splitlines()
    assert time.thread_time() - start < 5
    assert lines[49].startswith("a.yaml:50: key49: unknown key")
    assert lines[50:] == ["a.yaml: and 4950 more faults"]


def test_a_key_cannot_forge_a_line_of_the_message() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document('"x\\nb.yaml:1: all is well": 1', "a.yaml", Strict)
    assert len(str(caught.value).splitlines()) == 1


def test_shown() -> None:
    assert shown("plain é") == "plain é"
    assert shown("a\nb") == "'a\\nb'"
    assert shown("x" * 100) == "x" * 79 + "…"


@pytest.mark.parametrize(
    ("where", "error"),
    [
        (f"files: {{fp32: {{path: {'x' * 300}, sha256: {'a' * 64}}}}}", InputMissingError),
        (f"package: {{distribution: '', file: x, sha256: {'a' * 64}}}", MissingDependencyError),
    ],
    ids=["name too long", "no package name"],
)
def test_a_card_whose_file_cannot_be(tmp_path: Path, where: str, error: type[Exception]) -> None:
    card = tmp_path / "card.yaml"
    card.write_text(f"name: n\nkind: detector\nlicence: l\nsource: s\n{where}\n", "utf-8")
    with pytest.raises(error):
        resolve(load_card(card))


def test_numbers_that_begin_with_a_zero_and_are_none_of_base_8() -> None:
    text = "[0, -0, 0.5, 00.5, 0x10, 0b11, '01773', '12:30', 1_000]"
    assert read_yaml(text)[1] == [0, 0, 0.5, 0.5, 16, 3, "01773", "12:30", 1000]
