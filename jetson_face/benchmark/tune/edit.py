"""Changes values of a YAML file and leaves everything else, comments too, as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from jetson_face.benchmark.tune.search import Choice
from jetson_face.config import Config
from jetson_face.core.errors import ConfigError
from jetson_face.util.documents import parse_document
from jetson_face.util.yamltext import read_yaml


def tuned(
    text: str,
    config: Config,
    choice: Choice,
    *,
    name: str,
    changed: Sequence[str] = (),
    with_source: bool = False,
) -> str:
    """`text`, the document that `config` was read from, with what was found; comments stay.

    name: of the file to be, for errors. changed: keys that `config` has from elsewhere, as
    "matching.frames_min"; they are written, too, and so are the sources where `with_source` says so
    or `text` has none. Raises ConfigError where the result is not valid.
    """
    keys = [tuple(key.split(".")) for key in changed]
    values: dict[tuple[str, ...], Any] = {}
    there = "sources" in (read_yaml(text)[1] or {})
    if with_source or not there or any(key[0] == "sources" for key in keys):
        values["sources",] = [
            {"uri": source.uri, **source.model_dump(mode="json", exclude_defaults=True)}
            for source in config.sources
        ]
    whole = config.model_dump(mode="json")
    values |= {key: _at(whole, key) for key in keys if key[0] != "sources"}
    edited = set_values(
        text,
        values
        | {
            ("sampling", "interval"): choice.every,
            ("detector", "max_side_px"): choice.size,
            ("detector", "min_face_px"): choice.min_face_px,
        },
    )
    parse_document(edited, name, Config)
    return edited


def _at(document: Any, key: Sequence[str]) -> Any:
    for part in key:
        document = document[int(part) if isinstance(document, list) else part]
    return document


def set_values(text: str, values: Mapping[tuple[str, ...], Any]) -> str:
    """The document with each value set at its key, as ("sampling", "interval"); a number in a key
    counts into a list.

    A value that is there is replaced in its place, a missing key is put first in its section, a
    missing section at the end. Raises ConfigError where the text is not a YAML mapping, or a list
    is shorter.
    """
    for key, value in values.items():
        text = _set(text, key, value)
    return text


def _set(text: str, key: Sequence[str], value: Any) -> str:
    root = _compose(text)
    if root is None:
        return f"{text}{_line_end(text)}{_nested(key, value)}\n"
    if root.flow_style:
        raise ConfigError("a configuration that is one {…} cannot be edited: write it in lines")
    node: yaml.Node = root
    for depth, part in enumerate(key):
        below = _below(node, part)
        if below is None:
            return _insert(text, node, key[depth:], value, top=depth == 0)
        node = below
    return _splice(text, node, _flow(value))


def _below(node: yaml.Node, part: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == part), None)
    if isinstance(node, yaml.SequenceNode):
        if not (part.isdecimal() and int(part) < len(node.value)):
            raise ConfigError(f"{part!r} is not an item of a list of {len(node.value)}")
        found: yaml.Node = node.value[int(part)]
        return found
    return None


def _insert(text: str, node: yaml.Node, key: Sequence[str], value: Any, *, top: bool) -> str:
    """Put a key that is missing into the section `node`."""
    added = _nested(key, value)
    if top:
        return f"{text}{_line_end(text)}{added}\n"
    if not isinstance(node, yaml.MappingNode):
        # As in `sampling: auto`, or a section without content.
        return _splice(text, node, f"{{{added}}}")
    at = node.start_mark.index
    if node.flow_style:
        comma = ", " if node.value else ""
        return f"{text[: at + 1]}{added}{comma}{text[at + 1 :]}"
    return f"{text[:at]}{added}\n{' ' * node.start_mark.column}{text[at:]}"


def _compose(text: str) -> yaml.MappingNode | None:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ConfigError("a configuration has keys and values at its top")
    return root


def _splice(text: str, node: yaml.Node, value: str) -> str:
    start, end = node.start_mark.index, _end(text, node)
    gap = " " if start == end else ""  # a key without a value
    return text[:start] + gap + value + text[end:]


def _end(text: str, node: yaml.Node) -> int:
    """Where a node's own text ends: a block's mark is behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return len(text[:end].rstrip()) if block else end


def _line_end(text: str) -> str:
    return "" if not text or text.endswith("\n") else "\n"


def _nested(key: Sequence[str], value: Any) -> str:
    """`a: {b: value}` for the key (a, b)."""
    for part in reversed(key[1:]):
        value = {part: value}
    return f"{key[0]}: {_flow(value)}"


def _flow(value: Any) -> str:
    """A value on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("...\n").strip()
