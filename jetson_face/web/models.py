"""What the API sends and takes."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from jetson_face.web.privacy_models import ConsentRow
from jetson_face.web.strict import Strict

T = TypeVar("T")
State: TypeAlias = Literal["pending", "known", "unknown", "review"]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Number: TypeAlias = Annotated[int, Field(ge=1, le=2**53 - 1)]
Changes: TypeAlias = dict[str, float | int | str | bool | None]


class ListPage(BaseModel, Generic[T]):
    """One page of a list. next: the `cursor` of the next one, null at the end."""

    items: list[T]
    next: str | None


class Credentials(Strict):
    """Who signs in."""

    user: str = Field(max_length=100)
    password: str = Field(max_length=1000)


class SessionInfo(BaseModel):
    """Who is signed in. csrf: to be sent as X-CSRF-Token with every change."""

    user: str
    role: Literal["viewer", "operator", "admin"]
    csrf: str | None


class LastSeen(BaseModel):
    """When a face was last called by a name, as far as the history goes back. here: it is in view,
    since `time` at least. source: the camera."""

    time: str
    source: str | None
    event: str
    here: bool


class PersonRow(BaseModel):
    """Somebody enrolled."""

    id: str
    name: str
    since: str
    template_count: int
    do_not_recognise: bool
    last_seen: LastSeen | None = None


class TemplateRow(BaseModel):
    """One enrolled face. warning: why it may be somebody else's."""

    id: str
    source: str
    sha256: str
    quality: float
    created: str
    warning: str | None


class PersonDetails(PersonRow):
    """With the templates and the consent."""

    templates: list[TemplateRow]
    consent: ConsentRow


class Rename(Strict):
    """Another name."""

    name: Name


class Merge(Strict):
    """into: the person (id or name) who gets the templates."""

    into: Name


class PictureIn(Strict):
    """data: the file, base64. label: what answers call it."""

    data: str
    label: str | None = Field(None, max_length=200)


class Enrolment(Strict):
    """Pictures of one person, who is made where there is none. force: also those that look like
    somebody else, or were erased with a person. do_not_recognise: the face must never be named or
    kept."""

    name: Name
    pictures: list[PictureIn] = Field(min_length=1, max_length=24)
    force: bool = False
    do_not_recognise: bool = False


class RefusedPicture(BaseModel):
    """A picture that was not enrolled."""

    label: str
    reason: str


class Outcome(BaseModel):
    """What became of the pictures. id: null where none was enrolled."""

    id: str | None
    name: str
    time: str
    added: list[str]
    already: list[str]
    refused: list[RefusedPicture]
    warnings: list[str]


class ErasureReceipt(BaseModel):
    """What was erased of a person. complete: nothing is left."""

    model_config = ConfigDict(extra="allow")
    person: str
    name: str
    time: str
    actor: str
    templates: int
    crops: list[str]
    review_items: int
    verified: list[str]
    failed: list[str]
    service: str
    complete: bool


class LikelyPerson(BaseModel):
    """Somebody whom a face may be."""

    person: str
    name: str
    similarity: float


class FoundFace(BaseModel):
    """One face. box: x1, y1, x2, y2 in pixels. reasons: why it does not count."""

    state: State
    name: str | None
    person: str | None
    similarity: float | None
    candidates: list[LikelyPerson]
    quality: float | None
    reasons: list[str]
    box: list[float]
    landmarks: list[list[float]] | None


class Identified(BaseModel):
    """Every face of a picture, best detection first. width, height: of the picture as searched."""

    width: int
    height: int
    faces: list[FoundFace]


class ReviewRow(BaseModel):
    """A face that waits for a person. group: the same for faces that look alike."""

    number: int
    group: int | None = None
    time: str | None = None
    source: str | None = None
    track: int | None = None
    candidate: str | None = None
    candidate_id: str | None = None
    similarity: float | None = None
    second: float | None = None
    quality: float | None = None
    error: str | None = None


