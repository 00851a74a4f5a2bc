"""Where an archive and its recordings lie: a folder, or an object store, through fsspec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jetson_face.core.errors import (
    InputBrokenError,
    InputMissingError,
    JetsonFaceError,
    MissingDependencyError,
    OutputError,
    UsageError,
)
from jetson_face.privacy.encryption import fill_credentials
from jetson_face.util.files import write_file
from jetson_face.util.optional import needs, pip_install
from jetson_face.util.redact import redact


class ArchivePlace:
    """A folder or the prefix of an object store. Paths are relative, with `/`.

    A file appears whole or not at all. text: as configured; shown: for people, without secrets.
    Raises MissingDependencyError without fsspec or the store's driver, UsageError for an unknown
    kind of store.
    """

    def __init__(self, text: str) -> None:
        with needs(f"{redact(text)}: archives need fsspec: {pip_install('archive')}"):
            from fsspec.core import url_to_fs
        self.text, self.shown = text, redact(text)
        try:
            self._fs, root = url_to_fs(fill_credentials(text))
        except ImportError as error:
            raise MissingDependencyError(f"{self.shown}: {error}") from None
        except ValueError as error:
            raise UsageError(f"{self.shown}: {error}") from None
        self.root = root.rstrip("/") or "/"
        self.local = self._fs.protocol == "file" or "file" in self._fs.protocol

    @property
    def folder(self) -> Path:
        """Where it is on this machine. Raises UsageError for an object store."""
        if not self.local:
            raise UsageError(f"{self.shown} is not on this machine")
        return Path(self.root)

    def read(self, name: str) -> bytes:
        """The whole file. Raises InputMissingError, InputBrokenError."""
        try:
            data: bytes = self._fs.cat_file(self._at(name))
        except FileNotFoundError:
            raise InputMissingError(f"{self.shown}: {name} is not there") from None
        except OSError as error:
            raise InputBrokenError(f"{self.shown}: {name} cannot be read: {_why(error)}") from None
        return data

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The document in a file; None where there is none. Raises InputBrokenError."""
        try:
            found = json.loads(self.read(name))
        except InputMissingError:
            return None
        except ValueError:
            raise InputBrokenError(f"{self.shown}: {name} is no JSON: it is damaged") from None
        if not isinstance(found, dict):
            raise InputBrokenError(f"{self.shown}: {name} is damaged")
        return found

    def open(self, name: str) -> Any:
        """The file, for reading at any place. Raises InputMissingError, InputBrokenError."""
        try:
            return self._fs.open(self._at(name), "rb")
        except FileNotFoundError:
            raise InputMissingError(f"{self.shown}: {name} is not there") from None
        except OSError as error:
            raise InputBrokenError(f"{self.shown}: {name} cannot be read: {_why(error)}") from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, over one that is there. Raises OutputError."""
        if self.local:
            write_file(Path(self._at(name)), data, mode=0o600)
            return
        with self._writing(name):
            self._fs.pipe_file(self._at(name), data)

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        """`write` of a document. Raises OutputError."""
        self.write(name, (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())

    def names(self, under: str = "") -> list[str]:
        """Every file below, relative, in order; none where there is no such folder. Raises
        InputBrokenError."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(self._at(under))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputBrokenError(f"{self.shown}: cannot be listed: {_why(error)}") from None
        return sorted(path[len(self.root) :].lstrip("/") for path in found)

    def info(self, name: str) -> dict[str, Any]:
        """What the file system says of a file. Raises InputMissingError, InputBrokenError."""
        try:
            return dict(self._fs.info(self._at(name)))
        except FileNotFoundError:
            raise InputMissingError(f"{self.shown}/{name}: no such file or folder") from None
        except OSError as error:
            raise InputBrokenError(f"{self.shown}: {name} cannot be read: {_why(error)}") from None

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self._fs.exists(self._at(name)))

    def remove(self, name: str) -> None:
        """Delete a file; harmless where there is none. Raises OutputError."""
        with self._writing(name):
            if self._fs.exists(self._at(name)):
                self._fs.rm_file(self._at(name))

    def remove_folder(self, name: str) -> None:
        """Delete all below. Raises OutputError."""
        with self._writing(name):
            if self._fs.exists(self._at(name)):
                self._fs.rm(self._at(name), recursive=True)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except JetsonFaceError:
            raise
        except OSError as error:
            raise OutputError(f"{self.shown}: {name} cannot be written: {_why(error)}") from None

    def _at(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root


def _why(error: OSError) -> str:
    return redact(error.strerror or str(error) or type(error).__name__)
