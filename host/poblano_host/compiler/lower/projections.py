"""Queries, keys and values: projected in chunks, normalised, rotated, and quantised to activation memory as
they come."""

from dataclasses import replace
from itertools import repeat, zip_longest
from operator import itemgetter

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Select, Sink

from ...models.operators import HeadNorm, Rope
from ..errors import CompileError
from ..sinks import LOG2_E
from ..sizes import normed_together
from .linear import add_bias, ranges, whole_rows
from .norm import normalise
from .rope import parts, rotate
from .step import Results, local

__all__ = ["project", "query"]


def project(s, node, tokens):
    """The inputs of the Attention ``node`` for ``tokens``, those of :attr:`..plan.Plan.projected` in turn."""
    chunks = s.plan.qkv
    temporary = chunks.base + chunks.count * chunks.lines
    q, k, v = (s.values[name] for name in node.inputs)
    takers = ((k, _take_keys), (v, _take_values), (q, _take_queries))
    pieces = [
        sorted(
            (
                (span[0] * s.sizes.kv_heads // product.node.width, product, take, span)
                for product, take in takers
                if not _together(s, product)
                for span in ranges(s, product.node, tile, chunks.columns)
            ),
            key=itemgetter(0),
        )
        for tile in s.tiles
    ]
    whole = len(s.plan.projected) == 1
    row_sets = s.first_rows([k.node], chunks.columns, 1) if whole else repeat([tokens])
    for (n, several), row_set in zip(enumerate(zip_longest(*pieces)), row_sets):
        for tile, piece in enumerate(several):
            if piece is None:
                continue
            head, product, take, span = piece
            # Of several sequences keys and values come first: each is stored on its own, which takes long.
            if len(s.shape.parts) > 1 and product is not q:
                head = -1 if s.plan.stored_apart else 0
            s.builder.head = s.attention_rank(tokens[0], head)
            line, stride = chunks.place(n), s.plan.lines(1, span[1] - span[0])
            for some in row_set:
                at = line + (some[0] - tokens[0]) * stride
                s.product(product.node, tile, span, some, product.x, at, stride)
            add_bias(s, product.node, tile, line, stride, tokens[1] - tokens[0], span)
            take(s, node, product, tile, Results(tokens, line, stride, span), temporary)
    for n, product in enumerate((k, q)):
        if _together(s, product):
            s.builder.head = s.attention_rank(tokens[0], 0)
            for group, (first, _) in enumerate(s.groups.bounds):
                if tokens[0] <= first < tokens[1]:
                    _project_together(s, node, product, n, group)


def _together(s, product):
    """Whether all heads of a projection are normalised together."""
    return any(normed_together(operator, s.sizes.head_dim) for operator in product.after)


def _project_together(s, node, product, n, group):
    """Keys (``n`` 0) or queries (1) of the tokens of ``group``, whose heads are normalised together: whole
    rows in the tiles that own the tokens."""
    stride = s.plan.lines(1, product.node.width)
    base, temporary = s.plan.whole_row(n) + s.groups.row(group) * stride, s.plan.whole_row(2)
    whole_rows(s, product, group, base)
    norm, *after = product.after
    rest, whole = replace(product, after=tuple(after)), (0, product.node.width)
    for owner in s.groups.owners(group):
        tokens = s.groups.owned(group, owner)
        rows = Results(tokens, base, stride, whole)
        add_bias(s, product.node, owner, base, stride, rows.count, whole)
        source = dict(rows=rows.count, blocks=norm.width // BLOCK, a=base, a_stride=stride)
        place = source | dict(dst=base, dst_stride=stride, sink=Sink.VMEM)
        gain = s.plan.vectors[s.memory.vector(norm)[0]]
        normalise(s, owner, norm, source, norm.elements, gain, temporary, **place)
        if n:
            _take_queries(s, node, rest, owner, rows, temporary)
            continue
        for to, span in enumerate(s.memory.matrix(product.node.weight).ranges):
            if span[1] > span[0]:
                some = Results(tokens, base + span[0] // LINE_WORDS, stride, span)
                _take_keys(s, node, rest, owner, some, temporary, to)


def query(s, token, head):
    """The block where a token's query head begins: with those that are attended with together, by token."""
    first, heads, _ = s.plan.together(head)
    return s.plan.queries + (first * s.count + token * heads + head - first) * s.sizes.head_steps


def _quantise(s, tile, product, part, temporary, *, tiles=None, label, **operands):
    """Emits the command that quantises a ``part`` of a projection's results, normalised and rotated if
    HeadNorm and Rope follow it."""
    name = local(product.node)
    source = part.source
    for operator in product.after:
        if isinstance(operator, HeadNorm) and source == part.source:
            _normalise(s, tile, part, operator, temporary)
        elif isinstance(operator, Rope) and source == part.source:
            source = rotate(s, tile, part, operator, temporary, name)
        else:
            raise CompileError(
                f"{operator.name}: this {type(operator).__name__} before attention can't be compiled"
            )
    s.builder.vector(
        tile,
        tiles,
        **source,
        **operands,
        sink=Sink.QUANTISE,
        activation=s.formats.attention,
        label=f"{name}.quantise",
    )


def _normalise(s, tile, part, node, temporary):
    """The rows of ``part``, whole heads, in their place; ``temporary`` is used before a rotation needs it."""
    place = part.source | dict(dst=part.line, dst_stride=part.stride, sink=Sink.VMEM)
    gain = s.plan.vectors[s.memory.vector(node)[0]]
    normalise(s, tile, node, part.source, node.elements, gain, temporary, **place)


def _take_queries(s, node, product, tile, results, temporary):
    """Scaled for base-2 softmax; in the tiles that attend with them by token and head."""
    steps, together = s.sizes.head_steps, s.plan.together
    factor = node.scale * LOG2_E * s.formats.cache_quantum
    joint = lambda head, heads: s.count == 1 or together(head)[:2] == (head, heads)
    for part in parts(s, results, joint):
        _, heads, _ = together(part.head)
        takers = {t for head in range(part.head, part.head + part.heads) for t in together(head)[2]}
        _quantise(
            s,
            tile,
            product,
            part,
            temporary,
            tiles=sorted(takers),
            op2=AluOp.MUL,
            sel2=Select.IMMEDIATE,
            imm2=factor,
            dst=query(s, part.token, part.head) + part.inside // BLOCK,
            dst_stride=steps if part.heads > 1 or s.count == 1 else heads * steps,
            label="q",
        )


def _take_keys(s, node, product, tile, results, temporary, to=None):
    """In the own tile, or in the tile ``to``, by token and block, of the blocks that it has."""
    to = tile if to is None else to
    first, end = s.memory.matrix(product.node.weight).ranges[to]
    blocks = (end - first) // BLOCK
    joint = lambda head, heads: s.count == 1 or results.columns == (first, end)
    for part in parts(s, results, joint):
        block = (part.head * s.sizes.head_dim + part.inside - first) // BLOCK
        _quantise(
            s,
            tile,
            product,
            part,
            temporary,
            tiles=[to],
            dst=s.plan.keys + part.token * blocks + block,
            dst_stride=part.blocks if part.heads > 1 or s.count == 1 else blocks,
            label="k",
        )


def _take_values(s, node, product, tile, results, temporary):
    """As keys."""
    for operator in product.after:
        raise CompileError(f"{operator.name}: a {type(operator).__name__} of values can't be compiled")
    first, end = s.memory.matrix(product.node.weight).ranges[tile]
    blocks, columns = (end - first) // BLOCK, results.columns
    s.builder.vector(
        tile,
        rows=results.count,
        blocks=(columns[1] - columns[0]) // BLOCK,
        a=results.line,
        a_stride=results.stride,
        sink=Sink.QUANTISE,
        activation=s.formats.attention,
        dst=s.plan.values + results.tokens[0] * blocks + (columns[0] - first) // BLOCK,
        dst_stride=blocks,
        label=f"{local(product.node)}.quantise",
    )
