"""The register map: one table for the hardware, the host and ``docs/registers.md``. 32-bit registers, byte
addresses."""

from dataclasses import dataclass
import enum
from operator import attrgetter

from .header import COUNT_BITS

__all__ = [
    "COUNTERS",
    "COUNTER_BASE",
    "COUNTER_STRIDE",
    "Control",
    "Field",
    "IDENTITY",
    "Irq",
    "NO_ERROR_UNIT",
    "REGISTERS",
    "RING_ALIGNMENT",
    "Register",
    "SMALLEST_RING",
    "Status",
    "VERSION_NUMBER",
    "address",
    "constants",
    "registers_of",
    "resets",
]

IDENTITY = int.from_bytes(b"PBLN", "big")
VERSION_NUMBER = 2
RING_ALIGNMENT = 256
"""RING_BASE is a multiple of this."""
SMALLEST_RING = 4
"""The least RING_SIZE."""
NO_ERROR_UNIT = 0xFF
"""ERROR_UNIT where the error is the ring's or the fetch's."""


class Control(enum.IntFlag):
    """Bits of CONTROL."""

    ENABLE = 1
    QUEUE_RESET = 2
    CLEAR_COUNTERS = 4


class Status(enum.IntFlag):
    """Bits of STATUS."""

    RUNNING = 1
    ERROR = 2
    IDLE = 4


class Irq(enum.IntFlag):
    """Bits of IRQ_ENABLE and IRQ_STATUS."""

    DONE = 1
    ERROR = 2


@dataclass(frozen=True)
class Field:
    """``width`` bits of a register, from ``lsb`` on."""

    name: str
    lsb: int
    width: int = 1
    doc: str = ""

    @property
    def text(self):
        bits = f"bit {self.lsb}" if self.width == 1 else f"{self.lsb + self.width - 1}:{self.lsb}"
        return f"{bits} {self.name.replace('_', ' ')}" + (f": {self.doc}" if self.doc else "")


def _bits(flags, **docs):
    """A field for each bit of ``flags``, an IntFlag, with what ``docs`` says of it."""
    return tuple(
        Field(flag.name.lower(), flag.bit_length() - 1, doc=docs.get(flag.name.lower(), "")) for flag in flags
    )


@dataclass(frozen=True)
class Register:
    """A register: ``access`` is ro, rw or w1c (a written 1 clears the bit). Bits from ``width`` on read 0.

    ``fields`` are those of a register of several; ``doc`` is completed by what they mean. ``part`` names the
    field of the configuration that is not 0 in a chip with the register, and that it holds after a reset;
    ``paging``: only chips with page tables have it; ``experts``: only those that route experts.
    """

    name: str
    address: int
    access: str
    doc: str
    width: int = 32
    fields: tuple = ()
    part: str = ""
    paging: bool = False
    experts: bool = False

    def __post_init__(self):
        if self.fields:
            wide = any(field.width > 1 for field in self.fields)
            text = "bits " * wide + (", " if wide else "; ").join(field.text for field in self.fields)
            object.__setattr__(self, "doc", f"{self.doc}: {text}" if self.doc else text)

    def first(self, config):
        """What one that the chip writes nothing to holds after a reset."""
        return attrgetter(self.part)(config) if self.part else 0


