"""What past decisions would be with another gallery, asked of the faces of the review queue."""

from __future__ import annotations

from collections.abc import Sequence

from jetson_face.config import Config
from jetson_face.core.types import Embeddings
from jetson_face.factory.negatives import faces_of
from jetson_face.gallery.hygiene import preview
from jetson_face.gallery.matcher import Matcher
from jetson_face.review.queue import QueuedItem


def would_change(
    config: Config, least: float, before: Matcher, after: Matcher, items: list[QueuedItem]
) -> list[str]:
    """A line for each item, waiting or answered, that would be named otherwise. least: the
    threshold where neither configuration nor matcher has one."""

    def named(matcher: Matcher, faces: Embeddings) -> Sequence[str | None]:
        bound = config.matching.similarity_min
        if bound is None:
            bound = least if matcher.thresholds is None else matcher.thresholds[0]
        return [
            m.person.name
            if m.person and m.similarity >= bound and m.margin >= config.matching.margin_min
            else None
            for m in matcher.match(faces)
        ]

    if not items:
        return []
    changes = preview(before, after, faces_of(items, before.space), named)
    return [
        f"review item {items[change.probe].number}: {change.before or 'nobody'}, then "
        f"{change.after or 'nobody'}"
        for change in changes
    ]
