"""The golden chip's own reading of what makes a command valid, from ``docs/commands.md`` alone.

It shares nothing with the definitions that hardware and compiler derive their checks from.
"""

from poblano.formats.element import Activation, Element
from poblano.isa.errors import CommandError, ErrorCode

from .commands import FORMS, NAMES, decode
from .pages import PageTables

__all__ = ["check"]

CHOICES = {"sfu": 6, "op1": 7, "op2": 7, "reduce": 5, "sink": 3, "sel1": 3, "sel2": 3, "activation": 7}
"""How many values a choice has, where its bits could hold more."""
AT_LEAST_1 = ("rows", "lines", "row_bytes", "k_blocks", "groups", "blocks", "share")
VMEM, QUANTISE = 1, 2
ARGMAX = 3
B, ROW = 0, 1
F16, E8M0 = 1, 3


def _require(condition, code, message):
    if not condition:
        raise CommandError(code, message)


def _field(condition, message):
    _require(condition, ErrorCode.FIELD, message)


def _names(formats):
    return ", ".join(form.name for form in formats)


def check(data, config, memory_bytes, tables=None):
    """The :class:`~.commands.DecodedCommand` of 64 bytes that ``config``'s chip with ``memory_bytes`` of
    memory, and with the :class:`~.pages.PageTables` ``tables`` (none: empty ones), executes;
    :class:`CommandError` for others."""
    units = config.topology.units
    name = NAMES.get(data[0])
    if name is None:
        raise CommandError(ErrorCode.OPCODE, f"unknown opcode 0x{data[0]:02x}")
    _require(data[1] < len(units), ErrorCode.UNIT, f"unit {data[1]} does not exist; there are {len(units)}")
    kind = units[data[1]][0]
    _require(
        FORMS[name].kind in (None, kind),
        ErrorCode.UNIT,
        f"unit {data[1]} ({config.topology.name(data[1])}) does not execute {name}",
    )
    command = decode(data)
    for unit, _ in command.waits:
        _field(unit < len(units), f"a wait names unit {unit}")
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
        _field(o.get(name) != 0, f"{name} is 0")
    for name, count in CHOICES.items():
        _field(o.get(name, 0) < count, f"{name} {o.get(name)} does not exist")
    if "tiles" in o:
        _field(0 < o["tiles"] < 2**config.tiles, f"tiles 0x{o['tiles']:x} has no tile, or one too many")
    if "tile" in o:
        _field(o["tile"] < config.tiles, f"tile {o['tile']} does not exist")


