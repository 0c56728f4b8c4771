"""The command checker: its rules in Python, and the hardware against them."""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path
import random

import numpy as np
import pytest

from poblano.config import PRESETS, ExpertsConfig
from poblano.isa.check import check
from poblano.isa.commands import COMMAND_BYTES, Command, CommandError, ErrorCode, Float32, Opcode
from poblano.isa.topology import LARGEST, UnitKind
from poblano_host.golden import rules as golden_rules
from tb.bench import CHECKER, run
from tb.control.configs import CHECKED
from tb.control.random_commands import mutated, opcode_names, page_limits, page_tables, valid_command

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 1 << 24
DESK = replace(PRESETS["desk"], experts=ExpertsConfig(experts=32, used=4, rows=16))
TILE64 = PRESETS["tile64"]
LINES, BLOCKS = DESK.tile.vmem_lines, DESK.tile.amem_blocks

LOAD = dict(mem_addr=0, mem_stride=64, dst=0, dst_stride=2, rows=4, lines=2, tiles=3)
STORE = dict(mem_addr=0, mem_stride=64, src=0, src_stride=2, rows=4, lines=2, tile=1)
STORE_BLOCK = dict(mem_addr=8, mem_stride=16, src=0, src_stride=1, rows=4, offset=8, length=8, tile=1)
STORE_SCALE = dict(mem_addr=4, mem_stride=4, src=0, src_stride=1, rows=4, tile=1)
STORE_WORD = dict(mem_addr=4, mem_stride=4, rows=4, value=0xC0FFEE)
STREAM = dict(mem_addr=64, mem_stride=128, row_bytes=64, rows=3)
MATMUL = dict(
    element=1, scale=1, minimum=1, a=0, a_stride=4, rows=8, k_blocks=4, groups=2, dst=0, dst_stride=8, tiles=1
)
VECTOR = dict(
    a=0,
    a_stride=8,
    b=64,
    b_stride=8,
    dst=128,
    dst_stride=8,
    rows=4,
    blocks=2,
    c=LINES - 2,
    r=LINES - 1,
    op1=1,
    op2=3,
    sel2=1,
    sink=1,
    reduce=1,
    share=1,
    limit=65535,
    tiles=1,
)
LISTED = dict(
    a=0,
    a_stride=8,
    b=64,
    b_stride=8,
    dst=128,
    dst_stride=8,
    rows=3,
    numbers=4,
    blocks=2,
    c=LINES - 1,
    op1=1,
    sink=1,
    tiles=1,
)
UNITS = {opcode: LARGEST.unit(opcode.kind) for opcode in Opcode if opcode.kind is not None}
BASE = {
    Opcode.LOAD: LOAD,
    Opcode.STORE: STORE,
    Opcode.STORE_BLOCK: STORE_BLOCK,
    Opcode.STORE_SCALE: STORE_SCALE,
    Opcode.STORE_WORD: STORE_WORD,
    Opcode.STREAM: STREAM,
    Opcode.MATMUL: MATMUL,
    Opcode.VECTOR: VECTOR,
    Opcode.CLEAR: {},
    Opcode.NOP: {},
    Opcode.ROUTE: dict(a=0, b=0, dst=64, dst_stride=4, list=96, experts=16, used=2, rows=4, tiles=1),
    Opcode.GATHER: LISTED,
    Opcode.SCATTER: LISTED | dict(b=128),
    Opcode.EXPERT: dict(slot=3, commands=4, skip=4),
}

