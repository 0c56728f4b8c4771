"""From a model's graph to commands: a file for each operator."""

from dataclasses import replace

from ...models.experts import Experts
from ...models.operators import (
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
    SigmoidScaled,
    Softcap,
)
from ...models.plain_latents import PartNorm
from ..errors import CompileError
from . import (
    attention,
    embedding,
    experts,
    gated,
    head,
    layer_norm,
    linear,
    norm,
    part_norm,
    residual,
    rope,
    scaled,
)
from .step import Quantised, Step

__all__ = ["OPERATORS", "lower_graph", "lower_halves"]

OPERATORS = {
    Activation: gated.lower,
    Attention: attention.lower,
    Embedding: embedding.lower,
    Experts: experts.lower,
    Gated: gated.lower,
    Head: head.lower,
    HeadNorm: linear.append_vector,
    LayerNorm: layer_norm.lower,
    Linear: linear.lower,
    Norm: norm.lower,
    PartNorm: part_norm.lower,
    Residual: residual.lower,
    Rope: linear.append,
    Scale: linear.append,
    SigmoidScaled: scaled.lower,
    Softcap: linear.append,
}
"""What lowers an operator: a function of the :class:`.step.Step` and the node."""


LATER = 1 << 12
"""Ranks from those of a half's commands to those of commands that come after them."""


def lower_graph(shape, plan, memory, builder, formats, layers):
    """The :class:`.step.Step` with all commands of the graph's prologue, first ``layers`` layers, and
    epilogue."""
    s = Step(shape, plan, memory, builder, formats, layers - 1)
    _lower_layers(s, layers)
    if shape.logits:
        _lower_epilogue(s)
        head.finish(s, memory.graph.epilogue[-1].name)
    return s


def lower_halves(shape, halves, memory, builders, formats, layers):
    """As :func:`lower_graph`, of a step of ``shape`` in two :class:`..halves.Half` s, each with a builder.

    The second builder gets the commands of both, segment by segment. The second half is half a layer behind:
    attention of one goes on beside products of the other. So a segment has the first half's commands from
    attention's results on to the next layer's attention.
    """
    name = memory.graph.epilogue[-1].name
    steps = []
    for number, (half, builder) in enumerate(zip(halves, builders)):
        s = Step(half.shape, half.plan, memory, builder, formats, layers - 1, half.first)
        _lower_layers(s, layers, number)
        # The inputs of both halves' logits are behind each other: one product gives all of them.
        s.normed = halves[0].plan.normed + half.first * s.sizes.dim_blocks
        if half.shape.logits:
            _lower_epilogue(s)
        steps.append(s)
    first, second = steps
    if shape.logits:
        both = Step(shape, second.plan, memory, second.builder, formats, layers - 1)
        product = second.values[name]
        both.values[name] = replace(product, x=Quantised(first.normed, product.x.stride))
        head.finish(both, name)
        second.results |= both.results
    order = lambda op: (op.segment is None, op.segment)
    second.builder.ops = sorted(first.builder.ops + second.builder.ops, key=order)
    return second


def _lower_layers(s, layers, half=None):
    """The commands of the prologue and of the layers, of the ``half`` (None: there are none).

    A segment begins with the second half's commands up to attention's, so that the first has what to multiply
    beside; then come the first half's, from attention's results on and those of the next layer up to
    attention's, and then what is left of the second's.
    """
    graph, builder = s.graph, s.builder
    builder.layer = builder.segment = -1
    builder.rank = {None: 0, 0: -2 * LATER, 1: -LATER}[half]
    _lower(s, graph.prologue)
    norm.load_first_gains(s)
    rope.load_tables(s)
    for n in range(layers):
        builder.layer, builder.segment = n, n - (half == 0)
        if half == 1:
            builder.rank = -LATER
        for node in graph.layers[n]:
            _lower(s, [node])
            if half is not None and isinstance(node, Attention):
                builder.segment, builder.rank = n, half * LATER
    builder.layer = builder.segment = None
    builder.rank = 0


def _lower_epilogue(s):
    for compiled, last in zip(s.graph.layers[s.last], s.graph.layers[-1]):
        s.rename(compiled.name, last.name)
    _lower(s, s.graph.epilogue)


def _lower(s, nodes):
    for node in nodes:
        if type(node) not in OPERATORS:
            raise CompileError(f"{node.name}: {type(node).__name__} can't be compiled")
        OPERATORS[type(node)](s, node)
