"""What a property file is made of: a harness around a block of the RTL, its properties, and mutations of
the block."""

from dataclasses import dataclass
from pathlib import Path
import sys

from amaranth.hdl import *

from .mutation import Mutation, MutationError

__all__ = ["FAST", "Harness", "Mutation", "MutationError", "Property", "Watch", "popcount"]

FAST = 60
"""Seconds after which an engine gives up, if a property does not say otherwise."""


@dataclass(frozen=True)
class Property:
    """A proof: every assertion of ``build()`` holds in every reachable state, under its assumptions.

    Parameters
    ----------
    name : str, unique in its file
    build : callable that makes the :class:`Harness`
    proves : str, in words
    method : "pdr" (unbounded), "induction" (unbounded, k-induction of ``depth`` steps), or "bounded":
        ``depth`` steps, for a harness in which nothing happens after them
    depth : steps
    frames : steps within which each mutation's counterexample and each cover must be found
    mutations : each must make an assertion fail
    sat : abc's BMC searches for mutations' counterexamples, whatever the method: it is faster where they are
        deep and there is little arithmetic
    timeout : seconds for the proof
    """

    name: str
    build: object
    proves: str
    method: str = "pdr"
    depth: int = 0
    frames: int = 20
    mutations: tuple = ()
    sat: bool = False
    timeout: int = 5 * FAST
    covers: bool = True


class Harness(Elaboratable):
    """Wraps a block; its free variables are the top's inputs.

    A subclass overrides ``prove(m)``: it adds the block with :meth:`add` or :meth:`free` and states
    :meth:`assume`, :meth:`check` and :meth:`cover`. All registers and memories hold anything at first; the
    reset is high in cycle 0 only. Nothing is assumed, checked or covered in that cycle.

    ``places``: of each check, by its signal's name, its own name and the line that states it.
    ``mode``: "assert" checks; "cover" turns every cover into an assertion that it does not happen.
    """

    def __init__(self):
        self.mode = "assert"
        self.inputs = {}
        self.checks, self.covers = [], []
        self.places = {}
        self._m = None

    def prove(self, m):
        raise NotImplementedError

    def elaborate(self, platform):
        m = self._m = Module()
        m.domains.sync = sync = ClockDomain("sync", local=True)
        m.domains.once = once = ClockDomain("once", reset_less=True, local=True)
        clk = self.inputs["clk"]
        self.running = Signal(name="formal_running")
        m.d.comb += [sync.clk.eq(clk), once.clk.eq(clk), sync.rst.eq(~self.running)]
        m.d.once += self.running.eq(1)
        self.prove(m)
        return m

    def make(self):
        """Elaborates once; the ports for rtlil.convert."""
        self.inputs = {"clk": Signal(name="clk")}
        fragment = Fragment.get(self, None)
        return fragment, list(self.inputs.values())

    def free(self, name, shape=1):
        """A new free input."""
        signal = Signal(shape, name=name)
        self._expose(name, signal)
        return signal

    def _expose(self, name, value):
        value = Value.cast(value)
        assert name not in self.inputs, name
        self.inputs[name] = value

    def add(self, name, block, *, driven=(), reset=None, module=None):
        """Adds ``block`` as a submodule; its inputs are free, except those whose path begins with one of
        ``driven``.

        ``reset`` resets it beside the reset of cycle 0."""
        m = self._m
        module = block if module is None else module
        m.submodules[name] = module if reset is None else ResetInserter(reset)(module)
        for path, member, value in block.signature.flatten(block):
            text = "__".join(map(str, path))
            if (
                member.flow.name == "In"
                and len(Value.cast(value))
                and not any(text == d or text.startswith(d + "__") for d in driven)
            ):
                self._expose(f"{name}__{text}", value)
        return block

    def peek(self, name, block, *, driven=()):
        """Like :meth:`add`; returns the block and its submodules, state machines, registers and wires by
        name, for invariants."""
        inside = block.elaborate(None)
        self.add(name, block, driven=driven, module=inside)
        parts = {part: submodule for part, (submodule, _) in inside._named_submodules.items()}
        signals = {signal.name: signal for signal in inside._driving}
        return block, parts | inside._generated | signals

    def constant(self, name, shape=1):
        """An arbitrary value that never changes."""
        value, choice = Signal(shape, name=name, reset_less=True), self.free(name + "_choice", shape)
        self._m.d.once += value.eq(Mux(self.running, value, choice))
        return value

    def past(self, value, name):
        """``value`` one cycle before; 0 after the reset."""
        before = Signal.like(Value.cast(value), name=name)
        self._m.d.sync += before.eq(value)
        return before

    def assume(self, condition):
        self._m.d.comb += Assume(~self.running | Value.cast(condition).bool())

    def check(self, name, condition):
        assert name not in self.checks, name
        self.checks.append(name)
        self.places[_signal(name)] = name, _place()
        if self.mode == "assert":
            good = Signal(name="check_" + _signal(name))
            self._m.d.comb += good.eq(~self.running | Value.cast(condition).bool())
            self._m.d.comb += Assert(good)

    def cover(self, name, condition):
        assert name not in self.covers, name
        self.covers.append(name)
        if self.mode == "cover":
            seen = Signal(name="cover_" + _signal(name))
            self._m.d.comb += seen.eq(self.running & Value.cast(condition).bool())
            self._m.d.comb += Assert(~seen)


