"""Testbenches of Amaranth's simulator for blocks with streams."""

from amaranth.sim import Simulator

__all__ = ["receive", "send", "simulate"]


def simulate(dut, *benches, background=()):
    """Run ``benches`` on ``dut`` to their ends; those in ``background`` stop with them."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


def send(port, payloads, *, rng, stall=0.0):
    """A testbench that transfers ``payloads`` to the stream ``port``, each after a pause with the
    probability ``stall`` of every cycle."""

    async def bench(ctx):
        for payload in payloads:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(port.payload, payload)
            ctx.set(port.valid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(port.ready)
            ctx.set(port.valid, 0)

    return bench


def receive(port, count, into, *, rng, stall=0.0):
    """A testbench that takes ``count`` payloads from the stream ``port`` and adds them to the list
    ``into``; it checks that an offered payload stays until it is taken."""

    async def bench(ctx):
        offered = None
        for _ in range(count):
            while True:
                ready = rng.random() >= stall
                ctx.set(port.ready, ready)
                _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
                assert offered is None or (valid and payload == offered), "an offer was withdrawn"
                offered = payload if valid and not ready else None
                if valid and ready:
                    into.append(payload)
                    break
        ctx.set(port.ready, 0)

    return bench
