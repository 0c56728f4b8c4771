"""Products of integer matrices, exactly: as products of digits that INT8 holds."""

import numpy as np

from poblano.config import BLOCK
from poblano.isa.weight_stream import Activation, Element

from ..models.model import BlockTensor
from .errors import CompileError
from .operands import check_shapes

__all__ = ["IntegerProduct", "integer_weights", "is_integer"]

SUMS = 1 << 24
"""FP32 holds every integer up to this."""
LEFT, RIGHT = 255, 256
"""The bases of the digits: INT8 activations are -127 to 127, weights -128 to 127."""
MARK = 127
"""An activation in every block, of which the chip's quantiser makes the scale 1. Its weight is 0."""


def is_integer(*arrays):
    """Whether all are matrices of integers."""
    return all(array.dtype.kind in "iu" for array in arrays)


def integer_weights(array):
    """(N, K) integers, -128 to 127, as q8_0 with scales of 1."""
    shape = array.shape[0], array.shape[1] // BLOCK
    return BlockTensor("q8_0", array.astype(np.int8), np.ones(shape, np.float16))


def _digits(name, array, base):
    """Arrays whose sum times powers of ``base``, the first times 1, is ``array``: balanced digits."""
    if array.dtype.kind == "u" and array.size and int(array.max()) >= 1 << 63:
        raise CompileError(f"{name} has elements of {int(array.max())}; the largest is {(1 << 63) - 1}")
    rest, digits = array.astype(np.int64), []
    while not digits or rest.any():
        rest, digit = np.divmod(rest, base)
        above = digit > 127
        digits.append(np.where(above, digit - base, digit))
        rest += above
    return digits


class IntegerProduct:
    """``a`` (M, K) times ``b`` (K, N), integers of any type: the products of digits that add up to it.

    The digits of ``a`` stand below each other, those of ``b`` side by side: every product of two digits is in
    one product. K is cut where sums could pass what FP32 holds exactly. :class:`CompileError` for shapes that
    don't fit.

    Members
    -------
    parts : (a, b) float32 matrices to multiply, b with :func:`integer_weights`
    """

    def __init__(self, a, b, config):
        check_shapes(a, b)
        arithmetic = config.tile.array.arithmetic
        if Activation.INT8 not in arithmetic.activations or Element.S8 not in arithmetic.weights:
            raise CompileError(
                "integer matrices need INT8 activations and weights; with a format for B they are rounded"
            )
        self.shape, self._k = (a.shape[0], b.shape[1]), a.shape[1]
        self._most = _largest(a) * _largest(b) * self._k
        left, right = _digits("A", a, LEFT), _digits("B", b, RIGHT)
        self._left, self._right = len(left), len(right)
        rows, columns = np.concatenate(left), np.concatenate(right, axis=1)
        step = max(1, SUMS // max(1, _largest(rows) * _largest(columns)))
        # Blocks of 31 elements and the mark.
        step = max(BLOCK - 1, step // (BLOCK - 1) * (BLOCK - 1))
        self.parts = [
            (_marked(rows[:, at : at + step], MARK), _marked(columns[at : at + step].T, 0).T)
            for at in range(0, self._k, step)
        ]

    def combine(self, products):
        """The int64 product of those of the :attr:`parts`; CompileError if 64 bits don't hold it."""
        # No factor is above four times the largest element.
        fits = self._most < 1 << 61
        total = np.zeros(self.shape, np.int64 if fits else object)
        rows, columns = self.shape
        for product in products:
            exact = product.astype(np.int64)
            for i in range(self._left):
                for j in range(self._right):
                    part = exact[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
                    total += part.astype(total.dtype) * (LEFT**i * RIGHT**j)
        if not fits and not -(1 << 63) <= total.min() <= total.max() < 1 << 63:
            raise CompileError("the product has elements that integers of 64 bits don't hold")
        return total.astype(np.int64)


def _largest(array):
    return max(abs(int(array.min())), abs(int(array.max())))


def _marked(array, mark):
    """(N, K) with every 31 columns and one of ``mark`` as 32, float32."""
    n, k = array.shape
    blocks = np.pad(array, ((0, 0), (0, -k % (BLOCK - 1)))).reshape(n, -1, BLOCK - 1)
    marks = np.full((*blocks.shape[:2], 1), mark)
    return np.concatenate((blocks, marks), 2).reshape(n, -1).astype(np.float32)
