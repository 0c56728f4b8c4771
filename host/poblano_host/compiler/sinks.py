"""The sinks of attention on a chip: a word for each row of an item, the same for each token."""

import numpy as np

from poblano.config import BLOCK, LINE_WORDS

from .cache import attended_heads
from .image import align

__all__ = ["LOG2_E", "line", "patterns", "row_words", "rows"]

LOG2_E = 1.4426950408889634
"""Scores are exponents of 2."""


def patterns(node, config):
    """(KV head, first, end) of the query heads that some item of an Attention has, in order."""
    whole = {(kv, 0, node.heads // node.kv_heads) for kv in range(node.kv_heads)}
    return sorted(whole.union(*attended_heads(node.heads, node.kv_heads, config.tiles)))


def row_words(config):
    """Words of a pattern: enough for the rows of any item."""
    return align(config.tile.tokens, BLOCK)


def line(node, item, config):
    """The line, from the first on, of the pattern of an :class:`.plan.Item`."""
    number = patterns(node, config).index((item.kv, item.head, item.head_end))
    return number * row_words(config) // LINE_WORDS


def rows(sinks, node, config):
    """float32: the sinks of all patterns, one behind the other; an item's rows are (token, head)."""
    group, words = node.heads // node.kv_heads, row_words(config)
    scaled = np.asarray(sinks, np.float32) * np.float32(LOG2_E)
    parts = (scaled[kv * group + first : kv * group + end] for kv, first, end in patterns(node, config))
    return np.concatenate([np.resize(part, words) for part in parts])
