"""`python -m jetson_face` is the command line."""

from __future__ import annotations

from jetson_face.cli.main import entry

entry()
