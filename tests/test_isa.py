"""Definitions of commands: their expressions on numbers, arrays, gates and text; the topology; sizes."""

from dataclasses import replace
import random
from types import SimpleNamespace

from amaranth.hdl import *
from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.config import ChipConfig, ConfigError, TileConfig
from poblano.isa.commands import COMMAND_BYTES, Command, Opcode
from poblano.isa.expressions import ceil_div, choose, least, none_of, off, ones
from poblano.isa.layout import CommandLayout
from poblano.isa.text import Text
from poblano.isa.topology import LARGEST, ReadMaster, Topology, UnitKind
from poblano.isa.vector_ops import NO_LIMIT
from tb.control.configs import CHECKED
from tb.control.random_commands import mutated, valid_command

CONFIG = next(config for config in CHECKED if config.name == "full")


def expressions(definition, o, c):
    """The values of every expression of a definition."""
    found = [rule.broken(o, c) for rule in definition.checks]
    for region in definition.local:
        span = region.span(o, c)
        found += [region.used(o, c), span.end, span.crowded, region.unit(o, c)]
    for pair in definition.pairs:
        one, two = (definition.local[n].span(o, c).range for n in (pair.first, pair.second))
        found += [one.meets(two), one.same(two)]
    if definition.pairs:
        found.append(definition.writes_own(o, c))
    if definition.memory:
        found += [definition.memory.span(o).end, definition.memory.unit(o, c)]
    return found


def commands(rng, opcode, count):
    """Random commands of ``opcode``, valid and not, whose reserved bits are 0."""
    while count:
        data = valid_command(rng, CONFIG, 1 << 30, opcode.name).encode()
        for _ in range(rng.randrange(4)):
            data = mutated(rng, data)
        if data[0] == opcode and not int.from_bytes(data, "little") & opcode.definition.reserved:
            yield data
            count -= 1


