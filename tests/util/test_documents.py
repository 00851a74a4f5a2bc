"""Documents: what a fault's message says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from jetson_face.core.errors import ConfigError, InputMissingError, ModelError
from jetson_face.util.documents import load_document, parse_document


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cat(Part):
    type: Literal["cat"]
    lives: int = Field(9, ge=0)


class Dog(Part):
    type: Literal["dog"]
    tricks: tuple[str, ...] = ()


class Home(Part):
    rooms: int = Field(1, ge=1)
    pets: tuple[Annotated[Cat | Dog, Field(discriminator="type")], ...] = ()
    mark: float = 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rooms: 0", "a.yaml:1: rooms: must be at least 1, got 0"),
        ("mark: 1\nroms: 2", "a.yaml:2: roms: unknown key; did you mean rooms?"),
        ("pets:\n- type: cat\n  lifes: 2", "a.yaml:3: pets.0.lifes: unknown key; did you mean"),
        ("pets:\n- {type: dog}\n- {type: cat, lives: x}", "a.yaml:3: pets.1.lives: "),
        ("pets:\n- {lives: 3}", "a.yaml:2: pets.0: "),
        ("rooms: 1\nrooms: 2", "a.yaml:2: rooms: written twice"),
        ("rooms: [1", "a.yaml:1: not valid YAML"),
        ("- 1", "a.yaml:1: expected keys and values, got list"),
        ("xyzzy: 1", "a.yaml:1: xyzzy: unknown key; known here: mark, pets, rooms"),
        ("mark: 2001-99-99", "a.yaml:1: "),
    ],
    ids=["range", "typo", "typo in union", "type in union", "no tag", "twice", "yaml", "list",
         "far key", "bad date"],
)  # fmt: skip
def test_a_fault_names_line_key_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "a.yaml", Home)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_has_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document("rooms: 0\nmark: x\nz: 1", "a.yaml", Home)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        "a.yaml:1",
        "a.yaml:2",
        "a.yaml:3",
    ]


def test_an_empty_document_is_all_defaults() -> None:
    assert parse_document("", "a.yaml", Home) == Home()


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("rooms=3", Home(rooms=3)),
        ("pets=[{type: cat}]", Home(pets=(Cat(type="cat"),))),
        ("pets.0.lives=2", Home(rooms=2, pets=(Cat(type="cat", lives=2),))),
    ],
)
def test_overrides_win(override: str, value: Home) -> None:
    text = "rooms: 2\npets: [{type: cat}]" if "0" in override else ""
    assert parse_document(text, "a.yaml", Home, overrides=[override]) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rooms", "KEY=VALUE"),
        (".=1", "KEY=VALUE"),
        ("rooms=0", "--set rooms: rooms: must be at least 1"),
        ("room=1", "--set room: room: unknown key; did you mean rooms"),
        ("pets.4.lives=1", "'4' is not an item of a list of 1"),
    ],
)
def test_a_bad_override_names_itself(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document("pets: [{type: cat}]", "a.yaml", Home, overrides=[override])
    assert message in str(caught.value)


def test_files(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no such file"):
        load_document(tmp_path / "none.yaml", Home)
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"rooms: \xff")
    with pytest.raises(ModelError, match="not UTF-8"):
        load_document(bad, Home, error=ModelError)
    bad.write_text("rooms: 4", "utf-8")
    assert load_document(bad, Home).rooms == 4
