"""Power of a netlist from how often its nets change and its clocks tick: the energies of the library's
tables, and the charge of the pins."""

from dataclasses import dataclass

from .clock_gates import AND, gate_module

__all__ = ["GatePower", "ModulePower", "module_power"]

SLEW = 0.1
"""ns of transition that a driver's own tables are looked up at."""


@dataclass(frozen=True)
class ModulePower:
    """pJ in all that was counted, of all instances of a module without what is in its submodules;
    ``leakage`` in nW of one instance."""

    switching: float
    internal: float
    clock: float
    leakage: float

    @property
    def energy(self):
        return self.switching + self.internal + self.clock


def module_power(module, library, changes, ticks):
    """The :class:`ModulePower` of ``module`` of which the nets made ``changes`` and the clocks ``ticks``
    (dicts by a net's bit), in all its instances; without clock gates.

    A change of a net charges or discharges the pins of the module's own cells on it: C V^2 / 2. It also
    takes the energy inside the cell that drives it, and inside the cells whose inputs the library gives an
    energy of their own. A flip-flop takes that of its clock pin twice each time its clock ticks. Wires have
    no capacitance yet, there is no tree for the clock, and glitches are not counted.
    """
    load, slew = {}, {}
    for instance in module.instances:
        cell = library.cells.get(instance.kind)
        if cell is not None:
            for pin, capacitance in cell.capacitance.items():
                for bit in instance.pins.get(pin, ()):
                    load[bit] = load.get(bit, 0.0) + capacitance
    for instance in module.instances:
        cell = library.cells.get(instance.kind)
        if cell is not None:
            for pin in cell.outputs:
                for bit in instance.pins.get(pin, ()):
                    slew[bit] = cell.slew(pin, load.get(bit, 0.0), SLEW)
    charge = library.voltage**2 / 2
    switching = sum(changes.get(bit, 0) * capacitance for bit, capacitance in load.items()) * charge
    internal = clock = leakage = 0.0
    for instance in module.instances:
        cell = library.cells.get(instance.kind)
        if cell is None:
            continue
        leakage += cell.leakage
        clock_pin = cell.state[1].pins[0] if cell.state else None
        for pin, bits in instance.pins.items():
            if not bits:
                continue
            bit = bits[0]
            if pin == clock_pin:
                edge = cell.switch_energy(pin, 0.0, SLEW) + cell.capacitance[pin] * charge
                clock += 2 * ticks.get(bit, 0) * edge
            elif changes.get(bit):
                # The slew of an output's cause is that of an input; the mean of the known ones.
                if pin in cell.outputs:
                    causes = [
                        slew[b[0]]
                        for p, b in instance.pins.items()
                        if p in cell.inputs and p != clock_pin and b and b[0] in slew
                    ]
                    at = sum(causes) / len(causes) if causes and not cell.state else SLEW
                    internal += changes[bit] * cell.switch_energy(pin, load.get(bit, 0.0), at)
                else:
                    internal += changes[bit] * cell.switch_energy(pin, 0.0, slew.get(bit, SLEW))
    return ModulePower(switching, internal, clock, leakage)


class GatePower:
    """Energies in pJ of a clock gate: ``clock`` each time the clock before it ticks, ``enable`` for each
    change of its enable; ``leakage`` in nW."""

    def __init__(self, library):
        gate = gate_module(library)
        pins = {pin: bits[0] for instance in gate.instances for pin, bits in instance.pins.items()}
        ports = {name: bits[0] for name, (_, bits) in gate.ports.items()}
        of = lambda **changes: module_power(
            gate, library, {(pins | ports)[name]: count for name, count in changes.items()}, {}
        )
        self.clock = of(clk=2, CLK=2).energy  # CLK: the latch's, after the inverter
        self.enable = of(en=1, Q=1).energy
        self.leakage = of().leakage
        self._and = library.cells[AND]

    def tick(self, load):
        """Inside the gate, each time its own clock ticks, which has ``load`` pF."""
        return 2 * self._and.switch_energy("Y", min(load, self._and.limit["Y"]), SLEW)