class _Rules:
    """What an opcode's commands must obey beyond what all do; ``own`` is the unit's tile, ``tables`` are the
    chip's :class:`~.pages.PageTables`."""

    def __init__(self, o, config, own, tables):
        self.o, self.config, self.own, self.tables = o, config, own, tables
        self.lines, self.blocks = config.tile.vmem_lines, config.tile.amem_blocks
        self.row_lines = max(1, config.tile.lanes // 8)

    def fields(self):
        pass

    def alignment(self):
        pass

    def local_ranges(self):
        pass

    def memory_range(self, size):
        pass

    def home(self):
        pass

    def overlaps(self):
        pass

    def multiple(self, name, unit):
        value = self.o[name]
        _require(value % unit == 0, ErrorCode.ALIGNMENT, f"{name} {value} is not a multiple of {unit}")

    def multiples(self, name, unit):
        self.multiple(name, unit)
        self.multiple(f"{name}_stride", unit)

    def rows_of(self, name, length, rows=None):
        """First line (or block) and the end of the last row of a region with a stride."""
        first, rows = self.o[name], self.o["rows"] if rows is None else rows
        return first, first + self.o[f"{name}_stride"] * (rows - 1) + length

    def within(self, name, place, size):
        _require(
            place[1] <= size, ErrorCode.LOCAL_RANGE, f"{name} ends at {place[1]}; the memory ends at {size}"
        )

    def memory_rows(self, row_bytes, unit, size=None):
        """Alignment, or with ``size`` the range, of rows of memory."""
        o = self.o
        if size is None:
            self.multiple("mem_addr", unit)
            if o["rows"] > 1:
                self.multiple("mem_stride", unit)
            return
        if self.tables.split(o["mem_addr"]) is not None:
            problem = self.tables.problem(o["mem_addr"], o["mem_stride"], o["rows"], row_bytes)
            _require(problem is None, ErrorCode.MEMORY_RANGE, f"memory: {problem}")
            return
        end = o["mem_addr"] + (o["rows"] - 1) * o["mem_stride"] + row_bytes
        _require(
            end <= size,
            ErrorCode.MEMORY_RANGE,
            f"memory bytes 0x{o['mem_addr']:x} to 0x{end:x} pass the end at 0x{size:x}",
        )

    def activation(self):
        known = self.config.tile.array.arithmetic.activations
        number = self.o["activation"]
        _field(
            Activation(number) in known,
            f"this array has no activation format {number}; it has {_names(known)}",
        )

    def apart(self, name, length, rows):
        stride = self.o[f"{name}_stride"]
        _require(
            rows == 1 or stride >= length,
            ErrorCode.OVERLAP,
            f"rows of {name} overlap: {length} long, {stride} apart",
        )


class _Load(_Rules):
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


class _StoreWord(_Rules):
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
        _field(length in (2, 4, 8, 16, 32), f"length {length} is not 2, 4, 8, 16 or 32")
        _field(
            offset % length == 0 and offset + length <= 32,
            f"offset {offset} is not a multiple of length {length} inside the block",
        )


class _Stream(_Rules):
    def alignment(self):
        self.memory_rows(self.o["row_bytes"], self.config.stream_bytes)
        self.multiple("row_bytes", self.config.stream_bytes)

    def memory_range(self, size):
        self.memory_rows(self.o["row_bytes"], 1, size)

    def home(self):
        o, size = self.o, self.config.memory.home_bytes
        tiles = self.config.tiles // self.config.memory.homes
        start = self.own // tiles * size
        end = o["mem_addr"] + (o["rows"] - 1) * o["mem_stride"] + o["row_bytes"]
        _require(
            start <= o["mem_addr"] and end <= start + size,
            ErrorCode.HOME,
            f"memory bytes 0x{o['mem_addr']:x} to 0x{end:x} are not in the home of tile {self.own}",
        )


class _Matmul(_Rules):
    def __init__(self, o, config, own, tables):
        super().__init__(o, config, own, tables)
        self.row = -(-o["groups"] * config.tile.array.cols // 8)  # lines of a result
        self.rows_of_a_tile = min(o["rows"], o["spread"]) if o["spread"] else o["rows"]

    def fields(self):
        o, tile = self.o, self.config.tile
        arithmetic, element = tile.array.arithmetic, Element(o["element"])
        _field(o["rows"] <= tile.tokens, f"rows {o['rows']} are more than the accumulator's {tile.tokens}")
        tiles = f"{o['tiles']:b}".count("1")
        _field(
            not o["spread"] or tiles * o["spread"] >= o["rows"],
            f"{tiles} tiles with {o['spread']} rows each are less than {o['rows']} rows",
        )
        _field(
            element in arithmetic.weights,
            f"this array has no {element.name} weights; it has {_names(arithmetic.weights)}",
        )
        _field(
            o["scale"] != E8M0 or element in [a.element for a in arithmetic.activations if a.mx],
            f"this array has no {element.name} weights with E8M0 scales",
        )
        _field(
            not o["minimum"] or o["scale"] == F16 and element.name in ("S4", "U4"),
            "a minimum needs F16 scales and 4-bit integers",
        )
        _field(
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


class _Vector(_Rules):
    def __init__(self, o, config, own, tables):
        super().__init__(o, config, own, tables)
        self.row = 4 * o["blocks"]  # lines of a row of elements
        selected = [o[f"sel{n}"] for n in (1, 2) if o[f"op{n}"] != 0]
        self.reads_b, self.reads_c = B in selected, ROW in selected
        self.rows_of_b = -(-o["rows"] // max(1, o["share"]))

    def fields(self):
        o = self.o
        _field(o["blocks"] <= 2047, f"blocks {o['blocks']} are more than 2047")
        _field(o["sink"] != QUANTISE or o["reduce"] != ARGMAX, "quantise and argmax can't be combined")
        if o["sink"] == QUANTISE:
            self.activation()
        else:
            _field(o["activation"] == 0, "an activation format without quantise")
        if o["dst_step"]:
            _field(o["sink"] == QUANTISE, "dst_step without quantise")
            _field(o["dst_step"] >= o["blocks"], "blocks of rows that share overlap")

    def alignment(self):
        self.multiples("a", self.row_lines)
        if self.reads_b:
            self.multiples("b", self.row_lines)
        if self.o["sink"] == VMEM:
            self.multiples("dst", self.row_lines)

    def places(self):
        """(first, end) of what the command has in vector memory, by name."""
        o = self.o
        scalars = -(-o["rows"] // 8)
        found = {"a": self.rows_of("a", self.row)}
        if self.reads_b:
            found["b"] = self.rows_of("b", self.row, self.rows_of_b)
        if self.reads_c:
            found["c"] = (o["c"], o["c"] + scalars)
        if o["sink"] == VMEM:
            found["dst"] = self.rows_of("dst", self.row)
        if o["reduce"]:
            found["r"] = (o["r"], o["r"] + (1 if o["reduce"] == ARGMAX else scalars))
        return found

    def local_ranges(self):
        for name, place in self.places().items():
            self.within(name, place, self.lines)
        if self.o["sink"] == QUANTISE:
            self.within("dst", self.blocks_written(), self.blocks)

    def blocks_written(self):
        """First block and the end; with a step the last rows count as if as many shared as before."""
        o = self.o
        if o["dst_step"] == 0:
            return self.rows_of("dst", o["blocks"])
        inside, first = o["dst_step"] * (min(o["rows"], o["share"]) - 1), o["dst"]
        turns = self.rows_of_b - 1
        return first, first + turns * (o["dst_stride"] + inside) + inside + o["blocks"]

    def overlaps(self):
        o, places = self.o, self.places()
        if o["sink"]:
            rows = self.rows_of_b if o["dst_step"] else o["rows"]
            self.apart("dst", self.row if o["sink"] == VMEM else o["blocks"], rows)
        pairs = [("dst", "r")]
        if o["tiles"] >> self.own & 1:
            pairs += [(written, read) for written in ("dst", "r") for read in "abc"]
        for written, read in pairs:
            if written in places and read in places and not self.in_place(written, read):
                (first, end), (other, other_end) = places[written], places[read]
                _require(
                    end <= other or other_end <= first,
                    ErrorCode.OVERLAP,
                    f"{written}, {first} to {end}, and {read}, {other} to {other_end}, overlap",
                )

    def in_place(self, written, read):
        """Whether elements are written where they are read, each after it was read."""
        o = self.o
        if written != "dst" or read not in ("a", "b") or o["dst"] != o[read]:
            return False
        if read == "b" and self.rows_of_b != o["rows"]:
            return False
        return o["rows"] == 1 or o["dst_stride"] == o[f"{read}_stride"]


RULES = {
    "LOAD": _Load,
    "STORE": _Store,
    "STORE_BLOCK": _StoreBlock,
    "STORE_SCALE": _StoreScale,
    "STORE_WORD": _StoreWord,
    "STREAM": _Stream,
    "MATMUL": _Matmul,
    "VECTOR": _Vector,
}
"""Those of each opcode that has some."""
