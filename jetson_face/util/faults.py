"""What is wrong with a document, in words: pydantic's faults for people who never heard of it.

A model may add to its JSON schema what its messages need. Of a section: `renamed` (old key to new),
`short` (the key that is meant where only a value was written), `elsewhere` (keys of other places,
and where that is). Of a key: `unit`, where its name does not end with one.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, TypeAlias

from pydantic import BaseModel

from jetson_face.util.redact import redact_address

Key: TypeAlias = int | str
Node: TypeAlias = dict[str, Any]
_UNITS = {
    "s": ("seconds", ("s", "sec", "seconds")),
    "ms": ("milliseconds", ("ms", "milliseconds")),
    "px": ("pixels", ("px", "pixels")),
    "mib": ("MiB", ("mib", "m", "mb")),
    "days": ("days", ("d", "days")),
    "deg": ("degrees", ("deg", "°")),
}
"""By the end of a key's name: what it counts in, and how people write that after a number."""
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_NUMBERS = {
    "float_parsing": "a plain number",
    "float_type": "a plain number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
}
_WITH_UNIT = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-zA-Z%°]+)\s*")
_NO_SPACE = re.compile(r"\s*(?:-\s+)*(?P<key>[A-Za-z_]\w*):(?!//)\S")
_NO_SECTION = ("model_type", "model_attributes_type", "dict_type")
_NO_LIST = ("tuple_type", "list_type")
_NO_TEXT = ("string_type", "path_type")


def message(fault: Mapping[str, Any], model: type[BaseModel], *, of_override: bool = False) -> str:
    """One of a ValidationError's faults in words, without secrets. of_override: the value came
    from `--set`, and not from a file."""
    kind, loc = fault["type"], fault["loc"]
    if kind == "extra_forbidden":
        return _unknown_key(str(loc[-1]), _at(model, loc[:-1]), model)
    if kind == "missing":
        return "required key is missing"
    if kind == "union_tag_not_found":
        return f"type is missing: {_either(_tags_of(_at(model, loc)))}"
    if kind == "union_tag_invalid":
        return _unknown_type(str(fault["ctx"]["tag"]), _tags_of(_at(model, loc)))
    given = fault.get("input")
    if isinstance(given, str):
        # Cut before it was redacted, a password without its @ would look like a port.
        given = redact_address(given)
    if told := _of_another_kind(kind, given, loc, model, of_override=of_override):
        return told
    text = _in_words(fault, given, _raw_at(model, loc))
    plain = isinstance(given, str | int | float | bool) or given is None
    if plain and not (isinstance(given, str) and repr(given) in text):
        text += f", got {given!r:.80}"
    return text


def missing_space(text: str, line: int) -> tuple[int, str] | None:
    """(line, message) where a key of `text` near `line` (from 1) has its value right after the
    colon, which is no key to YAML; else None."""
    lines = text.splitlines()
    for number in range(min(line, len(lines)), max(0, line - 3), -1):
        if found := _NO_SPACE.match(lines[number - 1]):
            return number, _needs_space(found["key"])
    return None


def _needs_space(key: str) -> str:
    return f"a space is missing after `{key}:`"


