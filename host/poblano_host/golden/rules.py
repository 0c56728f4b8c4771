"""The golden chip's own reading of what makes a command valid, from ``docs/commands.md`` alone.

It shares nothing with the definitions that hardware and compiler derive their checks from.
"""

from poblano.formats.element import Element
from poblano.isa.errors import CommandError, ErrorCode

from .commands import FORMS, NAMES, decode
from .pages import PageTables
from .rule import Rules, field, names, require
from .vector_rules import ExpertRules, GatherRules, RouteRules, ScatterRules, VectorRules

__all__ = ["check"]

CHOICES = {"sfu": 6, "op1": 7, "op2": 7, "reduce": 5, "sink": 3, "sel1": 3, "sel2": 3, "activation": 7}
"""How many values a choice has, where its bits could hold more."""
AT_LEAST_1 = (
    "rows",
    "lines",
    "row_bytes",
    "k_blocks",
    "groups",
    "blocks",
    "share",
    "numbers",
    "experts",
    "used",
)
F16, E8M0 = 1, 3


def check(data, config, memory_bytes, tables=None):
    """The :class:`~.commands.DecodedCommand` of 64 bytes that ``config``'s chip with ``memory_bytes`` of
    memory, and with the :class:`~.pages.PageTables` ``tables`` (none: empty ones), executes;
    :class:`CommandError` for others."""
    units = config.topology.units
    name = NAMES.get(data[0])
    if name is None:
        raise CommandError(ErrorCode.OPCODE, f"unknown opcode 0x{data[0]:02x}")
    if FORMS[name].experts and config.experts is None:
        raise CommandError(ErrorCode.OPCODE, f"this chip does not route experts: it has no {name}")
    require(data[1] < len(units), ErrorCode.UNIT, f"unit {data[1]} does not exist; there are {len(units)}")
    kind = units[data[1]][0]
    require(
        FORMS[name].kind in (None, kind),
        ErrorCode.UNIT,
        f"unit {data[1]} ({config.topology.name(data[1])}) does not execute {name}",
    )
    command = decode(data)
    for unit, _ in command.waits:
        field(unit < len(units), f"a wait names unit {unit}")
    o = command.operands
    _check_fields(o, config)
    own = units[command.unit][1]
    opcode = RULES.get(name)
    if opcode is not None:
        rules = opcode(o, config, own, tables or PageTables(config, memory_bytes))
        rules.fields()
        rules.alignment()
        rules.local_ranges()
        memory, homes = config.memory, config.memory.homes
        most = 2**memory.addr_width if homes == 1 else homes * memory.home_bytes
        rules.memory_range(min(memory_bytes, most))
        if homes > 1:
            rules.home()
        rules.overlaps()
    return command


def _check_fields(o, config):
    for name in AT_LEAST_1:
        field(o.get(name) != 0, f"{name} is 0")
    for name, count in CHOICES.items():
        field(o.get(name, 0) < count, f"{name} {o.get(name)} does not exist")
    if "tiles" in o:
        field(0 < o["tiles"] < 2**config.tiles, f"tiles 0x{o['tiles']:x} has no tile, or one too many")
    if "tile" in o:
        field(o["tile"] < config.tiles, f"tile {o['tile']} does not exist")


