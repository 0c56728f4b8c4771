"""Benches of the matmul unit."""
