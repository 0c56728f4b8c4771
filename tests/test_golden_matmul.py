"""The golden chip's products against the reference: formats, strides, tiles, weights that change."""

import numpy as np
import pytest

from poblano.compute.reference import matmul, pack_weights
from poblano.formats.element import FORMATS, Activation
from poblano.isa.commands import CommandError, Opcode
from poblano.isa.weight_stream import Element, ScaleFormat
from poblano.vector.reference import quantise
from tests.golden import DMA, MATMUL, STREAM, VECTOR, command, new, run


@pytest.mark.parametrize(
    "transpose, scale", [(0, ScaleFormat.F16), (1, ScaleFormat.F32), (0, ScaleFormat.NONE)]
)
def test_matmul(transpose, scale):
    """Two products from one stream, the second with strides; results in both tiles."""
    golden = new()
    generator = np.random.default_rng(0)
    w = generator.integers(-127, 128, (64, 48))
    d = None if scale is ScaleFormat.NONE else generator.uniform(0, 1, (2, 48)).astype(np.float16)
    data = np.frombuffer(
        pack_weights(w, d, None, golden.config, scale_format=scale, transpose=bool(transpose)), np.uint8
    )
    golden.memory[: data.size] = data
    common = dict(scale=int(scale), transpose=transpose, k_blocks=2, tiles=3)
    tile = golden.tiles[0]
    expected = [
        matmul(tile.amem_q[blocks].reshape(3, 64), tile.amem_scale[blocks], None, part, part_d)
        for blocks, part, part_d in (
            (np.arange(10, 16).reshape(3, 2), w[:, :32], None if d is None else d[:, :32]),
            (np.array([[0, 1], [7, 8], [14, 15]]), w[:, 32:], None if d is None else d[:, 32:]),
        )
    ]
    group = data.size // 3
    run(
        golden,
        *(command(Opcode.STREAM, STREAM, mem_addr=n * group, row_bytes=group, rows=1) for n in range(3)),
        command(Opcode.MATMUL, MATMUL, **common, a=10, a_stride=2, rows=3, groups=2, dst=0, dst_stride=4),
        command(Opcode.MATMUL, MATMUL, **common, a=0, a_stride=7, rows=3, groups=1, dst=100, dst_stride=9),
    )
    for result in golden.tiles:
        np.testing.assert_array_equal(result.vmem[:96].reshape(3, 32), expected[0])
        np.testing.assert_array_equal(result.vmem[800 : 800 + 3 * 72].reshape(3, 72)[:, :16], expected[1])
    assert not golden.tiles[0].fifo


@pytest.mark.parametrize("mask, spread", [(0b1101, 2), (0b1101, 5), (0b1010, 3), (0b100, 5), (0b1111, 1)])
def test_matmul_spread(mask, spread):
    """Rows are dealt out to the tiles of the mask in ascending order; others keep what they have."""
    golden = new(tiles=4)
    rows = min(5, bin(mask).count("1") * spread)
    w = np.random.default_rng(0).integers(-127, 128, (32, 16))
    data = np.frombuffer(pack_weights(w, None, None, golden.config), np.uint8)
    golden.memory[: data.size] = data
    tile = golden.tiles[0]
    expected = matmul(tile.amem_q[:rows], tile.amem_scale[:rows, None], None, w)
    before = [tile.vmem.copy() for tile in golden.tiles]
    run(
        golden,
        command(Opcode.STREAM, STREAM, mem_addr=0, row_bytes=data.size, rows=1),
        command(
            Opcode.MATMUL,
            MATMUL,
            a_stride=1,
            rows=rows,
            k_blocks=1,
            groups=1,
            dst=10,
            dst_stride=3,
            tiles=mask,
            spread=spread,
        ),
    )
    left = list(expected)
    for n, (tile, old) in enumerate(zip(golden.tiles, before)):
        mine = [left.pop(0) for _ in range(min(spread, len(left)))] if mask >> n & 1 else []
        for k, row in enumerate(mine):
            old[80 + 24 * k : 80 + 24 * k + 16] = row
        np.testing.assert_array_equal(tile.vmem, old)
    assert not left


def test_matmul_minimum():
    golden = new()
    generator = np.random.default_rng(0)
    w, d = generator.integers(0, 16, (32, 16)), generator.normal(size=(1, 16)).astype(np.float16)
    data = np.frombuffer(
        pack_weights(w, d, -d, golden.config, element=Element.U4, scale_format=ScaleFormat.F16), np.uint8
    )
    golden.memory[: data.size] = data
    tile = golden.tiles[0]
    expected = matmul(tile.amem_q[4:6], tile.amem_scale[4:6, None], tile.amem_sum[4:6, None], w, d, -d)
    run(
        golden,
        command(Opcode.STREAM, STREAM, mem_addr=0, row_bytes=data.size, rows=1),
        command(
            Opcode.MATMUL,
            MATMUL,
            element=int(Element.U4),
            scale=1,
            minimum=1,
            a=4,
            a_stride=1,
            rows=2,
            k_blocks=1,
            groups=1,
            dst=8,
            dst_stride=2,
            tiles=1,
        ),
    )
    np.testing.assert_array_equal(tile.vmem[64:96].reshape(2, 16), expected)


ALL = tuple(FORMATS)


