"""A projection times the sigmoid of a score of each token, which is a projection to one column."""

from poblano.isa.vector_ops import Fill, Reduce, SfuOp, Sink

from .linear import add_bias
from .step import Product, local

__all__ = ["lower"]


def lower(s, node):
    """The sigmoids come to the tokens' owners, a word for each of their rows, as the row scalars of what adds
    the projection to the residual."""
    product, score = (s.values[name] for name in node.inputs)
    matrix, stride = s.memory.matrix(score.node.weight), s.plan.lines(1, 1)
    (tile,) = (tile for tile, (first, end) in enumerate(matrix.ranges) if end > first)
    for group, bounds in enumerate(s.groups.bounds):
        s.builder.group = group
        at = s.plan.pool + s.groups.row(group) * stride
        s.product(score.node, tile, (0, 1), bounds, score.x, at, stride, **s.owners(group))
        for owner in s.groups.owners(group):
            _, rows = s.own_rows(group, owner)
            add_bias(s, score.node, owner, at, stride, rows, (0, 1))
            s.builder.vector(
                owner,
                rows=rows,
                blocks=1,
                a=at,
                a_stride=stride,
                limit=1,
                fill=Fill.MINUS_INFINITY,
                sfu=SfuOp.SIGMOID,  # 0 of minus infinity
                reduce=Reduce.MAXIMUM,
                sink=Sink.NONE,
                r=s.plan.scores[group],
                label=f"{local(node)}.sigmoid",
            )
    s.builder.group = 0
    s.values[node.name] = Product(product.node, product.x, (*product.after, node))
