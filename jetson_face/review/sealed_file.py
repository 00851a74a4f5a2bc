"""What the files of this folder have in common: sealed rows, bounded by number and age."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from typing_extensions import Self

from jetson_face.core.errors import GalleryCorruptError, GalleryError
from jetson_face.core.protocols import Cipher
from jetson_face.util.sqlite_file import SqliteFile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """rows: at most, of each kind. age_s: service seconds (`Outbox.age`)."""

    rows: int
    age_s: float = 30 * 86400.0


class SealedFile(SqliteFile):
    """Any thread; every method raises the errors of `open`. age: service seconds now."""

    LIMITS: ClassVar[Limits]

    def __init__(
        self, path: Path, cipher: Cipher, limits: Limits, age: Callable[[], float]
    ) -> None:
        self._cipher, self._limits, self._age = cipher, limits, age
        super().__init__(path)

    @classmethod
    def open(
        cls,
        path: Path,
        cipher: Cipher,
        *,
        limits: Limits | None = None,
        age: Callable[[], float] = lambda: 0.0,
    ) -> Self:
        """Open the file, made where there is none.

        Raises GalleryCorruptError, GalleryLockedError, OutputError where it cannot be written, and
        GalleryError for another key or format.
        """
        return cls(path, cipher, limits or cls.LIMITS, age)

    def _unsealed(
        self, body: object, context: bytes, read: Callable[[bytes], T], damaged: str
    ) -> T:
        """What `read` makes of a row's body. damaged: said where it does not open, or is none."""
        try:
            if not isinstance(body, bytes):
                raise TypeError
            return read(self._cipher.decrypt(body, context))
        except (GalleryCorruptError, ValueError, TypeError, KeyError):
            raise GalleryCorruptError(f"{self.path}: {damaged}") from None
        except GalleryError as error:
            raise type(error)(f"{self.path}: {error}") from None
