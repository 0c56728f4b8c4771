"""Serves many requests at once on a chip."""
