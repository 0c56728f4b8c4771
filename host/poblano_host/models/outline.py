"""Models of which only the sizes are known: they compile to the same commands, and have no weights."""

from functools import cache

import numpy as np

from poblano.config import BLOCK

from .model import MX_FORMATS, BlockTensor, Model

__all__ = ["FORMATS", "OutlineTensor", "outline"]

FORMATS = ("q4_0", "q4_1", "q8_0", *MX_FORMATS)
"""The grids that matrices are stored in."""


class OutlineTensor(BlockTensor):
    """A matrix of zeros in a stored grid, which takes no memory, whatever its shape.

    The compiler reserves its place and packs nothing.
    """

    @classmethod
    @cache
    def of(cls, format, shape):
        """Of a ``shape`` (N out, K in) in one of :data:`FORMATS`; equal ones are one."""
        n, k = shape
        zeros = lambda kind, *size: np.broadcast_to(kind(0), size)
        scale = np.float32 if format in MX_FORMATS else np.float16
        minimum = zeros(np.float16, n, k // BLOCK) if format == "q4_1" else None
        return cls(format, zeros(np.int8, n, k), zeros(scale, n, k // BLOCK), minimum)

    def as_q8_0(self):
        return self.of("q8_0", self.shape)

    def rows(self, index):
        return self.of(self.format, self.q[index].shape)


def outline(config, format):
    """The :class:`Model` of a :class:`~.config.ModelConfig` whose matrices are in ``format``, without weights
    and without text."""
    config.check(config.name)
    vector = lambda shape: np.zeros(shape, np.float32)
    model = Model(config, {}, None)  # type: ignore[arg-type]  # no text
    for name, shape in model.graph.shapes().items():
        model.tensors[name] = OutlineTensor.of(format, shape) if len(shape) == 2 else vector(shape)
    return model
