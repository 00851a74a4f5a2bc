"""What a person does with a fleet: the streams, people, erasures, and how the boxes are."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jetson_face.config import Config, FleetConfig
from jetson_face.core.errors import FleetError, FleetRightsError, JetsonFaceError, UsageError
from jetson_face.core.protocols import Cipher
from jetson_face.events.nats_link import DOMAIN, fresh_consumer, given_up, within
from jetson_face.events.reason import why
from jetson_face.factory.fleet import fleet_cipher, fleet_of, link_of
from jetson_face.fleet.entries import PeopleEntry, opened_entry, opened_receipt, sealed_entry
from jetson_face.fleet.plans import PlansHead, push_plans
from jetson_face.fleet.status import SeenBox, status_of
from jetson_face.fleet.subjects import (
    ALL,
    EVENTS,
    PEOPLE,
    RECEIPTS,
    STATUS,
    STREAM_SUBJECTS,
    events_about,
    parts_of,
    people_of,
    person_at,
    receipts_for,
)
from jetson_face.gallery.replicated import PersonRecord

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

_TIMEOUT_S = 10.0
_BATCH = 100
_GONE = ("no message found", "deleted message")
"""How a server says that what is to be deleted is not there."""
DUPLICATE_WINDOW_S = 120.0
"""How long the server itself knows an event's id; see `jetson_face.events.nats` for what is
later."""


@dataclass(frozen=True, slots=True)
class SentPerson:
    """A person as the server has them. seq: number of the version. time: UTC seconds at which the
    server got it. entry: None where the key does not open it."""

    scope: str
    person: str
    seq: int
    size: int
    time: float
    entry: PeopleEntry | None

    @property
    def record(self) -> PersonRecord | None:
        """None for who was erased, and where the key does not open it."""
        return None if self.entry is None else self.entry.record

    @property
    def erased(self) -> bool:
        """They were erased from the fleet."""
        return self.entry is not None and self.entry.record is None


@dataclass(slots=True)
class ErasureReport:
    """What the boxes say of an erasure. time: UTC seconds at which the server was told, 0 where it
    was not asked. receipts: by `SITE/BOX`. missing: boxes without a complete one."""

    person: str
    time: float = 0.0
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Every box has erased them."""
        return not self.missing


