"""Tracks as Parquet: one row a track, and as columns for a search."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from jetson_face.archive.sealing import ArchiveSeal, damaged
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.core.compact import compact
from jetson_face.core.errors import SourceError
from jetson_face.util.optional import needs, pip_install

ROWS = 1024
"""Rows that are read together: exact templates are read for a few rows only."""
_ENCRYPTED = b"PARE"
"""How a Parquet file with an encrypted footer ends; others end with PAR1."""
SEARCHED = ("piece", "start", "end", "frames", "codes", "scale", "error")
"""Columns that a search keeps in memory."""
_AS_THEY_ARE = ("id", "piece", "camera", "start", "end", "media_s", "frames", "quality")
"""Columns that are fields of a track."""


def arrow() -> Any:
    """pyarrow. Raises MissingDependencyError."""
    with needs(f"archives need pyarrow: {pip_install('archive')}"):
        import pyarrow as pa
        import pyarrow.parquet
    return pa


def schema(dim: int) -> Any:
    """The columns; see `ArchivedTrack` and `CompactTemplates`. exact: the float32 template."""
    pa = arrow()
    return pa.schema(
        [
            ("id", pa.string()),
            ("piece", pa.string()),
            ("camera", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("media_s", pa.float64()),
            ("frames", pa.int32()),
            ("quality", pa.float32()),
            ("codes", pa.binary(dim)),
            ("scale", pa.float32()),
            ("error", pa.float32()),
            ("exact", pa.binary(4 * dim)),
            ("crops", pa.list_(pa.binary())),
            ("boxes", pa.binary()),
        ]
    )


def table_of(tracks: Sequence[ArchivedTrack], dim: int) -> Any:
    """The tracks as a table."""
    pa = arrow()
    exact = np.array([track.template for track in tracks], "<f4").reshape(-1, dim)
    short = compact(exact)
    columns = {
        **{name: [getattr(track, name) for track in tracks] for name in _AS_THEY_ARE},
        "codes": [row.tobytes() for row in short.codes],
        "scale": short.scale,
        "error": short.error,
        "exact": [row.tobytes() for row in exact],
        "crops": [list(track.crops) for track in tracks],
        "boxes": [np.asarray(track.boxes, "<f4").tobytes() for track in tracks],
    }
    return pa.table(columns, schema=schema(dim))


def to_bytes(table: Any, seal: ArchiveSeal) -> bytes:
    """The table as a Parquet file."""
    pa = arrow()
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(
        table,
        sink,
        row_group_size=ROWS,
        compression="NONE",  # pictures and vectors do not get smaller
        use_dictionary=["piece", "camera"],
        encryption_properties=seal.writing(),
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def open_file(file: Any, seal: ArchiveSeal, where: str) -> Any:
    """A `pyarrow.parquet.ParquetFile`. where: for messages. Raises InputBrokenError."""
    with _reading(where):
        if seal.sealed and _magic(file) != _ENCRYPTED:
            # pyarrow would read it: whoever may write files could add tracks
            raise ValueError("it is not encrypted")
        return arrow().parquet.ParquetFile(file, decryption_properties=seal.reading())


def _magic(file: Any) -> bytes:
    """The last four bytes of a Parquet file."""
    file.seek(-4, os.SEEK_END)
    magic: bytes = file.read(4)
    file.seek(0)
    return magic


def read(file: Any, where: str, columns: Iterable[str] | None = None) -> Any:
    """Some columns of an open file as a table, in one stretch. Raises InputBrokenError."""
    wanted = None if columns is None else list(columns)
    with _reading(where):
        return file.read(columns=wanted, use_threads=False).combine_chunks()


def read_rows(file: Any, where: str, group: int, columns: Iterable[str] | None = None) -> Any:
    """Some columns of a group of ROWS rows. Raises InputBrokenError."""
    wanted = None if columns is None else list(columns)
    with _reading(where):
        return file.read_row_group(group, columns=wanted, use_threads=False).combine_chunks()


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Raises InputBrokenError for what pyarrow makes of a damaged file."""
    try:
        yield
    except SourceError:
        raise
    except (OSError, ValueError, arrow().ArrowException) as error:
        raise damaged(where, error) from None


def fixed(column: Any, dtype: str, width: int) -> Any:
    """A column of fixed byte strings as (N, width) numbers; the table's memory, not a copy."""
    array = column.combine_chunks()
    size = np.dtype(dtype).itemsize * width
    data = array.buffers()[1]
    if data is None:
        return np.zeros((0, width), dtype)
    start = array.offset * size
    flat = np.frombuffer(data, np.uint8, len(array) * size, start)
    return flat.view(dtype).reshape(len(array), width)


def tracks_of(table: Any, dim: int) -> list[ArchivedTrack]:
    """What `table_of` was given."""
    exact = fixed(table["exact"], "<f4", dim)
    rows = table.select([*_AS_THEY_ARE, "crops", "boxes"]).to_pylist()
    return [
        ArchivedTrack(
            **{name: row[name] for name in _AS_THEY_ARE},
            template=template.copy(),
            crops=tuple(row["crops"]),
            boxes=np.frombuffer(row["boxes"], "<f4").reshape(-1, 5).copy(),
        )
        for row, template in zip(rows, exact, strict=True)
    ]
