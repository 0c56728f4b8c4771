"""Proofs on the RTL itself: one block a file, see README.md."""
