"""Workers on a Ray cluster: actors that keep their networks loaded and take one piece at a time.

A piece whose worker died is done again by another one. The results come back to this process, which
alone writes: no worker needs the archive's key.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

from jetson_face.archive.indexer import PieceFailure, PieceIndex, PieceIndexer
from jetson_face.archive.pieces import RecordingPiece
from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError, JetsonFaceError, SourceError
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
        if address not in ("local", "auto"):
            _must_answer(address)
        # cameras' addresses may hold passwords, and no worker needs them
        private = {"sources", "service", "report"}
        self._ray, self._settings = ray, config.model_dump_json(exclude=private)
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
        errors = ray.exceptions
        self._died = (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError)
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
            waiting = [*state.busy, *state.starting]
            ready, _ = self._ray.wait(waiting, timeout=_WAIT_S) if waiting else ([], waiting)
            for reference in ready:
                last_sign = time.monotonic()
                if reference in state.starting:
                    self._started(state, reference)
                    continue
                result = self._result(state, reference)
                if result is not None:
                    yield result
            if not state.busy and time.monotonic() - last_sign > _GIVE_UP_S:
                raise SourceError("ray: no worker is left, and none can be started")
            if not waiting:
                time.sleep(_WAIT_S)

    def close(self) -> None:
        """Leave the cluster; its actors of this run end."""
        self._ray.shutdown()

    def _staff(self, state: _Pool) -> None:
        """As many actors as there are cores, or as were asked for, in place of dead ones too; those
        that wait for a node that is gone are withdrawn."""
        total = self._ray.cluster_resources()
        most = int(total.get("CPU", 0))
        if self._gpu_share:
            most = min(most, int(total.get("GPU", 0) / self._gpu_share))
        wanted = most if self._wanted is None else min(self._wanted, most)
        while state.count < wanted:
            options = {"num_cpus": 1, "num_gpus": self._gpu_share, "max_restarts": 0}
            actor = self._actor.options(**options).remote(self._settings)
            state.starting[actor.ready.remote()] = actor
        while state.count > wanted and state.starting:
            _, actor = state.starting.popitem()
            self._ray.kill(actor)

    def _started(self, state: _Pool, reference: Any) -> None:
        actor = state.starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self._died as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, JetsonFaceError):
                raise cause from None
            log.warning("worker_not_started")
            return
        state.idle.append(actor)

    def _hand_out(self, state: _Pool) -> None:
        while state.idle and (piece := state.next()) is not None:
            actor = state.idle.popleft()
            state.busy[actor.index.remote(piece)] = actor, piece

    def _result(self, state: _Pool, reference: Any) -> PieceIndex | PieceFailure | None:
        """None where the worker died and the piece is done again."""
        actor, piece = state.busy.pop(reference)
        try:
            result: PieceIndex | PieceFailure = self._ray.get(reference)
        except self._died as error:
            state.deaths[piece.id] += 1
            log.warning("worker_died piece=%s tries=%d", piece.id, state.deaths[piece.id])
            if state.deaths[piece.id] >= _TRIES:
                why = str(error).split("\n")[0][:200]
                broken = InputBrokenError(f"{piece.address}: its workers die: {why}")
                return PieceFailure(piece, broken)
            state.again.append(piece)
            return None
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        state.idle.append(actor)
        return result


def _cause(error: Any) -> BaseException:
    """What a worker raised, where it is of ours."""
    cause: BaseException = error.cause if isinstance(error.cause, JetsonFaceError) else error
    return cause


def _must_answer(address: str) -> None:
    """ray itself tries for minutes where nobody answers. Raises SourceError."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SourceError(
            f"ray at {address}: does not answer ({error}): start it with `ray start --head`"
        ) from None


class _Pool:
    """Who works on what. finished: no piece is left to hand out."""

    def __init__(self, pieces: Iterator[RecordingPiece]) -> None:
        self._pieces = pieces
        self.starting: dict[Any, Any] = {}
        self.idle: deque[Any] = deque()
        self.busy: dict[Any, tuple[Any, RecordingPiece]] = {}
        self.again: deque[RecordingPiece] = deque()
        self.deaths: Counter[str] = Counter()
        self.finished = False

    @property
    def count(self) -> int:
        """Workers, those that start included."""
        return len(self.starting) + len(self.idle) + len(self.busy)

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

    def ready(self) -> None:
        """The networks are loaded."""

    def index(self, piece: RecordingPiece) -> PieceIndex | PieceFailure:
        """See PieceIndexer."""
        return self._indexer.index(piece)
