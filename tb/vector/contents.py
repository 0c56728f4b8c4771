"""Configuration, contents of vector memory and random commands of the vector unit's bench."""

import os

import numpy as np

from poblano.config import BLOCK, LINE_WORDS
from poblano.formats.float32 import FloatAdd
from poblano.isa.vector_ops import AluOp, Reduce
from poblano.vector.reference import NO_LIMIT
from tb.compute.configs import CONFIGS

__all__ = [
    "ACTIVATIONS",
    "CONFIG",
    "COUNT",
    "GRAIN",
    "GROUP",
    "LANES",
    "OWN",
    "SEED",
    "TILE",
    "random_operands",
    "random_words",
]

CONFIG = CONFIGS[os.environ["CONFIG"]]
SEED = int(os.environ.get("SEED", "1"))
COUNT = int(os.environ.get("COUNT", "12"))
TILE = CONFIG.tile
LANES = TILE.lanes
OWN = CONFIG.tiles - 1
GRAIN = max(1, LANES // LINE_WORDS)
"""Lines that operands are aligned to."""
GROUP = max(1, FloatAdd.LATENCY * LANES // BLOCK)
"""Rows that a sum walks together."""
ACTIVATIONS = TILE.array.arithmetic.activations
SPECIAL = np.array(
    [
        0x00000000,
        0x80000000,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0xFFC12345,
        0x00000001,
        0x807FFFFF,
        0x7F7FFFFF,
        0x00800000,
        0x0D7FFFFF,
        0x0D800000,
        0x3F800000,
        0xBF800000,
    ],
    np.uint32,
).view(np.float32)
WAYS = {
    (0, Reduce.NONE): 1,
    (0, Reduce.SUM): 4,
    (0, Reduce.MAXIMUM): 4,
    (0, Reduce.ARGMAX): 4,
    (0, Reduce.SUM_SQUARES): 4,
    (1, Reduce.NONE): 8,
    (1, Reduce.SUM): 2,
    (1, Reduce.MAXIMUM): 2,
    (1, Reduce.ARGMAX): 2,
    (1, Reduce.SUM_SQUARES): 3,
    (2, Reduce.NONE): 12,
    (2, Reduce.SUM): 3,
    (2, Reduce.MAXIMUM): 3,
    (2, Reduce.SUM_SQUARES): 3,
}
"""How often random commands combine a sink and a reduction."""


def random_words(rng):
    """Contents of vector memory, float32: lines of different magnitudes, special numbers, blocks of them."""
    lines = TILE.vmem_lines
    x = rng.normal(0, 1, (lines, LINE_WORDS)) * 2.0 ** np.clip(rng.normal(0, 4, (lines, 1)).round(), -20, 20)
    x[rng.random(lines) < 0.02] *= 2.0**100
    x[rng.random(lines) < 0.02] *= 2.0**-110
    x[rng.random(lines) < 0.02] *= 2.0**-130
    x = x.astype(np.float32)
    special = rng.random(x.shape) < 0.005
    x[special] = rng.choice(SPECIAL, special.sum())
    zero = rng.random(lines) < 0.05
    x[zero] = 0
    return x.ravel()


class _Places:
    """The lines of vector memory, given out in turn."""

    def __init__(self, rng):
        self.next = int(rng.integers(0, TILE.vmem_lines // 4 // GRAIN)) * GRAIN

    def take(self, lines):
        at = self.next
        self.next += -(-lines // GRAIN) * GRAIN
        assert self.next <= TILE.vmem_lines
        return at


def random_operands(rng, **fixed):
    """Operands of a VECTOR command, by name; places in memory are free or, at times, written over."""
    rows, blocks = (fixed.get(n, int(rng.integers(1, top))) for n, top in (("rows", 10), ("blocks", 5)))
    o = {
        "rows": rows,
        "blocks": blocks,
        "op1": int(rng.choice(7)),
        "op2": int(rng.choice(7)),
        "sfu": int(rng.choice(6)),
        "sel1": int(rng.choice(3)),
        "sel2": int(rng.choice(3)),
        "swap": int(rng.choice(2)),
        "fill": int(rng.choice(2)),
        "first": int(rng.random() < 0.3),
        "index": int(rng.integers(0, 1 << 24)),
        "imm1": float(rng.choice([rng.normal(), 0.0, 1.5])),
        "imm2": float(rng.normal() * 8),
        "tiles": 1 << OWN if rng.random() < 0.5 else int(rng.integers(1, 1 << CONFIG.tiles)),
        "share": int(rng.choice([1, 1, 2, 3, 4, 7, 255])),
    }
    if rng.random() < 0.5:  # keep values in range, so that there is something to see
        o |= {"op1": int(rng.choice([AluOp.PASS, AluOp.MAX, AluOp.MIN])), "sfu": int(rng.choice([0, 4, 5]))}
    ways, weights = list(WAYS), np.array(list(WAYS.values()))
    o["sink"], o["reduce"] = map(int, ways[int(rng.choice(len(ways), p=weights / weights.sum()))])
    o |= fixed  # before places are chosen, which depend on the sink
    if rng.random() < 0.4:
        o |= {
            "limit": int(
                rng.choice([rng.integers(0, BLOCK * blocks + 3), 0xFFFE, 0xF800], p=[0.8, 0.1, 0.1])
            ),
            "limit_step": int(rng.choice([0, 1, 5, BLOCK, 3000, 4095])),
        }
    else:
        o |= {"limit": NO_LIMIT, "limit_step": int(rng.choice([0, 1, 4095]))}
    return o | _random_places(rng, o) | fixed


def _random_places(rng, o):
    rows, blocks = o["rows"], o["blocks"]
    places, extent = _Places(rng), blocks * BLOCK // LINE_WORDS
    region = lambda stride: places.take(stride * (rows - 1) + extent)
    strides = [extent + GRAIN * int(rng.integers(0, 3)) for _ in range(3)]
    at = {}
    for name, stride in zip("ab", strides):
        stride = 0 if rng.random() < 0.3 else stride
        at |= {name: region(stride), f"{name}_stride": stride}
    for name in "cr":
        at[name] = places.take(-(-rows // LINE_WORDS))
    if rng.random() < 0.3 and not o["tiles"] >> OWN & 1:  # results where other tiles have other things
        at["r"] = at["c"]
    if o["sink"] == 2:
        stride, step = (int(rng.choice([blocks, blocks + 3])) for _ in range(2))
        at["dst_step"] = step if rng.random() < 0.4 else 0
        most = -(-rows // o["share"]) * ((min(rows, o["share"]) - 1) * step + stride) + blocks
        most = max(most, rows * stride)
        return at | {"dst_stride": stride, "dst": int(rng.integers(0, TILE.amem_blocks - most))}
    at |= {"dst": region(strides[2]), "dst_stride": strides[2]}
    same = "ab"[int(rng.choice(2))]
    if rng.random() < 0.3 and at[f"{same}_stride"] and (same == "a" or o["share"] == 1):
        at |= {"dst": at[same], "dst_stride": at[f"{same}_stride"]}
    return at
