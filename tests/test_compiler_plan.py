"""Who works on what and where it lies: groups of tokens, places in the local memories and in memory."""

from dataclasses import replace

import numpy as np
import pytest

from poblano.config import LINE_BYTES, preset
from poblano_host.compiler import CompiledModel
from poblano_host.compiler.groups import Groups
from poblano_host.compiler.plan import Part, Plan, Shape
from poblano_host.compiler.sizes import Sizes
from poblano_host.golden.pages import PageTables
from poblano_host.golden.rules import check
from poblano_host.models import Model, ModelConfig
from poblano_host.models.arch.llama import graph
from poblano_host.models.model import BlockTensor
from tests.models_tiny import chip, tiny_model
from tests.test_compiler_model import CONFIGS


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 33])
@pytest.mark.parametrize("tiles", [1, 2, 3, 5])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_every_token_has_one_owner(count, tiles, groups):
    config = chip(tiles=tiles, tokens=64)
    dealt = Groups.of(count, groups, config)
    assert len(dealt.bounds) <= groups
    owned, rows = [], {tile: [] for tile in range(tiles)}
    for group in range(len(dealt.bounds)):
        assert set(dealt.owners(group)) == {
            tile for tile in range(tiles) if len(range(*dealt.owned(group, tile)))
        }
        for tile in range(tiles):
            first, end = dealt.owned(group, tile)
            owned += range(first, end)
            rows[tile] += range(dealt.row(group), dealt.row(group) + end - first)
            assert all(dealt.of_token(token) == group for token in range(first, end))
    assert owned == list(range(count))
    assert all(len(set(mine)) == len(mine) and max(mine, default=0) < dealt.own for mine in rows.values())


def big_model(dim, ffn, heads, kv_heads):
    """A layer of the given sizes in q4_1; its weights take no memory."""
    c = ModelConfig(
        architecture="llama",
        name="big",
        dim=dim,
        layers=1,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=64,
        ffn_dim=ffn,
        vocab=1000,
        context=4096,
        rope_base=10000.0,
        norm_eps=1e-5,
    )
    scales = lambda shape: np.broadcast_to(np.float16(0), (shape[0], shape[1] // 32))
    zeros = lambda shape: BlockTensor(
        "q4_1", np.broadcast_to(np.uint8(0), shape), scales(shape), scales(shape)
    )
    tensors = {
        name: zeros(shape) if len(shape) == 2 else np.zeros(shape, np.float32)
        for name, shape in graph(c).shapes().items()
    }
    return Model(c, tensors, None)


@pytest.mark.parametrize(
    "sizes, tokens, tiles",
    [
        ((2048, 8192, 32, 8), 256, 4),
        ((2048, 8192, 32, 8), 256, 8),
        ((2880, 2880, 64, 8), 64, 1),
        ((2880, 2880, 64, 8), 64, 4),
    ],
    ids=str,
)
def test_big_models_fit_tiles_of_64_by_64(sizes, tokens, tiles):
    """On tiles of the preset tile64: 1 MiB of vector memory, 64 Ki blocks of activation memory."""
    config = replace(preset("tile64"), tiles=tiles)
    assert config.tile.vmem_lines * LINE_BYTES == 1 << 20 and config.tile.amem_blocks == 1 << 16
    of_model = Sizes.of(big_model(*sizes), config)
    for context in (256, 2048):
        plan = Plan(of_model, Shape((Part(tokens, 0, max(context, tokens)),), 1), config)
        assert sum(len(mine) for mine in plan.items) > 0
        # The residual is kept once: every tile has the rows of its own tokens alone.
        assert plan.groups.own <= -(-tokens // tiles) + len(plan.groups.bounds)


@pytest.mark.parametrize("tokens", [1, 50, 112])
@pytest.mark.parametrize("tiles", [1, 4])
def test_commands_for_wide_rows_are_accepted(tokens, tiles):
    """Tiles whose rows of vector memory are four lines, as on tile64."""
    config = replace(preset("tile64"), tiles=tiles)
    compiled = CompiledModel(big_model(576, 1536, 9, 3), config)
    program = compiled.step([1] * tokens, 64)
    for row in program.words:
        check(row.tobytes(), config, compiled.memory_bytes)


@pytest.mark.parametrize("tokens", [1, 50, 256])
def test_commands_for_quad_are_accepted(tokens):
    """Its beats of memory are two lines, its tiles stream from their own homes, and all but caches lies
    before the pages of each home."""
    compiled = CompiledModel(big_model(2048, 8192, 32, 8), preset("quad"))
    assert compiled.max_tokens == 256
    program, pages = compiled.step([1] * tokens, 64), compiled.pages
    tables = PageTables(compiled.config, compiled.memory_bytes)
    tables.use(pages.first, pages.bytes)
    tables.set(0, compiled.whole_tables[0])
    for row in program.words:
        check(row.tobytes(), compiled.config, compiled.memory_bytes, tables)


@pytest.mark.parametrize("name", ["base", *CONFIGS])
def test_attention_covers_every_head_of_every_token(name):
    config, model = CONFIGS.get(name, chip()), tiny_model()
    compiled = CompiledModel(model, config)
    for count in (1, min(3, compiled.max_tokens), compiled.max_tokens):
        plan = compiled._plan(Shape((Part(count, 0, compiled.context),), 1))
        done = np.zeros((count, model.config.heads), int)
        for item in (item for mine in plan.items for item in mine):
            group = model.config.heads // model.config.kv_heads
            heads = slice(item.kv * group + item.head, item.kv * group + item.head_end)
            done[item.first : item.end, heads] += 1
        assert (done == 1).all()


def test_places_in_memory_do_not_overlap():
    compiled = CompiledModel(tiny_model(layers=3), chip())
    m = compiled.memory
    places = [(address, address + len(data)) for address, data in compiled.image]
    for layer in range(3):
        caches = m.cache(next(n for n in m.graph.layers[layer] if type(n).__name__ == "Attention"))
        places += [(at, at + caches.layout.size) for at in caches.address]
    tokens, dim = compiled.max_tokens, compiled.sizes.dim
    places += [(m.input, m.input + 4 * tokens * dim), (m.logits, m.logits + tokens * m.vocab_stride)]
    ring, commands = compiled.ring
    places += [(ring, ring + 64 * commands)]
    places.sort()
    assert all(end <= start for (_, end), (start, _) in zip(places, places[1:]))
    assert places[-1][1] <= compiled.memory_bytes


def test_layers_lie_one_pitch_apart():
    """So a program of one layer serves the next when its addresses grow by the pitch."""
    m = CompiledModel(tiny_model(layers=3), chip()).memory
    for first, second, third in zip(*m.graph.layers):
        where = [
            [m.matrix(node.weight).address for node in nodes]
            for nodes in ((first,), (second,), (third,))
            if hasattr(first, "weight")
        ]
        if where:
            one, two, three = (np.array(addresses) for addresses in where)
            assert (two - one == m.pitch).all() and (three - two == m.pitch).all()
    assert m.alike
    assert not CompiledModel(tiny_model(layers=3, formats=("q8_0", "q4_0")), chip()).memory.alike
