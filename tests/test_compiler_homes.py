"""Models on chips of several homes: every tile streams from its own, and the tokens are the same."""

from dataclasses import replace
import resource

import numpy as np
import pytest

from poblano.isa.commands import Opcode
from poblano_host.compiler import CompiledModel, CompileError, MatmulJob
from poblano_host.compiler.cache import attended_heads
from poblano_host.compiler.image import Image
from poblano_host.golden.chip import GoldenChip
from poblano_host.models.operators import Attention
from poblano_host.runtime.session import Session
from tests.models_tiny import Run, chip, tiny_model

TOKENS = np.random.default_rng(2).integers(0, 72, 24).tolist()
CHIPS = {
    "2 tiles, 2 homes": dict(tiles=2, homes=2),
    "4 tiles, 2 homes": dict(tiles=4, homes=2),
    "4 tiles, 4 homes": dict(tiles=4, homes=4),
    "64x64": dict(tiles=2, homes=2, rows=64, cols=64, lanes=32, vmem_lines=4096),
}
MODELS = {
    "2 KV heads": {},
    "1 KV head": dict(kv_heads=1),
    "4 KV heads": dict(kv_heads=4),
    "3 KV heads": dict(heads=9, kv_heads=3, dim=288, formats=("q4_1",)),
    "qwen2": dict(family="qwen2"),
}


def streams(program, config):
    """(home of the tile, first and end address) of each STREAM."""
    for command in program.commands:
        if command.opcode is Opcode.STREAM:
            o = command.operands
            end = o["mem_addr"] + (o["rows"] - 1) * o["mem_stride"] + o["row_bytes"]
            yield config.topology.home_of(config.topology.tile_of(command.unit)), o["mem_addr"], end


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("sizes", MODELS)
def test_homes_do_not_change_bits(name, sizes):
    model = tiny_model(**MODELS[sizes])
    expected = Run(CompiledModel(model, chip())).steps(TOKENS, [12, 9, 1, 1, 1])
    got = Run(CompiledModel(model, chip(**CHIPS[name])))
    np.testing.assert_array_equal(got.steps(TOKENS, [12, 9, 1, 1, 1], shuffle=7), expected)


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("sizes", MODELS)
def test_streams_stay_at_home(name, sizes):
    config = chip(**CHIPS[name])
    compiled, size = CompiledModel(tiny_model(**MODELS[sizes]), config), config.memory.home_bytes
    homes = set()
    for count, position in ((1, 0), (1, 95), (2, 40), (compiled.max_tokens, 0), (compiled.max_tokens, 80)):
        for home, first, end in streams(compiled.step(TOKENS[:count], position), config):
            assert home * size <= first < end <= (home + 1) * size
            homes.add(home)
    assert homes == set(range(config.memory.homes))


def test_repeated_layers_have_one_pitch_in_all_homes():
    """Seven layers, of which five are compiled, whose tiles' columns are not of one size."""
    model = tiny_model(layers=7, heads=3, kv_heads=3, dim=96, ffn_dim=160)
    compiled = CompiledModel(model, chip(tiles=4, homes=4))
    assert compiled.memory.alike
    expected = Run(CompiledModel(model, chip())).steps(TOKENS[:9], [7, 1, 1])
    np.testing.assert_array_equal(Run(compiled).steps(TOKENS[:9], [7, 1, 1]), expected)


@pytest.mark.parametrize("heads, kv_heads", [(4, 1), (4, 2), (8, 8), (9, 3), (32, 8), (14, 2)])
@pytest.mark.parametrize("tiles", [1, 2, 4, 8])
def test_heads_are_dealt_out_once(heads, kv_heads, tiles):
    dealt, group = attended_heads(heads, kv_heads, tiles), heads // kv_heads
    assert len(dealt) == tiles
    found = [kv * group + head for mine in dealt for kv, first, end in mine for head in range(first, end)]
    assert found == list(range(heads))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("homes", [1, 2])
