"""Ten bugs, each in another block, and what the first screen of a failed test has to say about each."""

from dataclasses import dataclass

__all__ = ["BUGS", "SCREEN", "Bug", "table"]

SCREEN = 40
"""Lines of the first screen."""


@dataclass(frozen=True)
class Bug:
    """``old`` becomes ``new`` in ``file``; ``command`` fails then, and its first screen names ``block`` and
    ``rule`` (regular expressions). ``quick``: in ``make test``, not only in ``make nightly``."""

    name: str
    what: str
    file: str
    old: str
    new: str
    command: str
    block: str
    rule: str
    quick: bool = False


BUGS = (
    Bug(
        "axi reader",
        "a word that leaves while a burst begins gives no credit back",
        "rtl/poblano/axi/reader.py",
        "Mux(self.o.valid & self.o.ready, self.beats, 0)",
        "Mux(self.o.valid & self.o.ready & ~begin, self.beats, 0)",
        "pytest -q -x tests/test_axi_reader.py",
        "AXIReader",
        r"\d+ of its credit are lost: \d of 4 are left",
        quick=True,
    ),
    Bug(
        "fifo",
        "ready although it is full",
        "rtl/poblano/stream/fifo.py",
        "self.i.ready.eq(queue.w_rdy)",
        "self.i.ready.eq(1)",
        "pytest -q -x tests/test_stream_fifo.py",
        "FIFO",
        "ready while it has room",
        quick=True,
    ),
    Bug(
        "vector alu",
        "MAX and MIN are exchanged",
        "rtl/poblano/vector/alu.py",
        "(a_key < b_key) ^ (op == AluOp.MIN)",
        "(a_key < b_key) ^ (op == AluOp.MAX)",
        "pytest -q -x tests/test_vector_alu.py",
        "LaneALU",
        "result is the reference's.*(MIN|MAX)",
    ),
    Bug(
        "accumulator",
        "each row begins a new sum",
        "rtl/poblano/compute/accumulator.py",
        "flow.first.eq(at.first.step)",
        "flow.first.eq(at.first.row)",
        "pytest -q -x tests/test_compute_accumulator.py",
        "Accumulator",
        "sum",
    ),
    Bug(
        "weight loader",
        "the scales of the newest step are read, not of the oldest",
        "rtl/poblano/compute/weights.py",
        "read_port.addr.eq(oldest)",
        "read_port.addr.eq(newest)",
        "pytest -q -x tests/test_compute_weights.py",
        "Weight loader",
        "scales",
    ),
    Bug(
        "command checker",
        "an overlap hides the rule that was broken before",
        "rtl/poblano/control/checker.py",
        "Mux((code == ErrorCode.NONE) & overlap, ErrorCode.OVERLAP, code)",
        "Mux(overlap, ErrorCode.OVERLAP, code)",
        "make bench BLOCK=checker",
        "checker",
        "OVERLAP",
    ),
    Bug(
        "dram refresher",
        "one bank is never refreshed",
        "rtl/poblano/dram/refresher.py",
        "m.d.sync += pending.eq(-1)",
        "m.d.sync += pending.eq(-2)",
        "pytest -q -x tests/test_dram_controller.py",
        "DRAM controller",
        "refresh",
    ),
    Bug(
        "broadcast bus",
        "a source is told that its transfer is over before all tiles have taken it",
        "rtl/poblano/bus/broadcast.py",
        "turn.open[i] & fan.i.ready)",
        "turn.open[i])",
        "pytest -q -x tests/test_bus_broadcast.py",
        "BroadcastBus",
        "completed too early",
    ),
    Bug(
        "dma engine",
        "rows of a STORE come from the wrong lines",
        "rtl/poblano/memory/store.py",
        "walk.cmd.payload.stride.eq(at(store.src_stride))",
        "walk.cmd.payload.stride.eq(at(store.src))",
        "make bench BLOCK=memory CONFIG=narrow",
        "DMA engine",
        "written last by STORE",
    ),
    Bug(
        "quantiser",
        "the sum of a block begins with that of the block before",
        "rtl/poblano/vector/quantiser.py",
        "new_total.eq(Mux(first, 0, total) + beat_sum)",
        "new_total.eq(total + beat_sum)",
        "pytest -q -x tests/test_vector_quantiser.py",
        "Quantiser",
        "sum",
    ),
)


def table():
    """The table of the document."""
    lines = ["| Block | The bug | Command |", "|---|---|---|"]
    return "\n".join(lines + [f"| {bug.name} | {bug.what} | `{bug.command}` |" for bug in BUGS])
