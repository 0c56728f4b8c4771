"""Rotary position embedding of a projection's results: x * cos + swapped(x) * signed sin."""

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Select, Sink

from ..symbols import position

__all__ = ["Part", "load_tables", "parts", "rotate"]


def load_tables(s):
    """The rows of the step's tokens, cos and signed sin of each, to every tile."""
    row = 2 * s.sizes.head_dim
    lines = row // LINE_WORDS
    if not s.builder.awaited:  # between the embeddings of the first group and of the second
        s.builder.group = 1 - 2 * len(s.groups.bounds)
    for table, place in zip(s.memory.ropes.values(), s.plan.ropes):
        for n, (first, part) in enumerate(zip(s.shape.firsts, s.shape.parts)):
            address, at = position.of(n) * (4 * row) + table, place + first * lines
            s.builder.load(s.tiles, address, 4 * row, at, lines, part.count, lines, label="rope.table")
    s.builder.group = 0


class Part:
    """Columns of a chunk that are worked on at once: whole heads, whose rows are (token, head), or a part
    of one.

    Members
    -------
    head, heads : which; inside : the first element in the head
    words : elements of a head
    token : the first; rows, blocks : of a command
    line, stride : the first row's line and lines from a row to the next
    """

    def __init__(self, results, head, heads, inside, words, line, stride):
        self.head, self.heads, self.inside, self.words = head, heads, inside, words
        self.token, self.rows, self.blocks = results.tokens[0], results.count * heads, words // BLOCK
        self.line, self.stride = line, stride

    @property
    def source(self):
        """Operand a and the size of a command over the part."""
        return dict(rows=self.rows, blocks=self.blocks, a=self.line, a_stride=self.stride)


def parts(s, results, joint):
    """The :class:`Part` s of :class:`.step.Results`.

    ``joint(head, heads)`` says whether what takes them can take several heads at once.
    """
    size, (first, end) = s.sizes.head_dim, results.columns
    line, stride = results.line, results.stride
    heads, lines = (end - first) // size, size // LINE_WORDS
    if first % size == end % size == 0 and heads * lines == stride and joint(first // size, heads):
        yield Part(results, first // size, heads, 0, size, line, lines)
        return
    at = first
    while at < end:
        stop = min(end, (at // size + 1) * size)
        yield Part(results, at // size, 1, at % size, stop - at, line + (at - first) // LINE_WORDS, stride)
        at = stop


def rotate(s, tile, part, node, temporary, label):
    """Operands a and b, and op1, of a command whose first operation gives ``part`` rotated by the Rope
    ``node``.

    The part's own place and ``temporary`` get the two products.
    """
    lines = part.words // LINE_WORDS
    row = 2 * s.sizes.head_dim // LINE_WORDS
    table = s.plan.ropes[s.memory.rope_index(node)] + part.token * row + part.inside // LINE_WORDS
    factor = dict(b_stride=row, op1=AluOp.MUL, sel1=Select.B, sink=Sink.VMEM)
    factor |= part.source | dict(share=part.heads, label=f"{label}.rope")
    sines = table + s.sizes.head_dim // LINE_WORDS
    s.builder.vector(tile, **factor, swap=1, b=sines, dst=temporary, dst_stride=lines)
    s.builder.vector(tile, **factor, b=table, dst=part.line, dst_stride=part.stride)
    return part.source | dict(b=temporary, b_stride=lines, op1=AluOp.ADD, sel1=Select.B)
