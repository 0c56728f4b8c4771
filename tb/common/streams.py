"""Testbenches of Amaranth's simulator for blocks with streams."""

from contextlib import suppress

from amaranth.hdl import Fragment
from amaranth.lib import stream
from amaranth.sim import Simulator

from poblano.stream.credit import Credit
from poblano.stream.fifo import FIFO

from .stuck import CYCLES, Inside, StuckError

__all__ = ["receive", "send", "simulate"]


def _parts(fragment, path=""):
    """(path, component, the component that it stands in) of all that a design has inside."""
    for inner, name, _ in fragment.subfragments:
        place = f"{path}.{name}" if path else str(name)
        component, owner = (f.origins[0] if f.origins else None for f in (inner, fragment))
        yield place, component, owner
        yield from _parts(inner, place)


def _streams(dut):
    """The streams of a component by their names."""
    found = {}
    for path, *_ in dut.signature.flatten(dut) if hasattr(dut, "signature") else ():
        if path[-1] == "valid":
            port = dut
            for name in path[:-1]:
                port = port[name] if isinstance(name, int) else getattr(port, name)
            if isinstance(port.signature, stream.Signature):
                found["__".join(map(str, path[:-1]))] = port
    return found


class _Watch:
    """Fails when for ``cycles`` cycles no stream of ``dut`` has had a transfer while one is offered and not
    taken, and when credit is missing at the end."""

    def __init__(self, dut, design, cycles):
        self.streams, self.cycles, self.coroutines = _streams(dut), cycles, []
        self.parts = [part for part in _parts(design) if isinstance(part[1], (Credit, FIFO))]

    def inside(self, ctx):
        left = {path: (ctx.get(c.left), c.total) for path, c, _ in self.parts if isinstance(c, Credit)}
        level = {path: ctx.get(c.level) for path, c, _ in self.parts if isinstance(c, FIFO)}
        return Inside(left, level, {path: type(owner).__name__ for path, _, owner in self.parts})

    def last(self, benches):
        """The same benches; the last of them to end checks the credit."""
        running = len(benches)

        def watched(bench):
            async def both(ctx):
                nonlocal running
                await self.kept(bench)(ctx)
                running -= 1
                if not running:
                    self.inside(ctx).check_idle()

            return both

        return [watched(bench) for bench in benches]

    def kept(self, bench):
        """The same bench, which :meth:`close` can end."""

        async def closable(ctx):
            self.coroutines.append(bench(ctx))
            await self.coroutines[-1]

        return closable

    def close(self):
        """Ends what waits after another bench has failed, quietly: else the interpreter complains later."""
        for coroutine in self.coroutines:
            with suppress(RuntimeError):
                coroutine.close()

    async def run(self, ctx):
        streams, still = self.streams, 0
        while streams:
            pairs = [value for port in streams.values() for value in (port.valid, port.ready)]
            _, _, *values = await ctx.tick().sample(*pairs)
            offers = dict(zip(streams, zip(values[::2], values[1::2])))
            still = 0 if (1, 1) in offers.values() else still + 1
            waits = [name for name, pair in offers.items() if pair == (1, 0)]
            if still >= self.cycles and waits:
                raise StuckError(self.inside(ctx).report(waits, still))


def simulate(dut, *benches, background=(), cycles=CYCLES, flips=None):
    """Run ``benches`` on ``dut`` to their ends; those in ``background`` stop with them, and the one that
    ``flips`` makes of the elaborated design. It is an error if nothing moves for ``cycles`` cycles while
    something is offered, or if credit is missing in the end."""
    design = Fragment.get(dut, None)
    background = [*background, *([] if flips is None else [flips(design)])]
    simulator, watch = Simulator(design), _Watch(dut, design, cycles)
    simulator.add_testbench(watch.run, background=True)
    simulator.add_clock(1e-9)
    for bench in background:
        simulator.add_testbench(watch.kept(bench), background=True)
    for bench in watch.last(benches):
        simulator.add_testbench(bench)
    try:
        simulator.run()
    except BaseException:
        watch.close()
        raise


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
