"""What can't be compiled."""

__all__ = ["CompileError"]


class CompileError(ValueError):
    """A model or product that does not fit the chip; one line that says what, and by how much."""
