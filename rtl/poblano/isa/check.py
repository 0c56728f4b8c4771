"""What makes a command valid: the rules of the hardware's checker, in its order, in pure Python.

The first rule that fails decides the error code, in the order of :data:`RULES`.
"""

from ..config import BLOCK, LINE_BYTES, LINE_WORDS
from ..formats.element import Element
from .commands import (
    COMMAND_BYTES,
    NO_UNIT,
    WAITS,
    Command,
    CommandError,
    ErrorCode,
    Opcode,
    unit_kind,
    unit_name,
)

__all__ = ["MAX_BLOCKS", "RULES", "check"]

RULES = (
    (ErrorCode.OPCODE, "the opcode is known"),
    (ErrorCode.UNIT, "the unit exists and is of the opcode's kind; a NOP goes to any unit"),
    (ErrorCode.FIELD, "reserved bits are 0; a wait names a unit that exists, or none (0xff) with count 0"),
    (
        ErrorCode.FIELD,
        "rows, lines, blocks, share, groups, k_blocks and row_bytes are at least 1, blocks at most 2047; "
        "`tiles` names only tiles that exist, and at least one; `tile` exists; enumerations are in range",
    ),
    (
        ErrorCode.FIELD,
        "MATMUL: rows are at most the accumulator's depth; the array has the element, and if it is E8M0 the "
        "scale; a minimum "
        "needs F16 scales and 4-bit integers, transpose elements of a byte",
    ),
    (ErrorCode.FIELD, "VECTOR: sink 2 and argmax are not combined"),
    (
        ErrorCode.FIELD,
        "MATMUL, and VECTOR with sink 2: the array has the activation format; VECTOR with another sink: it "
        "is 0",
    ),
    (ErrorCode.FIELD, "STORE_BLOCK: offset is a multiple of length, and offset + length at most 32"),
    (
        ErrorCode.ALIGNMENT,
        "LOAD and STORE: mem_addr, and mem_stride of more than one row, are multiples of a beat; STREAM: "
        "mem_addr, mem_stride and row_bytes of a stream word; STORE_BLOCK: mem_addr and mem_stride of "
        "length; "
        "STORE_SCALE: of 4",
    ),
    (
        ErrorCode.ALIGNMENT,
        "MATMUL: a, a_stride and k_blocks are multiples of the array's segments; dst and dst_stride of a row "
        "of vector memory (more than 8 lanes: several lines)",
    ),
    (
        ErrorCode.ALIGNMENT,
        "VECTOR: so are the lines and strides of a, of b if it is read, and of dst with sink 1",
    ),
    (ErrorCode.LOCAL_RANGE, "every operand that is used lies in its memory, with its last row"),
    (
        ErrorCode.MEMORY_RANGE,
        "mem_addr + (rows - 1) * mem_stride + the bytes of a row are at most MEMORY_SIZE",
    ),
)
"""The rules in the order in which they are applied: the code of the first that fails, and what must hold."""

MAX_BLOCKS = 2047
"""Blocks in a row of a VECTOR command, so that element numbers stay below the limit that means none."""


def _fail(code, message):
    raise CommandError(code, message)


def _unit(command, config):
    if command.unit >= config.units:
        _fail(ErrorCode.UNIT, f"unit {command.unit} does not exist; there are {config.units}")
    if command.opcode.kind is not None and unit_kind(command.unit) is not command.opcode.kind:
        _fail(
            ErrorCode.UNIT,
            f"unit {command.unit} ({unit_name(command.unit)}) does not execute {command.opcode.name}",
        )


def _waits(data, config):
    for i in range(WAITS):
        word = int.from_bytes(data[4 * (1 + i) : 4 * (2 + i)], "little")
        unit, count = word & 0xFF, word >> 8
        if unit == NO_UNIT and count == 0:
            continue
        if unit >= config.units:
            _fail(ErrorCode.FIELD, f"wait {i} names unit {unit}")


