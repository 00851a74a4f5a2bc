"""A package that is not there is said in words, with the way out."""

from __future__ import annotations

import pytest

from jetson_face.core.errors import MissingDependencyError
from jetson_face.util.optional import needs


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