CASES = [
    (Opcode.LOAD, dict(dst=LINES - 8), None),
    (Opcode.LOAD, dict(dst=LINES - 7), "LOCAL_RANGE"),
    (Opcode.LOAD, dict(rows=1, mem_stride=1), None),
    (Opcode.LOAD, dict(mem_stride=16), "ALIGNMENT"),
    (Opcode.LOAD, dict(mem_addr=16), "ALIGNMENT"),
    (Opcode.LOAD, dict(mem_addr=MEMORY - 256), None),
    (Opcode.LOAD, dict(mem_addr=MEMORY - 224), "MEMORY_RANGE"),
    (Opcode.LOAD, dict(mem_addr=(1 << 40) - 32), "MEMORY_RANGE"),
    (Opcode.LOAD, dict(mem_addr=MEMORY, dst=LINES), "LOCAL_RANGE"),
    (Opcode.LOAD, dict(dst_stride=0xFFFF, rows=0xFFFF), "LOCAL_RANGE"),
    (Opcode.LOAD, dict(tiles=0), "FIELD"),
    (Opcode.LOAD, dict(tiles=4), "FIELD"),
    (Opcode.LOAD, dict(rows=0, mem_addr=1), "FIELD"),
    (Opcode.LOAD, dict(lines=0), "FIELD"),
    (Opcode.STORE, dict(tile=2), "FIELD"),
    (Opcode.STORE, dict(src=LINES - 8), None),
    (Opcode.STORE_BLOCK, dict(src=BLOCKS - 4), None),
    (Opcode.STORE_BLOCK, dict(src=BLOCKS - 3), "LOCAL_RANGE"),
    (Opcode.STORE_BLOCK, dict(length=3), "FIELD"),
    (Opcode.STORE_BLOCK, dict(length=1, offset=0), "FIELD"),
    (Opcode.STORE_BLOCK, dict(length=64, offset=0), "FIELD"),
    (Opcode.STORE_BLOCK, dict(offset=4), "FIELD"),
    (Opcode.STORE_BLOCK, dict(offset=32), "FIELD"),
    (Opcode.STORE_BLOCK, dict(mem_addr=4), "ALIGNMENT"),
    (Opcode.STORE_BLOCK, dict(mem_stride=4), "ALIGNMENT"),
    (Opcode.STORE_SCALE, dict(mem_addr=2), "ALIGNMENT"),
    (Opcode.STORE_SCALE, dict(mem_addr=MEMORY - 16), None),
    (Opcode.STORE_SCALE, dict(mem_addr=MEMORY - 12), "MEMORY_RANGE"),
    (Opcode.STORE_WORD, dict(mem_stride=2), "ALIGNMENT"),
    (Opcode.STORE_WORD, dict(mem_addr=MEMORY - 16), None),
    (Opcode.STORE_WORD, dict(mem_addr=MEMORY - 12), "MEMORY_RANGE"),
    (Opcode.STREAM, dict(row_bytes=0), "FIELD"),
    (Opcode.STREAM, dict(row_bytes=48), "ALIGNMENT"),
    (Opcode.STREAM, dict(mem_stride=16), "ALIGNMENT"),
    (Opcode.STREAM, dict(mem_addr=MEMORY - 320), None),
    (Opcode.STREAM, dict(mem_addr=MEMORY - 288), "MEMORY_RANGE"),
    (Opcode.MATMUL, dict(rows=128, a_stride=0, dst_stride=4), None),
    (Opcode.MATMUL, dict(rows=129, a_stride=0, dst_stride=4), "FIELD"),
    (Opcode.MATMUL, dict(tiles=3, spread=4), None),
    (Opcode.MATMUL, dict(tiles=3, spread=3), "FIELD"),
    (Opcode.MATMUL, dict(tiles=1, spread=7), "FIELD"),
    (Opcode.MATMUL, dict(tiles=1, spread=8), None),
    (Opcode.MATMUL, dict(tiles=1, spread=0xFFFF), None),
    (Opcode.MATMUL, dict(tiles=3, spread=4, dst=LINES - 28), None),
    (Opcode.MATMUL, dict(tiles=3, spread=4, dst=LINES - 27), "LOCAL_RANGE"),
    (Opcode.MATMUL, dict(tiles=3, spread=0xFFFF, dst=LINES - 60), None),
    (Opcode.MATMUL, dict(tiles=3, spread=0xFFFF, dst=LINES - 59), "LOCAL_RANGE"),
    (Opcode.MATMUL, dict(tiles=3, rows=2, spread=1, dst_stride=0), None),
    (Opcode.MATMUL, dict(tiles=3, rows=3, spread=2, dst_stride=3), "OVERLAP"),
    (Opcode.MATMUL, dict(element=3), "FIELD"),
    (Opcode.MATMUL, dict(scale=3), "FIELD"),
    (Opcode.MATMUL, dict(scale=2), "FIELD"),
    (Opcode.MATMUL, dict(transpose=1), "FIELD"),
    (Opcode.MATMUL, dict(transpose=1, element=0, minimum=0), None),
    (Opcode.MATMUL, dict(element=0), "FIELD"),
    (Opcode.MATMUL, dict(minimum=0, activation=1), "FIELD"),
    (Opcode.VECTOR, dict(activation=1), "FIELD"),
    (Opcode.MATMUL, dict(a=BLOCKS - 32), None),
    (Opcode.MATMUL, dict(a=BLOCKS - 31), "LOCAL_RANGE"),
    (Opcode.MATMUL, dict(dst=LINES - 60), None),
    (Opcode.MATMUL, dict(dst=LINES - 59), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(op1=7), "FIELD"),
    (Opcode.VECTOR, dict(sfu=6), "FIELD"),
    (Opcode.VECTOR, dict(sink=3), "FIELD"),
    (Opcode.VECTOR, dict(share=0), "FIELD"),
    (Opcode.VECTOR, dict(share=255), None),
    (Opcode.VECTOR, dict(reduce=4), None),
    (Opcode.VECTOR, dict(reduce=5), "FIELD"),
    (Opcode.VECTOR, dict(rows=9, share=3, b=LINES - 28, dst=200, sink=0, c=300, r=302), None),
    (Opcode.VECTOR, dict(rows=9, share=3, b=LINES - 23, sink=0, c=300, r=302), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(rows=10, share=3, b=LINES - 31, sink=0, c=300, r=302), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(rows=10, share=3, b=LINES - 32, sink=0, c=300, r=302), None),
    (Opcode.VECTOR, dict(dst=64, share=2), "OVERLAP"),
    (Opcode.VECTOR, dict(dst=80, share=2), None),
    (Opcode.VECTOR, dict(dst=64, share=2, rows=1), None),
    (Opcode.VECTOR, dict(share=2, sink=2, dst_step=2, dst_stride=2, dst=BLOCKS - 8), None),
    (Opcode.VECTOR, dict(share=2, sink=2, dst_step=2, dst_stride=2, dst=BLOCKS - 7), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(share=3, sink=2, dst_step=2, dst_stride=2, dst=BLOCKS - 12), None),
    (Opcode.VECTOR, dict(share=3, sink=2, dst_step=2, dst_stride=2, dst=BLOCKS - 11), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(share=9, sink=2, dst_step=2, dst_stride=0, dst=BLOCKS - 8), None),
    (Opcode.VECTOR, dict(share=9, sink=2, dst_step=2, dst_stride=0, dst=BLOCKS - 7), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(share=2, sink=2, dst_step=127), None),
    (Opcode.VECTOR, dict(share=2, sink=2, dst_step=2, dst_stride=1), "OVERLAP"),
    (Opcode.VECTOR, dict(share=2, sink=2, dst_step=1), "FIELD"),
    (Opcode.VECTOR, dict(share=2, dst_step=2), "FIELD"),
    (Opcode.VECTOR, dict(sel1=3), "FIELD"),
    (Opcode.VECTOR, dict(sink=2, reduce=3), "FIELD"),
    (Opcode.VECTOR, dict(blocks=2048), "FIELD"),
    (Opcode.VECTOR, dict(blocks=2047, rows=1, a=0, b=0, dst=0), None),
    (Opcode.VECTOR, dict(b=LINES - 1), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(b=LINES - 1, op1=0), None),
    (Opcode.VECTOR, dict(b=LINES - 1, sel1=2), None),
    (Opcode.VECTOR, dict(c=LINES), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(c=LINES, op2=0), None),
    (Opcode.VECTOR, dict(r=LINES), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(r=LINES, reduce=0), None),
    (Opcode.VECTOR, dict(r=LINES - 1, rows=9, a_stride=0, b_stride=0, dst_stride=0), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(r=LINES - 1, rows=9, c=40, a_stride=0, b_stride=0, sink=0, reduce=3), None),
    (Opcode.VECTOR, dict(dst=LINES - 32, c=40, r=41), None),
    (Opcode.VECTOR, dict(dst=LINES - 31, c=40, r=41), "LOCAL_RANGE"),
    (Opcode.VECTOR, dict(dst=LINES - 31, sink=0), None),
    (Opcode.VECTOR, dict(sink=2, dst=BLOCKS - 26), None),
    (Opcode.VECTOR, dict(sink=2, dst=BLOCKS - 25), "LOCAL_RANGE"),
    # Rows of a result that overlap.
    (Opcode.MATMUL, dict(dst_stride=3), "OVERLAP"),
    (Opcode.MATMUL, dict(dst_stride=4), None),
    (Opcode.MATMUL, dict(dst_stride=0, rows=1), None),
    (Opcode.VECTOR, dict(dst_stride=7), "OVERLAP"),
    (Opcode.VECTOR, dict(dst_stride=7, rows=1), None),
    (Opcode.VECTOR, dict(dst_stride=7, sink=0), None),
    (Opcode.VECTOR, dict(dst_stride=1, sink=2), "OVERLAP"),
    (Opcode.VECTOR, dict(dst_stride=2, sink=2), None),
    (Opcode.LOAD, dict(dst_stride=0), None),
    (Opcode.STORE, dict(src_stride=0, mem_stride=0), None),
    # What a VECTOR command writes in its own tile, and what it reads there: a is 0 to 32, b 64 to 96.
    (Opcode.VECTOR, dict(dst=32), None),
    (Opcode.VECTOR, dict(dst=31), "OVERLAP"),
    (Opcode.VECTOR, dict(dst=31, tiles=2), None),
    (Opcode.VECTOR, dict(dst=31, tiles=3), "OVERLAP"),
    (Opcode.VECTOR, dict(dst=31, sink=0), None),
    (Opcode.VECTOR, dict(dst=0), None),
    (Opcode.VECTOR, dict(dst=64), None),
    (Opcode.VECTOR, dict(dst=64, op1=0), None),
    (Opcode.VECTOR, dict(dst=65, op1=0), None),
    (Opcode.VECTOR, dict(dst=0, dst_stride=9), "OVERLAP"),
    (Opcode.VECTOR, dict(dst=0, dst_stride=9, rows=1), None),
    (Opcode.VECTOR, dict(dst=0, a_stride=16, dst_stride=16), None),
    (Opcode.VECTOR, dict(dst=8, a_stride=16, dst_stride=16), "OVERLAP"),  # between the rows
    (Opcode.VECTOR, dict(dst=0, b=0, b_stride=0), "OVERLAP"),
    (Opcode.VECTOR, dict(c=128), "OVERLAP"),
    (Opcode.VECTOR, dict(c=128, op2=0), None),
    (Opcode.VECTOR, dict(c=160), None),
    (Opcode.VECTOR, dict(c=128, tiles=2), None),
    (Opcode.VECTOR, dict(c=128, rows=1), "OVERLAP"),
    (Opcode.VECTOR, dict(r=31), "OVERLAP"),
    (Opcode.VECTOR, dict(r=64), "OVERLAP"),
    (Opcode.VECTOR, dict(r=64, op1=0), None),
    (Opcode.VECTOR, dict(r=LINES - 2), "OVERLAP"),
    (Opcode.VECTOR, dict(r=LINES - 2, tiles=2), None),
    (Opcode.VECTOR, dict(r=159), "OVERLAP"),
    (Opcode.VECTOR, dict(r=159, tiles=2), "OVERLAP"),  # dst and r, wherever they are written
    (Opcode.VECTOR, dict(r=159, sink=2, dst=128), None),
    (Opcode.VECTOR, dict(r=159, reduce=0), None),
    (Opcode.ROUTE, dict(experts=33), "FIELD"),
    (Opcode.ROUTE, dict(experts=32, used=5), "FIELD"),
    (Opcode.ROUTE, dict(experts=1), "FIELD"),
    (Opcode.ROUTE, dict(rows=16, list=130), None),
    (Opcode.ROUTE, dict(rows=17, list=100), "FIELD"),
    (Opcode.ROUTE, dict(dst_stride=0), "OVERLAP"),
    (Opcode.ROUTE, dict(list=LINES - 8), None),
    (Opcode.ROUTE, dict(list=LINES - 7), "LOCAL_RANGE"),
    (Opcode.ROUTE, dict(list=69), "OVERLAP"),
    (Opcode.ROUTE, dict(list=77), None),
    (Opcode.ROUTE, dict(list=3), "OVERLAP"),
    (Opcode.ROUTE, dict(list=3, tiles=2), None),
    (Opcode.GATHER, dict(c=LINES), "LOCAL_RANGE"),
    (Opcode.GATHER, dict(numbers=0), "FIELD"),
    (Opcode.GATHER, dict(dst=24), "OVERLAP"),
    (Opcode.GATHER, dict(dst=24, numbers=3), None),
    (Opcode.GATHER, dict(dst=0), "OVERLAP"),
    (Opcode.GATHER, dict(dst=64), None),
    (Opcode.GATHER, dict(c=128), "OVERLAP"),
    (Opcode.SCATTER, dict(dst=LINES - 31), "LOCAL_RANGE"),
    (Opcode.SCATTER, dict(dst=LINES - 32, b=LINES - 32, c=200), None),
    (Opcode.SCATTER, dict(c=LINES - 1, rows=5), "LOCAL_RANGE"),
    (Opcode.SCATTER, dict(b=129), "OVERLAP"),
    (Opcode.SCATTER, dict(dst=16), "OVERLAP"),
    (Opcode.SCATTER, dict(activation=1), "FIELD"),
    (Opcode.EXPERT, dict(commands=5), "FIELD"),
    (Opcode.EXPERT, dict(commands=0, skip=0), None),
]


