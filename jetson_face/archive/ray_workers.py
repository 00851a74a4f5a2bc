"""Workers on a Ray cluster: actors that keep their networks loaded and take one piece at a time.

A piece whose worker died is done again by another one. The results come back to this process, which
alone writes: no worker needs the archive's key.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

from jetson_face.archive.indexer import PieceIndex, PieceIndexer
from jetson_face.archive.pieces import RecordingPiece
from jetson_face.archive.run import PieceFailure
from jetson_face.config import Config
from jetson_face.core.errors import (
    InputBrokenError,
    InputMissingError,
    JetsonFaceError,
    SourceError,
)
from jetson_face.util.optional import needs, pip_install

log = logging.getLogger(__name__)
_TRIES = 3
"""So often the worker of one piece may die: then it is the piece that kills it."""
_WAIT_S = 1.0
_GIVE_UP_S = 120.0
"""So long no worker may be there before the run ends."""


class RayWorkers:
    """See the module. address: of the cluster's head, `auto` for the one of this machine, `local`
    for one that lasts as long as this run. gpu_share: of a GPU, for each worker.

    Raises MissingDependencyError without ray, SourceError where the cluster does not answer.
    """

    def __init__(
        self, config: Config, address: str, *, workers: int | None = None, gpu_share: float = 0.0
    ) -> None:
        with needs(f"--ray needs ray: {pip_install('archive')}"):
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
            import ray
        self._ray, self._settings = ray, config.model_dump_json()
        self._wanted, self._gpu_share = workers, gpu_share
        try:
            ray.init(
                address=None if address == "local" else address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            why = str(error).split("\n")[0][:200]
            raise SourceError(f"ray at {address}: {why}: start it with `ray start`") from None
        self._actor = ray.remote(max_concurrency=1)(_IndexActor)

    def run(self, pieces: Iterable[RecordingPiece]) -> Iterator[PieceIndex | PieceFailure]:
        """See PieceWorkers. Raises SourceError where no worker is left, the networks' errors."""
        state = _Pool(iter(pieces))
        last_sign = time.monotonic()
        while True:
            self._staff(state)
            self._hand_out(state)
            if not state.busy and not state.again and state.finished:
                return
            ready, _ = self._ray.wait(list(state.busy), timeout=_WAIT_S) if state.busy else ([], 0)
            for reference in ready:
                last_sign = time.monotonic()
                actor, piece = state.busy.pop(reference)
                result = self._result(state, reference, actor, piece)
                if result is not None:
                    yield result
            if not state.actors and time.monotonic() - last_sign > _GIVE_UP_S:
                raise SourceError("ray: no worker is left, and none can be started")

    def close(self) -> None:
        """Leave the cluster; its actors of this run end."""
        self._ray.shutdown()

    def _staff(self, state: _Pool) -> None:
        """As many actors as there are cores, or as were asked for; in place of dead ones, too."""
        total = self._ray.cluster_resources()
        most = int(total.get("CPU", 0))
        if self._gpu_share:
            most = min(most, int(total.get("GPU", 0) / self._gpu_share))
        wanted = most if self._wanted is None else min(self._wanted, most)
        while len(state.actors) < wanted:
            options = {"num_cpus": 1, "num_gpus": self._gpu_share, "max_restarts": 0}
            actor = self._actor.options(**options).remote(self._settings)
            state.actors.append(actor)
            state.idle.append(actor)

    def _hand_out(self, state: _Pool) -> None:
        while state.idle and (piece := state.next()) is not None:
            actor = state.idle.popleft()
            state.busy[actor.index.remote(piece)] = actor, piece

    def _result(
        self, state: _Pool, reference: Any, actor: Any, piece: RecordingPiece
    ) -> PieceIndex | PieceFailure | None:
        """None where the worker died and the piece is done again."""
        errors = self._ray.exceptions
        try:
            result: PieceIndex | PieceFailure = self._ray.get(reference)
        except (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError) as error:
            state.actors.remove(actor)
            state.deaths[piece.id] += 1
            log.warning("worker_died piece=%s tries=%d", piece.id, state.deaths[piece.id])
            if state.deaths[piece.id] >= _TRIES:
                why = str(error).split("\n")[0][:200]
                broken = InputBrokenError(f"{piece.address}: its workers die: {why}")
                return PieceFailure(piece, broken)
            state.again.append(piece)
            return None
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, JetsonFaceError) else None
            raise cause or error from None
        state.idle.append(actor)
        return result


class _Pool:
    """Who works on what. finished: no piece is left to hand out."""

    def __init__(self, pieces: Iterator[RecordingPiece]) -> None:
        self._pieces = pieces
        self.actors: list[Any] = []
        self.idle: deque[Any] = deque()
        self.busy: dict[Any, tuple[Any, RecordingPiece]] = {}
        self.again: deque[RecordingPiece] = deque()
        self.deaths: Counter[str] = Counter()
        self.finished = False

    def next(self) -> RecordingPiece | None:
        """A piece to be done; those of dead workers first."""
        if self.again:
            return self.again.popleft()
        piece = None if self.finished else next(self._pieces, None)
        self.finished = self.finished or piece is None
        return piece


class _IndexActor:
    """Runs on a worker of the cluster."""

    def __init__(self, settings: str) -> None:
        self._indexer = PieceIndexer(Config.model_validate_json(settings))

    def index(self, piece: RecordingPiece) -> PieceIndex | PieceFailure:
        """One piece; what is wrong with its recording comes back as a failure."""
        try:
            return self._indexer.index(piece)
        except (InputBrokenError, InputMissingError) as error:
            return PieceFailure(piece, error)
