"""Units of a chip as the chip makes them."""

from poblano.compute.matmul import MatmulUnit
from poblano.compute.weights import WeightLoader
from poblano.memory.dma import DMAUnit
from poblano.memory.stream_unit import StreamUnit
from poblano.vector.unit import VectorUnit

__all__ = ["dma_unit", "matmul_unit", "stream_unit", "vector_unit", "weight_loader"]


def matmul_unit(config):
    """The matmul unit of a tile of ``config``'s chip."""
    return MatmulUnit(config.tile, tiles=config.tiles, stream_bytes=config.stream_bytes)


def vector_unit(config):
    """The vector unit of a tile of ``config``'s chip."""
    return VectorUnit(config.tile, tiles=config.tiles)


def weight_loader(config):
    """The weight loader of a tile of ``config``'s chip."""
    return WeightLoader(config.tile, stream_bytes=config.stream_bytes)


def stream_unit(config):
    """The stream unit of a tile of ``config``'s chip."""
    return StreamUnit(config.memory, stream_bytes=config.stream_bytes, fifo_bytes=config.tile.fifo_bytes)


def dma_unit(config):
    """The DMA engine of ``config``'s chip."""
    return DMAUnit(config.memory, config.tile.local, tiles=config.tiles)
