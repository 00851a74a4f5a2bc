"""What an event is: the keys that the service's sinks and `run --events` write, and their meaning.

A change that an old receiver could misread gets a new `schema`; new keys may come at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from jetson_face.core.types import State

SCHEMA = "jetson-face.event/1"
FaceKind: TypeAlias = Literal["appeared", "decided", "changed", "retracted", "left"]
OTHER_KINDS = ("canary", "similarity", "consent")
"""Of events that are not about a face."""

_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
Id: TypeAlias = Annotated[
    str,
    Field(
        pattern=_ID,
        description="UUID version 7, rising; never used again on this box, also after its queue "
        "was lost. Delivery is at least once: drop an event whose id was seen before",
    ),
]
Time: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        description="UTC, when the frame was read: for a camera when the picture was taken, for a "
        "file when it was processed, never when it was recorded (see media_ms)",
    ),
]
FrameNumber: TypeAlias = Annotated[
    int, Field(ge=0, description="number of the frame in its source, from 0")
]
MediaMs: TypeAlias = Annotated[
    float | None,
    Field(description="milliseconds from the start of the recording; null for a camera"),
]


class Said(TypedDict):
    """What was said about a face before this event."""

    state: State
    name: Annotated[str | None, Field(description="null unless known, or removed since")]
    person: str | None


class Seen(TypedDict):
    """When a face was found for the last time."""

    time: Time
    frame: FrameNumber
    media_ms: MediaMs


class SeenBeforeFields(TypedDict):
    """When somebody who is not enrolled was seen before."""

    visits: Annotated[int, Field(ge=0, description="before this one, in the last `days`")]
    days: Annotated[float, Field(gt=0, description="how long visits are kept, days of service")]
    last: Annotated[
        str | None,
        Field(description="UTC, when they were seen for the last time; null: never before"),
    ]


class _FaceFields(TypedDict):
    """What every event about a face has."""

    schema: Literal["jetson-face.event/1"]
    id: Id
    run: Annotated[
        str | None,
        Field(description="the run of the program, or of its cameras after a reload, that numbers "
              "the tracks; null for events of a version that had none"),
    ]  # fmt: skip
    time: Time
    source: Annotated[str, Field(description="configured name of the camera or file")]
    frame: FrameNumber
    media_ms: MediaMs
    track: Annotated[
        int, Field(ge=0, description="the same face over frames; unique with run and source")
    ]
    state: Annotated[
        State,
        Field(description="pending: not decided yet; review: between sure and no"),
    ]
    name: Annotated[str | None, Field(description="null unless known, or removed since")]
    person: Annotated[str | None, Field(description="id that stays when the name changes")]
    similarity: Annotated[
        float | None,
        Field(ge=-1.001, le=1.001, description="cosine to the person, or to the nearest; null "
              "before any match"),
    ]  # fmt: skip
    box: Annotated[
        list[float],
        Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the frame"),
    ]
    frames: Annotated[int, Field(ge=0, description="frames of this face averaged so far")]
    crop: NotRequired[
        Annotated[str | None, Field(description="file in STATE_DIR/crops; null: not kept")]
    ]
    unknown_id: NotRequired[
        Annotated[
            str,
            Field(pattern="^[0-9a-f]{16}$", description="with unknown.remember: the same for the "
                  "same person as long as they are remembered; means nothing elsewhere"),
        ]
    ]  # fmt: skip
    seen_before: NotRequired[SeenBeforeFields]


class FaceEvent(_FaceFields):
    """`appeared`: the first frame of a face; `decided`: the first decision about it."""

    kind: Literal["appeared", "decided"]


class ChangeEvent(_FaceFields):
    """`changed`: another decision; `retracted`: a name was taken back and no other given."""

    kind: Literal["changed", "retracted"]
    before: Said


class LeftEvent(_FaceFields):
    """`left`: a face is no longer followed; name, state and box are the last ones."""

    kind: Literal["left"]
    last_seen: Seen
    reason: Annotated[
        Literal["gone", "end"],
        Field(description="gone: not found again; end: the source or the program ended"),
    ]


class CanaryStateEvent(TypedDict):
    """The network answers wrong (names are not to be trusted), or right again."""

    schema: Literal["jetson-face.event/1"]
    id: Id
    kind: Literal["canary"]
    time: Time
    state: Literal["drifted", "recovered"]
    cosine: Annotated[float | None, Field(description="to the answer wanted; null: no number")]
    cosine_min: float
    embedder: Annotated[str, Field(description="the network")]
    text: Annotated[str, Field(description="for people")]


class SimilarityEvent(TypedDict):
    """Unnamed faces are more, or less, like the enrolled people than expected; or as expected
    again."""

    schema: Literal["jetson-face.event/1"]
    id: Id
    kind: Literal["similarity"]
    time: Time
    state: Literal["drifted", "recovered"]
    share: Annotated[float, Field(description="of the last faces, those in the tail")]
    expected: Annotated[float, Field(description="what that share should be")]
    faces: int
    text: Annotated[str, Field(description="for people, with the command that fits it again")]


class ConsentEvent(TypedDict):
    """The consent of somebody enrolled is over."""

    schema: Literal["jetson-face.event/1"]
    id: Id
    kind: Literal["consent"]
    time: Time
    state: Literal["expired"]
    name: Annotated[str | None, Field(description="null: removed since")]
    person: str | None
    until: Annotated[str, Field(description="the last day on which it held")]
    text: Annotated[str, Field(description="for people")]


AnyEvent: TypeAlias = Annotated[
    FaceEvent | ChangeEvent | LeftEvent | CanaryStateEvent | SimilarityEvent | ConsentEvent,
    Field(discriminator="kind"),
]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one event."""
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(AnyEvent)
    made = adapter.json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        **made,
    }


def to_json(event: Mapping[str, Any]) -> bytes:
    """The event on one line, UTF-8. Raises ValueError for a number that JSON does not have."""
    return json.dumps(event, ensure_ascii=False, allow_nan=False).encode()
