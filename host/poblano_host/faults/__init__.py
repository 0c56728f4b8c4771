"""Fault campaigns: what becomes of a model's step when bits flip, memory fails or the chip is reset."""
