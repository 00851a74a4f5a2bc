"""Where an archive and its recordings lie: a folder, or an object store, through fsspec."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from jetson_face.core.errors import (
    InputBrokenError,
    InputMissingError,
    JetsonFaceError,
    MissingDependencyError,
    OutputError,
    SourceError,
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
        """The whole file. Raises InputMissingError, InputBrokenError, SourceError."""
        with self._reading(f"{name} is not there", f"{name} cannot be read"):
            data: bytes = self._fs.cat_file(self._at(name))
        return data

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The document in a file; None where there is none. Raises as `read`."""
        try:
            found = json.loads(self.read(name))
        except InputMissingError:
            return None
        except JetsonFaceError:
            raise
        except ValueError:
            raise InputBrokenError(f"{self.shown}: {name} is no JSON: it is damaged") from None
        if not isinstance(found, dict):
            raise InputBrokenError(f"{self.shown}: {name} is damaged")
        return found

    def open(self, name: str) -> Any:
        """The file, for reading at any place. Raises InputMissingError, InputBrokenError,
        SourceError, also while it is read."""
        with self._reading(f"{name} is not there", f"{name} cannot be read"):
            found = self._fs.open(self._at(name), "rb")
        if self.local:
            return found
        return _RemoteFile(found, lambda: self._reading(f"{name} is gone", f"{name}"))

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
        InputBrokenError, SourceError."""
        self._fs.invalidate_cache()
        try:
            with self._reading(f"{under} is not there", "cannot be listed"):
                found = self._fs.find(self._at(under))
        except InputMissingError:
            return []
        return sorted(path[len(self.root) :].lstrip("/") for path in found)

    def info(self, name: str) -> dict[str, Any]:
        """What the file system says of a file. Raises InputMissingError, InputBrokenError,
        SourceError."""
        with self._reading(f"{name}: no such file or folder", f"{name} cannot be read"):
            return dict(self._fs.info(self._at(name)))

    def exists(self, name: str) -> bool:
        """Whether the file is there. Raises InputBrokenError, SourceError."""
        with self._reading(f"{name} is not there", f"{name} cannot be read"):
            return bool(self._fs.exists(self._at(name)))

    def remove(self, name: str) -> None:
        """Delete a file; harmless where there is none. Raises OutputError."""
        with self._writing(name):
            if self._fs.exists(self._at(name)):
                self._fs.rm_file(self._at(name))

    def remove_folder(self, name: str) -> None:
        """Delete all below. Raises OutputError."""
        if self.local:
            with self._writing(name):
                if self._fs.exists(self._at(name)):
                    self._fs.rm(self._at(name), recursive=True)
            return
        # one by one: not every store takes what AWS's library sends to delete many at once
        for file in self.names(name):
            self.remove(file)

    @contextmanager
    def _reading(self, missing: str, failed: str) -> Iterator[None]:
        try:
            yield
        except JetsonFaceError:
            raise
        except FileNotFoundError:
            raise InputMissingError(f"{self.shown}: {missing}") from None
        except Exception as error:
            why = self._silent(error)
            if why is not None:
                raise SourceError(f"{self.shown}: the store does not answer: {why}") from None
            if not isinstance(error, OSError):
                raise
            raise InputBrokenError(f"{self.shown}: {failed}: {_why(error)}") from None

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except JetsonFaceError:
            raise
        except Exception as error:
            why = self._silent(error)
            if why is None and not isinstance(error, OSError):
                raise
            why = why or _why(error)
            raise OutputError(f"{self.shown}: {name} cannot be written: {why}") from None

    def _silent(self, error: Exception) -> str | None:
        """How a store failed to answer; None where it did, or this is a folder. A store's driver
        has errors of its own for that (botocore's are no OSError)."""
        if self.local or (
            isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError)
        ):
            return None
        return redact(f"{error}" or type(error).__name__)

    def _at(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root


class _RemoteFile(io.RawIOBase):
    """A store's file. guard: around each reading."""

    def __init__(self, file: Any, guard: Callable[[], AbstractContextManager[None]]) -> None:
        self._file, self._guard = file, guard

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        with self._guard():
            data = self._file.read(len(room))
        room[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _why(error: Exception) -> str:
    told = getattr(error, "strerror", None) or str(error)
    return redact(told or type(error).__name__)