def code_of(data, config=DESK, memory_bytes=MEMORY, check=check):
    try:
        if check is golden_rules.check:
            check(data, config, memory_bytes, page_tables(config, memory_bytes))
        else:
            check(data, config, memory_bytes, **page_limits(config))
    except CommandError as error:
        return error.code.name
    return None


def encode(opcode, **changes):
    return Command(opcode, UNITS.get(opcode, 0), BASE[opcode] | changes).encode()


@pytest.mark.parametrize("opcode", Opcode)
def test_valid(opcode):
    assert code_of(encode(opcode)) is None


@pytest.mark.parametrize("opcode, changes, code", CASES)
def test_rule(opcode, changes, code):
    assert code_of(encode(opcode, **changes)) == code


def test_header_rules():
    assert code_of(bytes([0x06]) + bytes(63)) == "OPCODE"
    assert code_of(bytes([0x00, 7]) + encode(Opcode.NOP)[2:]) == "UNIT"
    assert code_of(bytes([0x00, 6]) + encode(Opcode.NOP)[2:]) is None
    for opcode in Opcode:
        for unit in range(8):
            data = bytearray(encode(opcode))
            data[1] = unit
            kinds = UnitKind if opcode.kind is None else [opcode.kind]
            fits = unit < 7 and DESK.topology.kind_of(unit) in kinds
            assert code_of(bytes(data)) == (None if fits else "UNIT")
    for bits, code in (
        (0xFF, None),
        (0x1FF, "FIELD"),
        (6, None),
        (0xFFFFF06, None),
        (7, "FIELD"),
        (0xFE, "FIELD"),
    ):
        for wait in range(4):
            at = 16 + 28 * wait
            data = int.from_bytes(encode(Opcode.NOP), "little") & ~(0xFFFFFFF << at) | bits << at
            assert code_of(data.to_bytes(COMMAND_BYTES, "little")) == code


