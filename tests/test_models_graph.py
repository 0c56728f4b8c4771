"""Operator graphs: every operator's float reference against its formula, the graph's queries, the builder."""

from dataclasses import replace

import numpy as np
import pytest

from poblano_host.models import FloatModel
from poblano_host.models.graph import GraphBuilder
from poblano_host.models.operators import (
    Activation,
    Attention,
    Embedding,
    Gated,
    Head,
    HeadNorm,
    LayerNorm,
    Linear,
    Norm,
    Residual,
    Rope,
    Scale,
    Softcap,
    Step,
)
from poblano_host.models.rope import rope_frequencies
from tests.models_tiny import tiny_model

RNG = np.random.default_rng(7)


def values(*shape):
    return RNG.normal(0, 2, shape).astype(np.float32)


def check(node, expected, *inputs, start=0, **tensors):
    """The reference of ``node`` is close to the float64 array ``expected`` and has its declared shape."""
    n = len(expected)
    step = Step(tokens=np.arange(n), start=start, tensors=tensors)
    assert {name: array.shape for name, array in tensors.items()} == node.tensors
    assert tuple(x.shape for x in inputs) == tuple((n, width) for width in node.input_widths)
    got = node.reference(step, *inputs)
    assert got.dtype == np.float32 and got.shape == (n, node.width)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)


def test_embedding():
    table = values(5, 64)
    node = Embedding(name="x", inputs=(), table="t", rows=5, width=64, scale=3.5)
    step = Step(tokens=np.array([4, 0, 4]), tensors={"t": table})
    np.testing.assert_array_equal(
        node.reference(step), np.stack([table[i] * np.float32(3.5) for i in (4, 0, 4)])
    )
    check(node, table.astype(float) * 3.5, t=table)


def test_norm():
    x, gain = values(3, 64), values(64)
    expected = [
        [row[i] / (sum(float(e) ** 2 for e in row) / 64 + 0.25) ** 0.5 * gain[i] for i in range(64)]
        for row in x
    ]
    check(Norm(name="y", inputs=("x",), gain="g", width=64, eps=0.25), np.array(expected), x, g=gain)


def test_learned_positions():
    table, positions = values(5, 64), values(9, 64)
    node = Embedding(name="x", inputs=(), table="t", rows=5, width=64, scale=2.0, positions="p", context=9)
    step = Step(tokens=np.array([4, 0]), start=3, tensors={"t": table, "p": positions})
    np.testing.assert_array_equal(node.reference(step), table[[4, 0]] * np.float32(2) + positions[[3, 4]])
    assert node.tensors == {"t": (5, 64), "p": (9, 64)}


def test_layer_norm():
    x, gain, bias = values(3, 64), values(64), values(64)
    rows = x.astype(float)
    mean = rows.mean(-1, keepdims=True)
    variance = ((rows - mean) ** 2).mean(-1, keepdims=True)
    expected = (rows - mean) / np.sqrt(variance + 0.25) * gain + bias
    node = LayerNorm(name="y", inputs=("x",), gain="g", bias="b", width=64, eps=0.25)
    check(node, expected, x, g=gain, b=bias)


@pytest.mark.parametrize("elements", [32, 24])
def test_head_norm(elements):
    """Of each head alone; the mean leaves out the zeros behind a padded head."""
    x, gain = values(3, 96), values(32)
    x.reshape(3, 3, 32)[..., elements:] = 0
    heads = x.astype(float).reshape(3, 3, 32)
    mean = (heads**2).sum(-1, keepdims=True) / elements
    node = HeadNorm(name="y", inputs=("x",), gain="g", heads=3, head_dim=32, elements=elements, eps=0.25)
    check(node, (heads / np.sqrt(mean + 0.25) * gain).reshape(3, 96), x, g=gain)


@pytest.mark.parametrize("kind", [Linear, Head])
@pytest.mark.parametrize("bias", [None, "b"])
def test_linear(kind, bias):
    x, weight, offset = values(3, 64), values(40, 64), values(40)
    expected = np.einsum("tk,nk->tn", x.astype(float), weight.astype(float))
    tensors = {"w": weight}
    if bias:
        expected, tensors = expected + offset, {"w": weight, "b": offset}
    check(kind(name="y", inputs=("x",), weight="w", bias=bias, width=40, k=64), expected, x, **tensors)