def _fields(opcode, o, config):
    tile = config.tile
    for name in ("rows", "lines", "k_blocks", "groups", "blocks", "share"):
        if o.get(name) == 0:
            _fail(ErrorCode.FIELD, f"{name} is 0")
    if "tiles" in o:
        if not 0 < o["tiles"] < 1 << config.tiles:
            _fail(ErrorCode.FIELD, f"tiles 0x{o['tiles']:x} names no tile or one that does not exist")
    if "tile" in o and o["tile"] >= config.tiles:
        _fail(ErrorCode.FIELD, f"tile {o['tile']} does not exist")
    if opcode is Opcode.STREAM and o["row_bytes"] == 0:
        _fail(ErrorCode.FIELD, "row_bytes is 0")
    if opcode is Opcode.STORE_BLOCK:
        length, offset = o["length"], o["offset"]
        if length not in (2, 4, 8, 16, 32):
            _fail(ErrorCode.FIELD, f"length {length} is not 2, 4, 8, 16 or 32")
        if offset % length or offset + length > 32:
            _fail(ErrorCode.FIELD, f"offset {offset} is not a multiple of length {length} inside the block")
    if opcode is Opcode.MATMUL:
        if o["rows"] > tile.tokens:
            _fail(ErrorCode.FIELD, f"rows {o['rows']} are more than the accumulator's {tile.tokens}")
        arithmetic, element = tile.array.arithmetic, Element(o["element"])
        if element not in arithmetic.weights:
            _fail(
                ErrorCode.FIELD,
                f"this array has no {element.name} weights; it has {_names(arithmetic.weights)}",
            )
        if o["scale"] == 3 and element not in arithmetic.mx_weights:
            _fail(ErrorCode.FIELD, f"this array has no {element.name} weights with E8M0 scales")
        if o["minimum"] and (o["scale"] != 1 or element not in (Element.S4, Element.U4)):
            _fail(ErrorCode.FIELD, "a minimum needs F16 scales and 4-bit integers")
        if o["transpose"] and element.bits != 8:
            _fail(ErrorCode.FIELD, "a transposed stream holds elements of a byte")
        _activation(o["activation"], arithmetic)
    if opcode is Opcode.VECTOR:
        if o["sfu"] > 5 or o["op1"] > 6 or o["op2"] > 6 or o["sel1"] > 2 or o["sel2"] > 2:
            _fail(ErrorCode.FIELD, "an operation or selector does not exist")
        if o["sink"] > 2 or o["reduce"] > 4:
            _fail(ErrorCode.FIELD, "a sink or reduction does not exist")
        if o["sink"] == 2 and o["reduce"] == 3:
            _fail(ErrorCode.FIELD, "quantise and argmax can't be combined")
        if o["sink"] == 2:
            _activation(o["activation"], tile.array.arithmetic)
        elif o["activation"]:
            _fail(ErrorCode.FIELD, "an activation format without quantise")
        if o["blocks"] > MAX_BLOCKS:
            _fail(ErrorCode.FIELD, f"blocks {o['blocks']} are more than {MAX_BLOCKS}")


def _names(formats):
    return ", ".join(form.name for form in formats)


def _activation(number, arithmetic):
    if number not in arithmetic.activations:
        _fail(
            ErrorCode.FIELD,
            f"this array has no activation format {number}; it has {_names(arithmetic.activations)}",
        )


def _aligned(name, value, unit):
    if value % unit:
        _fail(ErrorCode.ALIGNMENT, f"{name} {value} is not a multiple of {unit}")


def _vector_operands(o):
    """Names of the operands that a VECTOR command keeps in rows of vector memory."""
    used = ["a"]
    if o["op1"] and o["sel1"] == 0 or o["op2"] and o["sel2"] == 0:
        used.append("b")
    if o["sink"] == 1:
        used.append("dst")
    return used