def test_rows_of_more_lanes_than_a_line():
    """tile64 has 32 lanes: rows of vector memory are 4 lines."""
    vector = VECTOR | dict(a_stride=8, b=64, dst=128)
    for name in ("a", "a_stride", "b", "b_stride", "dst", "dst_stride"):
        for step, code in ((2, "ALIGNMENT"), (4, None)):
            data = Command(Opcode.VECTOR, 3, vector | {name: vector[name] + step}).encode()
            assert code_of(data, TILE64) == code
    assert code_of(Command(Opcode.VECTOR, 3, vector | dict(dst=129, sink=2)).encode(), TILE64) is None
    matmul = MATMUL | dict(dst_stride=16)
    for change in (dict(a=1), dict(a_stride=5), dict(k_blocks=3), dict(dst=2), dict(dst_stride=18)):
        assert code_of(Command(Opcode.MATMUL, 2, matmul | change).encode(), TILE64) == "ALIGNMENT"
    assert code_of(Command(Opcode.MATMUL, 2, matmul).encode(), TILE64) is None


def test_home():
    """Streams of tiles 0 and 1 come from the first 32 KiB, those of tiles 2 and 3 from the second."""
    config = CHECKED[-1]
    size = config.memory.home_bytes
    for tile in range(config.tiles):
        first = tile // 2 * size
        stream = STREAM | dict(mem_addr=first)
        for changes, code in (
            ({}, None),
            (dict(rows=256), None),
            (dict(rows=257), "MEMORY_RANGE" if first else "HOME"),
            (dict(rows=1, row_bytes=size), None),
            (dict(mem_addr=first + size - 320), None),
            (dict(mem_addr=first + size - 256), "MEMORY_RANGE" if first else "HOME"),
            (dict(mem_addr=size - first), "HOME"),
            (dict(mem_addr=size - 320), "HOME" if first else None),
            (dict(mem_addr=size - 64, rows=2, mem_stride=64), "HOME"),
        ):
            data = Command(
                Opcode.STREAM, config.topology.unit(UnitKind.STREAM, tile), stream | changes
            ).encode()
            assert code_of(data, config, 2 * size) == code, (tile, changes)
            assert code_of(data, config, 2 * size, golden_rules.check) == code
    load = Command(Opcode.LOAD, 0, LOAD | dict(mem_addr=size - 64))
    assert code_of(load.encode(), config, 2 * size) is None  # the DMA engine reaches every home
    assert code_of(load.encode(), config, 2 * size + 1) is None
    beyond = Command(Opcode.LOAD, 0, LOAD | dict(mem_addr=2 * size)).encode()
    assert code_of(beyond, config, 1 << 30) == "MEMORY_RANGE"


