"""The error of models."""

__all__ = ["ModelError"]


class ModelError(ValueError):
    """A model that can't be used; one line that names the file and what is wrong."""
