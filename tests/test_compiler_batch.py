"""Steps of several sequences: each has the bits that it has alone."""

import numpy as np
import pytest

from poblano.config import preset
from poblano_estimate.shapes import model_shape
from poblano_host.compiler import Chunk, CompiledModel, CompileError, halves, plan
from poblano_host.compiler import model as compiled_model
from poblano_host.compiler.lower import lower_halves
from poblano_host.models.outline import outline
from tests.models_families import SMALL_SIZES, model_of
from tests.models_tiny import Run, chip

LENGTHS = 140, 100, 20, 75, 9


def chunks_of(generator, texts, done, most):
    """Chunks of random lengths of some of the sequences, in any order."""
    chunks, left = [], most
    for n in generator.permutation(len(texts)):
        count = min(left, len(texts[n]) - done[n], int(generator.choice([0, 1, 1, 1, 2, 7, 30])))
        if count > 0:
            chunks.append(Chunk(int(n), done[n], tuple(texts[n][done[n] : done[n] + count])))
            left -= count
    return chunks


@pytest.mark.parametrize(
    "family, tiles, homes",
    [
        ("llama", 1, 1),
        pytest.param("gemma3", 2, 1, marks=pytest.mark.slow),
        pytest.param("llama", 4, 2, marks=pytest.mark.slow),
        pytest.param("qwen3", 3, 1, marks=pytest.mark.slow),
        pytest.param("gpt2", 2, 1, marks=pytest.mark.slow),
        pytest.param("phi3", 2, 2, marks=pytest.mark.slow),
    ],
)
def test_each_sequence_has_its_own_bits(family, tiles, homes, monkeypatch):
    """Chunks of prompts beside tokens that are decoded, over spans and windows, commands in any order that
    their waits allow."""
    for module in (plan, compiled_model):
        monkeypatch.setattr(module, "SPAN", 64)
    generator = np.random.default_rng(tiles)
    model = model_of(family, **SMALL_SIZES | dict(context=160, layers=2))
    config = chip(vmem_lines=16384, amem_blocks=2048, tokens=64, tiles=tiles, homes=homes)
    texts = [generator.integers(0, 101, length).tolist() for length in LENGTHS]
    single = CompiledModel(model, config)
    alone = [Run(single).steps(text, [64] * (len(text) // 64) + [len(text) % 64]) for text in texts]
    compiled = CompiledModel(model, config, slots=len(texts))
    run, done, steps = Run(compiled), [0] * len(texts), 0
    while any(at < len(text) for at, text in zip(done, texts)):
        chunks = chunks_of(generator, texts, done, compiled.max_tokens)
        if not chunks:
            continue
        logits, _ = run.run(compiled.batch(chunks, logits=-1), shuffle=steps)
        at = 0
        for chunk in chunks:
            first, count = chunk.position, len(chunk.tokens)
            expected = alone[chunk.slot][first : first + count]
            np.testing.assert_array_equal(logits[at : at + count], expected)
            done[chunk.slot], at = first + count, at + count
        steps += 1


@pytest.mark.parametrize(
    "family, tiles, layers",
    [
        ("llama", 1, 7),
        ("qwen3", 2, 2),
        pytest.param("gpt2", 2, 2, marks=pytest.mark.slow),
        pytest.param("gemma3", 1, 2, marks=pytest.mark.slow),
    ],
)
def test_halves_of_a_step(family, tiles, layers, monkeypatch):
    """Steps of several sequences in two halves, the second half a layer behind, have the same logits, in any
    order of the commands that their waits allow; layers are copies of others where there are many."""
    monkeypatch.setattr(halves, "_worth", lambda *_: True)
    lowered = []
    lower = lambda *arguments: lowered.append(arguments[-1]) or lower_halves(*arguments)
    monkeypatch.setattr(compiled_model, "lower_halves", lower)
    generator = np.random.default_rng(layers)
    model = model_of(family, **SMALL_SIZES | dict(context=64, layers=layers))
    config = chip(vmem_lines=16384, amem_blocks=4096, tokens=64, tiles=tiles)
    texts = [generator.integers(0, 101, length).tolist() for length in (40, 30, 20, 9)]
    single = CompiledModel(model, config)
    alone = [Run(single).steps(text, [len(text)]) for text in texts]
    compiled = CompiledModel(model, config, slots=len(texts))
    run, done = Run(compiled), [0] * len(texts)
    for step, counts in enumerate([(17, 1, 9, 0), (1, 1, 1, 1), (1, 13, 1, 7), (21, 15, 9, 1)]):
        chunks = [
            Chunk(n, done[n], tuple(texts[n][done[n] : done[n] + count]))
            for n, count in enumerate(counts)
            if count
        ]
        wanted = sum(counts) if step % 2 else 3
        logits, _ = run.run(compiled.batch(chunks, logits=wanted), shuffle=step)
        rows = [alone[n][at : at + count] for n, (at, count) in enumerate(zip(done, counts))]
        np.testing.assert_array_equal(logits, np.concatenate(rows)[-wanted:])
        done = [at + count for at, count in zip(done, counts)]
    assert lowered == [min(layers, 6)] * 4


def test_a_step_is_in_halves_where_that_takes_less():
    """Arrays that are full of half of the tokens, and long texts: else the weights would be read twice."""
    config = preset("desk")
    compiled = CompiledModel(outline(*model_shape("smollm2-135m")), config, context=512, slots=64)
    chosen = lambda count, context: halves.halves(
        compiled.sizes, plan.Shape((plan.Part(1, 0, context),) * count, 0), config
    )
    assert chosen(8, 512) is None
    first, second = chosen(32, 512)
    assert (first.first, second.first, second.parts) == (0, 16, 16)
    assert len(first.shape.parts) == len(second.shape.parts) == 16
    many = halves.halves(
        compiled.sizes, plan.Shape((plan.Part(56, 0, 256), *[plan.Part(1, 0, 512)] * 8), 9), config
    )
    assert [half.shape.count for half in many] == [56, 8]
    assert [half.shape.logits for half in many] == [1, 8]


def test_the_ring_holds_a_step_of_all_sequences(monkeypatch):
    monkeypatch.setattr(compiled_model, "SURELY", 0)
    monkeypatch.setattr(compiled_model, "RINGS", tuple(1 << n for n in range(8, 15)))
    model = model_of("llama", **SMALL_SIZES | dict(context=64, layers=3))
    config = chip(tokens=32, vmem_lines=16384, amem_blocks=4096)
    compiled = CompiledModel(model, config, slots=32)
    program = compiled.batch([Chunk(n, 63, (n,)) for n in range(32)], logits=0)
    assert CompiledModel(model, config).ring[1] < len(program) <= compiled.ring[1]


def test_the_last_rows_of_logits():
    """As many as are wanted, of the last tokens."""
    model = model_of("llama", **SMALL_SIZES | dict(context=64, layers=1))
    compiled = CompiledModel(model, chip(tokens=32, vmem_lines=8192, amem_blocks=2048), slots=3)
    chunks = [Chunk(0, 0, (1, 2, 3)), Chunk(2, 0, (4, 5)), Chunk(1, 0, (6,))]
    every, _ = Run(compiled).run(compiled.batch(chunks, logits=-1))
    for rows in (1, 2, 4):
        some, best = Run(compiled).run(compiled.batch(chunks, logits=rows))
        np.testing.assert_array_equal(some, every[-rows:])
        assert len(best) == (2 if rows == 1 else 0)
    assert Run(compiled).run(compiled.batch(chunks, logits=0))[0] is None


@pytest.mark.parametrize(
    "chunks, message",
    [
        ([], "a step takes 1 to 32 tokens, not 0"),
        ([Chunk(0, 0, ())], "a step takes 1 to 32 tokens, not 0"),
        ([Chunk(0, 0, (1,) * 20), Chunk(1, 0, (1,) * 13)], "a step takes 1 to 32 tokens, not 33"),
        ([Chunk(0, 0, (1,)), Chunk(0, 1, (1,))], "two chunks of a step are of one sequence"),
        ([Chunk(3, 0, (1,))], "there are caches of 3 sequences, not of number 3"),
        ([Chunk(0, 63, (1, 2))], "positions 63 to 64 pass the context of 64"),
    ],
)
def test_chunks_that_there_can_not_be(chunks, message):
    model = model_of("llama", **SMALL_SIZES | dict(context=64, layers=1))
    compiled = CompiledModel(model, chip(tokens=32, vmem_lines=8192, amem_blocks=2048), slots=3)
    with pytest.raises(CompileError, match=message):
        compiled.batch(chunks, logits=0)