class FleetOperator:
    """One connection of a person who may read and write everything. Made by `connected`."""

    def __init__(self, stream: JetStreamContext, cipher: Cipher, server: str) -> None:
        self._stream, self._cipher, self._server = stream, cipher, server
        self._log: str | None = None
        self._sent: set[str] = set()

    async def set_up(self, *, keep_days: float, max_mib: int | None) -> list[str]:
        """Make the streams, or bring them to these settings; what was done. keep_days, max_mib: of
        events, the oldest go first."""
        from nats.js.api import DiscardPolicy, StorageType, StreamConfig
        from nats.js.errors import NotFoundError

        done = []
        for name, subject in STREAM_SUBJECTS.items():
            wanted = StreamConfig(
                name=name,
                subjects=[subject],
                storage=StorageType.FILE,
                discard=DiscardPolicy.OLD,
                duplicate_window=DUPLICATE_WINDOW_S,
            )
            if name == EVENTS:
                wanted.max_age = keep_days * 86_400
                wanted.max_bytes = None if max_mib is None else max_mib << 20
            else:
                wanted.max_msgs_per_subject = 1
            try:
                now = (await self._stream.stream_info(name)).config
                wanted.description = now.description or uuid.uuid4().hex
                await self._stream.update_stream(wanted)
                done.append(f"{name}: brought up to date")
            except NotFoundError:
                wanted.description = uuid.uuid4().hex
                await self._stream.add_stream(wanted)
                done.append(f"{name}: made")
        return done

    async def boxes(self) -> list[SeenBox]:
        """Every box that ever said how it is, by site and name."""
        seen = {}
        for one in await self._read(STATUS, STREAM_SUBJECTS[STATUS]):
            # who speaks meanwhile is there twice: the later one counts
            who, received = parts_of(one.subject), one.metadata.timestamp.timestamp()
            seen[who] = status_of(*who, one.data, received)
        return [seen[who] for who in sorted(seen)]

    async def ends(self, scopes: Iterable[str]) -> dict[str, int]:
        """By scope, the number of the last entry of the log of people; 0 where there is none. A
        box that is there, and holds and erases nobody, has everything that the server has."""
        found = {}
        for scope in scopes:
            last = await self._read(PEOPLE, people_of(scope), last=True)
            found[scope] = last[0].metadata.sequence.stream if last else 0
        return found

    async def forget(self, site: str, box: str) -> bool:
        """Take a box that is gone for good out of the list; whether it was there."""
        subject = f"jf.{site}.{box}.status"
        there = bool(await self._read(STATUS, subject))
        await self._stream.purge_stream(STATUS, subject=subject)
        return there

    async def people(self, person: str = "*") -> list[SentPerson]:
        """Everybody who was sent, or the versions of one of them (id)."""
        found = []
        for one in await self._read(PEOPLE, person_at("*", person)):
            scope, who = parts_of(one.subject)
            entry = None
            with suppress(JetsonFaceError):
                entry = opened_entry(self._cipher, one.subject, one.data)
            seq, time_s = one.metadata.sequence.stream, one.metadata.timestamp.timestamp()
            found.append(SentPerson(scope, who, seq, len(one.data), time_s, entry))
        return found

    async def send(self, record: PersonRecord, scope: str) -> int:
        """Give a person to the boxes of a scope; the number of the version.

        Raises UsageError for somebody who was erased, or sent to another scope; FleetError where
        the server refuses, or somebody else sends the same person at the same time.
        """
        person = record.person.id
        subject, last = person_at(scope, person), 0
        await self._learn()
        if person in self._sent:
            before = await self.people(person)
            if any(one.erased for one in before):
                raise UsageError(
                    f"{record.person.name} was erased from the fleet: enrol them again"
                )
            if others := sorted({one.scope for one in before} - {scope}):
                raise UsageError(
                    f"{record.person.name} was sent to {others[0]} and cannot move: erase them "
                    "from the fleet, and enrol them again"
                )
            last = max((one.seq for one in before), default=0)
        seq = await self._write(subject, PeopleEntry("", person, record), last)
        self._sent.add(person)
        return seq

    async def push_plans(self, fleet: FleetConfig, content: bytes, scope: str) -> PlansHead:
        """See `jetson_face.fleet.plans`."""
        return await push_plans(self._stream, fleet, content, scope)

    async def erase(self, person: str) -> None:
        """Tell every box to erase a person (id), and take them off the server."""
        scopes = {one.scope for one in await self.people(person)} | {ALL}
        for scope in sorted(scopes):
            await self._write(person_at(scope, person), PeopleEntry("", person, None), None)
        await self._erase_events(person)

    async def erasure(self, person: str) -> ErasureReport:
        """What every box says of it now; events that came late lose the person, too."""
        (report,) = await self._reports({person: 0.0}, person)
        await self._erase_events(person)
        return report

    async def erasures(self) -> list[ErasureReport]:
        """What every box says of every erasure, the last one first."""
        erased: dict[str, float] = {}
        for one in await self.people():
            if one.erased:
                erased[one.person] = max(one.time, erased.get(one.person, 0.0))
        found = await self._reports(erased, "*")
        return sorted(found, key=lambda report: report.time, reverse=True)

    async def _reports(self, erased: Mapping[str, float], person: str) -> list[ErasureReport]:
        """erased: by person (id), when. person: one of them, or `*`."""
        reports = {who: ErasureReport(who, time=when) for who, when in erased.items()}
        for one in await self._read(RECEIPTS, receipts_for(person)):
            about = reports.get(one.subject.rpartition(".")[2])
            with suppress(JetsonFaceError):
                receipt = opened_receipt(self._cipher, one.subject, one.data)
                if about is not None:
                    about.receipts["/".join(parts_of(one.subject))] = receipt
        boxes = [seen.status.name for seen in await self.boxes()]
        for report in reports.values():
            report.missing = tuple(
                box for box in boxes if not report.receipts.get(box, {}).get("complete")
            )
        return list(reports.values())

    async def wait(self, person: str, limit_s: float, tell: Callable[[str], None]) -> ErasureReport:
        """Wait until every box has erased the person, at most so long."""
        end = time.monotonic() + limit_s
        while True:
            report = await self.erasure(person)
            left = end - time.monotonic()
            if report.complete or left <= 0:
                return report
            tell(f"{len(report.receipts)} receipts, {len(report.missing)} boxes missing")
            await asyncio.sleep(min(1.0, left))

    async def _erase_events(self, person: str) -> None:
        """Not by a purge, which leaves the bytes in the server's files: each is overwritten."""
        from nats.js.errors import APIError

        for subject in events_about(person):
            for one in await self._read(EVENTS, subject):
                try:
                    await self._stream.delete_msg(EVENTS, one.metadata.sequence.stream)
                except APIError as error:  # somebody else, who asks for the same report, was first
                    if error.description not in _GONE:
                        raise

    async def _write(self, subject: str, entry: PeopleEntry, after: int | None) -> int:
        """after: the number of the version that this one follows; None: whichever it is."""
        await self._learn()
        new = PeopleEntry(self._log or "", entry.person, entry.record)
        body = sealed_entry(self._cipher, subject, new)
        headers = None
        if after is not None:
            headers = {"Nats-Expected-Last-Subject-Sequence": str(after)}
        told = await self._stream.publish(subject, body, stream=PEOPLE, headers=headers)
        return int(told.seq)

    async def _learn(self) -> None:
        """Ask once which log this is, and who was sent: whoever is sent meanwhile is noticed by the
        server, which is told the number that a version follows."""
        if self._log is None:
            info = await self._stream.stream_info(PEOPLE, subjects_filter=">")
            self._log = info.config.description or ""
            self._sent = {parts_of(subject)[1] for subject in info.state.subjects or {}}

    async def _read(self, name: str, subject: str, *, last: bool = False) -> list[Msg]:
        """Everything that a stream has under a subject, or the last of it."""
        from nats.js.errors import APIError

        consumer = f"operator_{secrets.token_hex(8)}"
        start = None if last else 1
        info, there = await fresh_consumer(self._stream, name, consumer, subject, start)
        found: list[Msg] = []
        try:
            while len(found) < (info.num_pending or 0):
                found += await there.fetch(_BATCH, timeout=_TIMEOUT_S)
        finally:
            await there.unsubscribe()
            with suppress(APIError):  # its server stumbles over what is deleted meanwhile
                await self._stream.delete_consumer(name, consumer)
        return found