def test_experts_are_a_part():
    """A chip that routes no experts does not know the commands."""
    for opcode in (Opcode.ROUTE, Opcode.GATHER, Opcode.SCATTER, Opcode.EXPERT):
        for checked in (check, golden_rules.check):
            assert code_of(encode(opcode), PRESETS["desk"], MEMORY, checked) == "OPCODE"
            assert code_of(encode(opcode), DESK, MEMORY, checked) is None


def test_reserved_bits():
    for opcode in Opcode:
        bits = int.from_bytes(encode(opcode), "little")
        known = Command.decode(encode(opcode))
        for bit in range(128, 8 * COMMAND_BYTES):
            data = (bits ^ 1 << bit).to_bytes(COMMAND_BYTES, "little")
            try:
                assert Command.decode(data).encode() == data
            except CommandError as error:
                assert error.code is ErrorCode.FIELD and "reserved bit" in str(error)
                assert f"reserved bit {bit % 64} of word {bit // 64} set" in str(error)
                assert code_of(data) == "FIELD"
        assert known.encode() == encode(opcode)


@pytest.mark.parametrize("config", CHECKED, ids=lambda config: config.name)
def test_random_valid_commands(config):
    rng = random.Random(config.name)
    memory = 1 << min(config.memory.addr_width, 36)
    for opcode in opcode_names(config) * 100:
        command = valid_command(rng, config, memory, opcode)
        assert code_of(command.encode(), config, memory) is None


