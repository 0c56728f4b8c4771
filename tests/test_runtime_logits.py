"""The best of a row of logits, from the largest of each block, are those of a sort of all."""

from types import SimpleNamespace

import numpy as np
import pytest

from poblano.config import BLOCK, LINE_BYTES, preset
from poblano_host.compiler import Chunk, CompiledModel
from poblano_host.models import Model
from poblano_host.runtime.backend import GoldenBackend, open_backend, place_model, write_pieces
from poblano_host.runtime.logits import Logits, LogitsRow, first_largest, largest
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session
from tests.models_tiny import Run, chip, tiny_model
from tests.test_compiler_model import CONFIGS

NAN, INF = np.float32(np.nan), np.float32(np.inf)
CHUNKS = [Chunk(1, 0, (1, 2)), Chunk(0, 0, (4,)), Chunk(2, 0, (5,))]


def rows_of_logits():
    """Rows with ties, zeros of both signs, infinities and NaN, of any length."""
    generator = np.random.default_rng(3)
    for vocab in (1, 31, 32, 33, 200, 1024, 1030):
        yield generator.normal(size=vocab).astype(np.float32)
        yield -generator.uniform(1, 9, vocab).astype(np.float32)
        yield generator.integers(-3, 3, vocab).astype(np.float32)
        yield np.full(vocab, -2, np.float32)
        yield np.full(vocab, -INF)
        yield generator.choice(np.array([0.0, -0.0], np.float32), vocab)
        yield generator.choice(np.array([0.0, -0.0, -1.0, INF, -INF], np.float32), vocab)
        yield generator.choice(np.array([1.0, NAN, -INF, 0.0], np.float32), vocab)
        yield np.where(np.arange(vocab) == vocab // 2, NAN, generator.normal(size=vocab)).astype(np.float32)
        yield np.full(vocab, NAN)


def chip_maximum(values):
    """The largest as the chip's MAX has it: NaN wins, and -0 is below +0."""
    return NAN if np.isnan(values).any() else values[first_largest(values)]


def row_of(values):
    """The :class:`LogitsRow` of ``values`` with maxima, and the places that it reads."""
    reads = []
    maxima = [chip_maximum(values[at : at + BLOCK]) for at in range(0, len(values), BLOCK)]

    def read(first, end):
        reads.append((first, end))
        return values[first:end]

    return LogitsRow(len(values), read, np.array(maxima, np.float32)), reads


def golden_argmax(values):
    """The token that the golden chip's ARGMAX finds, by what the specification says."""
    best = None
    for n, value in enumerate(values):
        key = (value, not np.signbit(value))
        if not np.isnan(value) and (best is None or key > best[0]):
            best = key, n
    return 0 if best is None else best[1]


def test_the_best_are_the_first_of_a_stable_sort():
    for values in rows_of_logits():
        expected = np.argsort(-values, kind="stable")
        for count in (None, 0, 1, 2, 5, 31, 32, 33, 40, len(values) - 1, len(values), len(values) + 1):
            row, reads = row_of(values)
            tokens, logits = row.top(count)
            np.testing.assert_array_equal(tokens, expected[:count])
            np.testing.assert_array_equal(logits.view(np.int32), values[expected[:count]].view(np.int32))
            np.testing.assert_array_equal(largest(values, count), expected[:count])
            if count and count < len(row.maxima) and not np.isnan(values).any():
                assert len(reads) == count and all(end - first <= BLOCK for first, end in reads)


def test_the_best_is_that_of_the_chip():
    for values in rows_of_logits():
        row, reads = row_of(values)
        assert row.best == first_largest(values) == golden_argmax(values)
        if not np.isnan(values).any():
            assert [end - first <= BLOCK for first, end in reads] == [True]


def test_a_row_without_maxima():
    values = np.array([1, 3, NAN, 3], np.float32)
    row = LogitsRow(4, lambda first, end: values[first:end])
    assert row.best == 1 and row.top(3)[0].tolist() == [1, 3, 0] and row.top()[0].tolist() == [1, 3, 0, 2]
    assert LogitsRow(4, None, None, chosen=2).best == 2


def check(logits, stored, vocab):
    """Each of ``logits`` has the best of a ``stored`` row."""
    for n, values in enumerate(stored):
        row = logits[n]
        np.testing.assert_array_equal(row.values, values)
        blocks = [values[at : at + BLOCK].max() for at in range(0, vocab, BLOCK)]
        np.testing.assert_array_equal(row.maxima, np.array(blocks, np.float32))
        assert row.best == values.argmax()
        for count in (1, 2, 40):
            np.testing.assert_array_equal(row.top(count)[0], np.argsort(-values, kind="stable")[:count])


@pytest.mark.parametrize("vocab", [65, 200, 481])
@pytest.mark.parametrize("name", ["base", "three tiles", "five tiles", "nano", "64x64", "little memory"])
def test_maxima_of_the_chip(name, vocab):
    """Of blocks at the end of the vocabulary, which is no whole number of blocks, nor of chunks; in any order
    of commands that their waits allow, over what programs before have left."""
    compiled = CompiledModel(tiny_model(vocab=vocab), CONFIGS.get(name, chip()), slots=3)
    run = Run(compiled)
    run.memory[compiled.memory.maxima : compiled.ring[0]] = 0x55
    read = lambda address, size: run.memory[address : address + size].tobytes()
    for seed, rows in enumerate((2, 4, 3)):
        program = compiled.batch(CHUNKS, logits=rows)
        assert sum(piece.blocks for piece in program.maxima) == -(-vocab // BLOCK)
        stored, best = run.run(program, shuffle=seed)
        assert not best and len(stored) == rows
        check(Logits(SimpleNamespace(read=read), compiled, program), stored, vocab)


def test_negative_logits_at_the_end():
    """What is behind the last logit, zeros of the array, is no maximum."""
    compiled = CompiledModel(tiny_model(vocab=65), chip(), slots=3)
    run = Run(compiled)
    program = compiled.batch(CHUNKS, logits=4)
    stored, _ = run.run(program)
    last = program.maxima[-1]
    words = run.memory[last.address : last.address + 16 * last.stride].view(np.float32).reshape(4, -1)
    assert (stored[:, 64] < 0).any()
    np.testing.assert_array_equal(words[:, last.blocks - 1], stored[:, 64])


@pytest.mark.parametrize("name", ["base", *CONFIGS])
def test_places_of_maxima(name):
    """They end before what is behind them, in memory and in vector memory, at any number of rows."""
    compiled = CompiledModel(tiny_model(vocab=481), CONFIGS.get(name, chip()), slots=3)
    most, first = compiled.max_tokens, compiled.memory.maxima
    room = range(first, compiled.ring[0] + 1)
    for rows in {2, min(5, most), most}:
        program = compiled.batch([Chunk(0, 0, (1,) * (most - 1)), Chunk(1, 0, (4,))], logits=rows)
        ends = sorted((m.address, m.address + 4 * rows * m.stride) for m in program.maxima)
        assert ends[0][0] == first and ends[-1][1] in room
        assert all(end <= start for (_, end), (start, _) in zip(ends, ends[1:]))
        stores = [c for c in program.commands if c.label.endswith("store_maxima")]
        assert len(stores) == len(ends)
        assert all(c.values.mem_addr + LINE_BYTES * c.values.lines in room for c in stores)
        assert all(c.values.src + c.values.lines <= compiled.config.tile.vmem_lines for c in stores)


def test_one_row_is_searched_by_the_tiles():
    """A step with one row of logits has each tile's best instead, and one sequence has no maxima at all."""
    compiled = CompiledModel(tiny_model(), chip(), slots=3)
    program = compiled.batch(CHUNKS, logits=1)
    assert program.best and not program.maxima
    backend = GoldenBackend(compiled.config, compiled.memory_bytes, compiled.ring)
    place_model(backend, compiled)
    write_pieces(backend, program.inputs)
    backend.run(program.code)
    row = Logits(backend, compiled, program)[0]
    assert row.chosen == row.best == row.values.argmax()
    compiled = CompiledModel(tiny_model(), chip())
    assert compiled.memory.maxima is None and not compiled.step([1, 2], 0, logits="all").maxima


@pytest.mark.parametrize("temperature", [0, 0.8])
@pytest.mark.parametrize("tiles", [1, 2, 3])
def test_no_number_at_all(tiles, temperature):
    """Where all logits are NaN the token is 0, not one of those behind the vocabulary, which are not NaN."""
    model = tiny_model(vocab=70)
    nothing = {"output_norm.weight": np.full_like(model.tensors["output_norm.weight"], NAN)}
    model = Model(model.config, model.tensors | nothing, None)
    session = Session(model, chip(tiles=tiles), backend="golden", context=64)
    steps = session.generate([1, 2], 3, Sampler(temperature=temperature))
    assert [token for _, token in steps if token is not None] == [0, 0, 0]


@pytest.mark.parametrize(
    "results, token",
    [
        ([(1.0, 5), (1.0, 40)], 5),
        ([(NAN, 0), (-3.0, 40)], 40),
        ([(-0.0, 5), (0.0, 40)], 40),
        ([(NAN, 0), (NAN, 0)], 0),
    ],
)
def test_the_best_of_tiles(results, token):
    """The first of the largest, whichever tile has found it."""
    memory = np.array(results, np.dtype([("value", np.float32), ("token", np.uint32)])).tobytes()
    program = SimpleNamespace(logits=(64, 1), best=[0, 8], maxima=[])
    compiled = SimpleNamespace(vocab_stride=256, model=SimpleNamespace(config=SimpleNamespace(vocab=64)))
    backend = SimpleNamespace(read=lambda address, size: memory[address : address + size])
    assert Logits(backend, compiled, program)[0].best == token


def test_rtl():
    """The chip leaves the bits of the golden model, and of the logits the largest."""
    config, vocab = preset("desk"), 200
    compiled = CompiledModel(tiny_model(vocab=vocab), config, slots=3)
    program = compiled.batch(CHUNKS, logits=4)
    chips = [open_backend(name, config, compiled.memory_bytes, compiled.ring) for name in ("sim", "golden")]
    found = []
    for backend in chips:
        place_model(backend, compiled)
        write_pieces(backend, program.inputs)
        backend.run(program.code)
        logits = Logits(backend, compiled, program)
        found.append(np.stack([logits[n].values for n in range(4)]))
        check(logits, found[-1], vocab)
        backend.close()
    np.testing.assert_array_equal(*found)
