"""The configuration of what routes tokens to experts."""

from dataclasses import dataclass

from .config_error import between

__all__ = ["MOST_EXPERTS", "MOST_GROUPS", "MOST_USED", "ExpertsConfig"]

MOST_EXPERTS = 256
MOST_USED = 8
"""Experts of a token: its weights fill at most a line of vector memory."""
MOST_GROUPS = 8
"""Of a model's experts, of which a token uses those of some groups."""
MOST_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
    """The mixtures of experts that a chip routes: of up to ``experts`` experts, of which a token uses up to
    ``used``, and up to ``rows`` tokens at once."""

    experts: int = 64
    used: int = 8
    rows: int = 128

    def __post_init__(self):
        between("experts", self.experts, 2, MOST_EXPERTS)
        between("used", self.used, 1, min(MOST_USED, self.experts))
        between("rows of experts", self.rows, 1, MOST_ROWS)

    @property
    def assignments(self):
        """The most pairs of a token and an expert that it uses."""
        return self.rows * self.used

    @property
    def slots(self):
        """The most experts that one routing uses."""
        return min(self.experts, self.assignments)
