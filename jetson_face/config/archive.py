"""Recordings of last month: how they become an index, and who may search it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetson_face.config.section import Section


class ArchiveConfig(Section):
    """`jetson-face archive`: an index of the tracks in recordings."""

    path: str | None = Field(
        None,
        min_length=1,
        description="the archive: a folder, or an object store as in s3://BUCKET/FOLDER; "
        "{credential:NAME} stands for a systemd credential; `people remove` reaches it",
    )
    search: bool = Field(
        False,
        description="allow `archive search`; each is then written to STATE_DIR/archive_uses.jsonl",
    )
    scan: Literal["motion", "all", "key_frames"] = Field(
        "motion",
        description="frames that are looked at: where something moves, all, or key frames only; "
        "of the first two one in `sampling.interval` is searched",
    )
    piece_s: float = Field(
        600, ge=1, le=86_400, description="recordings are indexed in pieces of about so long"
    )
    crops: int = Field(3, ge=1, le=10, description="best portraits that are kept of a track")
    keep_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="`archive index` drops days older than that; null: none",
    )
