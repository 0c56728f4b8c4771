"""Benches of the command processor and its checker."""