@asynccontextmanager
async def connected(config: Config, refused: Callable[[], None]) -> AsyncIterator[FleetOperator]:
    """As the person whose credentials the configuration names. refused: see `NatsLink.connect`.
    Raises FleetError where the server cannot be reached, refuses, or has no streams; GalleryError
    for keys that cannot be used."""
    fleet = fleet_of(config)
    cipher, link = fleet_cipher(fleet), link_of(fleet, "operator")
    try:
        client = await link.connect(_TIMEOUT_S, refused)
        try:
            yield FleetOperator(
                client.jetstream(domain=DOMAIN, timeout=_TIMEOUT_S), cipher, fleet.server
            )
        finally:
            with suppress(Exception):
                await within(1.0, client.close())
    except JetsonFaceError:
        raise
    except Exception as error:
        raise FleetError(_said(error, fleet.server)) from error


def _said(error: Exception, server: str) -> str:
    from nats import errors
    from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

    if isinstance(error, NotFoundError):
        return f"{server}: it has no streams for a fleet: run `jetson-face fleet set-up`"
    if isinstance(error, NoStreamResponseError | errors.NoRespondersError):
        return f"{server}: nobody answers for JetStream: is the hub reached, with jetstream on?"
    if isinstance(error, errors.TimeoutError | asyncio.TimeoutError):
        return f"{server}: no answer: not reached, or these credentials may not ask for that"
    if isinstance(error, errors.MaxPayloadError):
        return f"{server}: the person has more photos than `max_payload` allows: raise it there"
    if isinstance(error, APIError) and "wrong last sequence" in str(error.description):
        return f"{server}: somebody else sends the same person: try again"
    return f"{server}: {why(error)}"


def run(config: Config, work: Callable[[FleetOperator], Coroutine[Any, Any, Any]]) -> Any:
    """Do something with one connection. Raises FleetRightsError at once for credentials that may
    not do it, and what `connected` raises."""

    async def all_of_it() -> Any:
        refused = asyncio.Event()
        async with connected(config, refused.set) as operator:
            return await _unless(refused, work(operator), fleet_of(config).server)

    return asyncio.run(all_of_it())


async def _unless(refused: asyncio.Event, work: Coroutine[Any, Any, Any], server: str) -> Any:
    """The server tells of a right that is missing beside the question, which then stays without an
    answer."""
    asked, said = asyncio.ensure_future(work), asyncio.ensure_future(refused.wait())
    try:
        await asyncio.wait({asked, said}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        raise FleetRightsError(
            f"{server}: the credentials of this machine are a box's, and see this box alone: the "
            "whole fleet is for who has the operator's (docs/fleet.md)"
        )
    finally:
        await given_up({asked, said})
