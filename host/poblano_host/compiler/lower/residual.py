"""The residual: what a part of a layer adds goes to the tiles that own the tokens."""

from itertools import zip_longest

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Reduce, Select, Sink

from ...models.operators import Attention, LayerNorm, Norm, Scale, SigmoidScaled
from ..errors import CompileError
from ..image import align
from ..plan import SLOTS
from .experts import Mixed
from .gated import Gate
from .linear import add_bias, ranges
from .norm import load_next_gain, normalise
from .step import Residual, local

__all__ = ["lower"]


def lower(s, node):
    x, y = (s.values[name] for name in node.inputs)
    if not isinstance(x, Residual):
        raise CompileError(f"{node.name}: a sum that is not the residual can't be compiled")
    if isinstance(y, Mixed):
        _mixed(s, node, y)
        s.values[node.name] = x
        return
    norms = [operator for operator in y.after if isinstance(operator, Norm)]
    for operator in y.after:
        last = operator is y.after[-1]
        if type(operator) is LayerNorm or isinstance(operator, Norm) and not last:
            raise CompileError(f"{operator.name}: this {type(operator).__name__} can't be compiled")
    # The first tokens' results come while others' attention goes on: not where its scores are.
    room = s.plan.front_lines if len(_row_sets(s, y)) > 1 else s.plan.pool_lines
    s.builder.head = s.sizes.kv_heads * len(s.plan.projected)
    wanted = _squares_wanted(s, node)
    if norms or wanted and s.plan.lines(s.groups.own, s.sizes.dim) <= room:
        _whole(s, node, y, norms, wanted)
        if wanted:
            s.squares.add(node.name)
    else:
        _chunked(s, node, y, room)
    s.builder.group = s.builder.head = 0
    s.builder.awaited = ()
    s.values[node.name] = x


def _mixed(s, node, y):
    """Sums of experts are where the residual is."""
    wanted = _squares_wanted(s, node)
    for group in range(len(s.groups.bounds)):
        s.builder.group = group
        for tile in s.groups.owners(group):
            row, rows = s.own_rows(group, tile)
            x = s.plan.x + row * s.dim_lines
            s.builder.vector(
                tile,
                rows=rows,
                blocks=s.sizes.dim // BLOCK,
                a=y.line + row * y.stride,
                a_stride=y.stride,
                b=x,
                b_stride=s.dim_lines,
                op1=AluOp.ADD,
                sel1=Select.B,
                sink=Sink.VMEM,
                dst=x,
                dst_stride=s.dim_lines,
                **(dict(reduce=Reduce.SUM_SQUARES, r=s.plan.squares[group]) if wanted else {}),
                label=f"{local(node)}.add",
            )
    if wanted:
        s.squares.add(node.name)
    s.builder.group = 0


def _squares_wanted(s, node):
    """Whether a norm of all tokens follows."""
    layer = s.graph.layer(node.name)
    if layer == s.last:  # it stands for the graph's last
        node = s.graph.node(f"layer{len(s.graph.layers) - 1}.{local(node)}")
    norms = [user for user in s.graph.consumers(node.name) if type(user) is Norm]
    inside = any(s.graph.layer(norm.name) is not None for norm in norms)
    return bool(norms) and (inside or s.shape.logits > 1 or s.shape.logits == s.count)


def _row_sets(s, y):
    """Lists of groups whose rows are multiplied at once: tokens that are attended for early go ahead of
    others."""
    groups = list(range(len(s.groups.bounds)))
    attended = isinstance(s.graph.node(y.node.inputs[0]), Attention)
    apart = len(s.tiles) > 1 or attended or isinstance(y.x, Gate) and y.x.apart
    return [[group] for group in groups] if apart else [groups]


def _input(y, groups):
    """What is multiplied, for the tokens of ``groups``."""
    return y.x.tokens(groups) if isinstance(y.x, Gate) else y.x


def _rows(s, groups):
    return s.groups.bounds[groups[0]][0], s.groups.bounds[groups[-1]][1]


