"""Every family compiled: the golden chip close to float, the same bits however a text is cut into steps and
split over tiles."""

from dataclasses import replace

import numpy as np
import pytest

from poblano_host.accuracy import compare
from poblano_host.compiler import CompiledModel
from poblano_host.models import FloatModel
from poblano_host.models.padding import padded_heads
from poblano_host.runtime.session import Session
from tests.models_families import CASES, model_of
from tests.models_tiny import Run, chip
from tests.programs import SMALL

TOKENS = np.random.default_rng(1).integers(0, 400, 40).tolist()
TOKENS_OF_101 = [token % 101 for token in TOKENS]
CONFIGS = {
    "nano": chip(rows=4, cols=4, lanes=2, tiles=1, data_width=64, queue_depth=2, vmem_lines=4096),
    "three tiles": chip(tiles=3, vmem_lines=4096, amem_blocks=1024),
    "64x64": chip(rows=64, cols=64, lanes=32, tiles=2, vmem_lines=8192, queue_depth=1),
}


@pytest.mark.parametrize("case", CASES)
def test_family(case):
    model = model_of(case, context=96, **({"window": 13} if "window" in CASES[case] else {}))
    reference = FloatModel(model).forward(TOKENS)
    compiled = CompiledModel(model, chip(vmem_lines=4096))
    expected = Run(compiled).steps(TOKENS, [1] * 40)
    accuracy = compare(reference, expected, TOKENS)
    assert accuracy.kl < 0.01 and accuracy.clear_top1 == 1 and abs(accuracy.perplexity_ratio - 1) < 0.02, (
        accuracy
    )
    np.testing.assert_array_equal(Run(compiled).steps(TOKENS, [11, 16, 1, 12], shuffle=3), expected)
    for name, config in CONFIGS.items():
        got = Run(CompiledModel(model, config)).steps(TOKENS, [16, 16, 1, 7])
        np.testing.assert_array_equal(got, expected, err_msg=name)


@pytest.mark.parametrize("window", [5, 32, 70])
def test_window(window):
    """Windows that end within a granule of positions and with one, over several of them; the tiles' tokens
    see different granules."""
    model = model_of("mistral", window=window, context=256, layers=1)
    tokens = np.random.default_rng(2).integers(0, 400, 200).tolist()
    run = lambda lengths: Run(CompiledModel(model, config)).steps(tokens, lengths)
    config = chip(vmem_lines=16384, amem_blocks=2048, tokens=64)
    expected = run([1] * 200)
    accuracy = compare(FloatModel(model).forward(tokens), expected, tokens)
    assert accuracy.kl < 0.01 and accuracy.clear_top1 == 1
    np.testing.assert_array_equal(run([50, 64, 64, 3, 1, 1, 17]), expected)


SMALL_SIZES = dict(dim=64, vocab=101, bos_id=None, eos_id=None, tokenizer=None, layers=2, context=64)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["llama with yarn", "qwen3", "smollm3", "phi3", "granite", "gemma3", "gpt2"])
def test_rtl(case):
    """The RTL of a small chip computes what the golden chip does, in prefill and decode."""
    special = {"smollm3": dict(interval=2), "phi3": dict(window=5), "gemma3": dict(period=2, window=5)}
    model = model_of(case, **SMALL_SIZES | special.get(case, {}))
    session = Session(model, SMALL, check=True)
    steps = list(session.generate(TOKENS_OF_101[:12], 2, logits=True))
    session.close()
    reference = FloatModel(model).forward(TOKENS_OF_101[:12])[-1]
    (first,) = [step.logits for step, _ in steps if step.position + step.count == 12]
    assert np.abs(first - reference).mean() < 0.15


@pytest.mark.parametrize(
    "family, head_dim, formats, config",
    [
        ("llama", 8, ("q8_0", "q4_1"), chip()),
        ("gemma3", 40, ("q8_0",), chip(tiles=3)),
        ("qwen3", 48, ("mxint8",), chip(tiles=1, formats=("int8", "mxint8"))),
        ("gpt2", 24, ("q4_0",), chip(rows=64, cols=64, lanes=32)),
        ("qwen2", 256, ("q8_0",), chip(rows=8, cols=8)),
    ],
)
def test_size_of_heads(family, head_dim, formats, config):
    """Heads that are no blocks are padded: the same numbers in float, and close to them on the chip. Arrays
    may be larger than a head, and the vocabulary is a multiple of nothing."""
    sizes = SMALL_SIZES | dict(head_dim=head_dim, formats=formats)
    model = model_of(family, **sizes)
    reference = FloatModel(model).forward(TOKENS_OF_101)
    padded = FloatModel(padded_heads(model)).forward(TOKENS_OF_101)
    np.testing.assert_allclose(padded, reference, rtol=1e-4, atol=1e-4)
    config = replace(config, tile=replace(config.tile, vmem_lines=16384, amem_blocks=2048, tokens=64))
    compiled = CompiledModel(model, config)
    expected = Run(compiled).steps(TOKENS_OF_101, [1] * 40)
    accuracy = compare(reference, expected, TOKENS_OF_101)
    assert accuracy.kl < 0.01 and accuracy.clear_top1 == 1, accuracy
    np.testing.assert_array_equal(Run(compiled).steps(TOKENS_OF_101, [16, 16, 1, 7]), expected)
