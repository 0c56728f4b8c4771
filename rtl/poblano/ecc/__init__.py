"""Codes that correct one flipped bit of a word and detect two."""
