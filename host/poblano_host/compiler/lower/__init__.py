"""From a model's graph to commands: a file for each operator."""

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
from .step import Step

__all__ = ["OPERATORS", "lower_graph"]

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


def lower_graph(shape, plan, memory, builder, formats, layers):
    """The :class:`.step.Step` with all commands of the graph's prologue, first ``layers`` layers, and
    epilogue."""
    graph = memory.graph
    s = Step(shape, plan, memory, builder, formats, layers - 1)
    builder.layer = -1
    _lower(s, graph.prologue)
    norm.load_first_gains(s)
    rope.load_tables(s)
    for n in range(layers):
        builder.layer = n
        _lower(s, graph.layers[n])
    builder.layer = None
    if shape.logits:
        for compiled, last in zip(graph.layers[layers - 1], graph.layers[-1]):
            s.rename(compiled.name, last.name)
        _lower(s, graph.epilogue)
        head.finish(s, graph.epilogue[-1].name)
    return s


def _lower(s, nodes):
    for node in nodes:
        if type(node) not in OPERATORS:
            raise CompileError(f"{node.name}: {type(node).__name__} can't be compiled")
        OPERATORS[type(node)](s, node)
