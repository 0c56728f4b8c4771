"""What is wrong with a comparison that was asked for."""

__all__ = ["MarketError"]


class MarketError(ValueError):
    """A chip, a model, a split or a data file that can't be; the message is one line."""
