"""A netlist without its hierarchy: cells, flip-flops, clocks and memories, in arrays."""

from dataclasses import dataclass

import numpy as np

from poblano.clock_gate import CLOCK_GATE

from .clock_gates import gates_of
from .tools import AsicError

__all__ = ["Clock", "Flat"]

BUFFER = 0b10
"""The truth table of a buffer: bit n is the output for the inputs n."""


@dataclass(frozen=True)
class Clock:
    """A gated clock: the numbers of the clock that it comes from and of its enable's net, the ``module`` that
    has the gate, and the ``load`` in pF that the module's own cells are to it."""

    parent: int
    enable: int
    module: str
    load: float


class _Parts:
    """What a module has of its own, with numbers of its own for its nets: 0 and 1 are constants."""

    def __init__(self, module, modules, library):
        self.module, self.number = module, {"0": 0, "1": 1}
        self.inputs = self._bits(module.inputs)
        self.outputs = self._bits(module.outputs)
        self.children, self.memories = [], []
        cells, flip_flops = [], []
        for instance in module.instances:
            cell = library.cells.get(instance.kind)
            if cell is not None:
                self._cell(instance, cell, cells, flip_flops)
            elif modules[instance.kind].macro:
                self.memories.append((modules[instance.kind], self._pins(instance)))
            elif instance.kind != CLOCK_GATE:
                child = modules[instance.kind]
                pins = self._pins(instance)
                self.children.append(
                    (instance.kind, self._port(child.inputs, pins), self._port(child.outputs, pins))
                )
        self.gates = self._gates(library)
        self.cells = np.array(cells, np.int64).reshape(-1, 6)
        self.flip_flops = np.array(flip_flops, np.int64).reshape(-1, 3)
        self.size = len(self.number)
        # An output that is an input, a constant or another output as well gets a net by a buffer.
        first = dict.fromkeys([0, 1, *self.inputs.tolist()], -1)
        self.own = np.array(
            [first.setdefault(bit, n) == n for n, bit in enumerate(self.outputs.tolist())], bool
        )
        clocks = set(self.flip_flops[:, 2].tolist())
        self.clocks = {bit: n for bit, n in self.number.items() if n in clocks}

    def _net(self, bit):
        return self.number.setdefault(bit, len(self.number))

    def _bits(self, ports):
        return np.array([self._net(bit) for bits in ports.values() for bit in bits], np.int64)

    def _pins(self, instance):
        return {pin: [self._net(bit) for bit in bits] for pin, bits in instance.pins.items()}

    def _port(self, ports, pins):
        return np.array(
            [bit for name, bits in ports.items() for bit in pins.get(name) or [-1] * len(bits)], np.int64
        )

    def _cell(self, instance, cell, cells, flip_flops):
        pins = {pin: self._net(bits[0]) for pin, bits in instance.pins.items() if bits}
        if cell.state:
            next_state, clock = cell.state
            if not isinstance(clock.tree, str) or next_state.tree != "D":
                raise AsicError(f"{self.module.name}: can't simulate a {cell.name}")
            flip_flops.append((pins["D"], pins[cell.outputs[0]], pins[clock.tree]))
        elif cell.sequential or set(cell.outputs) - set(cell.functions):
            raise AsicError(f"{self.module.name}: can't simulate a {cell.name}")
        else:
            for pin, function in cell.functions.items():
                if pin in pins:
                    inputs = [pins[name] for name in function.pins]
                    cells.append((*inputs, *[0] * (4 - len(inputs)), pins[pin], function.table))

    def _gates(self, library):
        """(clock's net, enable's net, gated clock's net, its load), each after the gate it comes from."""
        load = {}
        for instance in self.module.instances:
            cell = library.cells.get(instance.kind)
            if cell is not None and cell.state:
                (clock,) = instance.pins[cell.state[1].pins[0]]
                load[clock] = load.get(clock, 0.0) + cell.capacitance[cell.state[1].pins[0]]
        found, left = [], gates_of(self.module)
        while left:
            ready = {bit: gate for bit, gate in left.items() if gate.pins["clk"][0] not in left}
            for bit, gate in ready.items():
                pins = gate.pins["clk"][0], gate.pins["en"][0], bit
                found.append((*map(self._net, pins), load.get(bit, 0.0)))
                del left[bit]
        return found


