"""Chips of the market in closed form: how fast they run language models, for what energy, at what cost."""
