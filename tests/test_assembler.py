"""Assembler and disassembler, the encoding of commands, and the documents made from the tables."""

import copy
import math
from pathlib import Path
import pickle
import random
import struct

import pytest

from poblano.config import PRESETS
from poblano.isa.assembly import EXAMPLE, FORM, line_form
from poblano.isa.commands import (
    COMMAND_BYTES,
    COUNT_BITS,
    NO_UNIT,
    Command,
    CommandError,
    ErrorCode,
    Float32,
    Opcode,
)
from poblano.isa.documents import DOCUMENTS
from poblano.isa.fields import Real
from poblano.isa.registers import COUNTER_BASE, REGISTERS, address
from poblano.isa.vector_ops import NO_LIMIT, AluOp, SfuOp
from poblano_host.assembler import (
    AssemblyError,
    assemble,
    assemble_line,
    assemble_lines,
    disassemble,
    format_command,
)
from tb.control.random_commands import valid_command

DOCS = Path(__file__).resolve().parents[1] / "docs"
SPECIAL_FLOATS = (
    0x80000000,
    0x7F800000,
    0xFF800000,
    0x7FC00000,
    0x7F800001,
    0xFFBFFFFF,
    0x7FFFFFFF,
    1,
    0x7F7FFFFF,
    0x3DCCCCCD,
)


def random_bytes(rng):
    """A command with any bits where any are allowed."""
    opcode = rng.choice(list(Opcode))
    bits = rng.getrandbits(8 * COMMAND_BYTES) & ~opcode.definition.reserved
    bits = bits & ~0xFFFF | opcode | rng.randrange(97) << 8
    for i in range(4):
        wait = NO_UNIT if rng.random() < 0.4 else rng.randrange(97) | rng.getrandbits(COUNT_BITS) << 8
        bits = bits & ~(0xFFFFFFF << 16 + 28 * i) | wait << 16 + 28 * i
    for f in opcode.definition.fields:
        if isinstance(f.kind, Real) and rng.random() < 0.5:
            bits = bits & ~f.mask | rng.choice(SPECIAL_FLOATS) << f.offset
        elif rng.random() < 0.2:
            bits &= ~f.mask
    return bits.to_bytes(COMMAND_BYTES, "little")


def test_round_trip():
    rng = random.Random(1)
    data = b"".join(random_bytes(rng) for _ in range(2000))
    text = disassemble(data)
    commands = assemble(text)
    assert b"".join(command.encode() for command in commands) == data
    assert disassemble(b"".join(command.encode() for command in commands)) == text


def test_decode_keeps_all_bits():
    rng = random.Random(2)
    for _ in range(500):
        data = random_bytes(rng)
        again = Command.decode(data).encode()
        header = lambda data: int.from_bytes(data[:16], "little")
        waits = lambda data: sorted(header(data) >> 16 + 28 * i & 0xFFFFFFF for i in range(4))
        assert again[:2] == data[:2] and again[16:] == data[16:] and waits(again) == waits(data)


def test_floats():
    for bits in SPECIAL_FLOATS:
        value = Float32(bits)
        assert value.bits == bits
        assert Command(Opcode.VECTOR, 3, dict(imm1=value)).encode()[56:60] == bits.to_bytes(4, "little")
        for other in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
            assert other.bits == bits
        assert math.isnan(value) or value == struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    assert Command(Opcode.VECTOR, 3, dict(imm2=0.1)).encode()[60:64] == struct.pack("<f", 0.1)
    assert assemble_line("tile0.vector VECTOR imm1=0.1").encode()[56:60] == struct.pack("<f", 0.1)
    assert "imm1=0.1 " in format_command(Command(Opcode.VECTOR, 3, dict(imm1=0.1, imm2=-0.0))) + " "


def test_choices():
    """By name or number in, by name out; a number that is none of the choices stays one."""
    line = "tile0.vector VECTOR sfu=SILU op1=ADD reduce=SUM sink=QUANTISE fill=MINUS_INFINITY sel1=IMMEDIATE"
    command = assemble_line(line)
    assert (
        assemble_line("tile0.vector VECTOR sfu=5 op1=1 reduce=0b1 sink=2 fill=1 sel1=2").encode()
        == command.encode()
        == assemble_line(line.replace("SILU", "silu")).encode()
    )
    assert format_command(command) == line and command.operands["op1"] is AluOp.ADD
    assert Command.decode(command.encode()).operands["sfu"] is SfuOp.SILU
    assert assemble_line("tile0.vector VECTOR op1=7").operands == dict(op1=7)
    assert format_command(Command(Opcode.VECTOR, 3, dict(op1=7))) == "tile0.vector VECTOR op1=7"


