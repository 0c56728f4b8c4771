"""The scores of groups of experts against the numpy reference: any bits, ties, infinities, NaN."""

import numpy as np
import pytest

from poblano.moe.group_scores import GroupScores
from poblano.moe.reference import order_keys
from tb.common.streams import simulate
from tests.test_moe_selector import rows_of


def score(values):
    """The two largest of a group's values, of equal ones the first, in FP32."""
    first, second = np.argsort(-order_keys(values), kind="stable")[:2]
    with np.errstate(over="ignore", invalid="ignore"):
        return values[first] + values[second]


@pytest.mark.parametrize("size", (2, 3, 32))
def test_group_scores(size):
    rng = np.random.default_rng(size)
    dut = GroupScores()
    groups = list(rows_of(rng, size))

    async def bench(ctx):
        found, age, ended = [], 0, []
        for number, bits in enumerate(np.concatenate(groups).view(np.uint32).tolist()):
            valid = False
            while not valid:
                valid = bool(rng.random() < 0.8)
                last = number % size == size - 1
                ctx.set(dut.valid, valid)
                ctx.set(dut.value, bits)
                ctx.set(dut.last, last)
                _, _, scored, busy, result = await ctx.tick().sample(dut.scored, dut.busy, dut.score)
                assert scored == (age - dut.LATENCY in ended) and busy == any(
                    age - after in ended for after in range(1, dut.LATENCY + 1)
                )
                if scored:
                    found.append(result)
                if valid and last:
                    ended.append(age)
                age += 1
        ctx.set(dut.valid, 0)
        while ctx.get(dut.busy):
            _, _, scored, result = await ctx.tick().sample(dut.scored, dut.score)
            if scored:
                found.append(result)
        got = np.array(found, np.uint32).view(np.float32)
        np.testing.assert_array_equal(got, [score(group) for group in groups])
        signs = [np.signbit(its) and not np.isnan(its) for its in map(score, groups)]
        np.testing.assert_array_equal(np.signbit(got), signs)

    simulate(dut, bench)
