"""Writes ``docs/commands.md`` and ``docs/registers.md`` from the tables: ``python -m
poblano.isa.documents docs``."""

from pathlib import Path
import sys

from .assembly import EXAMPLE, FORM, NOTES, line_form
from .check import ORDER
from .commands import ErrorCode, Opcode
from .ecc_registers import (
    CHIP_BASE,
    CHIP_PLACES,
    DRAM_REGISTERS,
    ECC_BASE,
    HOME_BASE,
    HOME_PLACES,
    STRIDE,
    TILE_PLACES,
)
from .header import COMMAND_BYTES, COUNT_BITS, NO_UNIT, OPCODE_BITS, UNIT_BITS, WAITS, wait_offset
from .regions import Place
from .registers import COUNTER_BASE, COUNTER_STRIDE, COUNTERS, REGISTERS
from .text import Text, call
from .topology import LARGEST, UnitKind

__all__ = ["DOCUMENTS", "commands_document", "registers_document", "write"]

PLACES = {Place.OWN: "own tile", Place.TILE: "`tile`", Place.TILES: "all of `tiles`"}
NAMES = Text("")
"""Stands for the configuration, whose names expressions write down."""


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _executor(kind):
    """Which units execute what is for ``kind``."""
    if kind is None:
        return "any unit"
    units = LARGEST.units_of(kind)
    if kind is UnitKind.DMA:
        return f"the DMA engine, unit {units[0]}"
    numbers = ", ".join(str(unit) for unit in units[:3])
    return f"a tile's {kind.value} unit: units {numbers} and so on, of tiles 0, 1, 2 and so on"


def _place(offset, width):
    """The word and the bits of ``width`` bits from ``offset`` on."""
    word, lsb = divmod(offset, 64)
    last, msb = divmod(offset + width - 1, 64)
    return (f"{word}" if word == last else f"{word}-{last}"), (f"{msb}:{lsb}" if width > 1 else f"{lsb}")


def _header():
    waits = [
        row
        for i in range(WAITS)
        for row in (
            (*_place(wait_offset(i), UNIT_BITS), f"wait {i}: unit; {NO_UNIT}: none, the count must be 0"),
            (*_place(wait_offset(i) + UNIT_BITS, COUNT_BITS), f"wait {i}: count"),
        )
    ]
    rows = [(*_place(0, OPCODE_BITS), "opcode"), (*_place(OPCODE_BITS, UNIT_BITS), "unit"), *waits]
    return _table(("word", "bits", "field"), rows)


def _fields(definition):
    rows = [
        (*_place(f.offset, f.width), f"`{f.name}`", f.doc + (f": {f.kind.meaning}" if f.kind.meaning else ""))
        for f in definition.fields
    ]
    return _table(("word", "bits", "field", "meaning"), rows)


def _regions(definition):
    code = lambda value: "" if value is True else f"`{value}`"
    values = {f.name: Text(f.name) for f in definition.fields}
    o, rows = definition.operands(values, lambda a, b: call("ceil({0} / {1})", values[a], values[b])), []
    for region in definition.local:
        span = region.span(o, NAMES)
        rows.append(
            (
                f"`{region.name}`",
                f"{region.memory.value}, {PLACES[region.place]}, {region.access.value}",
                code(span.rows),
                code(span.stride) if region.strided else "",
                code(span.extent),
                code(region.unit(o, NAMES)),
                code(region.used(o, NAMES)),
            )
        )
    if definition.memory:
        span = definition.memory.span(o)
        rows.append(
            (
                "`mem_addr`",
                f"memory, {definition.memory.access.value}",
                code(span.rows),
                code(span.stride),
                code(span.extent),
                code(definition.memory.unit(o, NAMES)),
                "",
            )
        )
    return _table(("from", "of", "rows", "stride", "length of a row", "multiples of", "if"), rows)


def _text():
    """How a program is written as text."""
    return [
        "## Programs as text",
        "For example, this program doubles 32 numbers. The vector unit waits for the DMA engine's first "
        "command, and the DMA engine's second command for the vector unit:",
        f"```text\n{EXAMPLE}```",
        f"The form of a line is `{FORM}`. Under each opcode below stands its line with all operands. `poblano"
        " asm --help` prints them too.",
        "\n".join(f"* {note}" for note in NOTES),
        "`poblano asm` makes commands of the text, and `poblano disasm` text of commands. `poblano exec` "
        "runs a program, on the RTL or on the golden model. [examples/README.md](../examples/README.md) "
        "has three programs with an explanation of each, and shows how a wait that was forgotten is found.",
    ]


