"""What a ROUTE command decides, on numpy arrays: the experts of each row, and the rows of each expert."""

from typing import NamedTuple

import numpy as np

__all__ = ["ENTRIES_IN_A_LINE", "Routed", "chosen", "chosen_with_room", "order_keys", "routes"]

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


def _best(values, used, late=False):
    """Where the ``used`` largest of each row of ``values`` are, those that are ``late`` after all others, of
    equal ones the lower: int (rows, used)."""
    keys = order_keys(values) - (np.int64(1) << 33) * late
    return np.argsort(-keys, axis=-1, kind="stable")[..., :used]


def chosen(values, used, groups=1, used_groups=1, late=False):
    """The experts of the ``used`` largest of each row of ``values`` (rows, experts), of equal ones the lower:
    int (rows, used), in ascending order. The experts that are ``late``, bool (experts,), come after all
    others.

    Only those of ``used_groups`` groups take part: the experts are parted into ``groups`` side by side, and
    the largest FP32 sums of a group's two largest values are selected as values are."""
    rows, experts = values.shape
    numbers = np.tile(np.arange(experts), (rows, 1))
    if groups > 1:
        parts = np.asarray(values, np.float32).reshape(rows, groups, -1)
        with np.errstate(over="ignore", invalid="ignore"):
            first, second = np.moveaxis(np.take_along_axis(parts, _best(parts, 2), -1), -1, 0)
            scores = first + second
        its = np.sort(_best(scores, used_groups), -1)
        numbers = np.take_along_axis(numbers.reshape(parts.shape), its[..., None], 1).reshape(rows, -1)
    late = np.broadcast_to(late, experts)[numbers]
    best = _best(np.take_along_axis(values, numbers, -1), used, late)
    return np.sort(np.take_along_axis(numbers, best, -1), -1)


def chosen_with_room(values, used, groups, used_groups, capacity, windows):
    """(what :func:`chosen` gives where each expert has room for ``capacity`` rows of a window, for how many
    choices there was none).

    ``windows``, float32 (rows,), says of each row: 0, it takes no room and needs none; negative, the first of
    a window; else one of the same window. Experts that have no room left come after all that have some.
    """
    experts, counts, refused = chosen(values, used, groups, used_groups), np.zeros(values.shape[1], int), 0
    words = np.ascontiguousarray(windows, np.float32).view(np.uint32)
    for row in np.nonzero(words << 1)[0]:
        if words[row] >> 31:
            counts[:] = 0
        full = counts >= capacity
        if missing := int(full[experts[row]].sum()):
            experts[row] = chosen(values[row : row + 1], used, groups, used_groups, full)[0]
            refused += missing
        counts[experts[row]] += 1
    return experts, refused


def routes(experts, weights):
    """The :class:`Routed` experts, in ascending order, of each row's ``experts`` and their ``weights``, both
    (rows, used)."""
    found, line = [], 0
    for expert in np.unique(experts):
        rows, place = np.nonzero(experts == expert)
        found.append(Routed(int(expert), line, rows, weights[rows, place]))
        line += -(-len(rows) // ENTRIES_IN_A_LINE)
    return found
