"""Ten bugs, each in another block, and what the first screen of a failed test has to say about each."""

from dataclasses import dataclass

__all__ = ["BUGS", "SCREEN", "Bug", "table"]

SCREEN = 40
"""Lines of the first screen."""


@dataclass(frozen=True)
class Bug:
    """``old`` becomes ``new`` in ``file``; ``command`` fails then, and its first screen has the texts
    ``block`` and ``rule``. ``quick``: in ``make test``, not only in ``make nightly``."""

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
        ".venv/bin/pytest -q -x tests/test_axi_reader.py",
        "AXIReader",
        "of its credit are lost",
        quick=True,
    ),
    Bug(
        "fifo",
        "ready although it is full",
        "rtl/poblano/stream/fifo.py",
        "self.i.ready.eq(queue.w_rdy),\n            Value.cast(self.o.payload)",
        "self.i.ready.eq(1),\n            Value.cast(self.o.payload)",
        ".venv/bin/pytest -q -x tests/test_stream_fifo.py",
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
        ".venv/bin/pytest -q -x tests/test_vector_alu.py",
        "LaneALU",
        "Each operation's result is the reference's",
    ),
    Bug(
        "accumulator",
        "each row begins a new sum",
        "rtl/poblano/compute/accumulator.py",
        "flow.first.eq(at.first.step)",
        "flow.first.eq(at.first.row)",
        ".venv/bin/pytest -q -x tests/test_compute_accumulator.py",
        "Accumulator",
        "Each sum is the reference's",
    ),
    Bug(
        "weight loader",
        "the scales of the newest step are read, not of the oldest",
        "rtl/poblano/compute/weights.py",
        "read_port.addr.eq(oldest)",
        "read_port.addr.eq(newest)",
        ".venv/bin/pytest -q -x tests/test_compute_weights.py",
        "Weight loader",
        "scales of step 0",
    ),
    Bug(
        "command checker",
        "an overlap hides the rule that was broken before",
        "rtl/poblano/control/checker.py",
        "Mux((code == ErrorCode.NONE) & overlap, ErrorCode.OVERLAP, code)",
        "Mux(overlap, ErrorCode.OVERLAP, code)",
        "make bench BLOCK=checker",
        "checker",
        "OVERLAP, but the first rule that fails has",
    ),
    Bug(
        "dram refresher",
        "one bank is never refreshed",
        "rtl/poblano/dram/refresher.py",
        "m.d.sync += pending.eq(-1)",
        "m.d.sync += pending.eq(-2)",
        ".venv/bin/pytest -q -x tests/test_dram_controller.py",
        "DRAM controller",
        "the last refresh was",
    ),
    Bug(
        "broadcast bus",
        "a source is told that its transfer is over before all tiles have taken it",
        "rtl/poblano/bus/broadcast.py",
        "turn.open[i] & fan.i.ready)",
        "turn.open[i])",
        ".venv/bin/pytest -q -x tests/test_bus_broadcast.py",
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
        ".venv/bin/pytest -q -x tests/test_vector_quantiser.py",
        "Quantiser",
        "scale and sum",
    ),
)


def table():
    """The table of the document."""
    lines = ["| Bug in | what is wrong | Command | The first screen says |", "|---|---|---|---|"]
    row = lambda bug: f"| {bug.name} | {bug.what} | `{bug.command}` | {bug.block}: {bug.rule} |"
    return "\n".join([*lines, *map(row, BUGS)])
