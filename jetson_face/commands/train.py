"""`jetson-face train`: see `jetson_face.training.command`."""

from __future__ import annotations

from jetson_face.training.command import add_arguments, run

__all__ = ["add_arguments", "run"]
