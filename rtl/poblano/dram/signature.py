"""The command interface between a controller and its DRAM: the pins, less the PHY's clocks and strobes."""

from amaranth.hdl import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .address import AddressMap
from .timing import TimingSet

__all__ = ["ColumnOp", "DramSignature", "RowOp"]


class RowOp(enum.Enum, shape=3):
    """Commands of the row bus."""

    NOP = 0
    ACTIVATE = 1
    PRECHARGE = 2
    PRECHARGE_ALL = 3
    REFRESH_ALL = 4
    REFRESH_BANK = 5


class ColumnOp(enum.Enum, shape=2):
    """Commands of the column bus."""

    NOP = 0
    READ = 1
    WRITE = 2


class DramSignature(wiring.Signature):
    """One controller cycle of a DRAM's pins, the controller's side.

    The row command is in the memory clock ``row_phase`` of the cycle, the column command in
    ``column_phase``. Data of a burst are ``pins`` bits in each of its ``Cycles.burst`` cycles, low bytes
    first: of a write from ``Cycles.write_latency`` cycles after its command, of a read
    ``Cycles.read_latency``. A PHY moves them to and from the edges of the memory's clock.

    Members
    -------
    row : Out({op: RowOp, group, bank, row})
    column : Out({op: ColumnOp, group, bank, column})
    write : Out({data, strb, sideband}), strb a bit a byte, 1 where it is written; sideband is written with
        any byte
    read : In({data, sideband})
    """

    def __init__(self, timing: TimingSet, *, burst_cycles):
        bits = AddressMap(timing).bits | {
            "group": exact_log2(timing.groups),
            "bank": exact_log2(timing.banks),
        }
        width = 8 * timing.burst_bytes // burst_cycles
        sideband = timing.sideband_bits // burst_cycles
        self.timing, self.burst_cycles = timing, burst_cycles
        read = {"data": width, "sideband": sideband}
        super().__init__(
            {
                "row": Out(
                    data.StructLayout(
                        {"op": RowOp, "group": bits["group"], "bank": bits["bank"], "row": bits["row"]}
                    )
                ),
                "column": Out(
                    data.StructLayout(
                        {
                            "op": ColumnOp,
                            "group": bits["group"],
                            "bank": bits["bank"],
                            "column": bits["column"],
                        }
                    )
                ),
                "write": Out(data.StructLayout({"data": width, "strb": width // 8, "sideband": sideband})),
                "read": In(data.StructLayout(read)),
            }
        )

    def pins(self, interface):
        """Suffix, value and direction of each pin of ``interface``, which has this signature."""
        for name, flow in (("row", Out), ("column", Out), ("write", Out), ("read", In)):
            payload = getattr(interface, name)
            for field in payload.shape().members:
                if len(Value.cast(payload[field])):
                    yield f"{name}_{field}", Value.cast(payload[field]), flow
