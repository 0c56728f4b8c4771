"""The bench of the memory side of a chip."""