class ReviewAnswer(Strict):
    """yes: it is the candidate; no: it is not; other: it is `name`, new or not."""

    number: Number
    answer: Literal["yes", "no", "other"]
    name: Name | None = None


class ReviewAnswers(Strict):
    """Answers, at most one a face."""

    answers: list[ReviewAnswer] = Field(min_length=1, max_length=200)


class Numbers(Strict):
    """Faces whose answers are taken back."""

    numbers: list[Number] = Field(min_length=1, max_length=200)


class FaceDecision(BaseModel):
    """What would be said of a face."""

    state: State
    person: str | None
    name: str | None
    similarity: float | None


class Change(BaseModel):
    """A waiting face about which something else would be said."""

    number: int
    before: FaceDecision
    after: FaceDecision


class Note(BaseModel):
    """What does not look right."""

    number: int
    text: str


class Preview(BaseModel):
    """What answers would change. adds: templates by name."""

    adds: dict[str, int]
    changed: list[Change]
    warnings: list[Note]


class DecidedItem(BaseModel):
    """What became of one answer. reason: why it was not taken."""

    number: int
    done: bool
    person: str | None = None
    name: str | None = None
    reason: str | None = None


class DecidedItems(BaseModel):
    """In the order of the answers."""

    results: list[DecidedItem]


class Undone(BaseModel):
    """undone: wait again. left: somebody answered after them."""

    undone: list[int]
    left: list[int]


class Camera(BaseModel):
    """A source and how it does. age_p95_ms: from capture to decision."""

    model_config = ConfigDict(extra="allow")
    name: str
    uri: str
    state: str
    size: list[int | None]
    captured: int
    processed: int
    dropped: dict[str, int]
    age_p95_ms: float | None


class RatedFace(BaseModel):
    """turn: how far the nose points to the right of the image (negative: left), 0.38 is a lot.
    reasons: why it is not good enough."""

    track: int
    state: State
    name: str | None
    quality: float
    reasons: list[str]
    turn: float
    roll: float


class WalkingFace(BaseModel):
    """seq: of the frame. several: more than one face is large enough to be meant. data: the face
    as JPEG, base64, for `POST /people`."""

    seq: int | None
    several: bool
    face: RatedFace | None
    data: str | None


class SettingsIn(Strict):
    """Keys of the configuration, joined by dots; null takes a change of the page back."""

    changes: Changes = Field(min_length=1, max_length=100)


class Difference(BaseModel):
    """A key whose value differs."""

    key: str
    before: Any
    after: Any


class Checked(BaseModel):
    """restarts: cameras and sinks start again."""

    valid: bool
    errors: list[str]
    diff: list[Difference]
    restarts: bool = False


class Applied(BaseModel):
    """What the service says, and what changed."""

    message: str
    diff: list[Difference]


class SettingsOut(BaseModel):
    """values: every key, without secrets. changed: what the page changed of them."""

    values: dict[str, Any]
    changed: dict[str, Any]


class Tuning(BaseModel):
    """What is in force and what is measured. similarity_from: settings, calibration or model.
    keys: of the settings that change them."""

    model_config = ConfigDict(extra="allow")
    keys: dict[str, str]
    detection_interval: int
    auto: bool
    search_max_side_px: int | None
    similarity_min: float
    similarity_from: str
    calibration: dict[str, Any] | None
    rates: dict[str, float]
    stages_p95_ms: dict[str, float]


class ShareOfFaces(BaseModel):
    """A share of faces, with its 95 % interval."""

    share: float
    low: float
    high: float
    faces: int


class ThresholdPoint(BaseModel):
    """What a threshold means. fpir: of strangers' faces, those that get a name. null: no faces."""

    similarity_min: float
    fpir: ShareOfFaces | None
    correctly_identified: ShareOfFaces | None


class ThresholdCurve(BaseModel):
    """strangers, known: how many faces were asked as each."""

    strangers: int
    known: int
    points: list[ThresholdPoint]


class AuditRow(BaseModel):
    """One act."""

    time: str
    actor: str
    action: str
    person: str
    name: str
    details: dict[str, Any]
    id: str
