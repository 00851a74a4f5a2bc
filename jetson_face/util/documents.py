"""YAML documents checked against a pydantic model, with errors that name file, line and key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from jetson_face.core.errors import ConfigError, InputMissingError, JetsonFaceError
from jetson_face.util.faults import Key, message, missing_space
from jetson_face.util.redact import visible
from jetson_face.util.yamltext import YamlTextError, read_yaml, shown

M = TypeVar("M", bound=BaseModel)
_SIZE_MAX = 1 << 20
_FAULTS_MAX = 50


def load_document(
    path: Path,
    model: type[M],
    *,
    error: type[JetsonFaceError] = ConfigError,
    overrides: Sequence[str] = (),
) -> M:
    """The YAML file, changed by `overrides`, as a checked `model`.

    overrides: `key.sub=value` each, the value in YAML; a number in the key counts into a list.
    Raises InputMissingError where there is no such file, and `error` for everything else; its
    message has one line, `file:line: key: what is wrong`, for each of the first 50 faults.
    """
    text = read_text(path, error=error)
    return parse_document(text, str(path), model, error=error, overrides=overrides)


def parse_document(
    text: str,
    where: str,
    model: type[M],
    *,
    error: type[JetsonFaceError] = ConfigError,
    overrides: Sequence[str] = (),
) -> M:
    """`load_document` for text at hand; `where` is what messages call it. Raises `error`."""
    where = visible(where)
    root, content = _parse(text, where, error)
    changed = [_override(content, text, error) for text in overrides]
    return _checked(root, content, where, model, error, changed)


def check_values(content: dict[str, Any], where: str, model: type[M]) -> M:
    """`parse_document` for values that a program has at hand. Raises ConfigError."""
    return _checked(None, content, where, model, ConfigError, ())


def _checked(
    root: yaml.Node | None,
    content: dict[str, Any],
    where: str,
    model: type[M],
    error: type[JetsonFaceError],
    changed: Sequence[tuple[Key, ...]],
) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as exc:
        faults = _worth_telling(exc.errors())
        lines = []
        for fault in faults[:_FAULTS_MAX]:
            wrong_type = fault["type"] == "union_tag_invalid"
            keys = _keys_of(content, fault["loc"] + (("type",) if wrong_type else ()))
            at = _place(root, keys, where, changed)
            name = shown(".".join(map(str, keys))) or "document"
            told = message(fault, model, of_override=at.startswith("--set "))
            lines.append(f"{at}: {name}: {told}")
        if len(faults) > _FAULTS_MAX:
            lines.append(f"{where}: and {len(faults) - _FAULTS_MAX} more faults")
        refusal = error("\n".join(lines))
        refusal.lines = tuple(lines)
        raise refusal from None


def _parse(
    text: str, where: str, error: type[JetsonFaceError]
) -> tuple[yaml.Node | None, dict[str, Any]]:
    """The text as a node tree (for lines) and as values."""
    try:
        root, content = read_yaml(text)
    except YamlTextError as exc:
        line, problem = missing_space(text, exc.line) or (exc.line, exc.problem)
        raise error(f"{where}:{line}: {problem}") from exc
    content = {} if content is None else content
    if isinstance(content, str) and (found := missing_space(text, 1)) is not None:
        raise error(f"{where}:{found[0]}: {found[1]}")
    if not isinstance(content, dict):
        raise error(f"{where}:1: expected keys and values, got {type(content).__name__}")
    return root, content


def _override(content: dict[str, Any], text: str, error: type[JetsonFaceError]) -> tuple[Key, ...]:
    """Apply one `key.sub=value` to `content`, in place, and return its key."""
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or "" in names:
        raise error(f"--set {text}: write it as KEY=VALUE, as in sampling.interval=2")
    try:
        _, parsed = read_yaml(value)
    except YamlTextError:
        parsed = value
    node: Any = content
    keys: list[Any] = []
    for i, name in enumerate(names):
        if isinstance(node, list):
            if not (name.isdecimal() and int(name) < len(node)):
                raise error(f"--set {text}: {name!r} is not an item of a list of {len(node)}")
            keys.append(int(name))
        else:
            keys.append(name)
        if i == len(names) - 1:
            node[keys[-1]] = parsed
        else:
            below = node[int(name)] if isinstance(node, list) else node.get(name)
            node[keys[-1]] = below if isinstance(below, dict | list) else {}
            node = node[keys[-1]]
    return tuple(keys)


def _worth_telling(faults: Sequence[Any]) -> list[Any]:
    """Without a list's "too short" beside its items' own faults: pydantic counts valid items."""
    above = {fault["loc"][:depth] for fault in faults for depth in range(len(fault["loc"]))}
    return [f for f in faults if f["type"] != "too_short" or f["loc"] not in above]


def _place(
    root: yaml.Node | None, keys: Sequence[Key], where: str, changed: Sequence[tuple[Key, ...]]
) -> str:
    """What a message about `keys` names: the override that set them, or the file and its line."""
    for key in changed:
        if tuple(keys[: len(key)]) == key:
            return f"--set {'.'.join(map(str, key))}"
    return where if root is None else f"{where}:{_line_of(root, keys)}"


def _keys_of(content: Any, loc: Sequence[Key]) -> list[Key]:
    """`loc` without the union tags that pydantic puts between the document's own keys."""
    keys: list[Key] = []
    for i, part in enumerate(loc):
        if isinstance(content, dict):
            if part in content:
                content = content[part]
                keys.append(part)
            elif i == len(loc) - 1:
                keys.append(part)  # a key that is missing
        elif isinstance(content, list | tuple) and isinstance(part, int):
            keys.append(part)
            content = content[part] if part < len(content) else None
    return keys


def read_text(path: Path, *, error: type[JetsonFaceError] = ConfigError) -> str:
    """The file's UTF-8 text. Raises InputMissingError, or `error` where it cannot be read."""
    try:
        if path.stat().st_size > _SIZE_MAX:
            raise error(f"{path}: larger than {_SIZE_MAX} bytes; is it the right file?")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputMissingError(f"{path}: no such file") from None
    except UnicodeDecodeError as exc:
        raise error(f"{path}: not UTF-8 text (byte {exc.start})") from exc
    except OSError as exc:
        raise error(f"{path}: cannot be read: {exc.strerror}") from exc


def _line_of(node: yaml.Node, keys: Sequence[Key]) -> int:
    """The line, from 1, of the deepest part of `keys` that the document has."""
    line = node.start_mark.line + 1
    for part in keys:
        if isinstance(node, yaml.MappingNode):
            hit = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if hit is None:
                break
            line, node = hit[0].start_mark.line + 1, hit[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