def _signal(name):
    """What the signal of a check is called, after its prefix."""
    return name.replace(" ", "_")


def _place():
    """The file and the line from which a property's file states a check, itself or by a :class:`Watch`."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return (
        f"{Path(frame.f_code.co_filename).parent.name}/{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    )


def popcount(value):
    """Number of set bits."""
    value = Value.cast(value)
    return sum((value[i] for i in range(1, len(value))), value[0]) if len(value) else C(0)


class Watch:
    """Follows one arbitrary element through a block that keeps elements in order, at most ``capacity`` of
    them.

    ``put`` and ``get``: an element enters, leaves. Checks that nothing leaves that has not entered, and
    that the ``n``-th element to leave is the ``n``-th to enter, for any ``n``: nothing is lost, duplicated,
    changed or reordered.

    ``held`` is the number of elements inside, ``watching`` is 1 while the watched one is inside, ``ahead``
    counts those before it.
    """

    def __init__(self, h, m, name, *, put, put_data, get, get_data, capacity, combinational=False):
        self.pick = h.free(name + "_pick")
        self.held = Signal(range(capacity + 2), name=name + "_held")
        self.ahead = Signal(range(capacity + 2), name=name + "_ahead")
        self.watching = Signal(name=name + "_watching")
        self.seen = Signal(name=name + "_seen")
        self.value = Signal.like(Value.cast(put_data), name=name + "_value", reset_less=True)
        m.d.sync += self.held.eq(self.held + put - get)
        chosen = Signal(name=name + "_chosen")
        m.d.comb += chosen.eq(put & self.pick & ~self.seen)
        ends = Signal(name=name + "_ends")
        m.d.comb += ends.eq(self.watching & get & (self.ahead == 0))
        with m.If(chosen):
            m.d.sync += [
                self.seen.eq(1),
                self.watching.eq(1),
                self.value.eq(put_data),
                self.ahead.eq(self.held - get),
            ]
        with m.Elif(self.watching & get):
            with m.If(self.ahead == 0):
                m.d.sync += self.watching.eq(0)
            with m.Else():
                m.d.sync += self.ahead.eq(self.ahead - 1)
        if combinational:
            passes = chosen & get & (self.held == 0)
            with m.If(passes):
                m.d.sync += self.watching.eq(0)
            h.check(name + "_pass", ~passes | (put_data == get_data))
            h.check(name + "_exists", ~get | (self.held != 0) | put)
        else:
            h.check(name + "_exists", ~get | (self.held != 0))
        h.check(name + "_same", ~ends | (get_data == self.value))
        h.check(name + "_room", self.held <= capacity)
        h.check(name + "_ahead", ~self.watching | (self.ahead < self.held))
        h.cover(name + "_end", ends)
        self.ends = ends
