"""What the API sends and takes about consent, the do-not-recognise list and the log of use."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from jetson_face.web.strict import Strict

Day: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class ConsentIn(Strict):
    """A consent. given_by: who agreed: the person, a parent. until: its last day; null: until it is
    withdrawn. text: what they agreed to, or which version of it."""

    given_by: str = Field(min_length=1, max_length=200)
    given: Day
    until: Day | None = None
    text: str = Field("", max_length=2000)


class ConsentRow(BaseModel):
    """A person and the consent that there is. do_not_recognise: they are on that list."""

    person: str
    name: str
    state: Literal["none", "valid", "expired"]
    given_by: str | None
    given: str | None
    until: str | None
    text: str | None
    do_not_recognise: bool


class DoNotRecognise(Strict):
    """Whether a person is on the do-not-recognise list."""

    on: bool


class Withheld(ConsentRow):
    """erased: how many crops, review items and names in events went."""

    erased: dict[str, int]


class UseRecord(BaseModel):
    """One line of the log of use. record: `period` (of use; end: null while it goes on), `database`
    (what faces were compared with from `time` on), `verification` (somebody answered about a face),
    `search` (of an archive of recordings; input: where the face is from) or `match` (a face that
    was named; input: where its crop is)."""

    record: Literal["period", "database", "verification", "search", "match"]
    time: str
    end: str | None = None
    ended: str | None = None
    period: str | None = None
    cameras: list[str] | None = None
    program: str | None = None
    gallery: str | None = None
    generation: int | None = None
    people: int | None = None
    templates: int | None = None
    not_recognised: int | None = None
    embedder: str | None = None
    method: str | None = None
    similarity_min: float | None = None
    camera: str | None = None
    person: str | None = None
    name: str | None = None
    similarity: float | None = None
    event: str | None = None
    input: str | None = None
    actor: str | None = None
    answer: str | None = None
    review_item: int | None = None
    archive: str | None = None
    reason: str | None = None
