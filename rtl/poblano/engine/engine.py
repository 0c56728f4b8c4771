"""The systolic array and its block sums between two memories that a host fills and empties."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi.lite import AXILiteSignature, AXILiteSlave
from ..axi.signature import AXIConfig, AXIReadSignature, AXIWriteSignature
from ..compute.array import SystolicArray
from ..compute.block_sums import BlockSums
from ..formats.element import Element, decode_operand
from ..stream.loop_walk import LoopWalk
from ..stream.read_ahead import ReadAhead
from ..verilog import place
from .axi_memory import AXIMemory
from .config import IDENTITY, REGISTERS, STEP_BITS, VERSION, EngineConfig, Fault
from .memory import LANE, EngineMemory, MemoryPortSignature

__all__ = ["Engine"]


class _Fetch(wiring.Component):
    """Words of a memory as a stream, with the ``first`` of their addresses; a word a cycle, three cycles
    after its address.

    Members
    -------
    i : In(stream), ``addr`` and ``first``
    read : the memory's read port
    o : Out(stream), ``data``, bytes, and ``first``
    """

    DEPTH = 8

    def __init__(self, *, width, depth):
        self.width, self.depth = width, depth
        port = MemoryPortSignature(width=width, depth=depth).members["read"].signature
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"addr": (depth - 1).bit_length(), "first": 1}))),
                "read": Out(port),
                "o": Out(
                    stream.Signature(data.StructLayout({"data": data.ArrayLayout(8, width // 8), "first": 1}))
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = self.o.payload.shape()
        reads = place(m, "reads", ReadAhead(request=len(self.i.payload.addr), answer=word, depth=self.DEPTH))
        fresh, first = Signal(), Signal()  # the word is at the memory's output
        m.d.comb += [
            reads.i.payload.request.eq(self.i.payload.addr),
            reads.i.valid.eq(self.i.valid),
            self.i.ready.eq(reads.i.ready),
            self.read.addr.eq(reads.req.payload),
            self.read.en.eq(reads.req.valid),
            reads.req.ready.eq(1),
            reads.answered.eq(fresh),
            reads.answer.data.eq(self.read.data),
            reads.answer.first.eq(first),
        ]
        connect(m, reads.o, flipped(self.o))
        m.d.sync += [fresh.eq(self.read.en), first.eq(self.i.payload.first)]
        return m


class Engine(wiring.Component):
    """Computes the exact block sums of INT8 activations and weights, a job at a time.

    Latency: about 2 * rows + cols + ROWS * result words cycles, to fill and empty the pipelines.

    A job of ``ROWS`` activation rows, ``K_BLOCKS`` blocks of 32 along K and ``GROUPS`` groups of the
    array's columns. In memory, in words: of activations, for each block, each of its passes and each row,
    the row's elements of the pass; of weights, for each group, block and pass, each row's elements; of
    results, for each group, block and row, the sums of 32 bits, :attr:`EngineConfig.result_words` words.
    Elements past a block's 32nd, in the last pass, must be zero. An activation of -128 reads as -127, as in
    the chip.

    A job takes ``K_BLOCKS * GROUPS`` steps of max(passes * max(ROWS, array rows), ROWS * result words)
    cycles, more where a memory has one port, and the latency. While it runs,
    accesses to memory wait; writes of registers answer with SLVERR.

    Members
    -------
    registers : In(AXILiteSignature()), see :data:`REGISTERS`
    read, write : In(AXIReadSignature), In(AXIWriteSignature), the two memories, one after the other
    busy : Out(1)
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        axi = AXIConfig(addr_width=config.addr_width, data_width=LANE)
        super().__init__(
            {
                "registers": In(AXILiteSignature()),
                "read": In(AXIReadSignature(axi)),
                "write": In(AXIWriteSignature(axi)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, array_config = self.config, self.config.array
        width, depth = 8 * config.word_bytes, config.words
        memories = [
            place(m, name, EngineMemory(width=width, depth=depth, ports=config.ports)).port
            for name in ("activations", "weights_and_results")
        ]
        array = place(m, "array", SystolicArray(array_config, transpose=False))
        sums = place(m, "block_sums", BlockSums(array_config, tokens=config.tokens, early=False))
        fetches = [
            place(m, f"{name}_fetch", _Fetch(width=width, depth=depth)) for name in ("activation", "weight")
        ]
        counts = {"steps": STEP_BITS, "groups": STEP_BITS}
        blocks = {"group": "groups", "step": "steps", "pass_": array_config.passes}
        rows_walk = place(
            m,
            "activation_walk",
            LoopWalk(fields=counts | {"rows": len(sums.row) + 1}, loops=blocks | {"row": "rows"}),
        )
        items_walk = place(
            m, "weight_walk", LoopWalk(fields=counts, loops=blocks | {"item": array_config.rows})
        )

        job = self._registers(m)
        self._accesses(m, job, memories, [fetch.read for fetch in fetches])
        for part in rows_walk.cmd, items_walk.cmd, sums.cmd:
            fields = part.payload.shape().members
            m.d.comb += [
                part.valid.eq(job["start"]),
                part.payload.steps.eq(job["K_BLOCKS"]),
                part.payload.groups.eq(job["GROUPS"]),
            ]
            if "rows" in fields:
                m.d.comb += part.payload.rows.eq(job["ROWS"])
            if "passes" in fields:
                m.d.comb += part.payload.passes.eq(array_config.passes)
        flight, drained = Signal(range(3)), Signal()  # steps whose sums have a bank; one is free again
        self._activations(m, job, rows_walk, fetches[0].i, flight, drained)
        self._weights(m, job, items_walk, fetches[1].i)
        self._operands(m, fetches[0].o, fetches[1].o, array)

        # Constant, so that no clock enable runs through the array.
        m.d.comb += [sums.i.payload.eq(array.o.payload), sums.i.valid.eq(array.o.valid), array.o.ready.eq(1)]
        with m.If(array.o.valid & ~sums.i.ready):
            m.d.sync += job["fault"].eq(Fault.OVERRUN)
        self._results(m, job, sums, memories[1].write, drained)
        with m.If(self.busy & ~job["start"] & ~rows_walk.o.valid & ~items_walk.o.valid & (flight == 0)):
            m.d.sync += self.busy.eq(0)
        return m

    def _accesses(self, m, job, memories, fetches):
        """The host's accesses of the memories, and the engine's reads while it is busy."""
        config = self.config
        lanes = config.word_bytes // (LANE // 8)
        axi = place(m, "axi_memory", AXIMemory(addr_width=config.addr_width, size=2 * config.memory_bytes))
        connect(m, flipped(self.read), axi.read)
        connect(m, flipped(self.write), axi.write)
        where = data.StructLayout(
            {"lane": (lanes - 1).bit_length(), "word": config.word_addr_width, "memory": 1}
        )
        at, fresh = where(axi.addr), Signal()
        last = Signal(data.StructLayout({"lane": at.lane.shape(), "memory": 1}))
        word = Signal(data.ArrayLayout(LANE, lanes), reset_less=True)
        m.d.sync += fresh.eq(axi.read_en)
        with m.If(axi.read_en):
            m.d.sync += [last.lane.eq(at.lane), last.memory.eq(at.memory)]
        with m.If(fresh):
            m.d.sync += word.eq(Mux(last.memory, memories[1].read.data, memories[0].read.data))
        m.d.comb += [
            axi.busy.eq(self.busy | job["pending"]),
            job["idle"].eq(axi.idle),
            axi.read_data.eq(word[last.lane]),
        ]
        for n, (memory, fetch) in enumerate(zip(memories, fetches)):
            here = at.memory == n
            m.d.comb += [
                memory.read.en.eq(Mux(self.busy, fetch.en, axi.read_en & here)),
                memory.read.addr.eq(Mux(self.busy, fetch.addr, at.word)),
                fetch.data.eq(memory.read.data),
                memory.write.addr.eq(at.word),
                memory.write.data.eq(axi.write_data.replicate(lanes)),
                memory.write.en.eq(Mux(axi.write_en & here, C(1, lanes) << at.lane, 0)),
            ]

    def _activations(self, m, job, walk, fetch, flight, drained):
        """Addresses of activations: a step begins when one of the two banks of sums will be free when its
        first sums come, so that the array never stands still."""
        at = walk.o.payload
        opens = at.first.pass_ & at.first.row
        begins, may = Signal(), Signal()
        position, here = (Signal(self.config.word_addr_width + 1, name=name) for name in ("position", "here"))
        m.d.comb += [
            may.eq(~opens | (flight < 2)),
            here.eq(Mux(opens & at.first.step, job["ACTIVATIONS"], position)),
            fetch.valid.eq(walk.o.valid & may),
            walk.o.ready.eq(fetch.ready & may),
            fetch.payload.addr.eq(here),
            fetch.payload.first.eq(at.first.row),
            begins.eq(fetch.valid & fetch.ready & opens),
        ]
        with m.If(fetch.valid & fetch.ready):
            m.d.sync += position.eq(here + 1)
            with m.If(here[-1]):
                m.d.sync += job["fault"].eq(Fault.BAD_ADDRESS)
        m.d.sync += flight.eq(flight + begins - drained)

    def _weights(self, m, job, walk, fetch):
        """Addresses of weights, in the order of memory."""
        weight = Signal(self.config.word_addr_width + 1)
        m.d.comb += [
            fetch.valid.eq(walk.o.valid),
            walk.o.ready.eq(fetch.ready),
            fetch.payload.addr.eq(weight),
        ]
        with m.If(job["start"]):
            m.d.sync += weight.eq(job["WEIGHTS"])
        with m.Elif(fetch.valid & fetch.ready):
            m.d.sync += weight.eq(weight + 1)
            with m.If(weight[-1]):
                m.d.sync += job["fault"].eq(Fault.BAD_ADDRESS)

    def _operands(self, m, activations, weights, array):
        """Words to the operands of the array."""
        decode = lambda code, symmetric: decode_operand(
            C(Element.S8, 3), code, (Element.S8,), 0, symmetric=symmetric
        )
        for source, target in (activations, array.a), (weights, array.w):
            m.d.comb += [target.valid.eq(source.valid), source.ready.eq(target.ready)]
        m.d.comb += array.a.payload.first.eq(activations.payload.first)
        for r in range(self.config.array.rows):
            m.d.comb += array.a.payload.data[r].eq(decode(activations.payload.data[r], True))
        for c in range(self.config.array.cols):
            m.d.comb += array.w.payload.data[0][c].eq(decode(weights.payload.data[c], False))

    def _results(self, m, job, sums, write, drained):
        """Writes the sums of each complete step, row by row."""
        config = self.config
        parts, lanes, cols = config.result_words, config.word_bytes // 4, config.array.cols
        holds, ends = Signal(), Signal()  # a row is at the output of `sums`; it ends its step
        part = Signal(range(max(2, parts)))
        result = Signal(config.word_addr_width + 1)
        whole = Signal()
        m.d.comb += [
            whole.eq((part == parts - 1) & write.ready),
            sums.en.eq(~holds | whole),
            sums.read.eq(sums.full),
            sums.last.eq(sums.row == job["ROWS"] - 1),
            drained.eq(holds & whole & ends),
        ]
        with m.If(job["start"]):
            m.d.sync += result.eq(job["RESULTS"])
        with m.If(sums.en):
            m.d.sync += [holds.eq(sums.read), ends.eq(sums.read & sums.last), part.eq(0)]
            with m.If(sums.read):
                m.d.sync += sums.row.eq(Mux(sums.last, 0, sums.row + 1))
        with m.Elif(write.ready):
            m.d.sync += part.eq(part + 1)
        values = [sums.data[0][c].value for c in range(cols)]
        extended = [Cat(value, value[-1].replicate(LANE - len(value))) for value in values] + [C(0, LANE)] * (
            parts * lanes - cols
        )
        with m.If(self.busy):
            m.d.comb += [
                write.addr.eq(result),
                write.data.eq(Cat(extended).word_select(part, lanes * LANE) if parts > 1 else Cat(extended)),
                write.en.eq((holds & ~result[-1]).replicate(lanes)),
            ]
        with m.If(holds & write.ready):
            m.d.sync += result.eq(Cat((result + 1)[:-1], result[-1] | result[:-1].all()))
            with m.If(result[-1]):
                m.d.sync += job["fault"].eq(Fault.BAD_ADDRESS)

    def _registers(self, m):
        """The registers; what the job needs of them, ``start`` (a cycle, after ``pending``), ``fault``, and
        ``idle``, which is to be driven."""
        config = self.config
        lite, slave = self.registers, self._slave(m)
        bits, skip = config.word_addr_width, (config.word_bytes - 1).bit_length()
        job = {
            name: Signal(width, name=name.lower())
            for name, width in (
                ("ROWS", config.tokens.bit_length()),
                ("K_BLOCKS", STEP_BITS),
                ("GROUPS", STEP_BITS),
                ("ACTIVATIONS", bits),
                ("WEIGHTS", bits),
                ("RESULTS", bits),
            )
        }
        fault, pending, start, idle = Signal(Fault), Signal(), Signal(), Signal()
        cycles = Signal(32)
        bad = (
            (job["ROWS"] == 0) | (job["ROWS"] > config.tokens) | (job["K_BLOCKS"] == 0) | (job["GROUPS"] == 0)
        )
        busy = Signal()
        m.d.comb += [busy.eq(pending | self.busy), start.eq(pending & idle & ~self.busy & ~bad)]
        values = {
            "ID": IDENTITY,
            "VERSION": VERSION,
            "ARRAY": config.array.rows | config.array.cols << 8 | config.word_bytes << 16,
            "LIMITS": config.tokens | config.array.passes << 16,
            "MEMORY_BYTES": config.memory_bytes,
            "CONTROL": 0,
            "STATUS": Cat(busy, fault),
            "CYCLES": cycles,
            **{
                name: signal << (skip if name in ("ACTIVATIONS", "WEIGHTS", "RESULTS") else 0)
                for name, signal in job.items()
            },
        }
        m.d.sync += [slave.read_data.eq(0), slave.read_ok.eq(0)]
        with m.Switch(lite.ar.payload.addr):
            for name, at in REGISTERS.items():
                with m.Case(at):
                    m.d.sync += [slave.read_data.eq(values[name]), slave.read_ok.eq(1)]
        written = []
        for name, signal in {"CONTROL": None, **job}.items():
            low = skip if name in ("ACTIVATIONS", "WEIGHTS", "RESULTS") else 0
            value = lite.w.payload.data
            fits = value == 1 if signal is None else (value[:low] == 0) & (value[low + len(signal) :] == 0)
            here = Signal(name=f"{name.lower()}_here")
            written.append(here)
            m.d.sync += here.eq((lite.aw.payload.addr == REGISTERS[name]) & fits)
            with m.If(slave.write & here & ~busy):
                if signal is None:
                    m.d.sync += [pending.eq(1), fault.eq(Fault.NONE), cycles.eq(0)]
                else:
                    m.d.sync += signal.eq(slave.write_data[low:])
        m.d.comb += slave.write_ok.eq(Cat(written).any() & ~busy)
        with m.If(pending & bad):
            m.d.sync += [pending.eq(0), fault.eq(Fault.BAD_JOB)]
        with m.Elif(start):
            m.d.sync += [pending.eq(0), self.busy.eq(1)]
        with m.If(self.busy):
            m.d.sync += cycles.eq(cycles + 1)
        return job | {"start": start, "pending": pending, "fault": fault, "idle": idle}

    def _slave(self, m):
        """The slave that the registers are behind."""
        slave = place(m, "registers_slave", AXILiteSlave())
        lite, inside = self.registers, slave.axi
        # Addresses and values are decoded in the cycle before the access; until it they stay.
        may_write, may_read = Signal(), Signal()
        m.d.sync += [
            may_write.eq(lite.aw.valid & lite.w.valid & ~may_write),
            may_read.eq(lite.ar.valid & ~may_read),
        ]
        for outer, inner, may in (
            (lite.aw, inside.aw, may_write),
            (lite.w, inside.w, may_write),
            (lite.ar, inside.ar, may_read),
        ):
            m.d.comb += [
                inner.payload.eq(outer.payload),
                inner.valid.eq(outer.valid & may),
                outer.ready.eq(inner.ready & may),
            ]
        connect(m, inside.b, flipped(lite.b))
        connect(m, inside.r, flipped(lite.r))
        return slave
