"""Attention of the families: sliding windows, and heads of any size."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from poblano_host.accuracy import compare
from poblano_host.compiler import CompiledModel, plan
from poblano_host.compiler import model as compiled_model
from poblano_host.compiler.symbols import before, granules, skipped
from poblano_host.models import FloatModel, Model
from poblano_host.models.graph import Graph
from poblano_host.models.operators import Attention
from poblano_host.models.padding import padded_heads
from tests.models_families import SMALL_SIZES, model_of
from tests.models_tiny import Run, chip

TOKENS = np.random.default_rng(1).integers(0, 101, 40).tolist()


def test_most_of_symbols():
    """Regions of local memories, and so the waits, are for the largest value up to the last position."""
    for (symbol, _), *_ in (
        granules(9, -70).terms,
        granules(1, -5).terms,
        skipped(-3).terms,
        before(-9).terms,
    ):
        for last in range(0, 300, 7):
            values = [symbol.value(position, 16, 32) for position in range(last + 1)]
            assert symbol.most(last, 16, 32) == max(values)


@pytest.mark.parametrize("window", [32, 70])
def test_window(window):
    """Windows that end within a granule of positions and with one, over several of them; the tiles' tokens
    see different granules."""
    model = model_of("mistral", **SMALL_SIZES | dict(window=window, context=256, layers=1))
    tokens = np.random.default_rng(2).integers(0, 101, 200).tolist()
    run = lambda lengths: Run(CompiledModel(model, config)).steps(tokens, lengths)
    config = chip(vmem_lines=16384, amem_blocks=2048, tokens=64)
    expected = run([1] * 200)
    accuracy = compare(FloatModel(model).forward(tokens), expected, tokens)
    assert accuracy.kl < 0.01 and accuracy.clear_top1 == 1
    np.testing.assert_array_equal(run([50, 64, 64, 3, 1, 1, 17]), expected)


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
    reference = FloatModel(model).forward(TOKENS)
    padded = FloatModel(padded_heads(model)).forward(TOKENS)
    np.testing.assert_allclose(padded, reference, rtol=1e-4, atol=1e-4)
    config = replace(config, tile=replace(config.tile, vmem_lines=16384, amem_blocks=2048, tokens=64))
    compiled = CompiledModel(model, config)
    expected = Run(compiled).steps(TOKENS, [1] * 40)
    accuracy = compare(reference, expected, TOKENS)
    assert accuracy.kl < 0.01 and accuracy.clear_top1 == 1, accuracy
    np.testing.assert_array_equal(Run(compiled).steps(TOKENS, [16, 16, 1, 7]), expected)


@pytest.mark.parametrize("family, tiles", [("llama", 1), ("gemma3", 2), ("qwen3", 3)])
def test_spans(family, tiles, monkeypatch):
    """Attention to more positions than a span: the same bits in steps of any length, which end in a span,
    with one, or begin in one and end in the next; beside layers with windows."""
    for module in (plan, compiled_model):
        monkeypatch.setattr(module, "SPAN", 64)
    model = model_of(family, **SMALL_SIZES | dict(context=256, layers=2))
    tokens = np.random.default_rng(3).integers(0, 101, 230).tolist()
    config = chip(vmem_lines=16384, amem_blocks=2048, tokens=64, tiles=tiles)
    run = lambda lengths: Run(CompiledModel(model, config)).steps(tokens, lengths)
    expected = run([1] * 230)
    accuracy = compare(FloatModel(model).forward(tokens), expected, tokens)
    assert accuracy.kl < 0.01 and accuracy.clear_top1 == 1
    np.testing.assert_array_equal(run([50, 64, 64, 3, 1, 1, 9, 1, 37]), expected)
    np.testing.assert_array_equal(run([64, 63, 2, 64, 37]), expected)


@dataclass(frozen=True, eq=False)
class _Changed(Model):
    """A model with a graph of its own, not its family's."""

    changed: Graph = field(kw_only=True)

    @property
    def graph(self):
        return self.changed


def with_sinks(model, values):
    """``model`` whose heads have the sinks ``values`` in every layer."""
    tensors, graph = dict(model.tensors), model.graph

    def changed(nodes):
        of = lambda node: replace(node, sinks=f"{node.name}.sinks") if type(node) is Attention else node
        return tuple(of(node) for node in nodes)

    graph = Graph(graph.prologue, tuple(map(changed, graph.layers)), graph.epilogue)
    tensors |= {node.sinks: np.array(values, np.float32) for node in graph.of(Attention)}
    return _Changed(model.config, tensors, model.tokenizer, changed=graph)


@pytest.mark.parametrize(
    "family, values", [("llama", (1, -0.5, 2.5, 4)), ("mistral", (-300, 300, 0, 1))], ids=str
)
def test_sinks(family, values, monkeypatch):
    """Sinks of a few spans or of a window, far above and below all scores too; heads of one KV head are dealt
    out to several tiles."""
    for module in (plan, compiled_model):
        monkeypatch.setattr(module, "SPAN", 32)
    plain = model_of(family, **SMALL_SIZES | (dict(window=13) if family == "mistral" else {}))
    model = with_sinks(plain, values)
    reference = FloatModel(model).forward(TOKENS)
    assert np.abs(reference - FloatModel(plain).forward(TOKENS)).max() > 2
    expected = Run(CompiledModel(model, chip(vmem_lines=4096))).steps(TOKENS, [16, 16, 8])
    assert np.abs(expected - reference).mean() < 0.06
    for tiles, homes in ((3, 1), (4, 2)):
        compiled = CompiledModel(model, chip(vmem_lines=4096, tiles=tiles, homes=homes))
        np.testing.assert_array_equal(Run(compiled).steps(TOKENS, [16, 3, 13, 7, 1]), expected)
