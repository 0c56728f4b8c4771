"""Power of a netlist from how often its nets change: the energies of the library's tables, and the charge
of the pins."""

from dataclasses import dataclass

__all__ = ["ModulePower", "module_power"]

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


def module_power(module, library, changes, instances, cycles):
    """The :class:`ModulePower` of ``module`` whose nets (bits) made ``changes`` (a dict) in ``cycles``, in
    all its ``instances``.

    A change of a net charges or discharges the pins of the module's own cells on it: C V^2 / 2. It also
    takes the energy inside the cell that drives it, and inside the cells whose inputs the library gives an
    energy of their own. A flip-flop takes that of its clock pin twice a cycle. Wires have no capacitance
    yet, there is no tree for the clock, and glitches are not counted.
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
    switching = (
        sum(changes.get(bit, 0) * capacitance for bit, capacitance in load.items()) * library.voltage**2 / 2
    )
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
                clock += (
                    2
                    * cycles
                    * instances
                    * (cell.switch_energy(pin, 0.0, SLEW) + cell.capacitance[pin] * library.voltage**2 / 2)
                )
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
