"""AXI4 as streams."""

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = [
    "AXIConfig",
    "AXIReadSignature",
    "AXISignature",
    "AXIWriteSignature",
    "channel_pins",
    "connect_read",
    "connect_write",
]

BURST_INCR = 1


@dataclass(frozen=True, kw_only=True)
class AXIConfig:
    """The widths of an AXI4 port in bits; ``data_width`` is a power of two of at least 8."""

    addr_width: int
    data_width: int
    id_width: int = 1

    @property
    def data_bytes(self):
        return self.data_width // 8

    @property
    def address(self):
        """The payload of AR and AW: the id, the address of the first beat, and the beats less one."""
        return data.StructLayout({"id": self.id_width, "addr": self.addr_width, "len": 8})

    @property
    def address_constants(self):
        """What AR and AW tell besides, of every burst: all beats are whole, addresses increment."""
        return {"size": C(exact_log2(self.data_bytes), 3), "burst": C(BURST_INCR, 2)}


def channel_pins(name, flow, channel, constants=None):
    """Suffix, value and direction of each pin of the stream ``channel``, whose source has the direction
    ``flow``: its payload's fields, ``constants``, and the handshake."""
    for field in channel.payload.shape().members:
        yield f"{name}{field}", channel.payload[field], flow
    for field, value in (constants or {}).items():
        yield f"{name}{field}", value, flow
    yield f"{name}valid", channel.valid, flow
    yield f"{name}ready", channel.ready, flow.flip()


class AXIReadSignature(wiring.Signature):
    """AXI4 read channels, master's side. INCR bursts of whole beats."""

    def __init__(self, config: AXIConfig):
        self._config = config
        beat = {"id": config.id_width, "data": config.data_width, "resp": 2, "last": 1}
        super().__init__(
            {"ar": Out(stream.Signature(config.address)), "r": In(stream.Signature(data.StructLayout(beat)))}
        )

    def pins(self, interface):
        """Suffix, value and direction of each pin of ``interface``, which has this signature."""
        yield from channel_pins("ar", Out, interface.ar, self._config.address_constants)
        yield from channel_pins("r", In, interface.r)


class AXIWriteSignature(wiring.Signature):
    """AXI4 write channels, master's side. INCR bursts of whole beats with strobes."""

    def __init__(self, config: AXIConfig):
        self._config = config
        beat = {"data": config.data_width, "strb": config.data_bytes, "last": 1}
        super().__init__(
            {
                "aw": Out(stream.Signature(config.address)),
                "w": Out(stream.Signature(data.StructLayout(beat))),
                "b": In(stream.Signature(data.StructLayout({"id": config.id_width, "resp": 2}))),
            }
        )

    def pins(self, interface):
        """As :meth:`AXIReadSignature.pins`."""
        yield from channel_pins("aw", Out, interface.aw, self._config.address_constants)
        yield from channel_pins("w", Out, interface.w)
        yield from channel_pins("b", In, interface.b)


class AXISignature(wiring.Signature):
    """All channels of AXI4, master's side.

    Members
    -------
    read : Out(AXIReadSignature)
    write : Out(AXIWriteSignature)
    """

    def __init__(self, config: AXIConfig):
        self._config = config
        super().__init__({"read": Out(AXIReadSignature(config)), "write": Out(AXIWriteSignature(config))})

    def pins(self, interface):
        """As :meth:`AXIReadSignature.pins`."""
        read, write = interface.read, interface.write
        for name, channel in (("aw", write.aw), ("ar", read.ar)):
            yield from channel_pins(name, Out, channel, self._config.address_constants)
        yield from channel_pins("w", Out, write.w)
        yield from channel_pins("b", In, write.b)
        yield from channel_pins("r", In, read.r)


def connect_read(m, inside, outside):
    """Joins a read master ``inside`` to a port ``outside``, seen from inside its owner, whose ids may be
    longer and whose addresses may be shorter."""
    _join(m, inside.ar, outside.ar)
    _join(m, outside.r, inside.r)


def connect_write(m, inside, outside):
    """As :func:`connect_read`, of a write master."""
    _join(m, inside.aw, outside.aw)
    _join(m, inside.w, outside.w)
    _join(m, outside.b, inside.b)


def _join(m, source, target):
    """Joins streams whose payloads have the same fields, which may differ in their widths."""
    m.d.comb += [target.valid.eq(source.valid), source.ready.eq(target.ready)]
    m.d.comb += [target.payload[field].eq(source.payload[field]) for field in source.payload.shape().members]
