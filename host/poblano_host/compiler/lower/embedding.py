"""The tokens' embeddings, which the host has looked up, to the tiles that own the tokens."""

from .step import Residual

__all__ = ["lower"]


def lower(s, node):
    for group in range(len(s.groups.bounds)):
        s.builder.group = -1
        for tile in s.groups.owners(group):
            row, rows = s.own_rows(group, tile)
            first, _ = s.groups.owned(group, tile)
            s.builder.load(
                [tile],
                s.memory.input + 4 * s.sizes.dim * first,
                4 * s.sizes.dim,
                s.plan.x + row * s.dim_lines,
                s.dim_lines,
                rows,
                s.dim_lines,
                writes=[node.name],
                label=node.name,
            )
    s.builder.group = 0
    if s.count > 1:
        s.builder.awaited = [node.name]
    s.values[node.name] = Residual()
