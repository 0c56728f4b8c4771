"""What the lowering of every operator works with: the places, the commands so far, and the values."""

from dataclasses import dataclass, field

from poblano.config import LINE_WORDS
from poblano.isa.commands import Opcode
from poblano.isa.vector_ops import Sink

from ..builder import Builder
from ..formats import ActivationFormats
from ..memory import ModelMemory
from ..plan import PIECE, Plan, Shape
from ..symbols import slot

__all__ = ["Product", "Quantised", "Residual", "Results", "Step", "local", "row_pieces"]


@dataclass(frozen=True)
class Residual:
    """A value in FP32 in vector memory: each row in the tile that owns its token."""


@dataclass(frozen=True)
class Quantised:
    """A value in blocks in every tile's activation memory: ``stride`` blocks a token, from ``base`` on."""

    base: int
    stride: int


@dataclass(frozen=True)
class Product:
    """A projection that is computed where its value is used, chunk by chunk.

    ``node`` is its Linear, ``x`` the input (:class:`Quantised`); ``after`` are the operators between it and
    its use.
    """

    node: object
    x: Quantised
    after: tuple = ()


@dataclass(frozen=True)
class Results:
    """Results of a projection in vector memory.

    tokens : (first, end)
    line, stride : the first token's line, and lines from a token to the next
    columns : (first, end), of the projection's output
    """

    tokens: tuple
    line: int
    stride: int
    columns: tuple

    @property
    def count(self):
        return self.tokens[1] - self.tokens[0]


@dataclass
class Step:
    """The state of lowering a program.

    Parameters
    ----------
    shape : :class:`..plan.Shape`
    plan : :class:`..plan.Plan`
    memory : :class:`..memory.ModelMemory`
    builder : :class:`..builder.Builder`, takes the commands
    formats : :class:`..formats.ActivationFormats`
    last : the last layer that is lowered
    first : its first token among those of the program

    Members
    -------
    normed : the block of activation memory where rows of a projection's input begin
    values : what has become of each of the graph's values
    squares : values whose rows' sums of squares are in their owners' ``plan.squares``
    results : what the program leaves in memory, see :class:`..program.Program`
    """

    shape: Shape
    plan: Plan
    memory: ModelMemory
    builder: Builder
    formats: ActivationFormats
    last: int
    first: int = 0
    values: dict = field(default_factory=dict)
    squares: set = field(default_factory=set)
    results: dict = field(default_factory=dict)

    def __post_init__(self):
        self.graph = self.memory.graph
        self.config, self.normed = self.plan.config, self.plan.normed
        self.groups, self.sizes = self.plan.groups, self.plan.sizes
        self.count, self.array = self.shape.count, self.config.tile.array
        self.tiles = range(self.config.tiles)
        self.dim_lines = self.sizes.dim // LINE_WORDS

    def rename(self, old, new):
        """The value ``old`` stands for ``new``, if there is one."""
        if old in self.values:
            self.values[new] = self.values[old]
        if old in self.squares:
            self.squares.add(new)

    def own_rows(self, group, tile):
        """(first row among the tile's own, rows) of the tokens of ``group`` that ``tile`` owns."""
        first, end = self.groups.owned(group, tile)
        return self.groups.row(group), end - first

    def owners(self, group):
        """Operands of a product whose rows, the tokens of ``group``, are dealt out to the tiles that own
        them."""
        if len(self.tiles) == 1:
            return dict(tiles=[0], spread=0)
        return dict(tiles=list(self.groups.owners(group)), spread=self.groups.share[group])

    def attention_rank(self, token, head, ahead=0):
        """The rank of matrix commands of attention: by KV head, of some tokens after the others' if they are
        projected apart. Of several sequences those that are ``ahead`` come before as many KV heads: the
        scores before outputs, so that the vector unit has work while these are computed."""
        ahead = ahead if len(self.shape.parts) > 1 else 0
        return head - ahead + sum(token >= end for _, end in self.plan.projected) * self.sizes.kv_heads

    def caches(self, part, places):
        """Bytes from the first sequence's caches to those of a part's sequence."""
        return slot.of(part) * places.pitch if self.memory.slots > 1 else 0

    def product(self, node, tile, columns, rows, x, dst, stride, *, tiles=None, spread=0):
        """Rows ``rows`` of the product of ``x`` with columns ``columns`` of a Linear's weight, in ``tile``.

        The results are at line ``dst``, rows ``stride`` lines apart, in the tile or in ``tiles``.
        """
        matrix = self.memory.matrix(node.weight)
        address, size, groups = matrix.stream(tile, *columns)
        self.builder.matmul(
            tile,
            [tile] if tiles is None else tiles,
            dict(mem_addr=address, row_bytes=size),
            a=x.base + rows[0] * x.stride,
            a_stride=x.stride,
            rows=rows[1] - rows[0],
            k_blocks=matrix.k_blocks,
            groups=groups,
            dst=dst,
            dst_stride=stride,
            spread=spread,
            activation=self.formats.linear,
            label=local(node),
            **matrix.form,
        )

    def first_rows(self, nodes, columns, most=None):
        """The tokens of each product, for the first, second, ... chunk of ``columns`` columns of ``nodes``.

        Where there are two groups of tokens, the first chunks begin with the group that is normalised
        first, and take about as long as the norm of the other does, but for at most ``most`` chunks.
        """
        whole = ((0, self.count),)
        if len(self.groups.bounds) > 1 and not self.builder.awaited:
            matrix, rows = self.memory.matrix(nodes[0].weight), self.groups.bounds[0][1]
            groups = len(nodes) * -(-columns // self.array.cols)
            operands = dict(rows=rows, k_blocks=matrix.k_blocks, groups=groups, **matrix.form)
            product, _ = self.builder.timing.of(Opcode.MATMUL, operands)
            norm = 2 * self.groups.share[1] * self.sizes.dim // self.config.tile.lanes
            for _ in range(most or max(1, round(norm / product))):
                yield self.groups.bounds
        while True:
            yield whole

    def clear_padding(self, base, rows, blocks, used, activation, label):
        """Zeros in the blocks from ``used`` on of rows of ``blocks`` of activation memory, in every tile."""
        if used < blocks:
            self.builder.vector(
                0,
                self.tiles,
                rows=rows,
                blocks=blocks - used,
                limit=0,
                sink=Sink.QUANTISE,
                activation=activation,
                dst=base + used,
                dst_stride=blocks,
                label=label,
            )


def row_pieces(s, group, tile):
    """(number of the first among the tokens of ``group`` that ``tile`` owns, among all its own, rows)."""
    row, rows = s.own_rows(group, tile)
    return [(at, row + at, min(PIECE, rows - at)) for at in range(0, rows, PIECE)]


def local(node):
    """A node's name without its layer."""
    return node.name.rsplit(".", 1)[-1]