def _alignment(opcode, o, config):
    lines = max(LINE_WORDS, config.tile.lanes) // LINE_WORDS
    segments = config.tile.array.segments
    if opcode is Opcode.MATMUL:
        for name in ("a", "a_stride", "k_blocks"):
            _aligned(name, o[name], segments)
        for name in ("dst", "dst_stride"):
            _aligned(name, o[name], lines)
    elif opcode is Opcode.VECTOR:
        for name in _vector_operands(o):
            _aligned(name, o[name], lines)
            _aligned(f"{name}_stride", o[f"{name}_stride"], lines)
    elif opcode in (Opcode.LOAD, Opcode.STORE):
        _aligned("mem_addr", o["mem_addr"], config.memory.data_bytes)
        if o["rows"] > 1:
            _aligned("mem_stride", o["mem_stride"], config.memory.data_bytes)
    elif opcode is Opcode.STREAM:
        for name in ("mem_addr", "mem_stride", "row_bytes"):
            _aligned(name, o[name], config.stream_bytes)
    elif opcode is Opcode.STORE_BLOCK:
        for name in ("mem_addr", "mem_stride"):
            _aligned(name, o[name], o["length"])
    elif opcode is Opcode.STORE_SCALE:
        for name in ("mem_addr", "mem_stride"):
            _aligned(name, o[name], 4)


def _local(name, base, stride, rows, extent, size):
    end = base + stride * (rows - 1) + extent
    if end > size:
        _fail(ErrorCode.LOCAL_RANGE, f"{name} ends at {end}; the memory ends at {size}")


def _local_ranges(opcode, o, config):
    lines, blocks = config.tile.vmem_lines, config.tile.amem_blocks
    if opcode is Opcode.LOAD:
        _local("dst", o["dst"], o["dst_stride"], o["rows"], o["lines"], lines)
    elif opcode is Opcode.STORE:
        _local("src", o["src"], o["src_stride"], o["rows"], o["lines"], lines)
    elif opcode in (Opcode.STORE_BLOCK, Opcode.STORE_SCALE):
        _local("src", o["src"], o["src_stride"], o["rows"], 1, blocks)
    elif opcode is Opcode.MATMUL:
        _local("a", o["a"], o["a_stride"], o["rows"], o["k_blocks"], blocks)
        words = o["groups"] * config.tile.array.cols
        _local("dst", o["dst"], o["dst_stride"], o["rows"], -(-words // LINE_WORDS), lines)
    elif opcode is Opcode.VECTOR:
        extent = o["blocks"] * BLOCK // LINE_WORDS
        for name in _vector_operands(o):
            _local(name, o[name], o[f"{name}_stride"], o["rows"], extent, lines)
        if o["sink"] == 2:
            _local("dst", o["dst"], o["dst_stride"], o["rows"], o["blocks"], blocks)
        scalars = -(-o["rows"] // LINE_WORDS)
        if o["op1"] and o["sel1"] == 1 or o["op2"] and o["sel2"] == 1:
            _local("c", o["c"], 0, 1, scalars, lines)
        if o["reduce"]:
            _local("r", o["r"], 0, 1, 1 if o["reduce"] == 3 else scalars, lines)


def _memory_range(opcode, o, memory_bytes):
    row = {
        Opcode.LOAD: lambda: LINE_BYTES * o["lines"],
        Opcode.STORE: lambda: LINE_BYTES * o["lines"],
        Opcode.STORE_BLOCK: lambda: o["length"],
        Opcode.STORE_SCALE: lambda: 4,
        Opcode.STREAM: lambda: o["row_bytes"],
    }.get(opcode)
    if row is None:
        return
    end = o["mem_addr"] + o["mem_stride"] * (o["rows"] - 1) + row()
    if end > memory_bytes:
        _fail(
            ErrorCode.MEMORY_RANGE,
            f"memory bytes 0x{o['mem_addr']:x} to 0x{end:x} pass the end at 0x{memory_bytes:x}",
        )


def check(data, config, memory_bytes):
    """The decoded command of ``data`` (64 bytes) if ``config``'s chip with ``memory_bytes`` of memory
    executes it.

    Raises :class:`CommandError` with the code of the first rule that fails.
    """
    assert len(data) == COMMAND_BYTES
    try:
        opcode = Opcode(data[0])
    except ValueError:
        _fail(ErrorCode.OPCODE, f"unknown opcode 0x{data[0]:02x}")
    _unit(Command(opcode, data[1], {}), config)
    command = Command.decode(data)
    o = command.operands
    _waits(data, config)
    _fields(opcode, o, config)
    _alignment(opcode, o, config)
    _local_ranges(opcode, o, config)
    _memory_range(opcode, o, memory_bytes)
    return command