def run_product(golden, size, activation, element, scale, minimum):
    """Quantises three rows of two blocks, multiplies them by the weights at the memory's start, and stores
    their scales."""
    run(
        golden,
        command(Opcode.STREAM, STREAM, mem_addr=0, row_bytes=size, rows=1),
        command(
            Opcode.VECTOR,
            VECTOR,
            rows=3,
            blocks=2,
            a=0,
            a_stride=8,
            sink=2,
            activation=int(activation),
            dst=8,
            dst_stride=2,
        ),
        command(
            Opcode.MATMUL,
            MATMUL,
            [(VECTOR, 1)],
            activation=int(activation),
            element=int(element),
            scale=int(scale),
            minimum=int(minimum),
            a=8,
            a_stride=2,
            rows=3,
            k_blocks=2,
            groups=2,
            dst=200,
            dst_stride=4,
            tiles=1,
        ),
        command(
            Opcode.STORE_SCALE,
            DMA,
            [(VECTOR, 1)],
            mem_addr=1 << 15,
            mem_stride=4,
            src=8,
            src_stride=1,
            rows=6,
            tile=0,
        ),
    )


def nearly_equal(product, activation, q, s, element, scale, w, d, minimum):
    """The product is that of the numbers that the codes mean."""
    values = np.ldexp(activation.integers(q), activation.quantum) * np.repeat(s.astype(np.float64), 32, 1)
    weights = np.ldexp(
        np.float64(1), -6 if element is Element.S8 and scale is ScaleFormat.E8M0 else 0
    ) * element.values(w)
    weights = weights * (1 if d is None else np.repeat(d.astype(np.float64), 32, 0)) + (
        0 if minimum is None else np.repeat(minimum, 32, 0)
    )
    np.testing.assert_allclose(
        product, values @ weights, rtol=1e-5, atol=1e-5 * np.abs(values @ weights).max()
    )


@pytest.mark.parametrize("activation", Activation, ids=lambda a: a.name)
@pytest.mark.parametrize(
    "element, scale",
    [
        (e, s)
        for e in Element
        for s in ScaleFormat
        if s is not ScaleFormat.E8M0 or e not in (Element.S4, Element.U4)
    ],
    ids=lambda v: v.name,
)
def test_matmul_of_every_pair(activation, element, scale):
    """Activations that VECTOR quantised times a stream of any format; a minimum where there can be one."""
    golden = new(formats=ALL)
    generator = np.random.default_rng(int(element))
    v = golden.tiles[0].vmem[:192].reshape(3, 64).copy()
    q, s, total = quantise(v, activation)
    w = generator.integers(0, 1 << element.format.bits, (64, 32)).astype(np.uint8)
    w[~np.isfinite(element.values(w))] = 1
    w = element.values(w).astype(np.int8) if element in (Element.S8, Element.S4) else w
    d = {
        ScaleFormat.NONE: None,
        ScaleFormat.E8M0: np.ldexp(np.float32(1), generator.integers(-9, 9, (2, 32))),
    }.get(scale, generator.uniform(0, 1, (2, 32)).astype(np.float16))
    minimum = -d if scale is ScaleFormat.F16 and element in (Element.S4, Element.U4) else None
    data = np.frombuffer(
        pack_weights(w, d, minimum, golden.config, element=element, scale_format=scale), np.uint8
    )
    golden.memory[: data.size] = data
    run_product(golden, data.size, activation, element, scale, minimum is not None)
    tile = golden.tiles[0]
    assert tile.amem_sum.dtype == np.int64
    np.testing.assert_array_equal(tile.amem_q[8:14].reshape(3, 64), q)
    np.testing.assert_array_equal(tile.amem_sum[8:14].reshape(3, 2), total)
    assert golden.memory[1 << 15 : (1 << 15) + 24].tobytes() == s.tobytes()
    expected = matmul(q, s, total, w, d, minimum, activation=activation, element=element, scale_format=scale)
    np.testing.assert_array_equal(tile.vmem[1600:1696].reshape(3, 32), expected)
    nearly_equal(expected, activation, q, s, element, scale, w, d, minimum)


def test_formats_that_the_array_lacks():
    golden = new()
    product = lambda **changes: command(
        Opcode.MATMUL, MATMUL, **dict(a=0, rows=1, k_blocks=1, groups=1, dst=0, tiles=1) | changes
    )
    for changes, message in (
        (dict(element=3), "this array has no E4M3 weights; it has S8, S4, U4"),
        (dict(scale=3), "this array has no S8 weights with E8M0 scales"),
        (dict(activation=2), "this array has no activation format 2; it has INT8"),
    ):
        with pytest.raises(CommandError, match=message):
            run(golden, product(**changes))
    with pytest.raises(CommandError, match="this array has no activation format 1; it has INT8"):
        run(golden, command(Opcode.VECTOR, VECTOR, a=0, sink=2, activation=1, dst=0))


def test_weights_that_change_are_read_again():
    golden = new()
    product = command(
        Opcode.MATMUL, MATMUL, scale=1, a=4, a_stride=1, rows=1, k_blocks=1, groups=1, dst=8, tiles=1
    )
    results = []
    for value in (1, 2, 1):
        golden.memory[:32].view(np.float16)[:] = value
        golden.memory[32:544] = 1
        golden.reset_queue()
        run(golden, command(Opcode.STREAM, STREAM, mem_addr=0, row_bytes=544, rows=1), product)
        results.append(golden.tiles[0].vmem[64:80].copy())
    np.testing.assert_array_equal(results[1], 2 * results[0])
    np.testing.assert_array_equal(results[2], results[0])
