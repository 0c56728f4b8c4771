"""Energy at newer nodes: factors by which that of a gate at 180 nm and 1.8 V falls, each from a source, as
a range.

From 180 to 7 nm two ways lead, and they differ by far. Curves through simulated gates without wires
(Stillmaker and Baas) give the high end. The low end takes the curves to 45 nm only, and from there what
designers of chips report of INT8 multipliers (Jouppi et al.). To 5 and 3 nm both ends take what the foundry
states. Memories, wires and the clock's tree are not in what is scaled, and not in the factors.
"""

__all__ = ["NODES", "SOURCES", "energy_factor", "tops_per_watt"]

SOURCES = (
    "A. Stillmaker, B. Baas: Scaling equations for the accurate prediction of CMOS device performance from "
    "180 nm to 7 nm. Integration, the VLSI Journal 58 (2017), table 5",
    "N. Jouppi et al.: Ten lessons from three generations shaped Google's TPUv4i. ISCA 2021, table 2",
    "TSMC, 5nm Technology: about 30 % less power than N7 at the same speed",
    "TSMC, Technology Symposium 2020: N3 25 to 30 % less power than N5 at the same speed",
)

GATES = {
    "180 nm": (0.0, 24.64, -17.98),
    "45 nm HP": (1.018, -0.3107, 0.1539),
    "7 nm HP": (0.1776, -0.09097, 0.02447),
    "7 nm LP": (0.09365, -0.03409, 0.02043),
}
"""Energy of a gate as a polynomial of its voltage, highest power first (source 1)."""
MULTIPLIER = 0.2 / 0.07
"""An INT8 multiplication in 45 nm by one in 7 nm, in pJ (source 2; its addition falls 4.3 times)."""
N5 = 1 / (1 - 0.30), 1 / (1 - 0.30)
"""Of 7 nm by 5 nm (source 3)."""
N3 = 1 / (1 - 0.25), 1 / (1 - 0.30)
"""Of 5 nm by 3 nm (source 4)."""
LIBRARY_VOLTAGE, VOLTAGE_45 = 1.8, 1.0
VOLTAGE_7 = 0.7
"""The voltages at 45 and 7 nm are assumptions: what such chips are run at."""
NODES = ("7 nm", "5 nm", "3 nm")


def _gate(node, voltage):
    square, linear, constant = GATES[node]
    return square * voltage**2 + linear * voltage + constant


def energy_factor(node):
    """The least and the most by which the energy falls from 180 nm to ``node``, one of :data:`NODES`."""
    start = _gate("180 nm", LIBRARY_VOLTAGE)
    factors = [
        start / _gate("45 nm HP", VOLTAGE_45) * MULTIPLIER,
        start / min(_gate(kind, VOLTAGE_7) for kind in ("7 nm HP", "7 nm LP")),
    ]
    for step in (N5, N3)[: NODES.index(node)]:
        factors = [factor * more for factor, more in zip(factors, step)]
    return tuple(factors)


def tops_per_watt(measured):
    """Of each of :data:`NODES` (least, most) for what is ``measured`` at 180 nm, at the same work a cycle."""
    return {node: tuple(measured * factor for factor in energy_factor(node)) for node in NODES}
