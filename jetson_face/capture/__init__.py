"""Where frames come from: one URI per source."""

from __future__ import annotations
