"""The numpy reference of the matmul unit against a scalar transcription of the contract, and weight streams both ways."""

import numpy as np
import pytest

from poblano.compute.reference import matmul, pack_weights, unpack_weights
from poblano.compute.weight_format import Element, ScaleFormat, step_bytes
from poblano.config import BLOCK, ArrayConfig, preset
from poblano.formats.float32_reference import float_add, float_multiply

RANGES = {Element.S8: (-128, 128), Element.S4: (-8, 8), Element.U4: (0, 16)}


def halves(rng, shape):
    return rng.normal(0, 0.05, shape).astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("minimum", [False, True])
def test_matmul_is_the_contract(scale, minimum):
    rng = np.random.default_rng(1)
    rows, blocks, cols = 3, 4, 37
    a_q = rng.integers(-128, 128, (rows, BLOCK * blocks)).astype(np.int8)
    w_q = rng.integers(-128, 128, (BLOCK * blocks, cols)).astype(np.int8)
    a_scale = rng.normal(0, 1, (rows, blocks)).astype(np.float32)
    a_scale[1, 1], a_scale[2, 0] = np.inf, 1e-44
    w_scale = halves(rng, (blocks, cols)) if scale else None
    w_min = halves(rng, (blocks, cols)) if minimum else None
    a_sum = a_q.reshape(rows, blocks, BLOCK).sum(2, dtype=np.int32)
    expected = np.zeros((rows, cols), np.float32)
    for m in range(rows):
        for n in range(cols):
            acc = np.float32(0)
            for kb in range(blocks):
                part = slice(BLOCK * kb, BLOCK * (kb + 1))
                u = np.float32(int(np.dot(a_q[m, part].astype(int), w_q[part, n].astype(int))))
                if scale:
                    u = float_multiply(u, w_scale[kb, n])
                if minimum:
                    u = float_add(u, float_multiply(np.float32(a_sum[m, kb]), w_min[kb, n]))
                acc = float_add(acc, float_multiply(a_scale[m, kb], u))
            expected[m, n] = acc
    for sums in (a_sum, None):
        got = matmul(a_q, a_scale, sums, w_q, w_scale, w_min)
        assert got.dtype == np.float32 and np.array_equal(got.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("rows,cols", [(2, 2), (4, 4), (8, 16), (16, 16), (32, 32), (64, 64)])
@pytest.mark.parametrize("element,scale,minimum,transpose", [
    (Element.S8, ScaleFormat.NONE, False, False), (Element.S8, ScaleFormat.F32, False, True),
    (Element.S4, ScaleFormat.F16, False, False), (Element.U4, ScaleFormat.F16, True, False),
    (Element.S8, ScaleFormat.NONE, True, True)])
def test_round_trip(rows, cols, element, scale, minimum, transpose):
    rng = np.random.default_rng(2)
    array = ArrayConfig(rows=rows, cols=cols)
    blocks, n = 2 * array.segments, 3 * cols - 1
    w_q = rng.integers(*RANGES[element], (BLOCK * blocks, n))
    w_scale = None if scale is ScaleFormat.NONE else halves(rng, (blocks, n))
    w_min = halves(rng, (blocks, n)) if minimum else None
    stream = pack_weights(w_q, w_scale, w_min, array, element, scale, transpose)
    assert len(stream) == 3 * 2 * step_bytes(array, element=element, scale=scale, minimum=minimum)
    results = unpack_weights(stream, array, k_blocks=blocks, element=element, scale_format=scale, minimum=minimum, transpose=transpose)
    for got, expected in zip(results, (w_q, w_scale, w_min)):
        assert (got is None) == (expected is None)
        if got is not None:
            assert np.array_equal(got[:, :n], expected) and not got[:, n:].any()


def test_stream_by_hand():
    """One group and one step of a 2x2 array, byte by byte."""
    array = ArrayConfig(rows=2, cols=2)
    w_q = np.arange(64).reshape(32, 2) % 16
    scale, low = np.array([[1.0, 2.0]], np.float32), np.array([[-1.0, 0.5]], np.float32)
    rows = pack_weights(w_q, scale, low, array, Element.U4, ScaleFormat.F16)
    assert rows == bytes.fromhex("003c0040" "00bc0038") + bytes(w_q[k, 0] | w_q[k, 1] << 4 for k in range(32))
    columns = pack_weights(w_q, scale, None, array, Element.S8, ScaleFormat.F32, transpose=True)
    assert columns == bytes.fromhex("0000803f00000040") + bytes(w_q[2 * p + r, c] for p in range(16) for c in range(2) for r in range(2))


def test_bad_weights():
    array = preset("desk").tile.array
    zeros = np.zeros((32, 16), int)
    with pytest.raises(ValueError, match="K is 31; it must be a multiple of 32"):
        pack_weights(zeros[1:], None, None, array)
    with pytest.raises(ValueError, match="weights 0 to 16 don't fit in U4"):
        pack_weights(zeros + np.eye(32, 16, dtype=int) * 16, None, None, array, Element.U4)
    with pytest.raises(ValueError, match="w_scale holds values that F16 can't represent"):
        pack_weights(zeros, np.full((1, 16), 1e-9), None, array, Element.S8, ScaleFormat.F16)
    with pytest.raises(ValueError, match="scale format F16 without scales"):
        pack_weights(zeros, None, None, array, Element.S8, ScaleFormat.F16)
    with pytest.raises(ValueError, match="holds 8-bit elements, not S4"):
        pack_weights(zeros, None, None, array, Element.S4, transpose=True)
    with pytest.raises(ValueError, match="a stream of 500 bytes is not groups of 1 blocks of K"):
        unpack_weights(bytes(500), array, k_blocks=1)