REGISTERS = {
    register.name: register
    for register in (
        Register("ID", 0x00, "ro", "0x50424c4e, PBLN"),
        Register("VERSION", 0x04, "ro", "version of the command set and of this map"),
        Register(
            "CONFIG0",
            0x08,
            "ro",
            "",
            fields=(
                Field("tiles", 0, 8),
                Field("lanes", 8, 8),
                Field("memory_data_bytes", 16, 8),
                Field("units", 24, 8),
            ),
        ),
        Register(
            "CONFIG1", 0x0C, "ro", "", fields=(Field("array_rows", 0, 16), Field("array_columns", 16, 16))
        ),
        Register(
            "CONTROL",
            0x10,
            "rw",
            "",
            3,
            _bits(
                Control,
                enable="fetch commands",
                queue_reset="write 1 to start, reads 1 until it has ended",
                clear_counters="write 1, reads 0",
            ),
        ),
        Register(
            "STATUS",
            0x14,
            "ro",
            "",
            3,
            _bits(
                Status,
                running="commands up to TAIL are left or in progress",
                error="until the queue's reset",
                idle="no command is queued or in progress",
            ),
        ),
        Register("RING_BASE_LO", 0x18, "rw", "address of the command ring, a multiple of 256"),
        Register("RING_BASE_HI", 0x1C, "rw", "its bits 39:32", 8),
        Register(
            "RING_SIZE",
            0x20,
            "rw",
            "commands in the ring, a power of two of at least 4; the ring lies inside MEMORY_SIZE",
        ),
        Register(
            "TAIL",
            0x24,
            "rw",
            "doorbell: commands written since the queue's reset, modulo 2**32; at most HEAD + RING_SIZE",
        ),
        Register(
            "HEAD",
            0x28,
            "ro",
            "commands dispatched to their units since the queue's reset: their places are free",
        ),
        Register(
            "MEMORY_SIZE_LO",
            0x2C,
            "rw",
            "bytes of memory that commands and the ring may use; what the port can't address does not count",
        ),
        Register("MEMORY_SIZE_HI", 0x30, "rw", "its bits 40:32", 9),
        Register("IRQ_ENABLE", 0x34, "rw", "the bits of IRQ_STATUS that raise the interrupt", 2, _bits(Irq)),
        Register("IRQ_STATUS", 0x38, "w1c", "", 2, _bits(Irq, done="all commands up to TAIL have completed")),
        Register(
            "ERROR_CODE",
            0x3C,
            "ro",
            "the first error since the queue's reset: see the error codes of the command set",
            4,
        ),
        Register("ERROR_INDEX", 0x40, "ro", "which command, counted from 0 at the queue's reset"),
        Register("ERROR_UNIT", 0x44, "ro", "its unit; 255: the ring or the fetch of the command", 8),
        Register(
            "CYCLES_LO", 0x48, "ro", "cycles since the counters were cleared; reading it latches CYCLES_HI"
        ),
        Register("CYCLES_HI", 0x4C, "ro", "bits 63:32 of the cycles when CYCLES_LO was last read"),
        Register("READ_BEATS", 0x50, "ro", "beats read from memory since the counters were cleared"),
        Register("WRITE_BEATS", 0x54, "ro", "beats written to memory since the counters were cleared"),
        Register(
            "CONFIG2",
            0x58,
            "ro",
            "base-2 logarithms",
            fields=(
                Field("vector_memory_lines", 0, 8),
                Field("activation_memory_blocks", 8, 8),
                Field("weight_fifo_bytes", 16, 8),
                Field("tokens", 24, 8),
            ),
        ),
        Register(
            "WATCHDOG",
            0x5C,
            "rw",
            "cycles in which nothing moves until that is an error, and after which QUEUE_RESET does not wait "
            "for memory; 0: none. Only in chips with a watchdog; after a reset it holds the configuration's",
            part="watchdog",
        ),
        Register(
            "PAGE_BYTES",
            0x60,
            "rw",
            "bytes of a page, with several homes of its part in each, at most what the window has for them. "
            "Only in chips with page tables, as are the next three",
            paging=True,
        ),
        Register(
            "PAGE_INDEX",
            0x64,
            "rw",
            "the entry of all page tables that is written next: the slot times the entries of a table, plus "
            "the page",
            paging=True,
        ),
        Register(
            "PAGE_ENTRY",
            0x68,
            "rw",
            "writing it writes the entry at PAGE_INDEX, the page's address in memory, with several homes in "
            "each, divided by 4,096, and adds 1 to PAGE_INDEX",
            paging=True,
        ),
        Register(
            "PAGE_COUNT",
            0x6C,
            "rw",
            "writing it says how many pages the table of PAGE_INDEX's slot has; 0 after a reset",
            paging=True,
        ),
        Register(
            "EXPERTS_ROUTED",
            0x70,
            "ro",
            "experts that got rows, since the counters were cleared. Only in chips that route experts, as "
            "are the next two",
            experts=True,
        ),
        Register(
            "EXPERTS_ROWS", 0x74, "ro", "rows that experts got, since the counters were cleared", experts=True
        ),
        Register(
            "EXPERTS_PASSED",
            0x78,
            "ro",
            "EXPERT commands without an expert, since the counters were cleared",
            experts=True,
        ),
        Register(
            "HOME_END",
            0x7C,
            "rw",
            "bytes of each home, divided by 4,096, that commands reach without page tables. Only in chips "
            "with page tables and several homes; after a reset all",
            part="memory.home_end",
        ),
        Register(
            "EXPERTS_REROUTED",
            0x80,
            "ro",
            "choices of rows that went to another expert, as theirs had no room, since the counters were "
            "cleared. Only in chips that route experts",
            experts=True,
        ),
    )
}

COUNTERS = {
    "COMPLETED": f"commands completed since the queue's reset, modulo 2**{COUNT_BITS}: what waits compare "
    "with",
    "BUSY": "cycles in which a command was in progress, since the counters were cleared; none after an error "
    "of the unit",
    "STALL_IN": "of these, cycles lost waiting for input",
    "STALL_OUT": "of these, cycles lost because output was not accepted",
}
"""Each unit's read-only counters, in the order of their addresses."""
COUNTER_BASE = 0x100
COUNTER_STRIDE = 4 * len(COUNTERS)


def address(name, unit=None):
    """The byte address of a register, or of a unit's counter."""
    if unit is None:
        return REGISTERS[name].address
    return COUNTER_BASE + unit * COUNTER_STRIDE + 4 * list(COUNTERS).index(name)


def registers_of(config):
    """The registers that a chip has, by their names."""
    return {
        name: r
        for name, r in REGISTERS.items()
        if (not r.part or r.first(config))
        and (not r.paging or config.memory.paging is not None)
        and (not r.experts or config.experts is not None)
    }


def constants(config):
    """The values of the registers that describe a chip, by their names."""
    tile = config.tile
    log2 = lambda n: n.bit_length() - 1
    values = {
        "CONFIG0": (config.tiles, tile.lanes, config.memory.data_bytes, config.units),
        "CONFIG1": (tile.array.rows, tile.array.cols),
        "CONFIG2": tuple(log2(n) for n in (tile.vmem_lines, tile.amem_blocks, tile.fifo_bytes, tile.tokens)),
    }
    return {"ID": IDENTITY, "VERSION": VERSION_NUMBER} | {
        name: sum(n << field.lsb for field, n in zip(REGISTERS[name].fields, numbers, strict=True))
        for name, numbers in values.items()
    }


def resets(config):
    """What the registers of a chip hold after a reset, by their names; the others hold 0."""
    parts = {name: r.first(config) for name, r in registers_of(config).items() if r.part}
    return constants(config) | parts
