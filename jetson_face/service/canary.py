"""The canary of a running service: an event, the audit log, and a service that is not ready."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from jetson_face.core.errors import OutputError
from jetson_face.events.recorder import EventRecorder
from jetson_face.factory.parts import Parts, build_canary
from jetson_face.inference.canary import Canary, CanaryEvent, CanaryWatch
from jetson_face.privacy.audit import Action, AuditLog
from jetson_face.service.events import own_event
from jetson_face.service.notify import HealthVerdict
from jetson_face.service.swap import HotSwap
from jetson_face.util.metrics import Metrics, Snapshot

logger = logging.getLogger(__name__)


class ServiceCanary:
    """Asks between two frames, in the recogniser's thread, whichever deck is in force.

    On drift the service goes on, since frames that are decided wrong are told from right ones by
    whoever gets the event; it stays alive for systemd, but is not ready until the answer is right.
    """

    def __init__(self, swap: HotSwap, recorder: EventRecorder, audit: AuditLog) -> None:
        self._swap, self._recorder, self._audit = swap, recorder, audit
        self._watch: CanaryWatch[Parts] = CanaryWatch(self._build, self._tell)

    def __call__(self, now_ns: int) -> None:
        """See LivePipeline's between_frames."""
        self._swap.use(lambda deck: self._watch.poll(deck.parts, now_ns))

    def judge(self, verdict: HealthVerdict) -> HealthVerdict:
        """Not ready while the answer is wrong."""
        if not self._watch.drifted:
            return verdict
        status = f"answers wrong: {self._watch.last}; {verdict.status}"
        return replace(verdict, ready=False, status=status)

    def document(self) -> dict[str, Any]:
        """For the page `/status`."""
        return self._watch.to_json()

    def metrics(self) -> Snapshot:
        """For the page `/metrics`."""
        own = Metrics()
        own.gauge("canary_drifted", "1 while the golden face is answered wrong").set(
            self._watch.drifted
        )
        own.counter("canary_asked", "Times that the golden face was asked for").add(
            self._watch.asked
        )
        if self._watch.cosine is not None:
            own.gauge("canary_cosine", "Likeness of the golden face's last answer").set(
                self._watch.cosine
            )
        return own.snapshot()

    def _build(self, parts: Parts, drifted: bool) -> Canary:
        return build_canary(self._swap.deck.config, parts, drifted=drifted)

    def _tell(self, event: CanaryEvent) -> None:
        space = str(self._swap.deck.parts.embedder.space)
        log = logger.error if event.state == "drifted" else logger.warning
        log("canary_%s embedder=%s %s", event.state, space, event)
        said = event.to_json()
        self._recorder.append(
            [own_event("canary", time.time(), **said, embedder=space, text=str(event))]
        )
        action: Action = "canary_drifted" if event.state == "drifted" else "canary_recovered"
        try:
            self._audit.record(action, person="", name=space, details=said)
        except OutputError as error:
            logger.error("audit_not_written error=%s", error)
