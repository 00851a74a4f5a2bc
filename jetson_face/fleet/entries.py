"""What lies on the server of people, sealed: a person's whole record, or that they are erased."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from jetson_face.core.errors import GalleryCorruptError
from jetson_face.core.protocols import Cipher
from jetson_face.core.types import EmbeddingSpace, Person
from jetson_face.gallery.person_notes import Consent
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.replicated import PersonRecord
from jetson_face.privacy.audit import Receipt
from jetson_face.util.images import decode_picture, encode_jpeg

_FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class PeopleEntry:
    """One version of a person. log: id of the log that it was written into. record: None: they are
    erased."""

    log: str
    person: str
    record: PersonRecord | None


def sealed_entry(cipher: Cipher, subject: str, entry: PeopleEntry) -> bytes:
    """The bytes for the server; they open under the same subject only."""
    plain = {
        "format": _FORMAT,
        "log": entry.log,
        "person": entry.person,
        "record": None if entry.record is None else _plain(entry.record),
    }
    return sealed(cipher, subject, plain)


def opened_entry(cipher: Cipher, subject: str, data: bytes) -> PeopleEntry:
    """Raises GalleryError for another key, GalleryCorruptError for what is no entry."""
    known = opened(cipher, subject, data)
    try:
        if known["format"] != _FORMAT:
            raise GalleryCorruptError(
                f"an entry of format {known['format']!r:.20}: a newer jetson-face wrote it"
            )
        person, record = str(known["person"]), known["record"]
        if subject.rpartition(".")[2] != person:
            raise ValueError("another person's")
        return PeopleEntry(
            str(known["log"]), person, None if record is None else _record(person, record)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, GalleryCorruptError):
            raise
        raise GalleryCorruptError(f"not an entry of a fleet's people: {error}") from None


def sealed(cipher: Cipher, subject: str, plain: dict[str, Any]) -> bytes:
    """JSON, bound to its subject."""
    return cipher.encrypt(json.dumps(plain, ensure_ascii=False).encode(), _context(subject))


def opened(cipher: Cipher, subject: str, data: bytes) -> dict[str, Any]:
    """Raises GalleryError for another key, GalleryCorruptError for anything else."""
    try:
        known = json.loads(cipher.decrypt(data, _context(subject)))
    except ValueError as error:
        if isinstance(error, GalleryCorruptError):
            raise
        raise GalleryCorruptError(f"{subject}: what was sealed is no JSON") from None
    if not isinstance(known, dict):
        raise GalleryCorruptError(f"{subject}: what was sealed is no object")
    return known


def opened_receipt(cipher: Cipher, subject: str, data: bytes) -> dict[str, Any]:
    """What a box says of an erasure: the fields of a receipt, and whether it is complete. Raises as
    `opened`, GalleryCorruptError also for what is no receipt."""
    known = opened(cipher, subject, data)
    try:
        receipt = _receipts().validate_python(known)
    except ValidationError:
        raise GalleryCorruptError(f"{subject}: what was sealed is no receipt") from None
    return asdict(receipt) | {"complete": known.get("complete") is True}


@cache
def _receipts() -> TypeAdapter[Receipt]:
    return TypeAdapter(Receipt)


def _context(subject: str) -> bytes:
    return b"jetson-face fleet " + subject.encode()


def _plain(record: PersonRecord) -> dict[str, Any]:
    return {
        "name": record.person.name,
        "created": record.created,
        "space": asdict(record.space),
        "never": record.never,
        "consent": None if record.consent is None else asdict(record.consent),
        "templates": [_plain_template(one, created) for one, created in record.templates],
    }


def _plain_template(one: NewTemplate, created: float) -> dict[str, Any]:
    return {
        "vector": _text(np.asarray(one.vector, "<f4").tobytes()),
        "quality": float(one.quality),
        "photo": one.photo,
        "face": one.face,
        "source": one.source,
        "created": created,
        "portrait": _text(encode_jpeg(one.portrait)),
        "landmarks": np.asarray(one.landmarks, float).tolist(),
    }


def _record(person: str, known: dict[str, Any]) -> PersonRecord:
    space = EmbeddingSpace(**known["space"])
    consent = known["consent"]
    return PersonRecord(
        Person(person, str(known["name"])),
        float(known["created"]),
        space,
        tuple(_template(one) for one in known["templates"]),
        bool(known["never"]),
        None if consent is None else Consent(**consent),
    )


def _template(known: dict[str, Any]) -> tuple[NewTemplate, float]:
    new = NewTemplate(
        np.frombuffer(base64.b64decode(known["vector"], validate=True), "<f4").copy(),
        float(known["quality"]),
        str(known["photo"]),
        decode_picture(base64.b64decode(known["portrait"], validate=True), ""),
        np.asarray(known["landmarks"], np.float32).reshape(5, 2),
        str(known["source"]),
        int(known["face"]),
    )
    return new, float(known["created"])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
