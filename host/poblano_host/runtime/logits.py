"""Logits that a program has left in memory: the best of a row without a look at all of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from poblano.config import BLOCK

__all__ = ["Logits", "LogitsRow", "first_largest", "largest"]


def largest(values, count=None):
    """The indices of the ``count`` (all) largest of FP32 ``values``, the largest first; of equal ones, as -0
    and +0 are, the first is first, and NaN is last: the first ``count`` of a stable sort."""
    if count is None or not 0 < count < len(values) or np.isnan(values).any():
        return np.argsort(-values, kind="stable")[:count]
    least = np.partition(values, -count)[-count]
    above = np.flatnonzero(values > least)
    equal = np.flatnonzero(values == least)[: count - len(above)]
    return np.append(above[np.argsort(-values[above], kind="stable")], equal)


def first_largest(values):
    """The index of the first of the largest of FP32 ``values``, in the order of the chip: -0 is below +0, and
    NaN never wins; 0 if all are NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    keys = bits ^ (bits >> 31 & 0x7FFF_FFFF)
    return int(np.where(np.isnan(values), np.iinfo(np.int32).min, keys).argmax())


@dataclass(frozen=True, eq=False)
class LogitsRow:
    """The logits of a token.

    The largest of each block of 32 logits, where the chip has found them, say in which blocks to look: an
    element that is among the first ``count`` of the sorted row lies in one of the first ``count`` of the
    sorted blocks, since each block before its own has an element before it.

    Parameters
    ----------
    vocab : logits of the row
    read : ``read(first, end)`` gives those from ``first`` to ``end`` - 1
    maxima : the largest of each block, NaN where there is one in it; None: not known
    chosen : the token that the chip has chosen, None where it has not
    """

    vocab: int
    read: Callable
    maxima: np.ndarray | None = None
    chosen: int | None = None

    @cached_property
    def values(self):
        """All logits of the row."""
        return self.read(0, self.vocab)

    @cached_property
    def best(self):
        """The token of the first of the largest logits, as the chip's argmax finds it."""
        if self.chosen is not None:
            return self.chosen
        maxima = self._known
        if maxima is None:
            return first_largest(self.values)
        block = first_largest(maxima)
        return BLOCK * block + first_largest(self._block(block))

    def top(self, count=None):
        """(tokens, logits) of the ``count`` (all) largest logits, in the order of :func:`largest`."""
        maxima = self._known
        if not count or maxima is None or count >= len(maxima):
            tokens = largest(self.values, count)
            return tokens, self.values[tokens]
        blocks = np.sort(largest(maxima, count))
        values = np.concatenate([self._block(block) for block in blocks])
        places = largest(values, count)
        return BLOCK * blocks[places // BLOCK] + places % BLOCK, values[places]

    @property
    def _known(self):
        """The maxima if they tell where the largest logits are, else None: a NaN hides the others of its
        block."""
        return None if self.maxima is None or np.isnan(self.maxima).any() else self.maxima

    def _block(self, block):
        return self.read(BLOCK * int(block), min(BLOCK * (int(block) + 1), self.vocab))


class Logits:
    """The rows of logits that ``program``, one of ``compiled``, has left in the memory of ``backend``; they
    are to be read before the next program runs."""

    def __init__(self, backend, compiled, program):
        self._backend, self._program = backend, program
        self._stride, self._vocab = compiled.vocab_stride, compiled.model.config.vocab

    def __getitem__(self, row):
        """The :class:`LogitsRow` number ``row``."""
        maxima = self._maxima[row] if self._program.maxima else None
        return LogitsRow(self._vocab, lambda first, end: self._read(row, first, end), maxima, self._chosen)

    def _read(self, row, first, end):
        at = self._program.logits[0] + row * self._stride
        return np.frombuffer(self._backend.read(at + 4 * first, 4 * (end - first)), np.float32)

    @cached_property
    def _maxima(self):
        """(rows, blocks): the largest of each block."""
        rows, pieces = self._program.logits[1], self._program.maxima
        start = min(piece.address for piece in pieces)
        end = max(piece.address + 4 * rows * piece.stride for piece in pieces)
        words = np.frombuffer(self._backend.read(start, end - start), np.float32)
        parts = []
        for piece in pieces:
            first = (piece.address - start) // 4
            part = words[first : first + rows * piece.stride].reshape(rows, piece.stride)
            parts.append(part[:, : piece.blocks])
        return np.hstack(parts)

    @cached_property
    def _chosen(self):
        """The first of the largest of the tiles' results; None if the tiles have not searched, or if all
        logits are NaN: then one behind them is found, as those are minus infinity."""
        kind = np.dtype([("value", np.float32), ("token", np.uint32)])
        found = [np.frombuffer(self._backend.read(place, 8), kind)[0] for place in self._program.best]
        if not found:
            return None
        values = np.array([result["value"] for result in found])
        token = int(found[first_largest(values)]["token"])
        return token if token < self._vocab else None
