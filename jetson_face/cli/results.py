"""Results that would take the place of something else: refused before any work is done."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jetson_face.capture.uri import parse_uri
from jetson_face.config import Config
from jetson_face.core.errors import OutputError, UsageError

STATE_FILES = {
    "gallery.db": "the gallery",
    "gallery.key": "the key of the gallery",
    "history.db": "the history of events",
    "review.db": "the review queue",
    "unknown.db": "the memory of unknown people",
    "outbox.db": "the outbox of events",
    "audit.jsonl": "the audit log",
    "archive_uses.jsonl": "the log of searches",
    "use.log": "the log of use",
}
"""What a state folder holds, by name, with its words; further files of it are just that."""
STATE_NAMES = frozenset(
    {
        *STATE_FILES, "use.alive", "page-settings.json", "fleet-link.json", "fleet-plans.json",
        "health-day", "last_report.json", "lock", ".ledger.lock",
    }
)  # fmt: skip
STATE_FOLDERS = ("models", "receipts", "crops", "measurements", "web")
_BESIDE = re.compile(r"(-wal|-shm|-journal|\.ledger|\.broken|\.new|\.\d+)*")
"""What follows a file's name in the names of those that belong to it."""
_ON_DISK = ("path", "file", "sequence")


def check_results(
    results: Mapping[str, Path | None],
    *,
    sources: Iterable[str | Path | None] = (),
    inputs: Iterable[Path | None] = (),
    config_files: Iterable[Path | None] = (),
    config: Config | None = None,
    plots: Path | None = None,
) -> None:
    """Raises UsageError where one of the results, given by option, is what the command reads, what
    the configuration keeps, or another result; OutputError where it could not be written.

    sources: URIs, or files and folders; of a folder its own pictures. inputs: files, and folders
    with the pictures at any depth. plots: a folder for pictures, in which none of those may lie.
    """
    wanted = {option: path for option, path in results.items() if path is not None}
    for path in (*wanted.values(), *(() if plots is None else (plots / "plot.png",))):
        _check_writable(path)
    files: list[tuple[Path | None, str]] = [(path, "the configuration") for path in config_files]
    folders: list[tuple[Path, str]] = []
    for path in filter(None, map(on_disk, sources)):
        files.append((path, "the source"))
        folders.append((path, "*"))
    for path in filter(None, inputs):
        files.append((path, "an input"))
        folders.append((path, "**/*"))
    if config is not None:
        files += _named(config, own_events="--events" not in wanted)
    for result in wanted.values():
        found = next((what for path, what in files if path and _is_same(result, path)), None)
        found = found or _picture_of(result, folders)
        if config is not None:
            found = found or _kept(result, config)
        if found is not None:
            raise UsageError(f"{result}: it is {found}, and would be overwritten")
    _check_apart(list(wanted.items()))
    _check_plots(plots, folders)


def _check_writable(result: Path) -> None:
    """Hours of measuring end in an error otherwise. A disk that is full is found out then only."""
    try:
        why = _why_not_written(result)
    except OSError as error:  # a folder on the way there may not be looked into
        why = error.errno
    if why:
        raise OutputError(f"{result}: cannot be written: {os.strerror(why)}")


def _why_not_written(result: Path) -> int | None:
    """The system's number of what is in the way. Raises OSError."""
    if result.is_dir():
        return errno.EISDIR
    if result.exists() and not result.is_file():
        return None  # a device or a pipe
    home = next(folder for folder in result.absolute().parents if folder.exists())
    if not home.is_dir():
        return errno.ENOTDIR
    if os.access(home, os.W_OK | os.X_OK):
        return None
    return errno.EROFS if os.statvfs(home).f_flag & os.ST_RDONLY else errno.EACCES


