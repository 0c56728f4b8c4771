"""Keys and values in pages anywhere in memory: the bits are those without page tables, whatever the model."""

from dataclasses import replace
import random

import numpy as np
import pytest

from poblano.config import PagingConfig, preset
from poblano_host.compiler import Chunk, CompiledModel, CompileError
from poblano_host.compiler.pages import PageRoom
from poblano_host.runtime.session import Session
from tests.models_tiny import Run, chip, tiny_model

TOKENS = np.random.default_rng(2).integers(0, 72, 90).tolist()
STEPS = [5, 1, 1, 9, 1, 16, 1, 16, 16, 3, 1, 1]
PAGING = PagingConfig(slots=4, pages=16)
CHIPS = {
    "16x16": chip(vmem_lines=4096, amem_blocks=1024),
    "32x32, one tile": chip(tiles=1, rows=32, cols=32, vmem_lines=4096, amem_blocks=1024),
    "64x64": chip(rows=64, cols=64, lanes=16, vmem_lines=8192, amem_blocks=2048),
    "4 homes": chip(tiles=4, vmem_lines=4096, amem_blocks=1024).with_memory(homes=4, home_bytes=1 << 24),
}
MODELS = {
    "heads of a block": {},
    "heads of two blocks": dict(head_dim=64),
    "layers that repeat": dict(layers=7, head_dim=64),
    "windows": dict(
        family="gemma3", layers=3, head_dim=64, local_base=1e4, window=24, period=3, query_scalar=64
    ),
}


def paged(config, paging=PAGING):
    return config.with_memory(paging=paging)


def shuffled(compiled, seed=1):
    """A Run whose sequences have their pages in random order."""
    run = Run(compiled)
    pages = [page for table in compiled.whole_tables for page in table]
    random.Random(seed).shuffle(pages)
    count = len(compiled.whole_tables[0])
    for slot in range(compiled.slots):
        run.chip.tables.set(slot, pages[slot * count : (slot + 1) * count])
    return run


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("sizes", MODELS)
def test_bits_are_the_same(name, sizes):
    """Prompts in pieces of any length, which begin and end anywhere in a page, and single tokens."""
    model, config = tiny_model(**MODELS[sizes]), CHIPS[name]
    expected = Run(CompiledModel(model, config)).steps(TOKENS, STEPS)
    compiled = CompiledModel(model, paged(config))
    assert compiled.memory.alike == (sizes != "windows")
    np.testing.assert_array_equal(shuffled(compiled).steps(TOKENS, STEPS, shuffle=3), expected)


def test_batches():
    """Three sequences in random chunks: each has the logits that it has alone."""
    model, config = tiny_model(head_dim=64), paged(CHIPS["16x16"])
    compiled, rng = CompiledModel(model, config, slots=3), random.Random(4)
    texts = [TOKENS[:70], TOKENS[20:90], TOKENS[45:90]]
    expected = [Run(CompiledModel(model, config)).steps(text, [1] * len(text)) for text in texts]
    together, seen = shuffled(compiled), [[] for _ in texts]
    while any(len(rows) < len(text) for rows, text in zip(seen, texts)):
        chunks, left = [], 16
        for n in rng.sample(range(3), 3):
            first = len(seen[n])
            count = min(left, len(texts[n]) - first, rng.choice((1, 1, 3, 9)))
            if count > 0:
                chunks.append(Chunk(n, first, tuple(texts[n][first : first + count])))
                left -= count
        logits, _ = together.run(compiled.batch(chunks, logits=-1))
        for chunk in chunks:
            seen[chunk.slot] += list(logits[: len(chunk.tokens)])
            logits = logits[len(chunk.tokens) :]
    for rows, wanted in zip(seen, expected):
        np.testing.assert_array_equal(rows, wanted)


def test_where_pages_are():
    """Behind all else, as many as were asked for or as fit, at least those of a context."""
    config = paged(CHIPS["16x16"])
    compiled = CompiledModel(tiny_model(), config, slots=4, pages=7)
    assert compiled.page_positions == 32 and compiled.pages.count == 7
    assert compiled.pages.first % 4096 == compiled.pages.bytes % 4096 == 0
    assert compiled.pages.extents == [(compiled.pages.first, compiled.memory_bytes)]
    assert compiled.pages.first >= compiled.ring[0] + 64 * compiled.ring[1]
    assert len(compiled.whole_tables) == 2  # of three pages each
    assert CompiledModel(tiny_model(), config, slots=4, pages=1).pages.count == 3
    small = config.with_memory(addr_width=23)
    assert 3 <= CompiledModel(tiny_model(layers=8), small, slots=4, pages=10**6).pages.count < 300


def test_what_tables_have_no_room_for():
    config = CHIPS["16x16"]
    with pytest.raises(CompileError, match="tiny: 5 sequences; the chip has page tables for 4"):
        CompiledModel(tiny_model(), paged(config), slots=5)
    few = replace(PAGING, pages=2)
    with pytest.raises(CompileError, match="tiny: a context of 96 positions; page tables reach 64"):
        CompiledModel(tiny_model(), paged(config, few))
    tight = PagingConfig(slots=1 << 14, pages=1 << 13)
    assert tight.stride == 4096
    with pytest.raises(CompileError, match="needs pages of at least .* bytes; the chip's have at most 4096"):
        CompiledModel(tiny_model(), paged(config, tight))
    with pytest.raises(ValueError, match="paging: 16384 slots of 16384 pages leave 11 bits for a page"):
        PagingConfig(slots=1 << 14, pages=1 << 14)
    with pytest.raises(ValueError, match="paging slots must be a power of two of at least 1, not 3"):
        PagingConfig(slots=3)


@pytest.mark.slow
def test_rtl_of_homes():
    """Tiles stream keys and values from the parts of pages in their own homes: all of memory is the golden
    chip's after each step."""
    config = chip(4, 4, lanes=2, data_width=64, vmem_lines=1024).with_memory(homes=2, home_bytes=1 << 23)
    session = Session(tiny_model(head_dim=64), paged(config), context=96, check=True)
    for count in (16, 14, 1, 1, 1, 5):  # over the end of a page
        session.step("prefill", TOKENS[:count], "last", read=True)
    session.close()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 528, 1000])
@pytest.mark.parametrize("used", [7, 8, 11, 14, 18, 102, 111])
def test_pages_of_a_sequence_are_in_different_banks(used, count):
    """Each page has a place of its own, and it is rare that one begins near the set of the one before, where
    pages of ``used`` times 4 KiB would often do so in their order."""
    memory, first = preset("desk").memory, 1 << 24
    room = PageRoom.place(first, 4096 * used - 100, lambda size: count, memory)
    assert room.bytes == 4096 * (19 if used == 18 else used)  # no order helps those of 18
    addresses = [room.address(page) for page in range(count)]
    assert sorted(addresses) == [first + room.bytes * n for n in range(count)]
    assert room.extents == [(first, first + room.bytes * count)]
    sets = memory.dram.address_map.set_of(np.array(addresses[:65]))
    near = np.isin(np.diff(sets) % memory.dram.timing.sets, (0, 1, memory.dram.timing.sets - 1))
    if count >= 64:
        assert near.sum() <= 8
    plain = replace(memory, dram=None, bandwidth=32, latency=60)
    plain = PageRoom.place(first, 4096 * used, lambda size: count, plain)
    assert plain.step == 1 and plain.bytes == 4096 * used
