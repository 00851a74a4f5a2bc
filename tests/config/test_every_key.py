"""No key of the configuration is without a test that shows what it changes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from tests.config.keys import TABLE, Site, leaf_keys, shows


def test_every_key_has_a_test_that_shows_what_it_changes() -> None:
    for module in ("pyarrow", "fsspec", "nats", "paho.mqtt.client"):
        pytest.importorskip(module, reason=f"tests of some keys need an extra: no {module}")
    for path in sorted(Path(__file__).parent.glob("test_keys_*.py")):
        importlib.import_module(f"tests.config.{path.stem}")
    keys = set(leaf_keys())
    missing = sorted(keys - TABLE.keys())
    assert not missing, f'no test with @shows("…") in {Path(__file__).parent.name} for {missing}'
    gone = sorted(key for key in TABLE.keys() - keys if not key.startswith("example."))
    assert not gone, f"tests for keys that there are not: {gone}"


def test_the_keys_are_found_in_lists_unions_and_optional_parts() -> None:
    class Cat(BaseModel):
        type: Literal["cat"]
        lives: int = 9

    class Dog(BaseModel):
        type: Literal["dog"]

    class Toy(BaseModel):
        size: tuple[int, int] = (1, 1)

    class Home(BaseModel):
        pets: tuple[Cat | Dog, ...] = ()
        toy: Toy | None = None

    assert list(leaf_keys(Home)) == ["pets[cat].type", "pets[cat].lives", "pets[dog].type",
                                     "toy.size"]  # fmt: skip


def test_a_test_that_passes_without_the_key_is_found(tmp_path: Path) -> None:
    @shows("example.of_nothing")
    def stored(site: Site) -> None:
        assert site({"sampling.interval": 3})

    @shows("sampling.interval")
    def used(site: Site) -> None:
        assert site({"sampling.interval": 3}).sampling.interval == 3

    with pytest.raises(AssertionError, match="never sets"):
        stored(site=Site(tmp_path, None))
    with pytest.raises(AssertionError, match=r"passes although .* is ignored"):
        stored(site=Site(tmp_path, "example.of_nothing"))
    used(site=Site(tmp_path, None))
    used(site=Site(tmp_path, "sampling.interval"))