def _opcode(opcode):
    definition = opcode.definition
    part = f" Only chips with `{definition.part}` know it." if definition.part else ""
    parts = [
        f"## {opcode.name} (0x{opcode:02x})",
        f"{definition.purpose} Executed by {_executor(definition.kind)}.{part}",
    ]
    if definition.fields:
        parts += [f"As text: `{line_form(opcode)}`", _fields(definition)]
    if definition.local or definition.memory:
        parts.append(_regions(definition))
    if definition.rules:
        parts.append("\n".join(f"* {rule.text}" for rule in definition.rules))
    return parts


RULES = {
    ErrorCode.OPCODE: ("the opcode is known",),
    ErrorCode.UNIT: ("the unit exists and executes the opcode",),
    ErrorCode.FIELD: (
        "bits that no field names are 0",
        f"a wait names a unit that exists, or none ({NO_UNIT}) with count 0",
        "every field has a value that its table allows, and the rules below the opcode's tables hold",
    ),
    ErrorCode.ALIGNMENT: (
        "first address, stride and length of a row of a local region that the command has are multiples of "
        "what its table says",
        "so are those of a region of memory; its stride only of more than one row",
    ),
    ErrorCode.LOCAL_RANGE: (
        "first address + (rows - 1) * stride + length of a row of a local region that the command has is at "
        "most the size of the memory, in lines or blocks",
    ),
    ErrorCode.MEMORY_RANGE: (
        "the same of a region of memory, in bytes, is at most MEMORY_SIZE and what the ports can address: "
        "2^`addr_width` with one home, homes * `home_bytes` with several",
    ),
    ErrorCode.HOME: (
        "STREAM, with several homes: all of its region of memory is in the home of the unit's tile: home "
        "tile // (tiles / homes), which is the bytes from home * `home_bytes` to (home + 1) * `home_bytes`",
    ),
    ErrorCode.OVERLAP: (
        "MATMUL and VECTOR: the rows of dst, if they are more than one, do not overlap: its stride is at "
        "least the length of a row",
        "VECTOR: the ranges of dst (sink VMEM) and of r have no line in common",
        "VECTOR, if `tiles` names the unit's own tile: neither of these ranges has a line in common with the "
        "range of a, of b or of c, as far as the command has them; but dst may be the same as a or b: it "
        "begins at the same line, has as many rows and, if they are more than one, the same stride",
    ),
}
"""What must hold, by the code of what does not."""


def commands_document():
    """The text of ``docs/commands.md``."""
    parts = [
        "# Commands",
        f"A command is {COMMAND_BYTES} bytes: {COMMAND_BYTES // 8} words of 64 bits, little-endian. Bits "
        "that are not listed must be 0. What the commands compute is in `specification.md`. This file is "
        "written by `python -m poblano.isa.documents docs`.",
        "## Opcode, unit and waits",
        _header(),
        "A wait holds when its unit has completed so many commands since the queue's reset: "
        f"`(completed - count) mod 2**{COUNT_BITS} < 2**{COUNT_BITS - 1}`.",
        *_text(),
        "## How to read the tables",
        "The second table of an opcode has its regions: the rows of lines (32 bytes) of vector memory, of "
        "blocks of activation memory or of bytes of memory that it reads or writes. A region's first address "
        "is the field in the first column. A local region is in the memory of the unit's own tile, of the "
        "tile `tile`, or of every tile of the mask `tiles`. The command has a region if the last column "
        "holds. Names that are no fields are the configuration's: `cols`, `segments` and `row_lines` (lines "
        "of a row of vector memory: lanes / 8, at least 1) of a tile, `data_bytes` of a memory beat, "
        "`beat_lines` (data_bytes / 32, at least 1), `stream_bytes` of a word of the weight stream. `//` "
        "divides and rounds down.",
    ]
    for opcode in Opcode:
        parts += _opcode(opcode)
    parts += [
        "## Rules",
        "A command is refused unless all of these hold. The first that fails decides the error code.",
        _table(("code", "rule"), [(code.name, rule) for code in ORDER for rule in RULES[code]]),
        "## Error codes",
        _table(("value", "name", "meaning"), [(int(code), code.name, code.text) for code in ErrorCode]),
    ]
    return "\n\n".join(parts) + "\n"


