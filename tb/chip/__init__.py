"""The bench of the whole chip."""
