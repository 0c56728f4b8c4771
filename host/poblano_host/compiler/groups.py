"""How a step's tokens are dealt out to the tiles."""

from dataclasses import dataclass

from .image import align

__all__ = ["Groups"]


@dataclass(frozen=True)
class Groups:
    """Tokens of a step in groups, one after the other, each dealt out to the tiles, which own them.

    bounds : (first, end) tokens of each group
    share : tokens of each group that a tile owns at most
    """

    bounds: tuple
    share: tuple

    @classmethod
    def of(cls, count, groups, config):
        """At most ``groups`` groups, which fill the array's rows, but for the last."""
        size = align(max(config.tile.array.items, -(-count // groups)), config.tiles)
        bounds = tuple((first, min(first + size, count)) for first in range(0, count, size))
        return cls(bounds, tuple(-(-(end - first) // config.tiles) for first, end in bounds))

    @property
    def own(self):
        """Tokens that a tile owns at most."""
        return sum(self.share)

    def owned(self, group, tile):
        """(first, end) of the tokens of ``group`` that ``tile`` owns; none: first == end."""
        first, end = self.bounds[group]
        start = min(first + tile * self.share[group], end)
        return start, min(start + self.share[group], end)

    def row(self, group):
        """Where a tile keeps its first token of ``group`` among its own."""
        return sum(self.share[:group])

    def of_token(self, token):
        """The group of a token."""
        return next(g for g, (_, end) in enumerate(self.bounds) if token < end)

    def owners(self, group):
        """The tiles that own tokens of ``group``."""
        first, end = self.bounds[group]
        return range(-(-(end - first) // self.share[group]))
