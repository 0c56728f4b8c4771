"""Hsiao's codes: one flipped bit of a word is corrected, two are detected (SECDED)."""

from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np

__all__ = ["HsiaoCode"]


class HsiaoCode:
    """The code of words of ``data`` bits, which adds ``checks`` bits to them.

    Each bit of a word has a *column* of ``checks`` bits. The syndrome of a word and its check bits is the
    exclusive or of the columns of the bits that are one; it is zero for what was written. A check bit's
    column has a one in its place alone, a data bit's has an odd number of ones, at least three, and no two
    columns are equal. So the syndrome of one flipped bit is its column, with an odd number of ones, and that
    of two flipped bits has an even number and is not zero. Columns of fewer ones come first, and among these
    the one that keeps the ones in each place as even as can be, which makes the trees of gates small and
    equally deep.

    Source: M. Y. Hsiao, "A Class of Optimal Minimum Odd-weight-column SEC-DED Codes", IBM Journal of Research
    and Development 14 (4), 1970.

    Parameters
    ----------
    data : bits of a word, at least 1
    """

    def __init__(self, data):
        if data < 1:
            raise ValueError(f"a code's words have at least one bit, not {data!r}")
        self.data = data

    def __eq__(self, other):
        return isinstance(other, HsiaoCode) and self.data == other.data

    def __hash__(self):
        return hash(self.data)

    def __repr__(self):
        return f"HsiaoCode({self.data})"

    @cached_property
    def checks(self):
        """Check bits: the fewest that have a column for every bit."""
        checks = 2
        while 2 ** (checks - 1) - checks < self.data:
            checks += 1
        return checks

    @property
    def bits(self):
        """Bits of a word with its check bits."""
        return self.data + self.checks

    @cached_property
    def columns(self):
        """The column of each data bit, an integer."""
        columns, ones = [], np.zeros(self.checks, int)
        for weight in range(3, self.checks + 1, 2):
            places = np.array(list(combinations(range(self.checks), weight)))
            wanted = min(comb(self.checks, weight), self.data - len(columns))
            chosen = _even(places, wanted, ones)
            columns += [sum(1 << int(place) for place in column) for column in chosen]
            ones += np.bincount(chosen.ravel(), minlength=self.checks)
        return tuple(columns)

    def encode(self, words):
        """The check bits, (..., checks) of bool, of ``words``, (..., data) of bool."""
        words = np.asarray(words, bool)
        return (words.astype(np.uint8) @ self._matrix & 1).astype(bool)

    def decode(self, words, checks):
        """``words`` corrected; whether a bit of a word or its check bits was corrected; whether it cannot be.

        (..., data) and (..., checks) of bool give (..., data), (...) and (...) of bool. A word that cannot
        be corrected is given as it is.
        """
        words = np.asarray(words, bool)
        syndrome = (self.encode(words) ^ np.asarray(checks, bool)) @ (1 << np.arange(self.checks))
        flipped = syndrome[..., None] == np.array(self.columns)
        single = flipped.any(-1) | np.isin(syndrome, 1 << np.arange(self.checks))
        return words ^ flipped, single, (syndrome != 0) & ~single

    @cached_property
    def _matrix(self):
        """(data, checks) of 0 and 1"""
        return (np.array(self.columns)[:, None] >> np.arange(self.checks) & 1).astype(np.uint8)


def _even(places, wanted, ones):
    """``wanted`` rows of ``places`` (columns, weight), which add ones as evenly as can be to those that there
    are in each place."""
    ones, left, chosen = ones.copy(), np.ones(len(places), bool), []
    for _ in range(wanted):
        load = np.where(left, np.sort(ones[places], axis=1)[:, ::-1] @ _WEIGHTS[: places.shape[1]], np.inf)
        best = int(load.argmin())
        left[best] = False
        chosen.append(places[best])
        ones[places[best]] += 1
    return np.array(chosen, int).reshape(wanted, places.shape[1])


_WEIGHTS = 4096.0 ** -np.arange(16)
"""What the fullest place, the next one and so on count."""