def test_groups_that_are_projected_apart(homes, seed):
    """Where memory has the time, a group of tokens is attended for while the next is projected."""
    model, tokens = tiny_model(context=128), np.random.default_rng(4).integers(0, 72, 64).tolist()
    expected = Run(CompiledModel(model, chip())).steps(tokens, [16] * 4)
    config = chip(tiles=2, homes=homes, tokens=64, vmem_lines=4096, amem_blocks=1024)
    config = config.with_memory(bandwidth=32, data_width=256)
    compiled = CompiledModel(model, config)
    for lengths in ([64], [7, 48, 9]):
        if homes == 2:
            assert len(compiled._plan(compiled._shape([(max(lengths), 0)], -1)).projected) == 2
        got = Run(compiled).steps(tokens, lengths, shuffle=10 * seed)
        np.testing.assert_array_equal(got, expected)


def test_a_head_of_two_homes_is_stored_in_both():
    compiled = CompiledModel(tiny_model(kv_heads=1), chip(tiles=2, homes=2))
    run = Run(compiled)
    run.steps(TOKENS, [16, 8])
    places = compiled.memory.cache(compiled.model.graph.of(Attention)[1])
    assert places.heads == ((0, 1), (0, 1))
    one, two = (run.memory[at : at + places.layout.size] for at in places.address)
    assert one.any()
    np.testing.assert_array_equal(one, two)


def test_matmul_job():
    generator = np.random.default_rng(3)
    a, b = generator.standard_normal((20, 96)), generator.standard_normal((96, 200))
    products = []
    for config in (chip(), chip(tiles=4, homes=2)):
        job = MatmulJob(a, b, config)
        memory = np.zeros(job.memory_bytes, np.uint8)
        for address, data in job.image:
            memory[address : address + len(data)] = np.frombuffer(data, np.uint8)
        GoldenChip(config, memory).run(job.program.encode())
        products.append(job.product(lambda address, size: memory[address : address + size]))
    for home, first, end in streams(job.program, config):
        assert first // config.memory.home_bytes == (end - 1) // config.memory.home_bytes == home
    np.testing.assert_array_equal(*products)


@pytest.mark.parametrize("tiles, homes", [(2, 2), pytest.param(4, 2, marks=pytest.mark.nightly)])
def test_simulated_session(tiles, homes):
    """On the RTL: every token, logit and cache as the golden model's."""
    config = chip(rows=4, cols=4, lanes=2, tiles=tiles, homes=homes, data_width=64, queue_depth=2)
    session = Session(tiny_model(formats=("q8_0", "q4_1")), config, context=24, check=True)
    tokens = [token for _, token in session.generate(TOKENS[:18], 3) if token is not None]
    session.close()
    assert len(tokens) == 3


def test_holes_take_no_memory():
    """Of two homes of a gibibyte little is touched, even when memories are compared."""
    config = chip(tiles=2, homes=2)
    config = config.with_memory(home_bytes=1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    session = Session(tiny_model(), config, backend="golden", check=True)
    assert session.compiled.memory_bytes > 1 << 30
    session.step("prefill", TOKENS[:16], "last")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_what_does_not_fit_in_a_home_is_named():
    small = lambda **sizes: chip(**sizes).with_memory(home_bytes=1 << 20)
    with pytest.raises(
        CompileError, match=r"^tiny: needs [0-9]+ bytes of memory in home 0; a home has 1048576$"
    ):
        CompiledModel(tiny_model(), small(tiles=2, homes=2))
    image = Image("it", small(tiles=4, homes=4))
    image.reserve(1 << 20, 1)
    image.reserve(1 << 20, 3)
    assert image.size == 4 << 20 and image.extents[:2] == [(0, 0), (1 << 20, 2 << 20)]
    image.append(b"more", 3)
    with pytest.raises(
        CompileError, match="^it needs 1052672 bytes of memory in home 3; a home has 1048576$"
    ):
        _ = image.size


def test_one_home_is_as_before():
    """The homes' size does not matter where there is one."""
    one, other = (
        CompiledModel(tiny_model(), replace(chip(), memory=replace(chip().memory, home_bytes=size)))
        for size in (1 << 16, 1 << 30)
    )
    assert one.image == other.image and one.memory_bytes == other.memory_bytes
    assert (one.step(TOKENS[:5], 3).words == other.step(TOKENS[:5], 3).words).all()
