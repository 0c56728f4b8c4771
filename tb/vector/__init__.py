"""The bench of the vector unit."""