def _in_words(fault: Mapping[str, Any], given: Any, at: Sequence[Node]) -> str:
    kind, unit = fault["type"], _unit(fault["loc"], at)
    before = f"{unit}, " if unit else ""
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{before or 'must be '}{words} {_plain(fault['ctx'][key])}"
    if kind in _NUMBERS:
        text = f"{before or 'must be '}{_NUMBERS[kind]}"
        number = _without_unit(given, fault["loc"], unit) if isinstance(given, str) else None
        return text if number is None else f"{text}: {number}"
    text = str(fault["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:] if text.startswith("Input ") else text


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _unit(loc: Sequence[Key], at: Sequence[Node]) -> str | None:
    for node in at:
        if "unit" in node:
            return str(node["unit"])
    end = str(loc[-1]).rpartition("_")[2] if loc else ""
    return _UNITS[end][0] if end in _UNITS else None


def _without_unit(given: str, loc: Sequence[Key], unit: str | None) -> str | None:
    """The number alone, where the unit written after it is the key's own."""
    found = _WITH_UNIT.fullmatch(given)
    if found is None:
        return None
    written = found["unit"].lower()
    if written == "%" and unit is not None and "%" in unit:
        return f"{float(found['number']) / 100:g}"
    own = _UNITS.get(str(loc[-1]).rpartition("_")[2], ("", ()))[1]
    return found["number"] if written in own else None


def _unknown_key(key: str, here: Sequence[Node], model: type[BaseModel]) -> str:
    known = sorted({name for node in here for name in node.get("properties", {})})
    for what in ("renamed", "elsewhere"):
        told = {k: v for node in here for k, v in node.get(what, {}).items()}
        if key in told:
            return f"this key is now called {told[key]}" if what == "renamed" else told[key]
    if near := difflib.get_close_matches(key, known, n=3, cutoff=0.5):
        return f"unknown key; did you mean {' or '.join(near)}?"
    below = [f"{name}.{key}" for name in known for n in _at(model, [name]) if _has(n, key)]
    if set(known) == model.model_fields.keys() and 0 < len(set(below)) <= 3:
        return f"unknown key; did you mean {' or '.join(dict.fromkeys(below))}?"
    return f"unknown key; known here: {', '.join(known)}"


def _has(node: Node, key: str) -> bool:
    return key in node.get("properties", {})


def _unknown_type(given: str, known: Sequence[str]) -> str:
    if near := difflib.get_close_matches(given, known, n=2, cutoff=0.5):
        return f"unknown type {given!r:.80}; did you mean {' or '.join(near)}?"
    return f"unknown type {given!r:.80}: {_either(known)}"


def _of_another_kind(
    kind: str, given: Any, loc: Sequence[Key], model: type[BaseModel], *, of_override: bool
) -> str | None:
    """Where a section, a list or a text is wanted and something else is written; else None."""
    if kind in _NO_SECTION and isinstance(given, str | int):
        return _only_a_value(given, loc, _at(model, loc), of_override=of_override)
    if kind in _NO_SECTION and isinstance(given, list):
        return "keys and values are wanted here, not a list: leave the `- ` out"
    if kind in _NO_LIST and isinstance(given, dict):
        return "a list is wanted here: put `- ` before each item"
    if kind in _NO_LIST and isinstance(given, str | int | float):
        return _only_an_item(given, loc, _at(model, [*loc, 0]), of_override=of_override)
    if kind in (*_NO_SECTION, *_NO_LIST, *_NO_TEXT) and given is None:
        return "nothing is written here: write what it holds, or leave the key out"
    if kind == "too_short" and given is not None and not given:
        return "the list is empty: write an item, or leave the key out"
    if kind in _NO_TEXT and isinstance(given, float | int | date):
        return f"a text is wanted here: put it in quotes, got {given}"
    return None


def _only_a_value(
    given: str | int, loc: Sequence[Key], here: Sequence[Node], *, of_override: bool
) -> str:
    found = _NO_SPACE.match(given) if isinstance(given, str) else None
    if found is not None and any(_has(node, found["key"]) for node in here):
        return _needs_space(found["key"])
    short = next((str(node["short"]) for node in here if "short" in node), None)
    if short is None or not loc:
        return f"keys and values are wanted here, got {given!r:.80}"
    if of_override:
        return f"did you mean {'.'.join(map(str, loc))}.{short}={given}?"
    before = "- " if isinstance(loc[-1], int) else ""
    return f"keys and values are wanted here: write `{before}{short}: {given}`"


def _only_an_item(
    given: str | float, loc: Sequence[Key], items: Sequence[Node], *, of_override: bool
) -> str:
    """A value in place of a list, which would often be its only item."""
    short = next((str(node["short"]) for node in items if "short" in node), None)
    if short is None or isinstance(given, bool | float):
        return f"a list is wanted here, got {given!r:.80}"
    if of_override:
        return f"did you mean {'.'.join(map(str, loc))}.0.{short}={given}?"
    return f"a list is wanted here: write `- {short}: {given}`"


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


# Where a document is, in the model's JSON schema


def _at(model: type[BaseModel], loc: Sequence[Key]) -> list[Node]:
    """What may stand at `loc`, references and unions opened."""
    schema = _schema(model)
    return [found for node in _raw_at(model, loc) for found in _resolve(node, schema)]


def _raw_at(model: type[BaseModel], loc: Sequence[Key]) -> list[Node]:
    """The same as the schema has it, with what a key says of itself."""
    schema = _schema(model)
    nodes = [schema]
    for part in loc:
        nodes = [n for node in nodes for n in _step(_resolve(node, schema), part)]
    return nodes


@functools.cache
def _schema(model: type[BaseModel]) -> Node:
    return model.model_json_schema()


def _resolve(node: Node, schema: Node) -> list[Node]:
    """The node with references and unions opened."""
    if "$ref" in node:
        return _resolve(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    for union in ("anyOf", "oneOf", "allOf"):
        if union in node:
            return [r for choice in node[union] for r in _resolve(choice, schema)]
    return [node]


def _step(nodes: list[Node], part: Key) -> list[Node]:
    found: list[Node] = []
    for node in nodes:
        if isinstance(part, int):
            if isinstance(node.get("items"), dict):
                found.append(node["items"])
        elif part in node.get("properties", {}):
            found.append(node["properties"][part])
        elif isinstance(node.get("additionalProperties"), dict):
            found.append(node["additionalProperties"])
    if not found and isinstance(part, str):
        # pydantic puts the tag of a union into the location: stay, keeping the tagged choice only.
        tagged = [n for n in nodes if part in _tags(n)]
        found = tagged or nodes
    return found


def _tags_of(nodes: Sequence[Node]) -> list[str]:
    """The values of `type` that choose between the nodes, in their order."""
    types = [node.get("properties", {}).get("type", {}) for node in nodes]
    return list(dict.fromkeys(str(t["const"]) for t in types if "const" in t))


def _tags(node: Node) -> set[str]:
    values: set[str] = set()
    for prop in node.get("properties", {}).values():
        if "const" in prop:
            values.add(str(prop["const"]))
        values.update(map(str, prop.get("enum", ())))
    return values
