"""The selection of experts against the numpy reference: ties, zeros of both signs, infinities, NaN."""

import numpy as np
import pytest

from poblano.moe.reference import chosen
from poblano.moe.selector import Selector
from tb.common.streams import simulate

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38], np.float32)


def rows_of(rng, experts):
    """Rows of any bits, of few different values, and of one."""
    for _ in range(20):
        yield rng.integers(0, 1 << 32, experts, dtype=np.uint32).view(np.float32)
        yield rng.choice(SPECIAL, experts)
        yield np.full(experts, rng.choice(SPECIAL), np.float32)


@pytest.mark.parametrize("experts, most", [(2, 1), (5, 5), (16, 2), (256, 8)])
def test_selector(experts, most):
    rng = np.random.default_rng(experts)
    dut = Selector(experts=experts, used=most)

    async def bench(ctx):
        for row in rows_of(rng, experts):
            used = int(rng.integers(1, most + 1))
            count = int(rng.integers(used, experts + 1))  # of a model with fewer experts
            ctx.set(dut.used, used)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            numbers = np.sort(rng.permutation(count)[: rng.integers(used, count + 1)])
            late = rng.random(count) < rng.choice([0.0, 0.3, 0.9])
            for number, bits in enumerate(row.view(np.uint32)[:count].tolist()):
                while rng.random() < 0.2:
                    await ctx.tick()
                ctx.set(dut.valid, 1)
                ctx.set(dut.value, bits)
                ctx.set(dut.skip, number not in numbers)
                ctx.set(dut.late, bool(late[number]))
                await ctx.tick()
                ctx.set(dut.valid, 0)
            for again in range(2):
                found = []
                for n in range(used):
                    while rng.random() < 0.2:
                        await ctx.tick()
                    found.append(ctx.get(dut.number))
                    assert ctx.get(dut.last) == (len(found) == used)
                    ctx.set(dut.take, 1)
                    ctx.set(dut.again, not again and n == used - 1)
                    await ctx.tick()
                    ctx.set(dut.take, 0)
                    ctx.set(dut.again, 0)
                assert found == numbers[chosen(row[None, numbers], used, late=late[numbers])[0]].tolist()

    simulate(dut, bench)


def test_reference():
    """The order of values is that of the specification."""
    nan = np.nan
    values = np.array([[1, 1, 1, 1], [nan, -np.inf, nan, nan], [-0.0, 0.0, -0.0, 0.0], [nan] * 4], np.float32)
    np.testing.assert_array_equal(chosen(values, 2), [[0, 1], [0, 1], [1, 3], [0, 1]])


def test_reference_of_groups():
    """The scores of groups and their order are the specification's: sums in FP32, equal ones and NaN."""
    nan, inf = np.nan, np.inf
    cases = [
        ([1, 0, 3, 0, 2, 2, 5, -3], 2, [4, 5]),  # sums 1, 3, 4, 2
        ([1, 2, 2, 1, 0, 3, 1, 1], 2, [0, 1]),  # the lowest of equal ones, though another has a larger value
        ([2**24, 1, 2**24, 0, 0, 0, 0, 0], 1, [0]),  # 2^24 + 1 is 2^24 in FP32
        ([inf, -inf, nan, inf, -inf, -inf, nan, nan], 2, [4, 5]),  # infinities of two signs are NaN
        ([nan] * 8, 2, [0, 1]),
        ([-0.0, -0.0, 0.0, -0.0, -0.0, -0.0, -1, -1], 2, [2, 3]),
        ([3e38, 3e38, inf, 0, 1, 1, 1, 1], 1, [0]),  # both are infinity
    ]
    for values, used, experts in cases:
        got = chosen(np.array([values], np.float32), used, groups=4, used_groups=1)
        np.testing.assert_array_equal(got, [experts], err_msg=str(values))
    values = np.array([[9, 8, nan, 5, nan, 4, 1, 1]], np.float32)
    np.testing.assert_array_equal(chosen(values, 4, groups=4, used_groups=2), [[0, 1, 6, 7]])
    np.testing.assert_array_equal(chosen(values, 3, groups=2, used_groups=1), [[0, 1, 3]])
