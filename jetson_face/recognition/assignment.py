"""Optimal assignment for small cost matrices, with pairs that are forbidden."""

from __future__ import annotations

import numpy as np

from jetson_face.core.types import I64, BoolArray


def assign(cost: np.ndarray[tuple[int, ...], np.dtype[np.float64]], allowed: BoolArray) -> I64:
    """Column of each row, -1 for none: as many pairs as possible, of those the cheapest set.

    cost: (N, M) finite. allowed: (N, M) pairs that may be made. Shortest augmenting paths with
    potentials (Kuhn 1955, Munkres 1957; the O(n^3) form of Jonker and Volgenant 1987). Faces in a
    frame are few, and scipy's solver costs half a second to import.
    """
    rows, columns = cost.shape
    if not allowed.any():
        return np.full(rows, -1, np.int64)
    single = (allowed.sum(axis=1) <= 1).all() and (allowed.sum(axis=0) <= 1).all()
    if single:  # nearly every frame: nobody competes
        return np.where(allowed.any(axis=1), allowed.argmax(axis=1), -1).astype(np.int64)
    spread = float(np.ptp(cost[allowed])) + 1.0
    # A forbidden pair costs more than all allowed ones could save: it is made only when nothing
    # else is left for the row, and taken out afterwards.
    forbidden = spread * (min(rows, columns) + 1)
    full = np.where(allowed, cost - cost[allowed].min(), forbidden)
    if rows > columns:
        of_column = _solve(full.T)
        found = np.full(rows, -1, np.int64)
        found[of_column] = np.arange(columns)
    else:
        found = _solve(full)
    return np.where((found >= 0) & allowed[np.arange(rows), found], found, -1).astype(np.int64)


def _solve(cost: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> I64:
    """Column of each row of (N, M), N <= M, at least total cost."""
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1, np.int64)
    for start in range(rows):
        distance = np.full(columns, np.inf)
        before = np.full(columns, -1, np.int64)
        done = np.zeros(columns, np.bool_)
        row, column, reached = start, -1, 0.0
        path = []
        while True:
            through = reached + cost[row] - row_price[row] - column_price
            nearer = ~done & (through < distance)
            distance[nearer] = through[nearer]
            before[nearer] = column
            column = int(np.where(done, np.inf, distance).argmin())
            reached = float(distance[column])
            if row_of[column] < 0:
                break
            done[column] = True
            path.append(column)
            row = int(row_of[column])
        row_price[start] += reached
        for passed in path:
            row_price[row_of[passed]] += reached - distance[passed]
            column_price[passed] -= reached - distance[passed]
        while column >= 0:
            previous = int(before[column])
            row_of[column] = start if previous < 0 else row_of[previous]
            column = previous
    found = np.full(rows, -1, np.int64)
    found[row_of[row_of >= 0]] = np.flatnonzero(row_of >= 0)
    return found
