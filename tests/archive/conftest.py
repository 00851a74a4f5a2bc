"""Fixtures of the archive's tests."""

from __future__ import annotations

import pytest

from tests.cli.conftest import cli, collins, hopper

__all__ = ["cli", "collins", "hopper"]

pytest.importorskip("pyarrow", reason="archives need the extra `archive`")
pytest.importorskip("fsspec", reason="archives need the extra `archive`")
