"""The tokens' embeddings, which the host has looked up, to the tiles that own the tokens."""

from .step import Residual, row_pieces

__all__ = ["lower"]


def lower(s, node):
    for group in range(len(s.groups.bounds)):
        s.builder.group = 2 * (group - len(s.groups.bounds))
        for tile in s.groups.owners(group):
            first, _ = s.groups.owned(group, tile)
            for at, row, rows in row_pieces(s, group, tile):
                s.builder.load(
                    [tile],
                    s.memory.input + 4 * s.sizes.dim * (s.first + first + at),
                    4 * s.sizes.dim,
                    s.plan.x + row * s.dim_lines,
                    s.dim_lines,
                    rows,
                    s.dim_lines,
                    writes=[(node.name, group)],
                    label=node.name,
                )
    s.builder.group = 0
    if s.count > 1 and s.config.memory.homes == 1:  # else most streams come from other homes
        s.builder.awaited = [(node.name, group) for group in range(len(s.groups.bounds))]
    s.values[node.name] = Residual()
