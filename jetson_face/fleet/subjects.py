"""The streams of a fleet, and the subjects that boxes and operators use in them."""

from __future__ import annotations

import re

from jetson_face.config import FleetConfig
from jetson_face.core.errors import UsageError

EVENTS, PEOPLE, RECEIPTS, STATUS = "EVENTS", "PEOPLE", "RECEIPTS", "STATUS"
PLANS = "PLANS"
ALL = "all"
_BOXES = "jf.*.*"
STREAM_SUBJECTS = {
    EVENTS: f"{_BOXES}.events.>",
    PEOPLE: "jf-people.*.*",
    RECEIPTS: f"{_BOXES}.receipts.*",
    STATUS: f"{_BOXES}.status",
    PLANS: "jf-plans.*.*",
}
"""People lie beside the boxes' subjects, not under them: the subjects of two streams must not
overlap."""
_SCOPE = re.compile(r"all|(?:site|group)[:-]([A-Za-z0-9_-]{1,40})")


def scope_of(text: str) -> str:
    """For whom a person is, as subjects have it: `all`, `site:NAME` or `group:NAME`. Raises
    UsageError."""
    if not _SCOPE.fullmatch(text):
        raise UsageError(f"{text!r:.60}: people are sent to `all`, `site:NAME` or `group:NAME`")
    return text.replace(":", "-", 1)


def scope_text(scope: str) -> str:
    """For whom a person is, as people write it: the other way round than `scope_of`."""
    return scope.replace("-", ":", 1)


def scopes(fleet: FleetConfig) -> list[str]:
    """Whose people a box has."""
    return [ALL, f"site-{fleet.site}", *(f"group-{name}" for name in dict.fromkeys(fleet.groups))]


def people_of(scope: str) -> str:
    """Everybody of a scope."""
    return f"jf-people.{scope}.*"


def person_at(scope: str, person: str) -> str:
    """One person (id)."""
    return f"jf-people.{scope}.{person}"


def plans_for(scope: str, part: int) -> str:
    """A part of the plans for the boxes of a scope; part 0 says which they are."""
    return f"jf-plans.{scope}.{part}"


def parts_of(subject: str) -> tuple[str, str]:
    """Scope and person of a subject of PEOPLE, site and box of another one."""
    _, one, other, *_ = subject.split(".")
    return one, other


def receipts_for(person: str) -> str:
    """The receipts of all boxes for the erasure of a person (id)."""
    return f"{_BOXES}.receipts.{person}"


def events_about(person: str) -> tuple[str, str]:
    """The events of all boxes that name a person (id): as whom they decided for, and as whom a
    decision before said."""
    return f"{_BOXES}.events.*.{person}.*", f"{_BOXES}.events.*.*.{person}"