@pytest.mark.parametrize("opcode", [opcode for opcode in Opcode if opcode is not Opcode.NOP])
def test_expressions(opcode):
    """On integers one by one, on arrays, and in gates: the same."""
    rng = random.Random(opcode.name)
    definition, data = opcode.definition, list(commands(rng, opcode, 200))
    ceil = lambda row: lambda a, b: -(-row[a] // np.maximum(row[b], 1))
    rows = [{"unit": d[1]} | raw_operands(opcode, d) for d in data]
    decoded = [definition.operands(row, ceil(row)) for row in rows]
    expected = [[int(value) for value in expressions(definition, o, CONFIG)] for o in decoded]

    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    arrays = expressions(definition, definition.operands(columns, ceil(columns)), CONFIG)
    for n, values in enumerate(zip(*(np.broadcast_to(a, len(data)).tolist() for a in arrays))):
        assert list(map(int, values)) == expected[n]

    m = Module()
    command = Signal(8 * COMMAND_BYTES)
    view = CommandLayout(opcode)(command)
    quotient = Signal(16)
    o = definition.operands({name: view[name] for name in rows[0]}, lambda a, b: quotient)
    values = [Value.cast(value) for value in expressions(definition, o, CONFIG)]
    outputs = [Signal(value.shape(), name=f"o{n}") for n, value in enumerate(values)]
    m.d.comb += [output.eq(value) for output, value in zip(outputs, values)]

    async def bench(ctx):
        for d, o, wanted in zip(data, decoded, expected):
            ctx.set(command, int.from_bytes(d, "little"))
            for name, _, _ in definition.quotients:
                ctx.set(quotient, int(getattr(o, name)))
            assert [ctx.get(output) for output in outputs] == wanted

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


def raw_operands(opcode, data):
    bits = int.from_bytes(data, "little")
    return {f.name: (bits & f.mask) >> f.offset for f in opcode.definition.fields}


def test_text():
    o = Text("")
    for expression, text in (
        (o.rows * 4 + (o.lines - 1) * 2, "rows * 4 + (lines - 1) * 2"),
        ((o.rows + 1) // o.share, "(rows + 1) // share"),
        (ceil_div(o.tile.cols * 3, 8), "ceil(cols * 3 / 8)"),
        (
            choose((o.a == 1) & (o.b > 2) | (o.c < 3), 1, o.rows - 2),
            "1 if a is 1 and b > 2 or c < 3 else rows - 2",
        ),
        (least(ones(o.tiles, 4), o.rows), "min(ones(tiles), rows)"),
        (True & (o.a != 0) | False, "a is not 0"),
        ((o.a >= 1) & ((o.b == 1) | (o.c == 1)), "a >= 1 and (b is 1 or c is 1)"),
    ):
        assert str(expression) == text


def test_operations():
    for value in range(40):
        assert off(value, 8) == (value % 8 != 0) and ones(value, 6) == value.bit_count()
        assert ceil_div(value, 8) == -(-value // 8) and none_of(value, (3, 5)) == (value not in (3, 5))


@pytest.mark.parametrize("tiles, homes", [(1, 1), (2, 1), (16, 4), (32, 32)])
def test_topology(tiles, homes):
    topology = Topology(SimpleNamespace(tiles=tiles, memory=SimpleNamespace(homes=homes, host_port=False)))
    assert topology.unit(UnitKind.DMA) == topology.unit(UnitKind.DMA, tiles - 1) == 0
    assert len(topology.units) == len(set(topology.units)) == 1 + 3 * tiles
    for unit, (kind, tile) in enumerate(topology.units):
        assert topology.unit(kind, tile) == unit and topology.unit_called(topology.name(unit)) == unit
        assert (topology.kind_of(unit), topology.tile_of(unit)) == (kind, tile)
        assert LARGEST.name(unit) == topology.name(unit) and LARGEST.units[unit] == (kind, tile)
        assert unit in topology.units_of(kind) and unit in topology.units_of()
    for places, number in (
        *((masters, topology.read_master) for masters in topology.read_masters),
        (topology.bus_sources, topology.bus_source),
    ):
        assert [number(kind, tile or 0) for kind, tile in places] == list(range(len(places)))
    assert len(topology.read_masters) == homes
    for home, masters in enumerate(topology.read_masters):
        assert [kind for kind, _ in masters[:2]] == [ReadMaster.FETCH, ReadMaster.DMA]
        streaming = [tile for kind, tile in masters[2:] if kind is ReadMaster.STREAM]
        assert streaming == list(topology.tiles_of(home)) and len(streaming) == tiles // homes
        assert all(topology.home_of(tile) == home == tile * homes // tiles for tile in streaming)
    for name in ("dma", "tile0.stream", f"tile{tiles - 1}.vector"):
        assert topology.name(topology.unit_called(name)) == name
    for name in ("tile0.dma", "stream", "tile.stream", "tile0", "dma.tile0", "tile0.dma.dma"):
        with pytest.raises(ValueError, match="is not a unit"):
            topology.unit_called(name)
    with pytest.raises(ValueError, match=f"there is no tile {tiles}"):
        topology.unit_called(f"tile{tiles}.stream")
    assert topology.name(200) == "unit 200"
    with pytest.raises(KeyError):
        topology.unit(UnitKind.STREAM, tiles)


def test_homes():
    config = ChipConfig().with_memory(homes=2, home_bytes=1 << 31)
    assert config.memory.most_bytes == 1 << 32 == ChipConfig().memory.most_bytes
    assert config.with_memory(home_bytes=4096).memory.most_bytes == 8192
    for changes, message in (
        (dict(kv_bytes=2048), "memory kv_bytes must be a power of two of at least 4096, not 2048"),
        (
            dict(kv_bytes=1 << 28, homes=2),
            "memory kv_bytes must be at most half of a home's 268435456 bytes, not 268435456",
        ),
        (dict(homes=3), "memory homes must be a power of two of at least 1, not 3"),
        (
            dict(homes=2, home_bytes=2048),
            "memory home_bytes must be a power of two of at least 4096, not 2048",
        ),
        (dict(homes=2, home_bytes=1 << 32), "2 homes of 4294967296 bytes are more than memory addr_width 32"),
        (dict(homes=4), "tiles must be a multiple of the memory's 4 homes, not 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            ChipConfig().with_memory(**changes)


def test_largest_memories():
    assert TileConfig(vmem_lines=1 << 20, amem_blocks=1 << 20).local.line_addr_width == 20
    for name in ("vmem_lines", "amem_blocks"):
        with pytest.raises(ConfigError, match="must be at most 1048576: commands address them with 20 bits"):
            TileConfig(**{name: 1 << 21})


def test_fields_can_be_patched():
    """A 64-bit addition to a word changes a field and no other."""
    rng = random.Random(5)
    for opcode in Opcode:
        for field in opcode.definition.fields:
            data = valid_command(rng, CONFIG, 1 << 24, opcode.name).encode()
            words = np.frombuffer(data, np.uint64).copy()
            old = raw_operands(opcode, data)
            new = rng.getrandbits(field.width)
            difference = (new - old[field.name] << field.lsb) % 2**64
            words[field.word : field.word + 1] += np.uint64(difference)
            assert raw_operands(opcode, words.tobytes()) == old | {field.name: new}
            assert words.tobytes()[:16] == data[:16]


def test_values_have_defaults():
    command = Command(Opcode.VECTOR, 6, dict(rows=3))
    assert (command.values.rows, command.values.share, command.values.limit, command.values.unit) == (
        3,
        1,
        NO_LIMIT,
        6,
    )
    assert replace(command, operands={}).values.rows == 0
