"""Credit: what is left and what is reserved are always the total."""

import random

import pytest

from poblano.stream.credit import Credit
from tb.common.streams import simulate


@pytest.mark.parametrize("total,most_taken,most_given", [(1, 1, 1), (8, 1, 1), (128, 16, 4), (9, 9, 9)])
def test_total(total, most_taken, most_given):
    dut = Credit(total=total, most_taken=most_taken, most_given=most_given)
    rng = random.Random(total)

    async def bench(ctx):
        reserved, seen = 0, set()
        for _ in range(600):
            take = rng.randrange(min(most_taken, total - reserved) + 1)
            give = rng.randrange(min(most_given, reserved) + 1)
            ctx.set(dut.take, take)
            ctx.set(dut.give, give)
            assert ctx.get(dut.left) == total - reserved
            seen.add(reserved)
            await ctx.tick()
            reserved += take - give
        assert len(seen) > min(total, 5)

    simulate(dut, bench)


def test_size_is_quoted():
    with pytest.raises(ValueError, match="of a total of 4 can't be taken or given 8 in a cycle"):
        Credit(total=4, most_taken=8)
