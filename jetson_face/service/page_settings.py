"""What was changed on the operator's page: kept in the state folder, put on top of the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jetson_face.config import Config
from jetson_face.core.errors import ConfigError
from jetson_face.util.files import write_file

FILE = "page-settings.json"
_MAY = re.compile(
    r"(sampling|matching|quality|fusion|tracking|detector)(\.[a-z_]{1,40}){1,3}|log_level"
)
_MAY_NOT = re.compile(r".*\b(type|name|options|pair_weights)")


def may_change(key: str) -> bool:
    """Whether the page may set this key: how faces are searched and decided, never what is read,
    run, sent or kept."""
    return _MAY.fullmatch(key) is not None and _MAY_NOT.fullmatch(key) is None


class PageSettings:
    """See the module. load: the configuration with more overrides, `key=value` each."""

    def __init__(self, load: Callable[[Sequence[str]], Config]) -> None:
        self._load = load

    def load(self) -> Config:
        """The configuration with what the page changed. Raises ConfigError."""
        config = self._load(())
        changes = self.read(config.state_dir)
        if not changes:
            return config
        try:
            return self.tried(changes)
        except ConfigError as error:
            path = config.state_dir / FILE
            raise ConfigError(f"{path}: {error}; correct it there, or remove the file") from None

    def tried(self, changes: Mapping[str, Any]) -> Config:
        """The configuration with these changes alone. Raises ConfigError."""
        return self._load([f"{key}={json.dumps(value)}" for key, value in changes.items()])

    def read(self, state_dir: Path) -> dict[str, Any]:
        """What the page changed, by key. Raises ConfigError for a file that is not its own."""
        path = state_dir / FILE
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}; remove it") from error
        if not isinstance(found, dict) or not all(may_change(key) for key in found):
            raise ConfigError(f"{path}: holds what a page may not set: remove it")
        return found

    def write(self, state_dir: Path, changes: Mapping[str, Any]) -> None:
        """Keep them. Raises OutputError."""
        write_file(state_dir / FILE, json.dumps(changes, indent=2) + "\n", mode=0o600)
