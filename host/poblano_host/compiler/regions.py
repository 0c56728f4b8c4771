"""What a command reads and writes of the local memories, from its opcode's definition."""

from typing import NamedTuple

from poblano.isa.regions import Access, Memory, Place

__all__ = ["Region", "regions"]


class Region(NamedTuple):
    """``rows`` rows of ``extent`` units from ``base`` on, ``stride`` apart, of ``tile``'s ``memory``."""

    memory: Memory
    tile: int
    base: int
    stride: int
    rows: int
    extent: int


def regions(opcode, unit, operands, config):
    """(reads, writes): lists of the :class:`Region` s of a command of ``unit`` with ``operands``, numbers by
    field name."""
    definition, reads, writes = opcode.definition, [], []
    values = {f.name: operands.get(f.name, f.default) for f in definition.fields}
    o = definition.operands({"unit": unit} | values, lambda a, b: -(-values[a] // values[b]))
    for region in definition.local:
        if region.used(o, config):
            found = writes if region.access is Access.WRITE else reads
            span = region.span(o, config)
            found += (Region(region.memory, tile, *span) for tile in _tiles(region.place, o, config))
    for memory in definition.clears:
        writes.append(Region(memory, config.topology.tile_of(unit), 0, 0, 1, memory.size(config)))
    return reads, writes


def _tiles(place, o, config):
    if place is Place.OWN:
        return [config.topology.tile_of(o.unit)]
    if place is Place.TILE:
        return [o.tile]
    return [tile for tile in range(config.tiles) if o.tiles >> tile & 1]
