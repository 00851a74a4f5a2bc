"""Keeps a broker's retained states as they are here: who is there, and what Home Assistant is told.

States, not messages: whenever the connection comes, everything is published that the broker may not
have, and what is of nobody any more is cleared, also what an earlier start left there.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jetson_face.events.home_assistant import OFFLINE, ONLINE, Topics, leftovers, messages
from jetson_face.events.mqtt_session import Broker, LateError, LostError, Session
from jetson_face.events.presence import Presence
from jetson_face.events.reason import why
from jetson_face.util.backoff import Backoff, worth_a_line
from jetson_face.util.bell import Bell
from jetson_face.util.channels import Courier, StillBusyError
from jetson_face.util.redact import clean

logger = logging.getLogger(__name__)
_ANSWER_MAX = 4 << 20
"""Bytes of states that an earlier start may have left."""
_LOOK_S = 2.0
_LEFT_S = 1.0
_GOODBYE_S = 0.5


class StatePublisher:
    """See the module. `tell` from any thread, `run` is its own thread's loop.

    enrolled: who is enrolled now, id to name; asked every two seconds. snapshots: publish the last
    face of each camera. For the status: connected; error, None while there is none.
    """

    def __init__(
        self,
        broker: Broker,
        topics: Topics,
        presence: Presence,
        enrolled: Callable[[], Mapping[str, str]],
        *,
        snapshots: bool = False,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker, self._topics, self._presence = broker, topics, presence
        self._enrolled, self.snapshots, self._clock = enrolled, snapshots, clock
        self._backoff = backoff or Backoff()
        self._bell = Bell()
        self._published: dict[str, bytes] = {}
        self._left: set[str] = set()
        self.connected, self.failures = False, 0
        self.error: str | None = None

    def tell(self, event: Mapping[str, Any], jpeg: bytes | None) -> None:
        """Something happened. jpeg: the face, None for none."""
        self._presence.apply(event, jpeg, self._clock())
        self._bell.ring()

    def wake(self) -> None:
        """Let `run` look whether it should stop."""
        self._bell.ring()

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop`, then say `offline`."""
        courier: Courier[Session] = Courier(f"states-{self._broker.host}", on_late=Session.drop)
        try:
            while not stop.is_set():
                delay = self._life(courier, stop)
                end = self._clock() + delay
                while not stop.is_set() and (left := end - self._clock()) > 0:
                    self._bell.wait(left)
        finally:
            courier.close()
            self.connected = False

    def document(self) -> dict[str, Any]:
        """For the status."""
        return {"connected": self.connected, "error": self.error, "failures": self.failures}

    def _life(self, courier: Courier[Session], stop: threading.Event) -> float:
        """One connection, to its end; returns the seconds to wait before the next one."""
        session: Session | None = None
        try:
            session = self._connect(courier)
            self._clear_left(session)
            while not stop.is_set():
                self._publish(session, self.wanted())
                if not self.connected:
                    self._publish(session, {self._topics.status: ONLINE})
                    self._up()
                soon = self._presence.changes_in(self._clock())
                session.rest(min(_LOOK_S, _LOOK_S if soon is None else soon + 0.01), self._bell)
            self._goodbye(session)
        except LateError as error:
            return self._down(session, f"no {error} in {self._broker.timeout_s:g} s")
        except Exception as error:
            # Whatever it is, it is one broker's trouble, and not the end of recognition.
            return self._down(session, str(error) if isinstance(error, LostError) else why(error))
        return 0.0

    def _connect(self, courier: Courier[Session]) -> Session:
        will = (self._topics.status, OFFLINE)

        def dial() -> Session:
            return self._broker.dial(self._clock, will=will, answer_max=_ANSWER_MAX)

        try:
            session = courier.fetch(dial, timeout_s=self._broker.timeout_s)
        except StillBusyError:
            raise LateError("connection") from None
        try:
            session.until(lambda: session.accepted, self._end(), "greeting")
        except BaseException:
            session.drop()
            raise
        self._published.clear()
        return session

    def _clear_left(self, session: Session) -> None:
        """Ask the broker what it has, and clear what is of nobody: also a picture of which nobody
        knows since a restart whose face it is."""
        kinds = ("person/+", "camera/+", "camera/+/snapshot")
        asked = [f"{self._topics.base}/{kind}" for kind in kinds]
        answered = threading.Event()

        def note(client: Any, data: Any, message: Any) -> None:
            if message.retain and message.payload:
                self._left.add(str(message.topic))

        session.client.on_message = note
        session.client.on_subscribe = lambda *_: answered.set()
        session.client.subscribe([(topic, 0) for topic in asked])
        session.until(answered.is_set, self._end(), "subscription")
        until = self._clock() + _LEFT_S
        while (left := until - self._clock()) > 0:
            session.rest(left, self._bell)
        session.client.unsubscribe(asked)
        wanted = self.wanted()
        gone = {t for found in self._left - wanted.keys() for t in leftovers(self._topics, found)}
        self._left.clear()
        self._publish(session, dict.fromkeys(sorted(gone - wanted.keys()), b""))

    def wanted(self) -> dict[str, bytes]:
        """All that is to be retained now but the status, by topic."""
        enrolled = dict(self._enrolled())
        return messages(
            self._topics,
            self._presence.people(enrolled, self._clock()),
            self._presence.cameras(enrolled),
            self._presence.snapshots(enrolled) if self.snapshots else None,
        )

    def _publish(self, session: Session, wanted: Mapping[str, bytes]) -> None:
        """What the broker does not have, retained; and clear what is not wanted any more. Returns
        when the broker has it."""
        changed = {t: body for t, body in wanted.items() if self._published.get(t) != body}
        if self.connected:
            status = {self._topics.status}
            changed |= dict.fromkeys(self._published.keys() - wanted.keys() - status, b"")
        sent = [
            session.client.publish(topic, body, qos=1, retain=True)
            for topic, body in changed.items()
        ]
        session.until(lambda: all(m.is_published() for m in sent), self._end(), "acknowledgement")
        for topic, body in changed.items():
            if body:
                self._published[topic] = body
            else:
                self._published.pop(topic, None)

    def _goodbye(self, session: Session) -> None:
        end = self._clock() + _GOODBYE_S
        sent = session.client.publish(self._topics.status, OFFLINE, qos=1, retain=True)
        session.until(sent.is_published, end, "acknowledgement")
        session.close()

    def _end(self) -> float:
        return self._clock() + self._broker.timeout_s

    def _up(self) -> None:
        if self.error is not None:
            logger.warning("states_back broker=%s failures=%d", self._broker.host, self.failures)
        self.connected, self.error, self.failures = True, None, 0

    def _down(self, session: Session | None, error: str) -> float:
        if session is not None:
            session.drop()
        self.connected = False
        self.failures += 1
        self.error = clean(f"{self._broker.host}:{self._broker.port}: {error}", 300)
        if worth_a_line(self.failures):
            logger.warning("states_down failures=%d error=%s", self.failures, self.error)
        return self._backoff.delay_s(self.failures, random.random())
