"""The golden chip's VECTOR commands: rows that share operands, sums of squares."""

import numpy as np

from poblano.isa.commands import Opcode
from poblano.isa.vector_ops import AluOp, Reduce
from poblano.vector.reference import quantise, reduce_sum
from tests.golden import VECTOR, command, new, run


def test_vector_share():
    """Rows that share a row of b and a limit; sums of squares beside a sink, in either memory."""
    golden = new()
    v = golden.tiles[0].vmem.copy()
    common = dict(
        rows=5,
        blocks=2,
        a=10,
        a_stride=12,
        b=100,
        b_stride=9,
        share=2,
        limit=3,
        limit_step=20,
        op1=AluOp.ADD,
        op2=AluOp.MUL,
        sel2=1,
        c=3,
        reduce=Reduce.SUM_SQUARES,
    )
    run(
        golden,
        command(Opcode.VECTOR, VECTOR, sink=1, dst=300, dst_stride=8, r=250, **common),
        command(Opcode.VECTOR, VECTOR, sink=2, dst=7, dst_stride=2, r=251, **common),
        command(Opcode.VECTOR, VECTOR, sink=2, dst=30, dst_stride=7, dst_step=3, r=251, **common),
    )
    x = np.zeros((5, 64), np.float32)
    for row in range(5):
        a, b = v[80 + 96 * row :][:64].copy(), v[800 + 72 * (row // 2) :][:64]
        a[3 + 20 * (row // 2) :] = 0
        x[row] = (a + b) * v[24 + row]
    squares = reduce_sum(x * x)
    tile = golden.tiles[0]
    np.testing.assert_array_equal(tile.vmem[2400:2720].reshape(5, 64), x)
    np.testing.assert_array_equal(tile.vmem[2000:2005], squares)
    np.testing.assert_array_equal(tile.vmem[2008:2013], squares)
    q = quantise(x)[0]
    np.testing.assert_array_equal(tile.amem_q[7:17].reshape(5, 64), q)
    for row, block in enumerate((30, 33, 40, 43, 50)):
        np.testing.assert_array_equal(tile.amem_q[block : block + 2].ravel(), q[row])