class _Load(Rules):
    LOCAL = "dst"

    def alignment(self):
        beat = self.config.memory.data_width // 8
        self.memory_rows(32 * self.o["lines"], beat)
        for name in (self.LOCAL, f"{self.LOCAL}_stride", "lines"):
            self.multiple(name, max(1, beat // 32))

    def local_ranges(self):
        self.within(self.LOCAL, self.rows_of(self.LOCAL, self.o["lines"]), self.lines)

    def memory_range(self, size):
        self.memory_rows(32 * self.o["lines"], 1, size)


class _Store(_Load):
    LOCAL = "src"


class _StoreWord(Rules):
    def bytes(self):
        return 4

    def alignment(self):
        self.memory_rows(self.bytes(), self.bytes())

    def memory_range(self, size):
        self.memory_rows(self.bytes(), 1, size)


class _StoreScale(_StoreWord):
    def local_ranges(self):
        self.within("src", self.rows_of("src", 1), self.blocks)


class _StoreBlock(_StoreScale):
    def bytes(self):
        return self.o["length"]

    def fields(self):
        offset, length = self.o["offset"], self.o["length"]
        field(length in (2, 4, 8, 16, 32), f"length {length} is not 2, 4, 8, 16 or 32")
        field(
            offset % length == 0 and offset + length <= 32,
            f"offset {offset} is not a multiple of length {length} inside the block",
        )


class _Stream(Rules):
    def alignment(self):
        self.memory_rows(self.o["row_bytes"], self.config.stream_bytes)
        self.multiple("row_bytes", self.config.stream_bytes)

    def memory_range(self, size):
        self.memory_rows(self.o["row_bytes"], 1, size)

    def home(self):
        o, size = self.o, self.config.memory.home_bytes
        tiles = self.config.tiles // self.config.memory.homes
        start = self.own // tiles * size
        if (place := self.tables.split(o["mem_addr"])) is not None:
            _, _, home, _ = place
            require(
                home == self.own // tiles,
                ErrorCode.HOME,
                f"the part of a page is in home {home}, not in that of tile {self.own}",
            )
            return
        end = o["mem_addr"] + (o["rows"] - 1) * o["mem_stride"] + o["row_bytes"]
        require(
            start <= o["mem_addr"] and end <= start + size,
            ErrorCode.HOME,
            f"memory bytes 0x{o['mem_addr']:x} to 0x{end:x} are not in the home of tile {self.own}",
        )


class _Matmul(Rules):
    def __init__(self, o, config, own, tables):
        super().__init__(o, config, own, tables)
        self.row = -(-o["groups"] * config.tile.array.cols // 8)  # lines of a result
        self.rows_of_a_tile = min(o["rows"], o["spread"]) if o["spread"] else o["rows"]

    def fields(self):
        o, tile = self.o, self.config.tile
        arithmetic, element = tile.array.arithmetic, Element(o["element"])
        field(o["rows"] <= tile.tokens, f"rows {o['rows']} are more than the accumulator's {tile.tokens}")
        together = 1 << (o["groups"] - 1).bit_length()
        field(
            not o["interleaved"] or o["rows"] * together <= tile.tokens,
            f"{o['rows']} rows of {o['groups']} groups in turn are more than the accumulator's {tile.tokens}",
        )
        tiles = f"{o['tiles']:b}".count("1")
        field(
            not o["spread"] or tiles * o["spread"] >= o["rows"],
            f"{tiles} tiles with {o['spread']} rows each are less than {o['rows']} rows",
        )
        field(
            element in arithmetic.weights,
            f"this array has no {element.name} weights; it has {names(arithmetic.weights)}",
        )
        field(
            o["scale"] != E8M0 or element in [a.element for a in arithmetic.activations if a.mx],
            f"this array has no {element.name} weights with E8M0 scales",
        )
        field(
            not o["minimum"] or o["scale"] == F16 and element.name in ("S4", "U4"),
            "a minimum needs F16 scales and 4-bit integers",
        )
        field(
            not o["transpose"] or element.name not in ("S4", "U4", "E2M1"),
            "a transposed stream holds elements of a byte",
        )
        self.activation()

    def alignment(self):
        segments = max(1, self.config.tile.array.rows // 32)
        self.multiples("a", segments)
        self.multiple("k_blocks", segments)
        self.multiples("dst", self.row_lines)

    def local_ranges(self):
        self.within("a", self.rows_of("a", self.o["k_blocks"]), self.blocks)
        self.within("dst", self.rows_of("dst", self.row, self.rows_of_a_tile), self.lines)

    def overlaps(self):
        self.apart("dst", self.row, self.rows_of_a_tile)


RULES = {
    "LOAD": _Load,
    "STORE": _Store,
    "STORE_BLOCK": _StoreBlock,
    "STORE_SCALE": _StoreScale,
    "STORE_WORD": _StoreWord,
    "STREAM": _Stream,
    "MATMUL": _Matmul,
    "VECTOR": VectorRules,
    "ROUTE": RouteRules,
    "GATHER": GatherRules,
    "SCATTER": ScatterRules,
    "EXPERT": ExpertRules,
}
"""Those of each opcode that has some."""