def _check_plots(plots: Path | None, folders: Iterable[tuple[Path, str]]) -> None:
    """Plots among the pictures would also be taken for some of them the next time."""
    from jetson_face.util.strays import is_named_as_picture

    if plots is None or not plots.is_dir() or not any(map(is_named_as_picture, plots.iterdir())):
        return
    here = Path(os.path.realpath(plots))
    for folder, pattern in folders:
        home = Path(os.path.realpath(folder))
        if here == home or (pattern.startswith("**") and here.is_relative_to(home)):
            raise UsageError(
                f"{plots}: pictures of {folder} are in it: give the plots a folder of their own"
            )


def beside(path: Path | None, suffix: str) -> Path | None:
    """The file that has another suffix; None where no file is named."""
    return None if path is None or not path.name else path.with_suffix(suffix)


def _check_apart(wanted: list[tuple[str, Path]]) -> None:
    for at, (option, path) in enumerate(wanted):
        for other, before in wanted[:at]:
            # a device or a pipe takes both
            if _is_same(path, before) and (path.is_file() or not path.exists()):
                raise UsageError(f"{path}: {other} and {option} both: give each a file of its own")


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other)


def on_disk(source: str | Path | None) -> Path | None:
    """The file or folder that a source is; None for cameras and streams."""
    if source is None or isinstance(source, Path):
        return source
    uri = parse_uri(source)
    return uri.path if uri.scheme in _ON_DISK else None


def _picture_of(result: Path, folders: Iterable[tuple[Path, str]]) -> str | None:
    from jetson_face.util.images import SUFFIXES

    if not result.is_file() or result.suffix.lower() not in SUFFIXES:
        return None
    for folder, pattern in folders:
        pictures = (path for path in folder.glob(pattern) if path.suffix.lower() in SUFFIXES)
        if folder.is_dir() and any(_is_same(result, picture) for picture in pictures):
            return f"a picture of {folder}"
    return None


def _named(config: Config, *, own_events: bool) -> Iterator[tuple[Path | None, str]]:
    """Single files that a configuration names."""
    fleet = config.fleet
    yield config.gallery_path, STATE_FILES["gallery.db"]
    for part in (config.embedder, config.detector):
        if (model := getattr(part, "model", None)) is not None:
            yield Path(model), "a file of the configuration"
    yield config.matching.pair_weights, "a file of the configuration"
    if own_events:
        yield config.report.events, "where a run of this configuration writes events"
    for path in () if fleet is None else (fleet.key, fleet.credentials, fleet.ca):
        yield path, "a file of the configuration"


def _kept(result: Path, config: Config) -> str | None:
    """What the result is of the files that a gallery, a state folder or a cache has there."""
    if not result.exists():
        return None
    if _belongs(result, config.gallery_path.parent, {config.gallery_path.name}):
        return "a part of the gallery"
    state = config.state_dir
    if name := _belongs(result, state, STATE_NAMES):
        return STATE_FILES.get(name, f"a file of the state folder {state}")
    logs = os.environ.get("LOGS_DIRECTORY", "").split(":")[0]
    journals = {f"{sink.name}.jsonl" for sink in config.service.sinks}
    if any(_belongs(result, folder, journals) for folder in (state, Path(logs or state))):
        return "a file of the service's events"
    archive = config.archive.path
    kept = [*(state / name for name in STATE_FOLDERS), config.engine_cache, config.models.mirror]
    kept.append(None if archive is None or "://" in archive else Path(archive))
    for folder in filter(None, kept):
        if Path(os.path.realpath(result)).is_relative_to(os.path.realpath(folder)):
            return f"a file of {folder}"
    return None


def _belongs(result: Path, folder: Path, names: Iterable[str]) -> str | None:
    """Whose file of these the result is, or lies beside as SQLite's and rotated ones do."""
    if not _is_same(result.parent, folder):
        result = Path(os.path.realpath(result))
    if not _is_same(result.parent, folder):
        return None
    rest = ((name, result.name[len(name) :]) for name in names if result.name.startswith(name))
    return next((name for name, more in rest if _BESIDE.fullmatch(more)), None)
