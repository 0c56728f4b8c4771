"""What the rules of all opcodes have in common, in the golden chip's reading of ``docs/commands.md``."""

from poblano.formats.element import Activation
from poblano.isa.errors import CommandError, ErrorCode

__all__ = ["Rules", "field", "names", "require"]


def require(condition, code, message):
    if not condition:
        raise CommandError(code, message)


def field(condition, message):
    require(condition, ErrorCode.FIELD, message)


def names(formats):
    return ", ".join(form.name for form in formats)


class Rules:
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
        require(value % unit == 0, ErrorCode.ALIGNMENT, f"{name} {value} is not a multiple of {unit}")

    def multiples(self, name, unit):
        self.multiple(name, unit)
        self.multiple(f"{name}_stride", unit)

    def rows_of(self, name, length, rows=None):
        """First line (or block) and the end of the last row of a region with a stride."""
        first, rows = self.o[name], self.o["rows"] if rows is None else rows
        return first, first + self.o[f"{name}_stride"] * (rows - 1) + length

    def within(self, name, place, size):
        require(
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
            require(problem is None, ErrorCode.MEMORY_RANGE, f"memory: {problem}")
            return
        end = o["mem_addr"] + (o["rows"] - 1) * o["mem_stride"] + row_bytes
        require(
            end <= size,
            ErrorCode.MEMORY_RANGE,
            f"memory bytes 0x{o['mem_addr']:x} to 0x{end:x} pass the end at 0x{size:x}",
        )
        if self.tables.slots and self.tables.homes > 1:
            within = end - o["mem_addr"] // self.tables.home_size * self.tables.home_size
            require(
                within <= self.tables.home_bytes,
                ErrorCode.MEMORY_RANGE,
                f"memory bytes 0x{o['mem_addr']:x} to 0x{end:x} are not in the first "
                f"0x{self.tables.home_bytes:x} bytes of a home",
            )

    def activation(self):
        known = self.config.tile.array.arithmetic.activations
        number = self.o["activation"]
        field(
            Activation(number) in known,
            f"this array has no activation format {number}; it has {names(known)}",
        )

    def apart(self, name, length, rows):
        stride = self.o[f"{name}_stride"]
        require(
            rows == 1 or stride >= length,
            ErrorCode.OVERLAP,
            f"rows of {name} overlap: {length} long, {stride} apart",
        )

    def disjoint(self, written, place, read, other):
        require(
            place[1] <= other[0] or other[1] <= place[0],
            ErrorCode.OVERLAP,
            f"{written}, {place[0]} to {place[1]}, and {read}, {other[0]} to {other[1]}, overlap",
        )