def _ecc_registers():
    """The parts about registers that only chips with check bits have."""
    rows = [
        (f"0x{base + 4 * n:03x}{step}", name, meaning)
        for base, step, names in (
            (ECC_BASE, f" + {STRIDE}*t", TILE_PLACES),
            (HOME_BASE, f" + {STRIDE}*h", HOME_PLACES | DRAM_REGISTERS),
            (CHIP_BASE, "", CHIP_PLACES),
        )
        for n, (name, meaning) in enumerate(names.items())
    ]
    return (
        "## Counts of check bits",
        "A chip with `ecc` counts, for each place where words have check bits, the words with one flipped "
        "bit, which are corrected, and those with more, which fail. For example, bits 15:0 of the register "
        f"at 0x{ECC_BASE:03x} are the words corrected in the vector memory of tile 0, and bits 31:16 those "
        "that failed there. Only words that are used count, at most one of a place in a cycle. A count of "
        "65535 stays so. CONTROL.clear_counters clears these registers, which are read only. A chip has "
        "those of the places that it has. In the table t is a tile and h a home.",
        _table(("address", "place", "meaning"), rows),
    )


def registers_document():
    """The text of ``docs/registers.md``."""
    parts = [
        "# Registers",
        "For example, a host starts work by writing TAIL, and then bit 0 of STATUS, at address 0x014, is 1 "
        "while commands are left or in progress ([below](#use)).",
        "The chip has 32-bit registers at byte addresses behind AXI4-Lite. Bits that are not listed read 0. "
        "These accesses are answered with SLVERR: writes of less than a register, writes of a read-only "
        "register, and accesses of other addresses. In the column *access*, ro means read only, rw read and "
        "write, and w1c that a written 1 clears the bit. All registers are 0 after reset, but for those that "
        "describe the chip, and WATCHDOG. This file is written by `python -m poblano.isa.documents docs`.",
        _table(
            ("address", "name", "access", "meaning"),
            [(f"0x{r.address:03x}", r.name, r.access, r.doc) for r in REGISTERS.values()],
        ),
        "## Counters of the units",
        f"Each unit has counters, which are read only. Those of unit n begin at 0x{COUNTER_BASE:03x} + "
        f"{COUNTER_STRIDE}*n. For example, BUSY of unit 3 is at 0x{COUNTER_BASE + 3 * COUNTER_STRIDE + 4:x}.",
        _table(
            ("offset", "name", "meaning"),
            [(4 * k, name, doc) for k, (name, doc) in enumerate(COUNTERS.items())],
        ),
        *_ecc_registers(),
        "## Use",
        "1. Write commands into the ring, RING_BASE, RING_SIZE, MEMORY_SIZE and IRQ_ENABLE; set "
        "CONTROL.enable.\n"
        "2. Write TAIL, the number of commands written since the queue's reset. Command n is at RING_BASE + "
        "64 * (n mod "
        "RING_SIZE); its place is free when HEAD is above n.\n"
        "3. At the interrupt, read and clear IRQ_STATUS. Done is set when the last command up to TAIL "
        "completes. If TAIL was "
        "written again before the interrupt was served, more commands can be left: look at STATUS.\n"
        "4. After an error write CONTROL with queue reset, wait until that bit reads 0, and start again with "
        "command 0. "
        "HEAD, TAIL, ERROR_* and IRQ_STATUS are then 0; the other registers keep their values. A TAIL "
        "written before the "
        "reset has ended is lost. A write of CONTROL sets enable too.",
    ]
    return "\n\n".join(parts) + "\n"


DOCUMENTS = {"commands.md": commands_document, "registers.md": registers_document}
"""Files in ``docs`` and what makes them."""


def write(folder):
    """Write all :data:`DOCUMENTS` into ``folder``."""
    for name, document in DOCUMENTS.items():
        Path(folder, name).write_text(document())


if __name__ == "__main__":
    write(sys.argv[1])
