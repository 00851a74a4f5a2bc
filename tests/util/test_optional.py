"""A package that is not there is said in words, with the way out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import jetson_face
from jetson_face.core.errors import MissingDependencyError
from jetson_face.util.optional import needs, pip_install

REPO = Path(__file__).resolve().parents[2]


def test_a_missing_package_is_our_own_error() -> None:
    with (
        pytest.raises(MissingDependencyError, match="plots need it: pip install it") as caught,
        needs("plots need it: pip install it"),
    ):
        import no_such_package  # type: ignore[import-not-found] # noqa: F401
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), needs("it"):
        raise ZeroDivisionError


def test_a_hint_names_the_source_and_an_extra_that_exists() -> None:
    setup = (REPO / "setup.py").read_text("utf-8")
    extras = set(re.findall(r'^    "(\w+)":', setup, re.MULTILINE))
    package = Path(str(jetson_face.__file__)).parent
    code = "\n".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    named = set(re.findall(r"pip_install\(['\"](\w+)['\"]", code))
    assert len(named) > 4
    assert named <= extras
    assert pip_install("pc").startswith("pip install '.[pc]' in the folder")
    # No package index has it: these would fail, or bring somebody else's package.
    assert re.findall(r"pip install '?jetson-face.*", code) == []