def test_rope():
    """A pair of neighbours is a complex number that is multiplied by exp(i * position * frequency)."""
    node = Rope(name="y", inputs=("x",), heads=3, head_dim=32, frequencies=rope_frequencies(500.0, 32))
    np.testing.assert_allclose(node.frequencies, [500 ** (-i / 16) for i in range(16)])
    x = values(4, 96)
    pairs = x.reshape(4, 3, 16, 2).astype(float)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(
        1j * np.arange(11, 15)[:, None, None] * np.array(node.frequencies)
    )
    check(node, np.stack((turned.real, turned.imag), -1).reshape(4, 96), x, start=11)
    np.testing.assert_array_equal(node.angles([0, 2]), np.outer([0, 2], node.frequencies))
    scaled = replace(node, scale=1.25)
    check(scaled, 1.25 * np.stack((turned.real, turned.imag), -1).reshape(4, 96), x, start=11)


def attention(q, k, v, heads, kv_heads, scale, window=99):
    """Float64 attention of all tokens from position 0, a token and head at a time."""
    size = q.shape[1] // heads
    out = np.zeros(q.shape)
    for t in range(len(q)):
        for h in range(heads):
            mine, theirs = slice(h * size, (h + 1) * size), h * kv_heads // heads
            kv = slice(theirs * size, (theirs + 1) * size)
            seen = range(max(0, t + 1 - window), t + 1)
            weights = np.exp([scale * float(q[t, mine] @ k[s, kv]) for s in seen])
            out[t, mine] = sum(w * v[s, kv] for s, w in zip(seen, weights / weights.sum()))
    return out


@pytest.mark.parametrize("window", [None, 1, 4])
def test_attention(window):
    """In one step and in several, which find the keys and values of those before."""
    sizes = dict(heads=6, kv_heads=2, head_dim=32)
    node = Attention(name="y", inputs=("q", "k", "v"), **sizes, scale=0.11, window=window)
    assert node.width == 192 and node.input_widths == (192, 64, 64)
    q, k, v = values(9, 192), values(9, 64), values(9, 64)
    expected = attention(q.astype(float), k.astype(float), v.astype(float), 6, 2, 0.11, window or 99)
    for lengths in ([9], [4, 1, 4]):
        caches, at = {"y": node.cache(12)}, 0
        for n in lengths:
            rows = slice(at, at + n)
            step = Step(tokens=np.arange(n), start=at, tensors={}, caches=caches)
            got = node.reference(step, q[rows], k[rows], v[rows])
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected[rows], rtol=2e-5, atol=1e-5)
            at += n
        np.testing.assert_array_equal(caches["y"][0][:, :9].swapaxes(0, 1).reshape(9, 64), k)
        assert not caches["y"][1][:, 9:].any()


def test_elementwise():
    x, y = values(3, 32), values(3, 32)
    x[0, :3] = 200, -200, 0  # exp(200) is infinite in float32
    inputs = ("x", "y")
    a, b = x.astype(float), y.astype(float)
    check(Gated(name="z", inputs=inputs, width=32, function="silu"), a / (1 + np.exp(-a)) * b, x, y)
    gelu = a / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (a + 0.044715 * a**3)))
    check(Activation(name="z", inputs=("x",), width=32, function="gelu"), gelu, x)
    check(Gated(name="z", inputs=inputs, width=32, function="gelu"), gelu * b, x, y)
    check(Residual(name="z", inputs=inputs, width=32), a + b, x, y)
    check(Scale(name="z", inputs=("x",), width=32, factor=0.3), a * 0.3, x)
    check(Softcap(name="z", inputs=("x",), width=32, cap=5.0), np.tanh(a / 5) * 5, x)


