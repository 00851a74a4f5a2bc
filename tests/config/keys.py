"""Every key of the configuration, and the tests that show what it changes.

A test says with `@shows("sampling.interval")` which key it is about and takes its configurations
from the fixture `site`. It runs twice: as it is, and with that key ignored, when it must fail. So
it cannot pass on a value that is stored and never used, nor on one that the test forgot to set.

A key is written as in a file, with the type of a part that has several in brackets:
`detector[haar].points`, `service.sinks[mqtt].host`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from jetson_face.config import Config, load_config
from jetson_face.core.errors import JetsonFaceError

TABLE: dict[str, list[str]] = {}
"""By key: the tests that show what it changes."""
Test = Callable[..., None]


def shows(*keys: str) -> Callable[[Test], Test]:
    """The test sets these keys and fails when one of them has no effect; `type` is never ignored,
    since without it there is nothing to configure."""

    def mark(test: Test) -> Test:
        for key in keys:
            TABLE.setdefault(key, []).append(test.__name__)

        @functools.wraps(test)
        def run(*args: Any, site: Site, **more: Any) -> None:
            if site.ignored is None:
                test(*args, site=site, **more)
                forgotten = set(keys) - site.given
                assert not forgotten, f"the test never sets {sorted(forgotten)}"
                return
            try:
                test(*args, site=site, **more)
            except (AssertionError, JetsonFaceError, pytest.fail.Exception):
                return
            raise AssertionError(f"the test passes although {site.ignored} is ignored")

        runs = [None, *(key for key in keys if not key.endswith(".type"))]
        names = ["as it is", *(f"{key} ignored" for key in runs[1:])]
        marked: Test = pytest.mark.parametrize("site", runs, indirect=True, ids=names)(run)
        return marked

    return mark


class Site:
    """Makes configurations by way of a file, as an operator does.

    ignored: the key that is left out of every one of them. given: all keys that were asked for.
    path: the last file.
    """

    def __init__(self, folder: Path, ignored: str | None) -> None:
        self.folder, self.ignored = folder, ignored
        self.given: set[str] = set()
        self.path = folder / "site.yaml"
        self._number = 0

    def __call__(self, keys: Mapping[str, Any] | None = None) -> Config:
        """The configuration with these keys; state goes to the test's folder."""
        document: dict[str, Any] = {"state_dir": str(self.folder / "state")}
        for key, value in (keys or {}).items():
            self.given.add(key)
            _put(document, Config, key, None if key == self.ignored else (value,))
        self._number += 1
        self.path = self.folder / f"site{self._number}.yaml"
        self.path.write_text(yaml.safe_dump(document))
        return load_config(self.path)


NEEDED = {
    "sources": {"uri": "test://?frames=20&width=160&height=120"},
    "sinks[webhook]": {"url": "http://127.0.0.1:9/"},
    "sinks[mqtt]": {"host": "127.0.0.1"},
    "home_assistant": {"host": "127.0.0.1"},
    "fleet": {"server": "nats://127.0.0.1:9", "site": "x", "key": "fleet.key"},
}
"""What a part cannot be without."""


def _put(node: dict[str, Any], model: type[BaseModel], key: str, value: tuple[Any] | None) -> None:
    """Set the key in the document `node`; None makes only what it lies in."""
    part, _, rest = key.partition(".")
    name, _, tag = part.partition("[")
    if not rest:
        if value is not None:
            node[name] = value[0]
        return
    field = model.model_fields[name]
    inner = {tag_of(one): one for one in models_in(field.annotation)}[tag.rstrip("]")]
    made = {**NEEDED.get(part, {}), **({"type": tag.rstrip("]")} if tag else {})}
    if is_list(field.annotation):
        below = node.setdefault(name, [made])[0]
    else:
        below = node.setdefault(name, made)
    _put(below, inner, rest, value)


def leaf_keys(model: type[BaseModel] = Config, above: str = "") -> Iterator[str]:
    """Every key that has a value of its own."""
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        if not inner:
            yield f"{above}{name}"
        for one in inner:
            tag = f"[{tag_of(one)}]" if tag_of(one) else ""
            yield from leaf_keys(one, f"{above}{name}{tag}.")


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The parts that a key's value may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def is_list(annotation: Any) -> bool:
    """Whether the value is a list of parts."""
    return get_origin(annotation) is tuple or any(map(is_list, get_args(annotation)))


def tag_of(model: type[BaseModel]) -> str:
    """What `type` must say for this part; nothing where it has no type."""
    field = model.model_fields.get("type")
    return "" if field is None else str(get_args(field.annotation)[0])
