"""cocotb bench that measures matrix products on the matmul unit: cycles, and words of weights taken, with
memory always ready."""

import json
import os
from pathlib import Path

import cocotb

from poblano.config import BLOCK
from poblano.isa.weight_stream import Activation, Element, ScaleFormat
from tb.compute.driver import ARRAY, CONFIG, TILE, start


@cocotb.test()
async def products(dut):
    """Each of SHAPES (M, K, N, element, scale, activation), its results checked; figures go to the file
    FIGURES."""
    b = await start(dut, "gemm")
    figures = []
    for m, k, n, element, scale, activation in json.loads(os.environ["SHAPES"]):
        await b.reset()
        steps, groups = -(-k // (BLOCK * ARRAY.segments)), -(-n // ARRAY.cols)
        # A command's activations and results are random places in the memories: the time does not depend on
        # them.
        for first in range(0, m, TILE.tokens):
            b.add(
                rows=min(TILE.tokens, m - first),
                steps=steps,
                groups=groups,
                element=Element[element],
                scale=ScaleFormat[scale],
                activation=Activation[activation],
                minimum=element == "U4",
            )
        words = len(b.words)
        await b.run(limit=4_000_000)
        b.finished()
        figures.append({"cycles": b.done_at[-1] - b.offered_at[0], "bytes": words * CONFIG.stream_bytes})
    Path(os.environ["FIGURES"]).write_text(json.dumps(figures))
