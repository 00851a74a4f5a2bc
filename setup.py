"""Packaging: metadata and extras. Tool settings are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "([^"]+)"', (HERE / "jetson_face" / "__init__.py").read_text("utf-8")
)
assert VERSION is not None

setup(
    name="jetson-face",
    version=VERSION[1],
    description="Real-time face recognition for NVIDIA Jetson, and for any PC through ONNX Runtime",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["jetson_face", "jetson_face.*"]),
)
