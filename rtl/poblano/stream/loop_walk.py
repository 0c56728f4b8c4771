"""Nested loops over a command."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LoopWalk"]


class LoopWalk(wiring.Component):
    """Runs through nested loops for each command: one iteration a cycle, no gap between commands.

    Latency: 1 cycle from a command to its first iteration.

    Parameters
    ----------
    fields : dict, widths of the command's fields
    loops : dict, outermost first: the loop's name, and the field that holds its bound (at least 1) or a
        fixed bound

    Members
    -------
    cmd : In(stream of the fields)
    o : Out(stream), ``command``; ``index``, ``first`` and ``last``: structs with a member for each loop
    """

    def __init__(self, *, fields, loops):
        self.fields, self.loops = fields, loops
        index = {
            name: fields[bound] if isinstance(bound, str) else (bound - 1).bit_length()
            for name, bound in loops.items()
        }
        flags = data.StructLayout(dict.fromkeys(loops, 1))
        super().__init__(
            {
                "cmd": In(stream.Signature(data.StructLayout(fields))),
                "o": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "command": data.StructLayout(fields),
                                "index": data.StructLayout(index),
                                "first": flags,
                                "last": flags,
                            }
                        )
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        active = Signal()
        o = self.o.payload
        command = Signal(data.StructLayout(self.fields))
        index = Signal(o.index.shape())
        first, last = Signal(o.first.shape()), Signal(o.last.shape())
        m.d.comb += [
            self.o.valid.eq(active),
            o.command.eq(command),
            o.index.eq(index),
            o.first.eq(first),
            o.last.eq(last),
            self.cmd.ready.eq(~active | (self.o.ready & o.last.as_value().all())),
        ]
        # Flags are registers, computed an iteration ahead: `before` is the index of the last but one,
        # `single` that there is one alone.
        before: dict[str, Value] = {}
        single: dict[str, Value] = {}
        for name, bound in self.loops.items():
            width = len(index[name])
            if isinstance(bound, str):
                before[name], single[name] = (
                    Signal(width, name=f"{name}_before"),
                    Signal(name=f"{name}_single"),
                )
            else:
                before[name], single[name] = C((bound - 2) % (1 << width), width), C(bound == 1, 1)
        with m.If(self.o.valid & self.o.ready):
            step = C(1)
            for name in reversed(self.loops):
                with m.If(step):
                    m.d.sync += [
                        index[name].eq(Mux(last[name], 0, index[name] + 1)),
                        first[name].eq(last[name]),
                        last[name].eq(Mux(last[name], single[name], index[name] == before[name])),
                    ]
                step = step & last[name]
        with m.If(self.cmd.ready):
            m.d.sync += [active.eq(self.cmd.valid), command.eq(self.cmd.payload), index.eq(0), first.eq(~0)]
            for name, bound in self.loops.items():
                if isinstance(bound, str):
                    value = self.cmd.payload[bound]
                    m.d.sync += [
                        before[name].eq(value - 2),
                        single[name].eq(value == 1),
                        last[name].eq(value == 1),
                    ]
                else:
                    m.d.sync += last[name].eq(bound == 1)
        return m
