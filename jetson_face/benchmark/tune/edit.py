"""Changes single values of a YAML file and leaves everything else, comments too, as it is."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from jetson_face.core.errors import ConfigError


def set_values(text: str, values: Mapping[tuple[str, str], int | None]) -> str:
    """The document with `section: {key: value}` set for each ((section, key), value).

    A value that is there is replaced in its place, a missing key is put first in its section, a
    missing section at the end. Raises ConfigError where the text is not a YAML mapping.
    """
    for (section, key), value in values.items():
        text = _set(text, section, key, "null" if value is None else str(value))
    return text


def _set(text: str, section: str, key: str, value: str) -> str:
    root = _compose(text)
    if root is not None and root.flow_style:
        raise ConfigError("a configuration that is one {…} cannot be edited: write it in lines")
    node = None if root is None else _find(root, section)
    if node is None:
        end = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end}{section}: {{{key}: {value}}}\n"
    if not isinstance(node, yaml.MappingNode):
        # As in `sampling: auto`, or a section without content.
        gap = " " if node.start_mark.index == node.end_mark.index else ""
        return _splice(text, node, f"{gap}{{{key}: {value}}}")
    found = _find(node, key)
    if found is not None:
        return _splice(text, found, value)
    at = node.start_mark.index
    if node.flow_style:
        comma = ", " if node.value else ""
        return f"{text[: at + 1]}{key}: {value}{comma}{text[at + 1 :]}"
    return f"{text[:at]}{key}: {value}\n{' ' * node.start_mark.column}{text[at:]}"


def _compose(text: str) -> yaml.MappingNode | None:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ConfigError("a configuration has keys and values at its top")
    return root


def _find(node: yaml.MappingNode, key: str) -> yaml.Node | None:
    return next((value for name, value in node.value if name.value == key), None)


def _splice(text: str, node: yaml.Node, value: str) -> str:
    return text[: node.start_mark.index] + value + text[node.end_mark.index :]
