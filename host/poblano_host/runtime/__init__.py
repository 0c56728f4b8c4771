"""Runs programs on a chip."""
