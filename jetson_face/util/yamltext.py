"""YAML as this program takes it: plain values only, of bounded size, in time linear in the text.

PyYAML's safe loader makes no objects, but a few lines of aliases can keep it busy for hours, and it
lets KeyError, IndexError, OverflowError and others through where a tag does not fit its value.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

NODES_MAX = 20_000
"""Keys and values, those that aliases repeat counted every time."""

_NUMBER_MAX = 100
_OCTAL = re.compile("[-+]?0[0-7_]*[0-7]")
_LEAKS = (TypeError, LookupError, AttributeError, ArithmeticError)


class YamlTextError(ValueError):
    """The text is not YAML that we take. line: where, from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line, self.problem = line, problem

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


def read_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The document as a tree of nodes, which know their lines, and as plain values.

    Raises YamlTextError for what is not YAML, nested too deeply, larger than `NODES_MAX`, has a key
    twice in a mapping, a number of more than 100 characters or one that YAML reads otherwise than
    people do, or a character that no text has (NUL, half of a surrogate pair).
    """
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            _refuse_duplicate_keys(root)
            return root, None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = 1 if mark is None else int(mark.line) + 1
        problem = str(getattr(exc, "problem", None) or exc).replace("\n", " ")
        raise YamlTextError(line, f"not valid YAML: {shown(problem, 200)}") from exc
    except RecursionError:
        raise YamlTextError(1, "nested too deeply") from None
    except YamlTextError:
        raise
    except ValueError as exc:  # as of a date that no calendar has
        raise YamlTextError(1, f"not valid YAML: {shown(str(exc), 200)}") from exc
    except _LEAKS as exc:
        raise YamlTextError(1, "not valid YAML: a tag that does not fit its value") from exc


def shown(text: str, most: int = 80) -> str:
    """`text` on one line that a terminal or log can show: quoted where it needs to be, and cut."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short if short.isprintable() else repr(short)


class _Loader(yaml.SafeLoader):
    """The safe loader, counting."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._count
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            size = self._sizes.get(id(node))
            if size is None:
                raise _fault("an alias inside of what it stands for", event.start_mark)
            self._count += size
        else:
            self._count += 1
            self._sizes[id(node)] = self._count - before
        if self._count > NODES_MAX:
            raise _fault(f"more than {NODES_MAX} keys and values", event.start_mark)
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and not value.isprintable():
            odd = next((c for c in value if c == "\0" or "\ud800" <= c <= "\udfff"), None)
            if odd is not None:
                raise _fault(f"the character {odd!r} in a text", node.start_mark)
        return value

    def number(self, node: yaml.ScalarNode) -> Any:
        """An int or float as people read it: YAML takes 01773 for 1019, and 12:30 for 750."""
        text = node.value
        if len(text) > _NUMBER_MAX:
            raise _fault(f"a number of {len(text)} characters", node.start_mark)
        if ":" in text:
            raise _fault(
                f"{text} would be of base 60: put it in quotes, or write the number",
                node.start_mark,
            )
        if _OCTAL.fullmatch(text):
            raise _fault(
                f"{text} would be octal: leave the 0 out, or put it in quotes", node.start_mark
            )
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)


def _fault(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _refuse_duplicate_keys(root: yaml.Node | None) -> None:
    """YAML readers silently keep the last; each node is looked at once, however often aliased."""
    waiting, met = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in met:
            continue
        met.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise YamlTextError(key.start_mark.line + 1, "a key that is not a plain value")
                if key.value in seen:
                    again = f"{shown(key.value)}: written twice"
                    raise YamlTextError(key.start_mark.line + 1, again)
                seen.add(key.value)
            waiting.extend(value for _, value in reversed(node.value))
