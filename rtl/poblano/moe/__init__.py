"""Mixtures of experts: which rows go to which expert, and commands whose rows a list names."""
