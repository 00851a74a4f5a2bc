"""Fixtures of the tests of configuration keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.keys import Site


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """Makes configurations; see `shows`."""
    return Site(tmp_path, getattr(request, "param", None))
