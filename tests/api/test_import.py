"""`import jetson_face`: quick, and every name that it promises is there."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jetson_face
from tests.waiting import PATIENCE

HEAVY = ("cv2", "numpy", "onnxruntime", "pydantic", "yaml", "PIL", "jetson_face.api")


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, jetson_face; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30 * PATIENCE
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse(Path(str(jetson_face.__file__)).read_text())
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("jetson_face.")
        for alias in node.names
    }
    assert seen.keys() == set(jetson_face.__all__)
    for name, home in seen.items():
        module = __import__(str(home), fromlist=[name])
        assert getattr(jetson_face, name) is getattr(module, name), name
    assert set(dir(jetson_face)) >= set(jetson_face.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Recogniser'"):
        _ = jetson_face.Recogniser


def test_every_name_and_every_public_method_is_documented() -> None:
    for name in sorted(set(jetson_face.__all__) - {"__version__"}):
        thing = getattr(jetson_face, name)
        assert inspect.getdoc(thing), name
    for kind in (jetson_face.Recognizer, jetson_face.Watch):
        for name, member in vars(kind).items():
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{kind.__name__}.{name}"
