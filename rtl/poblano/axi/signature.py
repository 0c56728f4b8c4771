"""AXI4 as streams."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AXIReadSignature", "AXIWriteSignature"]


class AXIReadSignature(wiring.Signature):
    """AXI4 read channels, master's side. INCR bursts of whole beats; arsize, arburst are constants of the
    top."""

    def __init__(self, *, addr_width, data_width, id_width):
        super().__init__(
            {
                "ar": Out(
                    stream.Signature(data.StructLayout({"id": id_width, "addr": addr_width, "len": 8}))
                ),
                "r": In(
                    stream.Signature(
                        data.StructLayout({"id": id_width, "data": data_width, "resp": 2, "last": 1})
                    )
                ),
            }
        )


class AXIWriteSignature(wiring.Signature):
    """AXI4 write channels, master's side. INCR bursts of whole beats with strobes."""

    def __init__(self, *, addr_width, data_width, id_width):
        super().__init__(
            {
                "aw": Out(
                    stream.Signature(data.StructLayout({"id": id_width, "addr": addr_width, "len": 8}))
                ),
                "w": Out(
                    stream.Signature(
                        data.StructLayout({"data": data_width, "strb": data_width // 8, "last": 1})
                    )
                ),
                "b": In(stream.Signature(data.StructLayout({"id": id_width, "resp": 2}))),
            }
        )
