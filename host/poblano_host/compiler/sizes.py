"""What the compiler knows of a model's graph on a chip: numbers that all its programs share."""

from dataclasses import dataclass
from itertools import zip_longest
from math import lcm

from poblano.config import BLOCK

from ..models.capacity import Capacity
from ..models.experts import Experts
from ..models.operators import (
    Activation,
    Attention,
    Gated,
    Head,
    HeadNorm,
    LayerNorm,
    Linear,
    Norm,
    Residual,
    Rope,
    SigmoidScaled,
)
from ..models.plain_latents import PartNorm
from .errors import CompileError
from .experts import refuse
from .image import align
from .outputs import out_words
from .sinks import patterns, row_words
from .weights import block_tensor, matrix_bytes

__all__ = ["Sizes", "normed_together", "vector_of"]


def normed_together(node, head_dim):
    """Whether an operator is the norm of all heads together, of ``head_dim`` elements each."""
    return isinstance(node, HeadNorm) and node.head_dim > head_dim


def vector_of(node, config):
    """(tensor, elements) of what an operator adds to or multiplies each of its rows by, but for the gain of
    a norm of the residual; None if there is none."""
    if isinstance(node, Attention):
        return None if node.sinks is None else (node.sinks, len(patterns(node, config)) * row_words(config))
    if isinstance(node, Linear):
        return None if node.bias is None else (node.bias, node.width)
    if isinstance(node, HeadNorm):
        return node.gain, node.head_dim
    if isinstance(node, PartNorm):
        return node.gain, node.elements
    return (node.bias, node.width) if isinstance(node, LayerNorm) else None


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model in blocks and granules of a chip.

    granule : columns of a matrix that are kept together: whole blocks and array columns
    key_granule : positions that attention covers at least: whole blocks, steps along K and array columns
    dim : elements of the residual; dim_blocks : its blocks, whole steps of the array
    attended_blocks, hidden_blocks : the same of the attention's output and of the gated activation
    head_blocks, head_steps : blocks of a head, and those up to whole steps
    out_words : the most FP32 words that outputs of up to so many rows of heads take
    head_granule : columns of queries and keys that are kept together: whole heads if each is normalised
    together : elements of the widest row of heads that are normalised together, or of a PartNorm; 0 if none
    part_norms : blocks of a row of each of a layer's PartNorms, up to whole steps
    norms : norms of a layer; vectors : room for each of a layer's :func:`vector_of`, in words
    ropes : tables of rotary embeddings
    windows : of the layers' attention, of each the positions or None
    pair, spare : matrices whose products the feed-forward network takes side by side, and 1 if its function
        needs room beside them
    added_norms : whether what is added to the residual is normalised
    layer_norms : whether there are norms that need the mean
    scored : whether there are sums that the tokens' scores multiply
    layer_macs, layer_bytes : multiply-accumulates for a token, and bytes, of the first layer's weights; bytes
        without those of experts
    expert_bytes : of the first layer's weights those of an expert
    experts, used : the most of a mixture, and those that a token uses; 0 if there are none
    clamped : the most elements of an expert with a clamped activation; 0 if there are none
    capacity : of the experts, or None
    attention_output_bytes, residual_bytes : of these, those that are applied to attention's output; those
        whose results are added to the residual
    """

    name: str
    granule: int
    key_granule: int
    dim: int
    dim_blocks: int
    heads: int
    kv_heads: int
    head_dim: int
    head_blocks: int
    head_steps: int
    attended_blocks: int
    hidden_blocks: int
    out_words: tuple
    head_granule: int
    together: int
    part_norms: tuple
    norms: int
    vectors: tuple
    ropes: int
    windows: tuple
    pair: int
    spare: int
    added_norms: bool
    layer_norms: bool
    scored: bool
    layer_macs: int
    layer_bytes: int
    expert_bytes: int
    attention_output_bytes: int
    residual_bytes: int
    experts: int
    used: int
    clamped: int
    capacity: Capacity | None

    @classmethod
    def of(cls, model, config):
        """Those of a model; CompileError if its layers have attention of different heads, or mixtures that no
        command computes."""
        name, graph, array = model.config.name, model.graph, config.tile.array
        steps = lambda elements: align(-(-elements // BLOCK), array.segments)
        most = lambda kind: max((node.width for node in graph.of(kind)), default=0)
        shapes = {(a.heads, a.kv_heads, a.head_dim) for a in graph.of(Attention)}
        if len(shapes) > 1:
            raise CompileError(
                f"{name}: attention of {len(shapes)} different shapes; all layers' must have one"
            )
        heads, kv_heads, head_dim = shapes.pop() if shapes else (0, 0, 0)
        together = [node for node in graph.of(HeadNorm) if normed_together(node, head_dim)]
        apart = len(together) < len(graph.of(HeadNorm))
        granule = max(BLOCK, array.cols)
        dim = most(Residual)
        of_layer = lambda kind: [[node for node in layer if isinstance(node, kind)] for layer in graph.layers]
        first = graph.layers[0]
        linears = [node for node in first if isinstance(node, Linear)]
        size = {n.name: matrix_bytes(block_tensor(model.tensors[n.weight], config), config) for n in linears}
        feeding = [n.name for n in linears if any(isinstance(u, Residual) for u in graph.consumers(n.name))]
        attended = [n for n in feeding if isinstance(graph.node(graph.node(n).inputs[0]), Attention)]
        if any(head.bias for head in graph.of(Head)):
            raise CompileError(f"{name}: a bias of the projection to logits can't be compiled")
        room = lambda elements: max(align(elements, granule), BLOCK * steps(elements))
        vectors = [
            [room(vector[1]) for node in nodes if (vector := vector_of(node, config))]
            for nodes in (*graph.layers, graph.epilogue)
        ]
        parted = [[steps(node.width) for node in nodes] for nodes in of_layer(PartNorm)]
        activations, mixtures = graph.of(Activation), graph.of(Experts)
        for node in mixtures:
            refuse(node, config)
        hidden = [node.width for node in activations] + [node.hidden for node in mixtures]
        routed = [n for n in first if isinstance(n, Experts)]
        expert = lambda n: sum(
            matrix_bytes(block_tensor(model.tensors[t], config), config) for t in (n.gate, n.up, n.down)
        )
        residuals = {node.inputs[1] for node in graph.of(Residual)}
        return cls(
            name=name,
            granule=granule,
            key_granule=max(BLOCK * array.segments, array.cols),
            dim=dim,
            dim_blocks=steps(dim),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            head_blocks=head_dim // BLOCK,
            head_steps=steps(head_dim),
            attended_blocks=steps(heads * head_dim),
            hidden_blocks=steps(max(hidden, default=0)),
            out_words=out_words(config, head_dim // BLOCK),
            head_granule=lcm(granule, head_dim) if apart else granule,
            together=max((node.width for node in (*together, *graph.of(PartNorm))), default=0),
            part_norms=tuple(max(blocks) for blocks in zip_longest(*parted, fillvalue=0)),
            norms=max(len(nodes) for nodes in of_layer(Norm)),
            vectors=tuple(max(words) for words in zip_longest(*vectors, fillvalue=0)),
            ropes=len({(rope.frequencies, rope.scale) for rope in graph.of(Rope)}),
            windows=tuple({a.window for a in graph.of(Attention)}),
            pair=1 + any(isinstance(node, Gated) for node in activations),
            spare=int(any(node.function == "gelu" for node in activations)),
            added_norms=any(node.name in residuals for node in graph.of(Norm)),
            layer_norms=bool(graph.of(LayerNorm)),
            scored=bool(graph.of(SigmoidScaled)),
            layer_macs=sum(n.width * n.k for n in linears)
            + sum(3 * n.used * n.width * n.hidden for n in routed),
            layer_bytes=sum(size.values()),
            expert_bytes=sum(expert(n) // n.experts for n in routed),
            attention_output_bytes=sum(size[n] for n in attended),
            residual_bytes=sum(size[n] for n in feeding),
            experts=max((node.experts for node in mixtures), default=0),
            used=max((node.used for node in mixtures), default=0),
            clamped=max((node.hidden for node in mixtures if node.limit is not None), default=0),
            capacity=next((node.capacity for node in mixtures), None),
        )

    def read_bytes(self, count):
        """Bytes of the first layer's weights that a step of ``count`` tokens reads at most."""
        return self.layer_bytes + self.expert_bytes * min(self.experts, count * self.used)

    def again_bytes(self, tiles):
        """Bytes of a layer's weights that are read for each group of tokens."""
        return self.attention_output_bytes if tiles == 1 else self.residual_bytes

    @property
    def group(self):
        """Query heads of a KV head."""
        return self.heads // self.kv_heads if self.heads else 0