def test_defaults():
    """A field that is not given has its default, and is not printed."""
    assert Command.decode(Command(Opcode.VECTOR, 3, {}).encode()).operands["share"] == 1
    assert format_command(Command(Opcode.VECTOR, 3, dict(share=1))) == "tile0.vector VECTOR"
    assert format_command(Command(Opcode.VECTOR, 3, dict(share=0))) == "tile0.vector VECTOR share=0"
    assert Command.decode(assemble_line("tile0.vector VECTOR").encode()).operands["limit"] == NO_LIMIT
    assert format_command(Command(Opcode.VECTOR, 3, dict(limit=0))) == "tile0.vector VECTOR limit=0"


def test_programs():
    rng = random.Random(3)
    commands = [valid_command(rng, PRESETS["desk"], 1 << 24) for _ in range(300)]
    labels = [f"number {n}" for n in range(300)]
    data = b"".join(command.encode() for command in commands)
    again = assemble(disassemble(data, labels))
    assert b"".join(command.encode() for command in again) == data
    assert [command.label for command in again] == labels


def test_line():
    line = (
        "tile1.matmul MATMUL element=S4 scale=F16 tiles=0x3 a=8 dst=16 a_stride=4 rows=2 k_blocks=4 groups=3 "
        "wait tile1.vector>=5, -, dma>=1048575 ; layer 0 q"
    )
    command = assemble_line(line)
    assert (command.opcode, command.unit, command.label) == (Opcode.MATMUL, 5, "layer 0 q")
    assert command.waits == ((6, 5), (NO_UNIT, 0), (0, 0xFFFFF))
    assert command.operands == dict(
        element=1, scale=1, a=8, a_stride=4, rows=2, k_blocks=4, groups=3, dst=16, tiles=3
    )
    assert format_command(command) == line
    assert format_command(Command(Opcode.NOP, 0, {}, (), "two\nlines")) == "dma NOP ; two lines"
    assert assemble_line("dma NOP wait dma>=0x10").waits == ((0, 16),)
    assert assemble("; a comment\n\n   \n dma NOP\n") == [Command(Opcode.NOP, 0, {})]


@pytest.mark.parametrize(
    "line, message",
    [
        ("dma", f"a command has a unit and an opcode; the form of a line is: {FORM}"),
        ("dma MOVE", "unknown opcode 'MOVE'; there are NOP, LOAD"),
        ("tile0 NOP", "'tile0' is not a unit"),
        ("tile99.vector NOP", "there is no tile 99"),
        ("dma LOAD rows", "'rows' is not an operand: name=value"),
        ("dma LOAD row=1", "LOAD has no operand 'row' (did you mean rows?); its line is: dma LOAD mem_addr="),
        ("dma STORE_WORD address=1", "STORE_WORD has no operand 'address'; its line is: dma STORE_WORD mem_"),
        ("dma LOAD rows=1 rows=1", "rows is given twice"),
        ("dma LOAD rows=x", "rows=x: 'x' is not a number"),
        ("dma LOAD rows=1.5", "rows=1.5: '1.5' is not a number"),
        ("dma LOAD rows=65536", "LOAD rows=65536 does not fit in 16 bits"),
        ("dma LOAD rows=-1", "LOAD rows=-1 does not fit in 16 bits"),
        ("tile0.vector VECTOR imm1=1e39", "VECTOR imm1=1e+39 is not a float32 number"),
        ("tile0.vector VECTOR imm1=one", "imm1=one: 'one' is not a number"),
        ("tile0.vector VECTOR imm1=nan", "imm1=nan: a NaN is written as bits:0x7fc00000"),
        ("dma NOP wait dma", "'dma' is not a wait: unit>=count"),
        ("dma NOP wait dma>=1048576", "count 1048576 does not fit in 20 bits"),
        ("dma NOP wait dma>=-1", "count -1 does not fit in 20 bits"),
        (
            "tile0.vector VECTOR op1=MULL",
            "op1=MULL: 'MULL' is not a number, and none of PASS, ADD, SUB, MUL, MAX",
        ),
        ("tile0.vector VECTOR op1=8", "VECTOR op1=8 does not fit in 3 bits"),
        ("dma NOP wait", "'' is not a wait: unit>=count"),
        ("dma NOP wait dma>=1 wait dma>=2", "several lists of waits; separate waits with commas"),
        ("dma NOP wait -,-,-,-,-", "5 waits; a command holds 4"),
    ],
)
def test_errors(line, message):
    with pytest.raises(AssemblyError) as caught:
        assemble("dma NOP\n\n" + line)
    assert caught.value.line == 3
    assert str(caught.value).startswith(f"line 3: {message}")


