"""What the compiler knows of a model's graph on a chip: numbers that all its programs share."""

from dataclasses import dataclass

from poblano.config import BLOCK

from ..models.operators import Attention, Gated, Linear, Norm, Residual
from .errors import CompileError
from .image import align
from .weights import block_tensor, matrix_bytes

__all__ = ["Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model in blocks and granules of a chip.

    granule : columns of a matrix that are kept together: whole blocks and array columns
    key_granule : positions that attention covers at least: whole blocks, steps along K and array columns
    dim : elements of the residual; dim_blocks : its blocks, whole steps of the array
    attended_blocks, hidden_blocks : the same of the attention's output and of the gated activation
    head_blocks, head_steps : blocks of a head, and those up to whole steps
    out_words : FP32 words of a head's output: each block has a granule
    norms : norms of a layer; biases : the widths of a layer's biases
    layer_macs, layer_bytes : multiply-accumulates for a token, and bytes, of the first layer's weights
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
    out_words: int
    norms: int
    biases: tuple
    layer_macs: int
    layer_bytes: int
    attention_output_bytes: int
    residual_bytes: int

    @classmethod
    def of(cls, model, config):
        """Those of a model; CompileError if its layers have attention of different heads."""
        name, graph, array = model.config.name, model.graph, config.tile.array
        steps = lambda elements: align(-(-elements // BLOCK), array.segments)
        most = lambda kind: max((node.width for node in graph.of(kind)), default=0)
        shapes = {(a.heads, a.kv_heads, a.head_dim) for a in graph.of(Attention)}
        if len(shapes) > 1:
            raise CompileError(
                f"{name}: attention of {len(shapes)} different shapes; all layers' must have one"
            )
        heads, kv_heads, head_dim = shapes.pop() if shapes else (0, 0, 0)
        granule = max(BLOCK, array.cols)
        dim = most(Residual)
        of_layer = lambda kind: [[node for node in layer if isinstance(node, kind)] for layer in graph.layers]
        first = graph.layers[0]
        linears = [node for node in first if isinstance(node, Linear)]
        size = {n.name: matrix_bytes(block_tensor(model.tensors[n.weight], config), config) for n in linears}
        feeding = [n.name for n in linears if any(isinstance(u, Residual) for u in graph.consumers(n.name))]
        attended = [n for n in feeding if isinstance(graph.node(graph.node(n).inputs[0]), Attention)]
        biases: list[list[int]] = [
            [node.width for node in nodes if node.bias is not None] for nodes in of_layer(Linear)
        ]
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
            hidden_blocks=steps(most(Gated)),
            out_words=head_dim // BLOCK * granule,
            norms=max(len(nodes) for nodes in of_layer(Norm)),
            biases=max(map(tuple, biases), key=len),
            layer_macs=sum(n.width * n.k for n in linears),
            layer_bytes=sum(size.values()),
            attention_output_bytes=sum(size[n] for n in attended),
            residual_bytes=sum(size[n] for n in feeding),
        )

    def again_bytes(self, tiles):
        """Bytes of a layer's weights that are read for each group of tokens."""
        return self.attention_output_bytes if tiles == 1 else self.residual_bytes

    @property
    def group(self):
        """Query heads of a KV head."""
        return self.heads // self.kv_heads if self.heads else 0
