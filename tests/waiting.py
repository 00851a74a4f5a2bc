"""Waits until something is true, for longer where the machine is known to be slow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

PATIENCE = float(os.environ.get("JETSON_FACE_TEST_PATIENCE", "1"))
"""Times every limit: tools/test_jetson.sh sets it where a processor is emulated."""


def until(true: Callable[[], object], limit_s: float = 60) -> None:
    """Fails when it did not come true in time."""
    end = time.monotonic() + PATIENCE * limit_s
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def not_by_emulation(why: str) -> None:
    """Skips the test where a processor is emulated."""
    if PATIENCE > 1:
        pytest.skip(why)
