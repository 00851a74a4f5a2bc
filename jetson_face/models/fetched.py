"""The folder of fetched models: what is brought there, what a record says of it, what may go.

Each model has a folder of its own with the files, and with a record of what `models fetch` and
`models add` put there: nothing else is ever removed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from jetson_face.core.errors import ModelError, OutputError, StateLockedError, UsageError
from jetson_face.models.card_files import NpmFile, Places, check_sha256, is_file, sha256_of
from jetson_face.models.cards import ModelCard, fetched_file
from jetson_face.models.fetching import PART, FetchLimits, download
from jetson_face.models.npm import pack
from jetson_face.util.files import write_all
from jetson_face.util.locks import HeldError, file_lock

RECORD = "fetched.json"
Told = Callable[[str, int, int | None], None]
"""Told a file's name, the bytes that there are, and how many there will be."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A file that is here now. how: `was there`, `mirror`, `web` or `npm`."""

    part: str
    path: Path
    how: str


def fetch(
    card: ModelCard,
    places: Places,
    *,
    agreed: bool,
    limits: FetchLimits,
    told: Told,
) -> list[Brought]:
    """Bring every file of the card that is not here: from the mirror, else from where it comes.

    agreed: to the card's `agreement`, where it has one.
    Raises UsageError for a card of which nothing is fetched, and where an agreement is lacking;
    FetchError, ModelError for files that are not those of the card; OutputError, StateLockedError.
    """
    if not card.fetched:
        raise UsageError(f"model {card.name!r}: there is nothing to fetch: {comes_from(card)}")
    if card.agreement is not None and not agreed:
        raise UsageError(
            f"model {card.name!r}: its licence ({card.licence}) asks you to agree: "
            f"{card.agreement}: add --accept-licence where you do"
        )
    done: list[Brought] = []
    home = places.home(card.name)
    with locked(places):
        for part, wanted in card.fetched.items():
            done.append(_bring(card, part, places, limits, told))
            if done[-1].how != "was there":
                files = {**recorded(home), wanted.path: wanted.sha256}
                write_all({home / RECORD: record(card, files, agreed)})
    return done


def comes_from(card: ModelCard) -> str:
    """Where a card's files come from, for people."""
    if card.fetched:
        ways = [w.spec if isinstance(w, NpmFile) else w.url for w in card.fetched.values()]
        return f"fetched from {ways[0]}"
    if card.package:
        names = {wanted.distribution for wanted in card.package.values()}
        return f"its files come with the pip package {', '.join(sorted(names))}"
    return f"its files lie beside its card in {card.folder}"


def _bring(card: ModelCard, part: str, places: Places, limits: FetchLimits, told: Told) -> Brought:
    wanted = card.fetched[part]
    path = places.home(card.name) / wanted.path
    there, mirrored = fetched_file(card, part), places.candidates(card.name, wanted.path)[1:]
    if there == path and not _is_right(there, wanted.sha256):
        there = next(filter(is_file, mirrored), None)  # a damaged file of ours is replaced
    if there is not None:
        check_sha256(there, wanted.sha256)
        if there not in mirrored:
            return Brought(part, there, "was there")
        told(path.name, 0, there.stat().st_size)
        write_all({path: there.read_bytes()})
        return Brought(part, path, "mirror")
    if isinstance(wanted, NpmFile):
        told(path.name, 0, wanted.size)
        pack(wanted, path, deadline_s=limits.deadline_s)
        return Brought(part, path, "npm")
    download(
        wanted,
        path,
        limits=limits,
        progress=lambda have, size: told(path.name, have, size),
    )
    return Brought(part, path, "web")


def _is_right(path: Path, digest: str) -> bool:
    try:
        check_sha256(path, digest)
    except ModelError:
        return False
    return True


def record(card: ModelCard, files: Mapping[str, str], agreed: bool) -> str:
    """What is noted beside a model's files. files: SHA-256 by path in the model's folder."""
    noted = {
        "model": card.name,
        "files": dict(files),
        "licence": card.licence,
        "agreed": card.agreement if agreed else None,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return json.dumps(noted, indent=1) + "\n"


def recorded(home: Path) -> dict[str, str]:
    """The files that were put there, with their SHA-256; nothing where there is no record.

    Raises ModelError for a record that cannot be read.
    """
    path = home / RECORD
    try:
        files = json.loads(path.read_text("utf-8"))["files"]
        good = isinstance(files, dict) and all(
            isinstance(digest, str)
            and ".." not in Path(name).parts
            and not Path(name).is_absolute()
            for name, digest in files.items()
        )
        if not good:
            raise ValueError("no table of files")
        return dict(files)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: is no record of fetched files ({type(error).__name__}): remove the folder "
            f"{home} by hand"
        ) from error


@dataclass(frozen=True, slots=True)
class RemovedModel:
    """What `remove` did. kept: files of the record that were changed since, and stay."""

    gone: tuple[Path, ...]
    kept: tuple[Path, ...]


def remove(name: str, places: Places) -> RemovedModel:
    """Remove what was fetched or added under a model's name, and nothing else.

    Raises UsageError where nothing was; ModelError, OutputError, StateLockedError.
    """
    home = places.home(name)
    known = Path(name).name == name and name not in (".", "..")
    unfinished = list(home.rglob(f"*{PART}")) if known else []
    if not known or not (unfinished or is_file(home / RECORD)):
        raise UsageError(
            f"model {name!r}: nothing of it was fetched or added here ({places.fetched})"
        )
    gone: list[Path] = []
    kept: list[Path] = []
    with locked(places):
        try:
            for path, digest in recorded(home).items():
                file = home / path
                if not is_file(file):
                    continue
                if sha256_of(file) != digest:
                    kept.append(file)
                    continue
                file.unlink()
                gone.append(file)
            for rest in (*unfinished, home / RECORD):
                rest.unlink(missing_ok=True)
            inside = {
                up for file in (*gone, *unfinished) for up in file.parents if home in up.parents
            }
            for folder in (*sorted(inside, reverse=True), home):
                with suppress(OSError):  # what somebody else put there stays
                    folder.rmdir()
        except OSError as error:
            raise OutputError(f"{home}: cannot be removed: {error.strerror}") from error
    return RemovedModel(tuple(gone), tuple(kept))


@contextmanager
def locked(places: Places) -> Iterator[None]:
    """While inside, no other process fetches, adds or removes. Raises StateLockedError."""
    with ExitStack() as held:
        try:
            places.fetched.mkdir(parents=True, exist_ok=True)
            held.enter_context(file_lock(places.fetched / ".lock"))
        except HeldError as error:
            raise StateLockedError(
                f"{places.fetched}: process {error.pid} fetches, adds or removes a model right "
                "now: wait for it"
            ) from None
        except OSError as error:
            raise OutputError(
                f"{places.fetched}: cannot be written ({error.strerror or error}): set state_dir "
                "to a folder that this user may write"
            ) from error
        yield
