"""Events for other programs: CSV for spreadsheets, or one JSON object a line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

from jetson_face.core.errors import OutputError
from jetson_face.events.history import PAGE_MAX, History, StoredEvent
from jetson_face.events.schema import to_json
from jetson_face.util.csvtext import csv_row
from jetson_face.util.files import TEMPORARY

Format: TypeAlias = Literal["csv", "jsonl"]
COLUMNS = (
    "cursor", "time", "kind", "source", "state", "name", "person", "similarity", "track", "frames",
    "run", "id",
)  # fmt: skip


def every(page: Callable[..., list[StoredEvent]], **filters: Any) -> Iterator[StoredEvent]:
    """All events that fit, oldest first, also those that come meanwhile.

    page: as `History.page`. Raises what it raises.
    """
    after = filters.pop("after", None) or 0
    while found := page(after=after, limit=PAGE_MAX, **filters):
        yield from found
        after = found[-1].cursor


def lines(events: Iterable[StoredEvent], format: Format) -> Iterator[str]:
    """The file, line by line. JSON: what sinks get, and `cursor`. CSV as of RFC 4180, with a head;
    a text that a spreadsheet would compute gets a `'` before it."""
    if format == "csv":
        yield csv_row(COLUMNS)
    for stored in events:
        event = {"cursor": stored.cursor, **stored.event}
        if format == "csv":
            yield csv_row(event.get(column) for column in COLUMNS)
        else:
            yield to_json(event).decode() + "\n"


def export(history: History, path: Path, format: Format, **filters: Any) -> int:
    """Write all events that fit to a file (0600), oldest first; returns how many. The file appears
    whole or not at all. Raises OutputError, and what `History.page` raises."""
    count = 0

    def counted() -> Iterator[StoredEvent]:
        nonlocal count
        for stored in every(history.page, **filters):
            count += 1
            yield stored

    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.writelines(line.encode() for line in lines(counted(), format))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
    return count
