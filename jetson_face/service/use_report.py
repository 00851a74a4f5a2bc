"""The log of use for who asks: periods, reference databases, matches and who verified them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, Literal, TypeAlias

from jetson_face.config import Config
from jetson_face.core.errors import InputMissingError, UsageError
from jetson_face.events.history import PAGE_MAX, History
from jetson_face.events.history_rows import moment
from jetson_face.privacy.audit import ARCHIVE_USES, AuditEntry, AuditLog
from jetson_face.privacy.use_log import read_periods
from jetson_face.service.erasure import audit_log
from jetson_face.service.history import read_history
from jetson_face.service.lock import holder
from jetson_face.util.csvtext import csv_row

Format: TypeAlias = Literal["csv", "json"]
COLUMNS = (
    "record", "time", "end", "ended", "period", "cameras", "program", "gallery", "generation",
    "people", "templates", "not_recognised", "embedder", "method", "similarity_min", "camera",
    "person", "name", "similarity", "event", "input", "actor", "answer", "review_item", "archive",
    "reason",
)  # fmt: skip
_ANSWERS = ("confirmed", "rejected", "undone")
_CURSOR = re.compile(r"(period|verification|search|match)-([0-9]{1,16})")


def report_page(
    config: Config, since: str | None, until: str | None, cursor: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Records in the order of their kinds, and the cursor of the next page, None at the end.

    since, until: ISO 8601; None: as far as is known. Raises UsageError for what is none of this,
    and the errors of the history.
    """
    found = _CURSOR.fullmatch(cursor or "period-0")
    if found is None:
        raise UsageError("cursor is what `next` of the page before said")
    begin, end = moment(since), moment(until)
    stage, at = found[1], int(found[2])
    rows: list[dict[str, Any]] = []
    for name in _STAGES[_STAGES.index(stage) :]:
        at = at if name == stage else 0
        part, after = _read(name, config, begin, end, at, limit - len(rows))
        rows += part
        if after is not None:
            return rows, f"{name}-{after}"
        if len(rows) >= limit and name != _STAGES[-1]:
            return rows, f"{_STAGES[_STAGES.index(name) + 1]}-0"
    return rows, None


def every_record(config: Config, since: str | None, until: str | None) -> Iterator[dict[str, Any]]:
    """All of them. Raises as `report_page`."""
    cursor: str | None = None
    while True:
        rows, cursor = report_page(config, since, until, cursor, PAGE_MAX)
        yield from rows
        if cursor is None:
            return


def written(records: Iterable[dict[str, Any]], format: Format) -> Iterator[str]:
    """The file, piece by piece: CSV with a head, or one JSON array."""
    if format == "csv":
        yield csv_row(COLUMNS)
        for one in records:
            yield csv_row(_plain(one.get(column)) for column in COLUMNS)
        return
    before = "["
    for one in records:
        yield before + "\n" + json.dumps(one, ensure_ascii=False)
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _plain(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else value


Rows: TypeAlias = list[dict[str, Any]]


def _periods(config: Config, begin: str | None, end: str | None) -> Rows:
    rows: Rows = []
    for one in read_periods(config.state_dir, running=holder(config.state_dir) is not None):
        if (begin and one.end and one.end < begin[:19]) or (end and one.begin[:19] > end):
            continue
        rows.append(
            {"record": "period", "time": one.begin, "end": one.end, "ended": one.ended}
            | {"period": one.id, **one.facts}
        )
        rows += [{"record": "database", "period": one.id, **known} for known in one.databases]
    return rows


def _verifications(config: Config, begin: str | None, end: str | None) -> Rows:
    return [
        {
            "record": "verification",
            "time": one.time,
            "actor": one.actor,
            "answer": one.action,
            "person": one.person,
            "name": one.name,
            "review_item": one.details.get("question"),
        }
        for one in audit_log(config).read()
        if one.action in _ANSWERS and _within(one, begin, end)
    ]


def _searches(config: Config, begin: str | None, end: str | None) -> Rows:
    """Of an archive of recordings. input: where the face that was looked for is from."""
    return [
        {
            "record": "search",
            "time": one.time,
            "actor": one.actor,
            "archive": one.details.get("archive"),
            "reason": one.details.get("why"),
            "input": one.details.get("reference"),
            "person": one.person,
            "name": one.name,
        }
        for one in AuditLog(config.state_dir / ARCHIVE_USES).read()
        if _within(one, begin, end)
    ]


def _within(one: AuditEntry, begin: str | None, end: str | None) -> bool:
    return (begin is None or one.time[:19] >= begin[:19]) and (
        end is None or one.time[:19] <= end[:19]
    )


def _matches(
    config: Config, begin: str | None, end: str | None, at: int, most: int
) -> tuple[Rows, int | None]:
    try:
        history = read_history(config)
    except InputMissingError:
        return [], None
    with closing(history):
        return _matches_after(history, begin, end, at, most)


def _matches_after(
    history: History, begin: str | None, end: str | None, at: int, most: int
) -> tuple[Rows, int | None]:
    rows: list[dict[str, Any]] = []
    while len(rows) < most:
        found = history.page(after=at, limit=PAGE_MAX, state="known", since=begin, until=end)
        if not found:
            return rows, None
        for stored in found:
            if len(rows) >= most:
                return rows, at
            at, event = stored.cursor, stored.event
            if event["kind"] in ("decided", "changed"):
                rows.append(_match(event, stored.has_crop))
    return rows, at


def _match(event: dict[str, Any], has_crop: bool) -> dict[str, Any]:
    return {
        "record": "match",
        "time": event["time"],
        "camera": event["source"],
        "person": event["person"],
        "name": event["name"],
        "similarity": event["similarity"],
        "event": event["id"],
        "input": f"/api/v1/events/{event['id']}/crop" if has_crop else "not kept",
    }


_LISTS: dict[str, Callable[[Config, str | None, str | None], Rows]] = {
    "period": _periods,
    "verification": _verifications,
    "search": _searches,
}
_STAGES = (*_LISTS, "match")


def _read(
    stage: str, config: Config, begin: str | None, end: str | None, at: int, most: int
) -> tuple[Rows, int | None]:
    """So many records from a place on, and the place after them, None at the end."""
    if stage == "match":
        return _matches(config, begin, end, at, most)
    rows = _LISTS[stage](config, begin, end)
    return rows[at : at + most], at + most if at + most < len(rows) else None