def _whole(s, node, y, norms, squares):
    """All columns come together before a row is normalised and added up: its sum of squares is taken in
    passing."""
    stride = s.plan.lines(1, s.sizes.dim)
    columns = s.sizes.dim if s.count == 1 else s.sizes.granule
    for groups in _row_sets(s, y):
        s.builder.group = groups[0]
        value = _input(y, groups)
        delta = s.plan.pool + s.groups.row(groups[0]) * stride
        for tile in s.tiles:
            for first, end in ranges(s, y.node, tile, columns):
                at, rows = delta + first // LINE_WORDS, _rows(s, groups)
                s.product(y.node, tile, (first, end), rows, value, at, stride, **s.owners(groups[0]))
        for group in groups:
            s.builder.group = group
            for tile in s.groups.owners(group):
                at = s.plan.pool + s.groups.row(group) * stride
                operands = dict(reduce=Reduce.SUM_SQUARES, r=s.plan.squares[group]) if squares else {}
                _add(s, node, y, group, tile, at, stride, (0, s.sizes.dim), **operands)
    for norm in norms:
        load_next_gain(s, norm)


def _chunked(s, node, y, room):
    """Columns are added as they come."""
    sets, n = _row_sets(s, y), 0
    rows = max(sum(s.groups.share[group] for group in groups) for groups in sets)
    columns = s.plan.columns(rows, s.memory.matrix(y.node.weight).k_blocks)
    # All tiles' results are in one pool, that of the rows' owner.
    chunks = s.plan.chunks(rows, columns, lines=room, slots=SLOTS * len(s.tiles))
    for groups in sets:
        s.builder.group = groups[0]
        value = _input(y, groups)
        for first, end, parts in _column_chunks(s, y.node, chunks.columns):
            line, stride = chunks.place(n), s.plan.lines(1, end - first)
            n += 1
            for tile, *span in parts:
                at = line + (span[0] - first) // LINE_WORDS
                s.product(y.node, tile, span, _rows(s, groups), value, at, stride, **s.owners(groups[0]))
            for group in groups:
                at = line + (s.groups.row(group) - s.groups.row(groups[0])) * stride
                for owner in s.groups.owners(group):
                    _add(s, node, y, group, owner, at, stride, (first, end))


def _column_chunks(s, node, columns):
    """(first, end, [(tile, first, end)]): whole blocks of columns, and who computes which of them.

    At most ``columns`` of one tile, or a block in which the columns of a tile end and another's begin.
    """
    alone, shared = [], {}
    for tile, (first, end) in enumerate(s.memory.matrix(node.weight).ranges):
        inner, outer = min(align(first, BLOCK), end), end // BLOCK * BLOCK
        if first < inner:
            shared.setdefault(first // BLOCK * BLOCK, []).append((tile, first, inner))
        if inner <= outer < end:
            shared.setdefault(outer, []).append((tile, outer, end))
        spans = ((at, min(at + columns, outer)) for at in range(inner, outer, columns))
        alone.append([(*span, [(tile, *span)]) for span in spans])
    yield from (chunk for several in zip_longest(*alone) for chunk in several if chunk is not None)
    yield from ((at, at + BLOCK, parts) for at, parts in shared.items())


def _add(s, node, y, group, tile, line, stride, columns, **reduction):
    """Rows of results at ``line`` to the tile's rows of the residual."""
    row, rows = s.own_rows(group, tile)
    first, end = columns
    add_bias(s, y.node, tile, line, stride, rows, columns)
    x = s.plan.x + row * s.dim_lines + first // LINE_WORDS
    operands: dict[str, float] = dict(op1=AluOp.ADD, sel1=Select.B)
    for operator in y.after:
        if isinstance(operator, Norm):
            place = dict(rows=rows, blocks=(end - first) // BLOCK, a=line, a_stride=stride)
            gain = s.plan.gains[s.memory.norm_index(operator)]
            result = place | dict(sink=Sink.VMEM, dst=line, dst_stride=stride)
            normalise(s, tile, operator, place, s.sizes.dim, gain, s.plan.squares[group], **result)
            continue
        if isinstance(operator, SigmoidScaled):
            factor = dict(sel1=Select.ROW, c=s.plan.scores[group])
        else:
            assert isinstance(operator, Scale)
            factor = dict(sel1=Select.IMMEDIATE, imm1=operator.factor)
        operands = dict(op1=AluOp.MUL, **factor, op2=AluOp.ADD, sel2=Select.B)
    s.builder.vector(
        tile,
        rows=rows,
        blocks=(end - first) // BLOCK,
        a=line,
        a_stride=stride,
        b=x,
        b_stride=s.dim_lines,
        sink=Sink.VMEM,
        dst=x,
        dst_stride=s.dim_lines,
        **operands,
        **reduction,
        label=f"{local(node)}.add",
    )
