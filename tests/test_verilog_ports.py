"""The pins of a top: AXI's names, order, directions, widths and constants, and what they carry."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from poblano.axi.lite import AXILiteSignature
from poblano.axi.signature import AXIConfig, AXIReadSignature, AXISignature, AXIWriteSignature
from poblano.chip import Chip
from poblano.config import preset
from poblano.verilog import emit, pins
from tb.common.bulk import build

AW = "m_axi_awid 3 m_axi_awaddr 32 m_axi_awlen 8 m_axi_awsize 3 m_axi_awburst 2 m_axi_awvalid 1"
W = "m_axi_wdata 64 m_axi_wstrb 8 m_axi_wlast 1 m_axi_wvalid 1"
CHIP = f"""
out irq 1 trace_start 4 trace_done 4
in s_axil_awaddr 12 s_axil_awvalid 1
out s_axil_awready 1
in s_axil_wdata 32 s_axil_wstrb 4 s_axil_wvalid 1
out s_axil_wready 1 s_axil_bresp 2 s_axil_bvalid 1
in s_axil_bready 1 s_axil_araddr 12 s_axil_arvalid 1
out s_axil_arready 1 s_axil_rdata 32 s_axil_rresp 2 s_axil_rvalid 1
in s_axil_rready 1
out {AW}
in m_axi_awready 1
out {AW.replace("_aw", "_ar")}
in m_axi_arready 1
out {W}
in m_axi_wready 1 m_axi_bid 3 m_axi_bresp 2 m_axi_bvalid 1
out m_axi_bready 1
in m_axi_rid 3 m_axi_rdata 64 m_axi_rresp 2 m_axi_rlast 1 m_axi_rvalid 1
out m_axi_rready 1
"""


def test_chip():
    """The pins of nano, in the order in which the constraints list them."""
    expected = []
    for line in CHIP.split("\n")[1:-1]:
        direction, *rest = line.split()
        expected += [
            (name, int(width), direction) for name, width in zip(rest[0::2], rest[1::2], strict=True)
        ]
    chip = Chip(preset("nano"))
    chip._MustUse__used = True
    got = [(name, len(value), "in" if flow == In else "out") for name, value, flow in pins(chip)]
    assert got == expected


def test_chip_with_homes():
    """A port for each home, with numbers, in the place of the one; ids for the bursts of all masters."""
    chip = Chip(preset("desk").with_axi_ports().with_memory(paging=None, homes=2, outstanding=2))
    chip._MustUse__used = True
    got = [(name, len(value)) for name, value, _ in pins(chip)]
    ports = [[(name, width) for name, width in got if name.startswith(f"m_axi{n}_")] for n in range(2)]
    assert [name.replace("axi0", "axi1") for name, _ in ports[0]] == [name for name, _ in ports[1]]
    one = Chip(preset("desk").with_axi_ports())
    one._MustUse__used = True
    names = [name for name, _, _ in pins(one) if name.startswith("m_axi_")]
    assert [name.replace("axi0", "axi") for name, _ in ports[0]] == names
    widths = dict(got)
    assert widths["m_axi1_arid"] == widths["m_axi0_bid"] == 3 + 2  # 8 writes; fetch, DMA engine, a tile
    assert widths["m_axi1_araddr"] == 32 and widths["m_axi1_wdata"] == 256
    assert not any(name.startswith("m_axi_") for name in widths)


class Loop(wiring.Component):
    """What comes in at one interface goes out at another of the same signature, and back."""

    def __init__(self, signature):
        self._signature_of = signature
        super().__init__({"s": In(signature), "m": Out(signature), "plain": In(stream.Signature(4))})

    def elaborate(self, platform):
        m = Module()
        wiring.connect(m, wiring.flipped(self.s), wiring.flipped(self.m))
        return m


SIZES = AXIConfig(addr_width=20, data_width=32, id_width=2)


@pytest.mark.parametrize(
    "signature", [AXILiteSignature(), AXIReadSignature(SIZES), AXIWriteSignature(SIZES), AXISignature(SIZES)]
)
def test_verilog(signature):
    """Each pin of the Verilog has its direction and carries its field; a master's constants are driven."""
    text = emit(Loop(signature), "loop")
    suffixes = {name: (len(value), flow) for name, value, flow in signature.pins(signature.create())}
    for suffix, (width, flow) in suffixes.items():
        bits = f"[{width - 1}:0] " if width > 1 else ""
        for prefix, side in (("m", flow), ("s", flow.flip())):
            direction = "output" if side == Out else "input"
            assert f"  {direction} {bits}{prefix}_{suffix};\n" in text, (prefix, suffix)
    assert "  input [3:0] plain__payload;\n" in text


def test_values():
    """All pins of an AXI4 pass through the Verilog unchanged; size and burst are as a master's must be."""
    component = Loop(AXISignature(SIZES))
    rng = np.random.default_rng(1)
    inputs = {}
    for name, value, flow in pins(component):
        if flow == In:
            size = next(size for size in (1, 2, 4) if len(value) <= 8 * size)
            inputs[name] = rng.integers(0, 1 << len(value), 50).astype(f"u{size}")
    got = build(component, latency=0)(**inputs)
    for name, values in inputs.items():
        other = ("m" if name[0] == "s" else "s") + name[1:]
        if other in got and not name.endswith(("size", "burst")):
            assert np.array_equal(got[other], values), name
    for channel in ("aw", "ar"):
        assert (got[f"m_{channel}size"] == 2).all() and (got[f"m_{channel}burst"] == 1).all()