SIZES = (1 << 16, 40960, 12345678, 1 << 30, (1 << 40) - 64, 1 << 40)


@pytest.mark.parametrize("config", CHECKED, ids=lambda config: config.name)
def test_two_readings(config):
    """The definitions and the golden chip's own rules refuse the same commands with the same codes, and
    decode the others alike."""
    rng = random.Random(config.name)
    seen = Counter()
    for _ in range(6000):
        memory = min(rng.choice(SIZES), 1 << config.memory.addr_width)
        opcode = rng.choice((None, None, "MATMUL", "VECTOR", "VECTOR"))
        data = valid_command(rng, config, memory, opcode).encode()
        for _ in range(rng.choice((0, 1, 1, 2))):
            data = mutated(rng, data)
        memory = rng.choice((memory, rng.choice(SIZES)))
        code = code_of(data, config, memory)
        assert code == code_of(data, config, memory, golden_rules.check), (data.hex(), memory)
        seen[code] += 1
        if code is None:
            ours = check(data, config, memory, **page_limits(config))
            golden = golden_rules.check(data, config, memory, page_tables(config, memory))
            assert (ours.opcode.name, ours.unit, ours.waits) == (golden.opcode, golden.unit, golden.waits)
            assert ours.operands.keys() == golden.operands.keys()
            for name, value in ours.operands.items():
                other = golden.operands[name]
                bits = other.view(np.uint32) if isinstance(other, np.float32) else other
                assert bits == (value.bits if isinstance(value, Float32) else value), name
    assert set(seen) == {
        None,
        "OPCODE",
        "UNIT",
        "FIELD",
        "ALIGNMENT",
        "LOCAL_RANGE",
        "MEMORY_RANGE",
        "OVERLAP",
    } | ({"HOME"} if config.memory.homes > 1 else set())


def test_golden_reading_is_independent():
    """The golden chip and the random commands use nothing that says how commands are made or checked."""
    shared = {"poblano.isa.errors", "poblano.isa.topology", "poblano.isa.weight_stream"}
    for path in [*ROOT.glob("host/poblano_host/golden/*.py"), ROOT / "tb/control/random_commands.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert all(not name.startswith("poblano.isa") or name in shared for name in names), path


def test_hardware():
    assert run(CHECKER, "all") == 1