class Flat:
    """A flattened netlist.

    Members
    -------
    size : nets; 0 and 1 are the constants
    ports : name: (direction, width, number of the first bit's net)
    cells : (n, 6): four inputs, the output, the truth table; each after what it reads
    flip_flops : (n, 3): D, Q, the clock's number
    clocks : :class:`Clock`; the first is the chip's own, without a gate
    places : (module's name, its :class:`_Parts`' nets here) of each instance
    """

    def __init__(self, modules, top, library):
        self._modules, self._library, self._parts = modules, library, {}
        self.size, self.clocks, self.places, self._memories = 2, [Clock(0, 0, top, 0.0)], [], []
        cells, flip_flops, self._clock_of = [], [], {}
        ports = {**modules[top].inputs, **modules[top].outputs}
        self.ports, first = {}, {}
        for name, bits in ports.items():
            direction = modules[top].ports[name][0]
            self.ports[name], first[name] = (
                (direction, len(bits), self.size),
                np.arange(self.size, self.size + len(bits)),
            )
            self.size += len(bits)
        if "clk" in self.ports:
            self._clock_of[self.ports["clk"][2]] = 0
        join = lambda names: np.concatenate([np.zeros(0, np.int64), *(first[name] for name in names)])
        todo = [(top, join(modules[top].inputs), join(modules[top].outputs))]
        while todo:
            todo += self._place(*todo.pop(), cells, flip_flops)
        self.cells = _ordered(np.concatenate(cells), self.size, top)
        self.flip_flops = np.concatenate(flip_flops)

    def parts(self, name):
        if name not in self._parts:
            self._parts[name] = _Parts(self._modules[name], self._modules, self._library)
        return self._parts[name]

    def _place(self, name, inputs, outputs, cells, flip_flops):
        """Add an instance of the module ``name`` with nets at its ports (-1: none); its submodules."""
        parts = self.parts(name)
        nets = np.full(parts.size, -1, np.int64)
        nets[:2] = 0, 1
        nets[parts.inputs] = np.maximum(inputs, 0)
        own = parts.own & (outputs >= 0)
        nets[parts.outputs[own]] = outputs[own]
        fresh = nets < 0
        count = int(fresh.sum())
        nets[fresh] = np.arange(self.size, self.size + count)
        self.size += count
        self.places.append((name, nets))
        placed = parts.cells.copy()
        placed[:, :5] = nets[parts.cells[:, :5]]
        cells.append(placed)
        twice = ~parts.own & (outputs >= 0)
        buffers = np.zeros((int(twice.sum()), 6), np.int64)
        buffers[:, 0], buffers[:, 4], buffers[:, 5] = nets[parts.outputs[twice]], outputs[twice], BUFFER
        cells.append(buffers)
        for clock, enable, gated, load in parts.gates:
            self._clock_of[int(nets[gated])] = len(self.clocks)
            self.clocks.append(Clock(self._clock(name, nets[clock]), int(nets[enable]), name, load))
        registers = nets[parts.flip_flops]
        kinds = {int(net): self._clock(name, net) for net in np.unique(registers[:, 2])}
        registers[:, 2] = [kinds[net] for net in registers[:, 2].tolist()]
        flip_flops.append(registers)
        for macro, pins in parts.memories:
            self._memories.append(self._memory(name, macro, {pin: nets[bits] for pin, bits in pins.items()}))
        at = lambda bits: np.where(bits < 0, -1, nets[bits])
        return [(kind, at(ins), at(outs)) for kind, ins, outs in parts.children]

    def _clock(self, name, net):
        if int(net) not in self._clock_of:
            raise AsicError(f"{name}: a register's clock is neither clk nor behind its gates")
        return self._clock_of[int(net)]

    def _memory(self, name, macro, pins):
        """Arrays of a memory: what they are, netlist_model.h says."""
        values = macro.parameters
        width = values["WIDTH"]
        if macro.name.startswith("poblano_memory_"):
            reads, enable = values["PORTS"], pins["WR_EN"]
            part = lambda pin, n: np.array_split(pins[pin], reads)[n]
            ports = [
                ([pins["RD_EN"][n], values["TRANSPARENT"] >> n & 1], part("RD_ADDR", n), part("RD_DATA", n))
                for n in range(reads)
            ]
            clock, address, data = pins["WR_CLK"], pins["WR_ADDR"], pins["WR_DATA"]
        else:
            enable = np.repeat(pins["write__en"], values["GRANULARITY"])
            ports = [([pins["read__en"][0], 0], pins["read__addr"], pins["read__data"])]
            clock, address, data = pins["clk"], pins["write__addr"], pins["write__data"]
        sizes = [self._clock(name, clock[0]), width, len(ports)]
        return [sizes, enable, address, data, *(array for port in ports for array in port)]

    def arrays(self):
        """The file that netlist_model.h reads."""
        clocks = [(clock.parent, clock.enable) for clock in self.clocks]
        arrays = [[self.size, len(self._memories)], self.cells, self.flip_flops, clocks]
        arrays += [array for memory in self._memories for array in memory]
        result = []
        for array in arrays:
            values = np.asarray(array).astype("<u4").ravel()
            result += [np.array([len(values)], "<u4").tobytes(), values.tobytes()]
        return b"".join(result)

    def by_module(self, changes, ticks):
        """Of each module (changes by net's bit, ticks by clock's bit), of all its instances."""
        total, clocks = {}, {}
        for name, nets in self.places:
            parts = self.parts(name)
            if name not in total:
                total[name], clocks[name] = np.zeros(parts.size, np.int64), {}
            total[name] += changes[nets]
            for bit, n in parts.clocks.items():
                clocks[name][bit] = clocks[name].get(bit, 0) + int(ticks[self._clock_of[int(nets[n])]])
        return {
            name: (
                {bit: int(counts[n]) for bit, n in self.parts(name).number.items() if counts[n]},
                clocks[name],
            )
            for name, counts in total.items()
        }


def _ordered(cells, size, name):
    """``cells`` so that each comes after what it reads."""
    driver = np.full(size, -1, np.int64)
    driver[cells[:, 4]] = np.arange(len(cells))
    before = driver[cells[:, :4]]
    reader, pin = np.nonzero(before >= 0)
    drivers = before[reader, pin]
    waits = np.bincount(reader, minlength=len(cells))
    order = np.argsort(drivers, kind="stable")
    readers, starts = reader[order], np.searchsorted(drivers[order], np.arange(len(cells) + 1))
    ready, result = np.flatnonzero(waits == 0), []
    while len(ready):
        result.append(ready)
        counts = starts[ready + 1] - starts[ready]
        at = (
            np.repeat(starts[ready], counts)
            + np.arange(counts.sum())
            - np.repeat(np.cumsum(counts) - counts, counts)
        )
        found, times = np.unique(readers[at], return_counts=True)
        waits[found] -= times
        ready = found[waits[found] == 0]
    done = np.concatenate(result) if result else np.zeros(0, np.int64)
    if len(done) < len(cells):
        raise AsicError(f"{name}: a combinational loop")
    return cells[done]
