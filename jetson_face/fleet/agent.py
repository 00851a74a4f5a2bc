"""A box's part in a fleet: reads people and erasures, does them, and says how it is.

A process of its own, and one thread: whatever the server or an erasure costs, recognition goes on.
Events are the service's: its outbox sends them (`jetson_face.events.nats`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from jetson_face.config import Config
from jetson_face.core.errors import FleetError, JetsonFaceError
from jetson_face.events.nats_link import DOMAIN, fresh_consumer, given_up, within
from jetson_face.events.reason import why
from jetson_face.factory.fleet import consumer_of, fleet_cipher, fleet_of, link_of, subject_of
from jetson_face.factory.parts import open_gallery
from jetson_face.fleet.applying import Applier, LogChangedError, LogMessage, PortraitEmbedder
from jetson_face.fleet.entries import sealed
from jetson_face.fleet.erasing import erase_here
from jetson_face.fleet.link_state import LinkJournal
from jetson_face.fleet.place import FleetPlace, read_place, write_place
from jetson_face.fleet.plans import PlansTaker, TakePlans
from jetson_face.fleet.status import status_here, status_text
from jetson_face.fleet.subjects import PEOPLE, RECEIPTS, STATUS, people_of, scopes
from jetson_face.gallery.store import GalleryStore
from jetson_face.util.backoff import Backoff

if TYPE_CHECKING:
    from nats.js import JetStreamContext

logger = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
_WAIT_S = 20.0
"""How long one question for new people lasts."""
_BATCH = 100
_AGAIN_S = 600.0
"""How often people who were held are tried again."""
_PLANS_S = 300.0
"""How often a box asks for TensorRT plans."""
_WENT_BACK = (
    "the hub's log of people went back, as one that was restored from an older backup: type on the "
    "operator's machine `jetson-face fleet set-up`, then `jetson-face fleet people send --all`"
)


class FleetAgent:
    """See the module. Built complete, run once. take_plans: see `TakePlans`; None: nobody takes
    any."""

    def __init__(self, config: Config, take_plans: TakePlans | None = None) -> None:
        self._config, self._fleet = config, fleet_of(config)
        self._embed, self._take = PortraitEmbedder(config), take_plans
        self._backoff = Backoff(0.5, 15.0)
        self._to_erase = asyncio.Event()
        self._journal, self._failures = LinkJournal(config.state_dir), 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: sessions with the server, and waits between them that grow. A server that
        is away costs one line in the log when it goes, and one when it is back."""
        while not stop.is_set():
            try:
                await _first_of([self._session(), stop.wait()])
            except LogChangedError as error:
                logger.warning("fleet_log_changed reads=from_the_beginning why=%s", error)
            except Exception as error:
                self._failed(error)
            if not stop.is_set():
                delay = self._backoff.delay_s(max(1, self._failures), random.random())
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stop.wait(), delay)
        self._journal.lost("the service has ended")
        self._embed.close()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        said = str(error) if isinstance(error, JetsonFaceError) else why(error)
        self._journal.lost(said)
        if self._failures == 1:
            expected = isinstance(error, JetsonFaceError | OSError | asyncio.TimeoutError)
            foreign = type(error).__module__.startswith("nats")
            logger.warning(
                "fleet_down server=%s error=%s",
                self._fleet.server,
                said,
                exc_info=None if expected or foreign else error,
            )

    async def _session(self) -> None:
        """One connection, until something of it fails, or who is held is due again."""
        cipher, link = fleet_cipher(self._fleet), link_of(self._fleet, "people")
        with self._gallery() as store:
            client = await link.connect(_TIMEOUT_S)
            try:
                self._journal.made()
                stream = client.jetstream(domain=DOMAIN, timeout=_TIMEOUT_S)
                applier = Applier(store, cipher, self._embed)
                tasks = [self._tell(stream, store)]
                tasks += [self._follow(stream, applier, scope) for scope in scopes(self._fleet)]
                if self._take is not None and self._fleet.plans_from is not None:
                    taker = PlansTaker(self._fleet, self._config.state_dir, self._take)
                    tasks.append(_take_plans(stream, taker))
                await _first_of(tasks)
            finally:
                with suppress(Exception):
                    await within(1.0, client.close())

    def _gallery(self) -> GalleryStore:
        """The box's own; made, where there is none, for the network of the configuration."""
        if self._config.gallery_path.exists():
            return open_gallery(self._config)
        return open_gallery(self._config, self._embed.embedder.space, create=True)

    async def _follow(self, stream: JetStreamContext, applier: Applier, scope: str) -> None:
        """Read the log of one scope from where this box is, for ever."""
        place = read_place(applier.store)
        start = place.start(scope)
        went_back = await self._overtook(stream, place, scope)
        info, people = await fresh_consumer(
            stream, PEOPLE, consumer_of(self._fleet, scope), people_of(scope), start
        )
        if went_back or (info.delivered is not None and info.delivered.stream_seq < start - 1):
            with applier.store.transaction():
                write_place(applier.store, replace(place, positions={}))
            raise LogChangedError(_WENT_BACK)
        last = 0
        self._journal.heard(scope, info.num_pending or 0)
        while True:
            try:
                found = await within(_WAIT_S + _TIMEOUT_S, people.fetch(_BATCH, timeout=_WAIT_S))
            except asyncio.TimeoutError:  # nothing new
                found = []
            if not found:
                # Raises where it, or the server, has gone.
                info = await within(_TIMEOUT_S, people.consumer_info())
                self._journal.heard(scope, info.num_pending or 0)
                continue
            messages = []
            for one in found:
                if one.metadata.sequence.consumer != last + 1:
                    raise FleetError(f"{self._fleet.server}: entries of {scope} got lost")
                last += 1
                seq, time_s = one.metadata.sequence.stream, one.metadata.timestamp.timestamp()
                messages.append(LogMessage(seq, one.subject, one.data, time_s))
            if applier.apply(scope, messages):
                self._to_erase.set()
            self._journal.heard(scope, found[-1].metadata.num_pending)
            await asyncio.sleep(0)

    async def _overtook(self, stream: JetStreamContext, place: FleetPlace, scope: str) -> bool:
        """The log went back, and on again: it has entries under numbers that this box has read, and
        newer than all that it has read."""
        if scope not in place.newest:
            return False
        since = datetime.fromtimestamp(place.newest[scope][1], timezone.utc)
        name = consumer_of(self._fleet, scope)
        info, newer = await fresh_consumer(stream, PEOPLE, name, people_of(scope), since)
        left = info.num_pending or 0
        try:
            while left:
                for one in await newer.fetch(_BATCH, timeout=_TIMEOUT_S):
                    seq, time_s = one.metadata.sequence.stream, one.metadata.timestamp.timestamp()
                    if place.denies(scope, seq, time_s):
                        return True
                    left = one.metadata.num_pending
                    if seq > place.positions.get(scope, 0):
                        return False
            return False
        finally:
            await newer.unsubscribe()

    async def _tell(self, stream: JetStreamContext, store: GalleryStore) -> None:
        """Erase who is to be erased, and say how this box is, again and again; until somebody who
        is held is to be tried again, which a new session does."""
        began = time.monotonic()
        while True:
            self._to_erase.clear()
            for person in read_place(store).erasing:
                await self._erase(stream, store, person)
            status = status_here(self._config, store)
            await self._publish(stream, "status", status_text(status), STATUS)
            if self._failures:
                logger.warning("fleet_back after_failures=%d", self._failures)
                self._failures = 0
            if status.held and time.monotonic() - began > _AGAIN_S:
                return
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._to_erase.wait(), self._fleet.status_s)

    async def _erase(self, stream: JetStreamContext, store: GalleryStore, person: str) -> None:
        """Erase, tell, and only then forget that it is to be done."""
        try:
            receipt = erase_here(self._config, store, person)
        except JetsonFaceError as error:
            logger.error("fleet_not_erased person=%s error=%s", person, error)
            return
        what = f"receipts.{person}"
        plain = asdict(receipt) | {"complete": receipt.complete}
        body = sealed(fleet_cipher(self._fleet), f"{subject_of(self._fleet)}.{what}", plain)
        await self._publish(stream, what, body, RECEIPTS)
        if receipt.complete:
            with store.transaction():
                write_place(store, read_place(store).erased(person))
        logger.info("fleet_erased person=%s complete=%s", person, receipt.complete)

    async def _publish(self, stream: JetStreamContext, what: str, body: bytes, name: str) -> None:
        subject = f"{subject_of(self._fleet)}.{what}"
        await within(_TIMEOUT_S, stream.publish(subject, body, stream=name))


async def _take_plans(stream: JetStreamContext, taker: PlansTaker) -> None:
    while True:
        await taker.look(stream)
        await asyncio.sleep(_PLANS_S)


async def _first_of(work: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Do several things at once until one is over; the others are given up. Raises what the first
    one raised."""
    tasks = {asyncio.ensure_future(one) for one in work}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await given_up(tasks)
