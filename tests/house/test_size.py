"""Code that is read in a minute: no long module, no long function, and no exceptions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import jetson_face

PACKAGE = Path(jetson_face.__file__).parent
MODULE_LINES, FUNCTION_LINES = 400, 60


def too_long(source: str, where: str) -> Iterator[str]:
    """What is over a limit. A function counts from its first decorator, with its docstring."""
    count = len(source.splitlines())
    if count > MODULE_LINES:
        yield f"{where}: {count} lines, most {MODULE_LINES}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            lines = (node.end_lineno or first) - first + 1
            if lines > FUNCTION_LINES:
                yield f"{where}:{first} {node.name}: {lines} lines, most {FUNCTION_LINES}"


def test_no_module_and_no_function_is_too_long() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 100
    found = [
        line
        for path in paths
        for line in too_long(path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix())
    ]
    assert found == []


def test_what_is_too_long_is_found() -> None:
    body = "    x = 1\n" * 60
    whole = "x = 1\n" * 400
    assert list(too_long(whole, "a.py")) == []
    assert list(too_long(whole + "\n", "a.py")) == ["a.py: 401 lines, most 400"]
    assert list(too_long("def f():\n" + body[:-10], "a.py")) == []
    inner = "class A:\n  @x\n  async def f(self):\n" + body[:-10]
    assert list(too_long(inner, "a.py")) == ["a.py:2 f: 61 lines, most 60"]
