"""Where a chip's units, its masters of the memory ports and the sources of its bus are, and their numbers."""

import enum
import re
from types import SimpleNamespace

__all__ = ["LARGEST", "MOST_TILES", "ReadMaster", "Topology", "UnitKind"]

MOST_TILES = 32
"""Commands name tiles by a mask of as many bits."""


class UnitKind(enum.Enum):
    """Kinds of units that execute commands; the DMA engine is the chip's, the others are in every tile."""

    DMA = "dma"
    STREAM = "stream"
    MATMUL = "matmul"
    VECTOR = "vector"


class ReadMaster(enum.Enum):
    """What reads memory through a port of the chip; a stream unit is in every tile, and a host
    where the chip has a port for it."""

    FETCH = "fetch"
    DMA = "dma"
    HOST = "host"
    STREAM = "stream"


class _Numbering:
    """Numbers of things by kind and tile: first those ``alone`` on the chip, then ``in_tiles``, by tile."""

    def __init__(self, alone, in_tiles, tiles):
        self.alone = frozenset(alone)
        self.places = (
            *((kind, None) for kind in alone),
            *((kind, tile) for tile in tiles for kind in in_tiles),
        )
        self.numbers = {place: number for number, place in enumerate(self.places)}

    def number(self, kind, tile):
        return self.numbers[kind, None if kind in self.alone else tile]


class Topology:
    """The units, read masters and bus sources of ``config``'s chip. Nothing else knows how they are numbered.

    Members
    -------
    units : (:class:`UnitKind`, tile) of each unit, by its number; the tile of the DMA engine is None
    read_masters : for each home's read arbiter (:class:`ReadMaster`, tile) of each of its ports
    bus_sources : (:class:`UnitKind`, tile) of each unit that writes over the broadcast bus
    """

    def __init__(self, config):
        stream, matmul, vector = UnitKind.STREAM, UnitKind.MATMUL, UnitKind.VECTOR
        tiles, homes = range(config.tiles), config.memory.homes
        self._home_tiles = config.tiles // homes
        self._units = _Numbering((UnitKind.DMA,), (stream, matmul, vector), tiles)
        alone = ReadMaster.FETCH, ReadMaster.DMA, *[ReadMaster.HOST] * config.memory.host_port
        self._masters = [
            _Numbering(alone, (ReadMaster.STREAM,), self.tiles_of(home)) for home in range(homes)
        ]
        self._sources = _Numbering((UnitKind.DMA,), (matmul, vector), tiles)
        self.units, self.bus_sources = self._units.places, self._sources.places
        self.read_masters = tuple(masters.places for masters in self._masters)

    def unit(self, kind, tile=0):
        """The number of a unit (``tile`` does not matter for the DMA engine); KeyError if there is none."""
        return self._units.number(kind, tile)

    def kind_of(self, unit):
        return self.units[unit][0]

    def tile_of(self, unit):
        """The tile of a unit; None of the DMA engine."""
        return self.units[unit][1]

    def units_of(self, kind=None):
        """The numbers of the units of a kind, or of all units."""
        return [number for number, (of, _) in enumerate(self.units) if kind in (None, of)]

    def name(self, unit):
        """``dma``, ``tile0.stream``, ...; ``unit`` and the number for one that is no unit's."""
        if not 0 <= unit < len(self.units):
            return f"unit {unit}"
        kind, tile = self.units[unit]
        return kind.value if tile is None else f"tile{tile}.{kind.value}"

    def unit_called(self, name):
        """The unit of a :meth:`name`; ValueError for another text."""
        place, _, last = name.rpartition(".")
        kind = {kind.value: kind for kind in UnitKind}.get(last)
        tile = re.fullmatch(r"tile(\d+)", place)
        if kind is None or place and not tile or (tile is None) != (kind in self._units.alone):
            raise ValueError(f"{name!r} is not a unit: dma, or tile0.stream, .matmul or .vector")
        number = int(tile[1]) if tile else 0
        if tile and (kind, number) not in self._units.numbers:
            raise ValueError(f"there is no tile {number}")
        return self.unit(kind, number)

    def home_of(self, tile):
        """The number of the memory port that a tile streams its weights from."""
        return tile // self._home_tiles

    def tiles_of(self, home):
        """The tiles whose home it is."""
        return range(home * self._home_tiles, (home + 1) * self._home_tiles)

    def read_master(self, kind, tile=0):
        """The number of a :class:`ReadMaster`'s port of a read arbiter: of a stream unit's home, the same of
        every home for the others."""
        return self._masters[self.home_of(tile)].number(kind, tile)

    def bus_source(self, kind, tile=0):
        """The number of a unit's port of the broadcast bus."""
        return self._sources.number(kind, tile)


LARGEST = Topology(SimpleNamespace(tiles=MOST_TILES, memory=SimpleNamespace(homes=1, host_port=False)))
"""The topology of the most tiles: a unit has the same number and name on every chip that has it."""
