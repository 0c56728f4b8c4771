"""What can go wrong with a board."""

__all__ = ["BoardError"]


class BoardError(RuntimeError):
    """A tool that a board needs is missing or fails, or its design misses the clock."""
