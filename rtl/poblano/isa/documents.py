"""Writes ``docs/commands.md`` and ``docs/registers.md`` from the tables: ``python -m
poblano.isa.documents docs``."""

from pathlib import Path
import sys

from .check import RULES
from .commands import (
    COMMAND_BYTES,
    COMMAND_WORDS,
    COUNT_BITS,
    FIELDS,
    NO_UNIT,
    WAITS,
    ErrorCode,
    Opcode,
    UnitKind,
)
from .registers import COUNTER_BASE, COUNTER_STRIDE, COUNTERS, REGISTERS

__all__ = ["DOCUMENTS", "commands_document", "registers_document", "write"]

KINDS = {
    UnitKind.DMA: "the DMA engine, unit 0",
    UnitKind.STREAM: "a tile's stream unit, unit 3*tile + 1",
    UnitKind.MATMUL: "a tile's matmul unit, unit 3*tile + 2",
    UnitKind.VECTOR: "a tile's vector unit, unit 3*tile + 3",
}
PURPOSE = {
    Opcode.NOP: "Nothing: completes when its waits hold and all before it in its unit have completed.",
    Opcode.LOAD: "Rows of memory into the vector memory of one or more tiles.",
    Opcode.STORE: "Rows of a tile's vector memory into memory.",
    Opcode.STORE_BLOCK: "Bytes of blocks of a tile's activation memory into memory, a row from each block.",
    Opcode.STORE_SCALE: "FP32 scales of blocks of a tile's activation memory into memory, a row from each "
    "block.",
    Opcode.STREAM: "Rows of memory into the tile's weight FIFO.",
    Opcode.MATMUL: "Activations times the weights from the FIFO, into the vector memory of one or more "
    "tiles.",
    Opcode.VECTOR: "Element-wise operations, reductions and quantising of rows of vector memory.",
}


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _bits(field):
    if field.lsb + field.width <= 32:
        return (
            f"{field.word}",
            f"{field.lsb + field.width - 1}:{field.lsb}" if field.width > 1 else f"{field.lsb}",
        )
    return f"{field.word}-{field.word + 1}", f"{field.lsb + field.width - 33}:{field.lsb}"


def commands_document():
    """The text of ``docs/commands.md``."""
    parts = [
        "# Commands",
        f"A command is {COMMAND_BYTES} bytes: {COMMAND_WORDS} words of 32 bits, little-endian. Bits that are "
        "not listed must be "
        "0. What the commands compute is in `architecture.md`. This file is written by "
        "`python -m poblano.isa.documents docs`.",
        "## Opcode, unit and waits",
        _table(
            ("word", "bits", "field"),
            (
                ("0", "7:0", "opcode"),
                ("0", "15:8", "unit"),
                ("0", "31:16", "fields of the opcode"),
                (f"1-{WAITS}", "7:0", f"unit that is waited for; {NO_UNIT}: none, the count must be 0"),
                (
                    f"1-{WAITS}",
                    f"{7 + COUNT_BITS}:8",
                    "count: the wait holds when the unit has completed so many commands, "
                    f"`(completed - count) mod 2**{COUNT_BITS} < 2**{COUNT_BITS - 1}`",
                ),
            ),
        ),
    ]
    for opcode in Opcode:
        kind = "any unit" if opcode.kind is None else KINDS[opcode.kind]
        parts += [f"## {opcode.name} (0x{opcode:02x})", f"{PURPOSE[opcode]} Executed by {kind}."]
        if FIELDS[opcode]:
            parts.append(
                _table(
                    ("word", "bits", "field", "meaning"),
                    [
                        (*_bits(f), f"`{f.name}`" + (" (FP32)" if f.kind == "float32" else ""), f.doc)
                        for f in FIELDS[opcode]
                    ],
                )
            )
    parts += [
        "## Rules",
        "A command is refused unless all of these hold. The first that fails decides the error code.",
        _table(("code", "rule"), [(code.name, rule) for code, rule in RULES]),
        "## Error codes",
        _table(("value", "name", "meaning"), [(int(code), code.name, code.text) for code in ErrorCode]),
    ]
    return "\n\n".join(parts) + "\n"


def registers_document():
    """The text of ``docs/registers.md``."""
    parts = [
        "# Registers",
        "AXI4-Lite, 32-bit registers at byte addresses; bits that are not listed read 0. Writes of less than "
        "a register or of "
        "a read-only register, and accesses of other addresses, are answered with SLVERR. ro: read only; rw: "
        "read and write; "
        "w1c: a written 1 clears the bit. All are 0 after reset, but for those that describe the chip. This "
        "file is written "
        "by `python -m poblano.isa.documents docs`.",
        _table(
            ("address", "name", "access", "meaning"),
            [(f"0x{r.address:03x}", r.name, r.access, r.doc) for r in REGISTERS.values()],
        ),
        "## Counters of the units",
        f"Of unit n at 0x{COUNTER_BASE:03x} + {COUNTER_STRIDE}*n, read only:",
        _table(
            ("offset", "name", "meaning"),
            [(4 * k, name, doc) for k, (name, doc) in enumerate(COUNTERS.items())],
        ),
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
