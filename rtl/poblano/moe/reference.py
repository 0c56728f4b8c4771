"""What a ROUTE command decides, on numpy arrays: the experts of each row, and the rows of each expert."""

from typing import NamedTuple

import numpy as np

__all__ = ["ENTRIES_IN_A_LINE", "Routed", "chosen", "order_keys", "routes"]

ENTRIES_IN_A_LINE = 4
"""Of a list; an entry is a row's number and its weight."""


class Routed(NamedTuple):
    """An expert with rows: its number, the first line of its list, counted from the first list's, the rows in
    ascending order and their weights."""

    expert: int
    line: int
    rows: np.ndarray
    weights: np.ndarray


def order_keys(x):
    """int64 that are ordered as float32 ``x`` are: NaN first, and -0 below +0."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.int64)
    keys = np.where(bits >> 31, 0xFFFFFFFF - bits, bits + 0x80000000)
    return np.where(np.isnan(x), np.int64(-1), keys)


def chosen(values, used):
    """The experts of the ``used`` largest of each row of ``values`` (rows, experts), of equal ones the lower:
    int (rows, used), in ascending order."""
    best = np.argsort(-order_keys(values), axis=-1, kind="stable")
    return np.sort(best[:, :used], -1)


def routes(experts, weights):
    """The :class:`Routed` experts, in ascending order, of each row's ``experts`` and their ``weights``, both
    (rows, used)."""
    found, line = [], 0
    for expert in np.unique(experts):
        rows, place = np.nonzero(experts == expert)
        found.append(Routed(int(expert), line, rows, weights[rows, place]))
        line += -(-len(rows) // ENTRIES_IN_A_LINE)
    return found
