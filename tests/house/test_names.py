"""One name stands for one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import jetson_face

OLD_WORDS = (
    r"\b(?:mend(?:s|ed|ing)?|anew|it is she|named rightly|misnamed|cohorts?|doubtful question)\b"
)


def test_no_two_classes_have_one_name() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    package = Path(str(jetson_face.__file__)).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(str(path.relative_to(package)))
    twice = {name: paths for name, paths in where.items() if len(paths) > 1}
    assert len(where) > 200
    assert twice == {}


def test_the_code_says_the_words_of_the_field_too() -> None:
    package = Path(str(jetson_face.__file__)).parent
    found = [
        f"{path.relative_to(package)}: {hit[0]}"
        for path in sorted(package.rglob("*.py"))
        for hit in re.finditer(OLD_WORDS, path.read_text("utf-8"), re.IGNORECASE)
    ]
    assert found == []