def test_forms():
    """The line of an opcode with all operands: with values in place of N, X and NAME it assembles."""
    for opcode in Opcode:
        form = line_form(opcode)
        line = form.replace("unit ", "dma ").replace("=NAME", "=0").replace("=N", "=1").replace("=X", "=0.5")
        assert assemble_line(line).opcode is opcode
        assert all(f" {field.name}=" in form for field in opcode.definition.fields)
    assert [command.opcode.name for command in assemble(EXAMPLE)] == ["LOAD", "VECTOR", "STORE"]


def test_rules():
    """With a chip's configuration a line that it refuses is named, with the error code."""
    nano = PRESETS["nano"]
    good = "dma STORE_WORD mem_addr=0x100 rows=1\n\n"
    assert [number for number, _ in assemble_lines(good + "; a comment\ndma NOP", nano)] == [1, 4]
    for line, message in (
        (
            "dma STORE_WORD mem_addr=2 rows=1",
            r"nano refuses it (ALIGNMENT): mem_addr 2 is not a multiple of 4",
        ),
        ("tile1.vector NOP", "nano refuses it (UNIT): unit 6 does not exist"),
        ("dma STORE_WORD rows=0", "nano refuses it (FIELD): rows is 0; it must be at least 1"),
        ("dma STORE_WORD rows=1 mem_addr=0x1000", "nano refuses it (MEMORY_RANGE): memory bytes 0x1000"),
    ):
        assert assemble(good + line)
        with pytest.raises(AssemblyError) as caught:
            assemble_lines(good + line, nano, 4096)
        assert str(caught.value).startswith(f"line 3: {message}")


@pytest.mark.parametrize(
    "command, code",
    [
        (Command(Opcode.NOP, 256, {}), ErrorCode.UNIT),
        (Command(Opcode.NOP, -1, {}), ErrorCode.UNIT),
        (Command(Opcode.NOP, 0, {}, ((0, 0),) * 5), ErrorCode.FIELD),
        (Command(Opcode.NOP, 0, {}, ((256, 0),)), ErrorCode.FIELD),
        (Command(Opcode.NOP, 0, dict(rows=1)), ErrorCode.FIELD),
        (Command(Opcode.LOAD, 0, dict(rows=1.0)), ErrorCode.FIELD),
        (Command(Opcode.VECTOR, 3, dict(imm1="1")), ErrorCode.FIELD),
    ],
)
def test_encode_refuses(command, code):
    with pytest.raises(CommandError) as caught:
        command.encode()
    assert caught.value.code is code


def test_disassemble_refuses():
    with pytest.raises(CommandError, match="command 1: unknown opcode 0xee"):
        disassemble(Command(Opcode.NOP, 0, {}).encode() + b"\xee" * COMMAND_BYTES)
    with pytest.raises(CommandError, match="wait 0 has a count but no unit"):
        disassemble(bytes(2) + b"\xff\x01" + bytes(60))
    with pytest.raises(ValueError, match="63 bytes are no whole number of commands"):
        disassemble(bytes(63))


def test_fields_do_not_overlap():
    for opcode in Opcode:
        used = 0
        for field in opcode.definition.fields:
            assert field.offset >= 128 and field.lsb + field.width <= 64
            assert not used & field.mask
            used |= field.mask
    addresses = [register.address for register in REGISTERS.values()]
    assert len(set(addresses)) == len(addresses) and max(addresses) < COUNTER_BASE
    assert address("STALL_OUT", unit=96) < 1 << 12


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_current(name):
    assert (DOCS / name).read_text() == DOCUMENTS[name](), "run: python -m poblano.isa.documents docs"
