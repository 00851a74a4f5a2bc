"""Stands for classes and functions, to see what they are called with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


class Made:
    """Notes what it is called with, and is its own answer."""

    name = "made"

    def __init__(self) -> None:
        self.given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **options: Any) -> Made:
        self.given.append((args, options))
        return self

    @property
    def once(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments and options of its only call."""
        (given,) = self.given
        return given


def put_in(monkeypatch: pytest.MonkeyPatch, where: Iterable[str]) -> dict[str, Made]:
    """One in each of these places, as `module.name`; by their names."""
    found = {path.rpartition(".")[2]: Made() for path in where}
    for path in where:
        monkeypatch.setattr(path, found[path.rpartition(".")[2]])
    return found
