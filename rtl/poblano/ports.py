"""The ports of a component's Verilog module."""

from amaranth.hdl import Const, Elaboratable, Signal, Value, ValueCastable
from amaranth.lib import wiring
from amaranth.lib.fifo import FIFOInterface

__all__ = ["Top", "port_values"]

FIFO_PORTS = {
    "w_data": wiring.In,
    "w_en": wiring.In,
    "w_rdy": wiring.Out,
    "w_level": wiring.Out,
    "r_data": wiring.Out,
    "r_en": wiring.In,
    "r_rdy": wiring.Out,
    "r_level": wiring.Out,
}
"""Of Amaranth's FIFOs, which have no signature."""


def port_values(component):
    """Name, value and direction (from inside) of each port of ``component``; a struct is one packed port."""
    if isinstance(component, FIFOInterface):
        for name, flow in FIFO_PORTS.items():
            yield name, getattr(component, name), flow
        return
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if isinstance(value, Value) and not isinstance(value, Const) and len(value):
            yield "__".join(map(str, path)), value, member.flow


class Top(Elaboratable):
    """``component`` as the top of a design, whose standard interfaces have the customary pins.

    A member whose signature has a method ``pins`` (:class:`~poblano.axi.signature.AXISignature`, for
    example) becomes the pins that this gives, named after the member: ``m_axi.write.aw.payload.addr`` is
    ``m_axi_awaddr``. All other ports are as :func:`port_values` has them.

    Attributes
    ----------
    pins : list of name, Signal and direction, in the order of the component's members
    """

    def __init__(self, component):
        self.component = component
        self.pins, self._wires = [], []
        flat = set()
        for name, member in component.signature.members.items():
            if member.is_signature and hasattr(member.signature, "pins"):
                flat.add(name)
                for suffix, value, flow in member.signature.pins(getattr(component, name)):
                    flow = flow if member.flow == wiring.Out else flow.flip()
                    self._add(f"{name}_{suffix}", Value.cast(value), flow)
            else:
                self.pins += [
                    port
                    for port in port_values(component)
                    if port[0] == name or port[0].startswith(f"{name}__")
                ]

    def _add(self, name, value, flow):
        pin = Signal(value.shape(), name=name)
        self.pins.append((name, pin, flow))
        self._wires.append(pin.eq(value) if flow == wiring.Out else value.eq(pin))

    def elaborate(self, platform):
        self.component._MustUse__used = True  # elaborated here, not as a submodule
        m = self.component.elaborate(platform)
        m.d.comb += self._wires
        return m
