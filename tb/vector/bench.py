"""cocotb bench of :class:`VectorUnit`: random commands with random stalls against the reference, cycles,
resets."""

from itertools import product

import cocotb
import numpy as np

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Reduce, Select, SfuOp, Sink
from poblano.vector.lane import VectorLane
from poblano.vector.quantiser import Quantiser
from poblano.vector.reducer import Reducer
from tb.vector.contents import ACTIVATIONS, CONFIG, COUNT, GRAIN, GROUP, LANES, OWN, TILE
from tb.vector.driver import start


@cocotb.test()
async def random_commands(dut):
    """Random commands; reads, results, addresses, order and completions, with and without stalls."""
    b = await start(dut, "random")
    for stall in (
        {},
        {"a": 0.3, "b": 0.3, "local": 0.3, "bus": 0.3, "cmd": 0.5},
        {"a": 0.6, "b": 0.1, "local": 0.1, "bus": 0.1},
        {"a": 0.1, "b": 0.7},
        {"local": 0.8, "bus": 0.8},
    ):
        await b.reset()
        b.fill()
        b.stall = dict.fromkeys(b.stall, 0.0) | stall
        for _ in range(COUNT):
            b.add_random()
            if b.rng.random() < 0.1:
                b.add_nop()
        await b.run()


@cocotb.test()
async def operations(dut):
    """Every pair of operation and selected operand, and every special function."""
    b = await start(dut, "operations")
    for n, (op, select) in enumerate(product(AluOp, range(3))):
        tiles = 1 << OWN
        b.add_random(rows=2, blocks=1, op1=int(op), sel1=select, sfu=0, op2=0, sink=1, reduce=0, tiles=tiles)
        b.add_random(
            rows=2, blocks=1, op1=0, sfu=n % 6, op2=int(op), sel2=select, sink=1, reduce=0, tiles=tiles
        )
    for sfu in SfuOp:
        b.add_random(rows=1, blocks=2, op1=0, sfu=int(sfu), op2=0, sink=1, reduce=0)
    await b.run()


@cocotb.test()
async def special_blocks(dut):
    """Quantising blocks of zeros, infinities, NaNs, tiny and huge numbers, at and beside the limits."""
    b = await start(dut, "special")
    values = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-45,
        2.0**-126,
        2.0**-100,
        np.nextafter(np.float32(2.0**-100), np.float32(0)),
        2.0**126,
        2.0**127,
        3.4e38,
        1.0,
    ]
    for k, value in enumerate(values):
        block = b.vmem[BLOCK * k : BLOCK * (k + 1)]
        block[:] = b.rng.uniform(-1, 1, BLOCK).astype(np.float32) * np.float32(
            abs(value) if np.isfinite(value) else 1
        )
        block[int(b.rng.integers(0, BLOCK))] = value
    b.vmem[BLOCK * len(values) : BLOCK * (len(values) + 1)] = 127 * 2.0**-8 - np.arange(BLOCK) / 256  # ties
    count = len(values) + 1
    for activation in ACTIVATIONS:
        b.add(blocks=count, sink=2, dst=3, activation=int(activation))
        b.add(
            rows=count,
            a_stride=BLOCK // LINE_WORDS,
            blocks=1,
            sink=2,
            dst=100,
            dst_stride=2,
            tiles=(1 << CONFIG.tiles) - 1,
            activation=int(activation),
        )
    for reduce in list(Reduce)[1:]:
        b.add(
            rows=count,
            a_stride=BLOCK // LINE_WORDS,
            blocks=1,
            reduce=reduce,
            r=BLOCK * 20 // LINE_WORDS,
            first=1,
        )
    await b.run()


@cocotb.test()
async def argmax(dut):
    """Ties, NaNs only, zeros of both signs, and searches that go on over commands."""
    b = await start(dut, "argmax")
    line = GRAIN * BLOCK // LINE_WORDS  # a block, at least
    x = b.vmem[: BLOCK * 8 * GRAIN].reshape(-1, BLOCK)
    x[:] = b.rng.integers(-3, 3, x.shape)
    x[:, 0] = np.nan
    # Nothing found, after reset and afresh; then less, equal and larger numbers, and a NaN row in between.
    x[0] = np.nan
    x[1] = -np.inf
    x[2] = -0.0
    x[2, 7:9] = 0.0
    x[3] = 0.0
    x[4] = np.nan
    x[4, 20] = -1
    for first, rows in ((0, [0]), (1, [0, 1]), (0, [2, 3, 4, 5, 0]), (1, [4, 0, 5]), (1, [0]), (0, [4])):
        for k, row in enumerate(rows):
            b.add(
                a=row * BLOCK // LINE_WORDS // GRAIN * GRAIN,
                blocks=1,
                reduce=3,
                first=int(first and k == 0),
                r=40 * line,
                index=BLOCK * k,
            )
    b.add(a=0, blocks=8, reduce=3, first=1, index=0xFFFFF0, r=40 * line)
    b.add(
        a=0,
        rows=3,
        a_stride=2 * line,
        blocks=2,
        reduce=3,
        first=1,
        index=100,
        r=40 * line,
        sink=1,
        dst=50 * line,
        dst_stride=2 * line,
        op1=int(AluOp.RSUB),
        sel1=2,
        imm1=0.25,
    )
    await b.run()


