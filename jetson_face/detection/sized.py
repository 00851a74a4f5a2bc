"""Searches that are built for pictures of one size each, and one that takes any."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from jetson_face.core.types import Pixels
from jetson_face.inference.backend import Backend

log = logging.getLogger(__name__)


class SizedSearches:
    """By width and height of a picture. otherwise: how pictures of other sizes are searched, as in
    "level by level"; said once."""

    def __init__(self, searches: Mapping[tuple[int, int], Backend] | None, otherwise: str) -> None:
        self._searches, self._otherwise = dict(searches or {}), otherwise
        self._told = False

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._searches.values())

    def __contains__(self, size: object) -> bool:
        return size in self._searches

    def __len__(self) -> int:
        return len(self._searches)

    def __getitem__(self, size: tuple[int, int]) -> Backend:
        return self._searches[size]

    def items(self) -> list[tuple[tuple[int, int], Backend]]:
        """Each size with its search."""
        return list(self._searches.items())

    def of(self, image: Pixels) -> Backend | None:
        """The search for a picture; None where the one for any size must do."""
        size = image.shape[1], image.shape[0]
        search = self._searches.get(size)
        if search is None and self._searches and not self._told:
            self._told = True
            log.info(
                "pictures of %dx%d are searched %s, which is slower: engines.frame_size is for %s",
                *size,
                self._otherwise,
                " ".join(f"{width}x{height}" for width, height in self._searches),
            )
        return search
