"""Commands that clear and copy the KV caches of sequences."""

from poblano.config import LINE_BYTES
from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import UnitKind

from ..runtime.backend import clear_commands

__all__ = ["clear", "copy"]


def clear(compiled, slot):
    """Commands (bytes) that write zeros to the caches of sequence ``slot`` of a CompiledModel."""
    extents = _extents(compiled, slot)
    return b"".join(clear_commands(compiled.config, start, start + size) for start, size in extents)


def copy(compiled, source, slot):
    """Commands (bytes) that copy the caches of sequence ``source`` to those of sequence ``slot``, by way of
    the first tile's vector memory, of which nothing is kept from step to step."""
    config = compiled.config
    dma, most = config.topology.unit(UnitKind.DMA), config.tile.vmem_lines
    commands = []
    for (start, size), (end, _) in zip(_extents(compiled, source), _extents(compiled, slot)):
        for first in range(0, size // LINE_BYTES, most):
            form = dict(mem_stride=0, rows=1, lines=min(most, size // LINE_BYTES - first))
            load = form | dict(mem_addr=start + LINE_BYTES * first, dst=0, dst_stride=0, tiles=1)
            store = form | dict(mem_addr=end + LINE_BYTES * first, src=0, src_stride=0, tile=0)
            commands += [Command(Opcode.LOAD, dma, load), Command(Opcode.STORE, dma, store)]
    return b"".join(command.encode() for command in commands)


def _extents(compiled, slot):
    """(address, bytes) of a sequence's caches, of each attention in each home."""
    return [
        (address + slot * places.layout.size, places.layout.size)
        for places in compiled.memory.caches
        for address in places.address
    ]
