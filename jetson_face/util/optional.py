"""Packages that come with an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jetson_face.core.errors import MissingDependencyError


@contextmanager
def needs(what: str) -> Iterator[None]:
    """Around an import that may fail. what: the error then: what needs which package, and how to
    install it. Raises MissingDependencyError."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(what) from error