def test_graph_of_llama():
    graph = tiny_model(dim=64, ffn_dim=96, heads=4, kv_heads=2, head_dim=32, vocab=72, layers=3).graph
    assert [len(graph.prologue), len(graph.layers), len(graph.epilogue)] == [1, 3, 2]
    assert {type(node) for node in graph.nodes} == {
        Embedding, Norm, Linear, Rope, Attention, Residual, Gated, Head
    }  # fmt: skip
    layer = {
        "attn_norm.weight": (64,),
        "attn_q.weight": (128, 64),
        "attn_k.weight": (64, 64),
        "attn_v.weight": (64, 64),
        "attn_output.weight": (64, 128),
        "ffn_norm.weight": (64,),
        "ffn_gate.weight": (96, 64),
        "ffn_up.weight": (96, 64),
        "ffn_down.weight": (64, 96),
    }
    expected = {"token_embd.weight": (72, 64), "output_norm.weight": (64,)} | {
        f"blk.{n}.{name}": shape for n in range(3) for name, shape in layer.items()
    }
    assert graph.shapes() == expected
    assert graph.node("output").weight == "token_embd.weight"
    names = lambda nodes: [node.name for node in nodes]
    assert names(graph.consumers("layer1.attn_norm")) == ["layer1.attn_q", "layer1.attn_k", "layer1.attn_v"]
    assert names(graph.consumers("layer1.ffn_residual")) == ["layer2.attn_norm", "layer2.attn_residual"]
    assert names(graph.consumers("layer2.ffn_residual")) == ["output_norm"]
    assert graph.consumers("output") == ()
    assert graph.layer("layer2.attn") == 2 and graph.layer("token_embd") is None
    assert names(graph.of(Head)) == ["output"] and len(graph.of(Attention)) == 3
    assert graph.rotated() == {
        f"blk.{n}.{name}.weight": heads for n in range(3) for name, heads in (("attn_q", 4), ("attn_k", 2))
    }
    read = [name for node in graph.nodes for name in node.inputs]
    seen = set()
    for node in graph.nodes:  # every value is given before it is read, and read, but the logits
        assert set(node.inputs) <= seen
        seen.add(node.name)
    assert seen - set(read) == {"output"}


def test_untied_output():
    graph = tiny_model(tied=False).graph
    assert graph.shapes()["output.weight"] == (72, 64) and graph.node("output").weight == "output.weight"
    logits = FloatModel(tiny_model(tied=False)).forward([1, 2])
    assert not np.allclose(logits, FloatModel(tiny_model()).forward([1, 2]))


def test_unknown_values():
    graph = tiny_model().graph
    for ask in (
        graph.node,
        graph.consumers,
        graph.layer,
        lambda name: FloatModel(tiny_model()).value(name, [1]),
    ):
        with pytest.raises(ValueError, match="^the graph has no value 'layer2.attn'$"):
            ask("layer2.attn")


def test_builder_errors():
    b = GraphBuilder()
    x = b.embedding("token_embd", 72, 64)
    with pytest.raises(ValueError, match="^the graph has no value 'y'$"):
        b.norm("norm", "y", eps=1e-5)
    with pytest.raises(ValueError, match="^the graph has two values 'token_embd'$"):
        b.linear("token_embd", x, 64)
    for _ in b.layers(1):
        y = b.linear("up", x, 96)
        with pytest.raises(ValueError, match=r"^layer0.sum reads 64 elements of 'layer0.up', which has 96$"):
            b.residual("sum", x, y)
    with pytest.raises(
        ValueError, match=r"^output uses token_embd.weight as \(80, 64\), another as \(72, 64\)$"
    ):
        b.head("output", x, 80, weight="token_embd.weight")
    b.head("output", x, 72, weight="token_embd.weight")
    graph = b.graph()  # nothing that was refused is in it
    assert [node.name for node in graph.nodes] == ["token_embd", "layer0.up", "output"]


def test_values_of_the_float_model():
    """Values in the middle are those that lead to the logits; only the projections' inputs are rounded."""
    model, tokens = tiny_model(), [3, 1, 4, 1, 5]
    value = lambda name, **options: FloatModel(model, **options).value(name, tokens)
    x, y = value("layer1.ffn_residual"), value("output_norm")
    np.testing.assert_array_equal(value("token_embd"), model.embed(tokens))
    np.testing.assert_array_equal(FloatModel(model).forward(tokens), y @ model.output.dequantise().T)
    np.testing.assert_array_equal(x, value("layer1.attn_residual") + value("layer1.ffn_down"))
    seen = []
    keep = lambda x: (seen.append(x.shape), x)[1]
    np.testing.assert_array_equal(value("output", rounding=keep), FloatModel(model).forward(tokens))
    layer = [(5, 64)] * 3 + [(5, 128)] + [(5, 64)] * 2 + [(5, 96)]
    assert seen == layer * 2 + [(5, 64)]


def test_shortened():
    """The first layers of a model compute what they do in it."""
    model = tiny_model(layers=3)
    short = model.shortened(2)
    assert short.config.layers == 2 and set(short.tensors) == set(short.graph.shapes())
    assert not any(name.startswith("blk.2.") for name in short.tensors)
    assert len(short.graph.layers) == 2 and len(model.graph.layers) == 3
    few = model.shortened(2, vocab=20)
    tokens = [3, 19, 0]
    np.testing.assert_array_equal(FloatModel(few).forward(tokens), FloatModel(short).forward(tokens)[:, :20])
    for layers in (0, 4):
        with pytest.raises(ValueError, match=f"^tiny has 3 layers, not {layers}$"):
            model.shortened(layers)
