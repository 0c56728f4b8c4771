"""What the command processor counts: cycles, beats, what units do, experts."""

from amaranth.hdl import *

__all__ = ["count_events"]


def count_events(m, processor, values, counters, queues, failed, clear, cycles_read, stage):
    """Drives the counting registers of ``values`` and of each unit's ``counters``, which ``clear`` clears.
    ``cycles_read``: the low half of the cycles is read; ``stage`` passes commands over, or is None. What
    units do that have ``failed`` does not count: it ends nothing."""
    cycles = Signal(64)
    m.d.comb += values["CYCLES_LO"].eq(cycles[:32])
    with m.If(cycles_read):
        m.d.sync += values["CYCLES_HI"].eq(cycles[32:])
    counting = [(values["READ_BEATS"], processor.read_beats), (values["WRITE_BEATS"], processor.write_beats)]
    if stage is not None:
        table = processor.table
        counting += [
            (values["EXPERTS_ROUTED"], table.valid),
            (values["EXPERTS_ROWS"], Mux(table.valid, table.routed.rows, 0)),
            (values["EXPERTS_REROUTED"], Mux(table.valid & (table.slot == 0), table.rerouted, 0)),
            (values["EXPERTS_PASSED"], stage.skips),
        ]
    for n, (port, queue) in enumerate(zip(processor.units, queues)):
        m.d.comb += counters[n]["COMPLETED"].eq(queue.count)
        counting += [
            (counters[n][name.upper()], getattr(port, name) & ~failed[n])
            for name in ("busy", "stall_in", "stall_out")
        ]
    # That the low half is all ones is known a cycle before: the halves are not in one path.
    low, high = cycles[:32], cycles[32:]
    carry = Signal()
    m.d.sync += [low.eq(low + 1), carry.eq(low == (1 << 32) - 2), high.eq(high + carry)]
    with m.If(clear):
        m.d.sync += [cycles.eq(0), carry.eq(0)]
    # Events come late in their cycle: they are counted in the next.
    for counter, event in counting:
        held = Signal.like(event, name=f"{counter.name}_event")
        m.d.sync += held.eq(event)
        with m.If(held):
            m.d.sync += counter.eq(counter + held)
        with m.If(clear):
            m.d.sync += [counter.eq(0), held.eq(0)]
