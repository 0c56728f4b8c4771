"""The ports of a component's Verilog module."""

from amaranth.hdl import Const, Elaboratable, Signal, Value, ValueCastable
from amaranth.lib import wiring

__all__ = ["Top", "pins", "port_values"]


def port_values(component):
    """Name, value and direction (from inside) of each port of ``component``; a struct is one packed port."""
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if isinstance(value, Value) and not isinstance(value, Const) and len(value):
            yield "__".join(map(str, path)), value, member.flow


def pins(component):
    """Name, value and direction of each port of a top: those of :func:`port_values`, but a member whose
    signature has a method ``pins`` (:class:`~poblano.axi.signature.AXISignature`, for example) has the
    customary pins that this gives, named after the member: ``m_axi.write.aw.payload.addr`` is
    ``m_axi_awaddr``, and of an array ``m_axi[0].write.aw.payload.addr`` is ``m_axi0_awaddr``."""
    plain = list(port_values(component))
    for name, member in component.signature.members.items():
        if member.is_signature and hasattr(member.signature, "pins"):
            interface = getattr(component, name)
            array = enumerate(interface) if member.dimensions else [("", interface)]
            for number, one in array:
                for suffix, value, flow in member.signature.pins(one):
                    yield (
                        f"{name}{number}_{suffix}",
                        value,
                        flow if member.flow == wiring.Out else flow.flip(),
                    )
        else:
            yield from (port for port in plain if port[0] == name or port[0].startswith(f"{name}__"))


class Top(Elaboratable):
    """``component`` as the top of a design.

    Attributes
    ----------
    ports : list of name, Signal and direction of each of the :func:`pins`; and, with direction None, of the
        IOPorts that the component has in a dict ``io_ports``
    """

    def __init__(self, component):
        self.component = component
        self.ports, self._wires = [], []
        for name, value, flow in pins(component):
            signal = value
            if not isinstance(value, Signal):  # a field of a payload, or a constant
                signal = Signal(value.shape(), name=name)
                if flow == wiring.Out:
                    self._wires.append(signal.eq(value))
                elif not isinstance(value, Const):  # a constant of another master's is not looked at
                    self._wires.append(value.eq(signal))
            self.ports.append((name, signal, flow))
        for name, port in getattr(component, "io_ports", {}).items():
            self.ports.append((name, port, None))

    def elaborate(self, platform):
        self.component._MustUse__used = True  # elaborated here, not as a submodule
        m = self.component.elaborate(platform)
        m.d.comb += self._wires
        return m