@cocotb.test()
async def blocked(dut):
    """Nothing is lost while no write, or no read, is accepted for a long time."""
    b = await start(dut, "blocked")
    for name in ("local", "a"):
        b.add_random(rows=3, blocks=8, sink=2, reduce=1, op1=3, sel1=0, op2=1, sel2=1, tiles=1 << OWN)
        b.add_random(rows=3, blocks=8, sink=1, reduce=2, tiles=1 << OWN)
        b.stall[name] = 1.0
        await b.run(until=400)
        assert b.stalls[1 if name == "local" else 0] > 100
        b.stall[name] = 0.0
        await b.run()


@cocotb.test()
async def resets(dut):
    """A reset at any moment; what follows is as after the first, argmax too."""
    b = await start(dut, "resets")
    for n in range(10):
        b.stall = dict.fromkeys(b.stall, 0.3 * (n & 1))
        for _ in range(4):
            b.add_random()
        await b.run(until=int(b.rng.integers(3, 300)))
        await b.reset()
        b.add_random(reduce=3, sink=1, first=0)
        b.add_random(reduce=1 + n % 2)
        b.add_random(sink=2, reduce=0)
        await b.run()
        await b.reset()


@cocotb.test()
async def shares(dut):
    """Rows that share operand b and a limit, in groups that begin and end inside a share."""
    b = await start(dut, "shares")
    for share, rows in product((1, 2, 3, 4, 5, 255), (1, GROUP, 2 * GROUP + 1)):
        for sink, reduce in ((1, 0), (2, 1), (1, 4), (0, 2)):
            b.add_random(rows=rows, share=share, sink=sink, reduce=reduce, op1=1, sel1=0)
    await b.run()


TYPICAL = {
    "write": dict(sink=Sink.VMEM),
    "multiply, write": dict(op1=AluOp.MUL, sink=Sink.VMEM),
    "add, squares, write": dict(op1=AluOp.ADD, sink=Sink.VMEM, reduce=Reduce.SUM_SQUARES),
    "multiply twice, quantise": dict(op1=AluOp.MUL, op2=AluOp.MUL, sel2=Select.ROW, sink=Sink.QUANTISE),
    "SiLU, multiply, quantise": dict(sfu=SfuOp.SILU, op2=AluOp.MUL, sink=Sink.QUANTISE),
    "sum": dict(reduce=Reduce.SUM),
    "maximum": dict(reduce=Reduce.MAXIMUM),
    "squares": dict(reduce=Reduce.SUM_SQUARES),
    "exponential, sum, write": dict(sfu=SfuOp.EXP2, reduce=Reduce.SUM, sink=Sink.VMEM),
    "argmax": dict(reduce=Reduce.ARGMAX, first=1),
}
"""Operations as programs use them."""


def overhead(o):
    """Cycles from a command's completion to the next one's, above its beats, if nothing comes in between: the
    unit's own, the operands' way, and the longer of those of sink and reduction."""
    lanes = VectorLane.latency(*(o.get(name, 0) for name in ("op1", "sfu", "op2")))
    quantiser = Quantiser(LANES, TILE.array.arithmetic).latency if o.get("sink") == Sink.QUANTISE else 0
    reduce = o.get("reduce", Reduce.NONE)
    reduction = {Reduce.NONE: 0, Reduce.ARGMAX: LANES + 3}.get(reduce)
    if reduction is None:
        reduction = Reducer(LANES).latency(reduce)
    return 3 + lanes + max(quantiser, reduction)


@cocotb.test()
async def cycles(dut):
    """Without stalls a beat a cycle, and the cycles to fill and empty the pipelines, whatever the size; sums
    too, if the rows are a multiple of a group's."""
    b = await start(dut, "cycles")
    for (name, operations), (rows, blocks) in product(TYPICAL.items(), ((1, 1), (1, 18), (2 * GROUP, 6))):
        lines = GRAIN * BLOCK // LINE_WORDS * blocks
        places = dict(a=0, b=lines * rows, c=2 * lines * rows, r=2 * lines * rows + GRAIN * (rows // 8 + 1))
        places["dst"] = 0 if operations.get("sink") == Sink.QUANTISE else 3 * lines * rows
        strides = dict.fromkeys(("a_stride", "b_stride", "dst_stride"), lines)
        for _ in range(3):
            b.add(rows=rows, blocks=blocks, **places, **strides, **operations)
        await b.run()
        beats = rows * blocks * BLOCK // LANES
        taken = b.ends[-1] - b.ends[-2]
        dut._log.info(
            f"{name}: {rows} x {blocks} blocks: {taken} cycles, {taken - beats} above {beats} beats"
        )
        least = beats + b.latency + overhead(operations)
        if rows == 1 and operations.get("reduce") in (Reduce.SUM, Reduce.SUM_SQUARES):
            # A group of one row goes around in the adder as slowly as one of all its rows.
            least += (GROUP - 1) * (blocks - 1) * BLOCK // LANES
        # Beside operand b row scalars take a cycle, and one of port b for each group; the results of
        # a group of rows one of the writer.
        scalars = 1 + rows // GROUP if operations.get("sel2") == Select.ROW else 0
        results = rows // GROUP if operations.get("reduce") and operations.get("sink") and rows > 1 else 0
        assert least <= taken <= least + scalars + results, (name, least)
