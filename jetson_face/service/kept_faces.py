"""What was kept of each face that is or was in view, to be erased where it must not be kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from jetson_face.events.recorder import EventRecorder
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.service.review_writer import ReviewWriter

_TRACKS = 2000


@dataclass(frozen=True, slots=True)
class WithheldFace:
    """A track that proves to be somebody's of the do-not-recognise list. run: of its events."""

    source: str
    run: str
    track: int


@dataclass(slots=True)
class _Kept:
    crops: list[str] = field(default_factory=list)
    items: list[int] = field(default_factory=list)


class KeptFaces:
    """Remembers, for the last tracks, the crops in the folder and the review items."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()

    def crop(self, source: str, track: int, name: str) -> None:
        """A crop (file name) was kept."""
        self._of(source, track).crops.append(name)

    def item(self, source: str, track: int, number: int) -> None:
        """A review item was."""
        self._of(source, track).items.append(number)

    def forget(
        self,
        face: WithheldFace,
        recorder: EventRecorder,
        snapshots: SnapshotStore | None,
        review: ReviewWriter | None,
    ) -> None:
        """Erase what was kept of a face before it was known who it is."""
        kept = self._kept.pop((face.source, face.track), _Kept())
        if recorder.history is not None:
            recorder.history.forget_face(face.source, face.run, face.track)
        if snapshots is not None and kept.crops:
            snapshots.remove(kept.crops)
        if review is not None and kept.items:
            review.forget(kept.items)

    def _of(self, source: str, track: int) -> _Kept:
        while len(self._kept) >= _TRACKS:
            self._kept.popitem(last=False)
        return self._kept.setdefault((source, track), _Kept())
