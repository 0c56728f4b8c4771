"""HomesConfig: every address is in one place, the last bytes of a home in its window."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
import pytest

from poblano.axi.homes import HomesConfig


class Places(wiring.Component):
    def __init__(self, homes):
        self.homes = homes
        super().__init__({"address": In(10), "place": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.place.eq(self.homes.of(self.address))
        return m


@pytest.mark.parametrize("count, size", [(1, 1024), (2, 256), (4, 256)])
@pytest.mark.parametrize("window", [0, 16, 128])
def test_places(count, size, window):
    homes = HomesConfig(count=count, size=size, window=window)
    dut, seen = Places(homes), set()

    async def bench(ctx):
        for address in range(count * size):
            ctx.set(dut.address, address)
            home, inside = divmod(address, size)
            expected = home + (count if inside >= size - window else 0)
            assert ctx.get(dut.place) == expected
            seen.add(expected)
            await ctx.delay(1e-9)

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == set(range(homes.places))
