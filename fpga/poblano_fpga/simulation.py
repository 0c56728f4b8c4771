"""A board's netlist with the models of the device's cells, compiled by Verilator, behind its UART's pins."""

from importlib import metadata
from pathlib import Path
import re
import tempfile

from poblano.verilog import emit
from poblano_host.cache import cache_folder, digest, keep
from poblano_host.sim.pins import SimulatedPort

from .yosys import run_yosys

__all__ = ["FASTEST", "SDRAM", "netlist_port", "netlist_verilog", "rtl_port"]

SHARE = Path(str(metadata.distribution("pyosys").locate_file("pyosys/share")))
MODELS = Path(__file__).with_name("models")
SDRAM = MODELS / "sdram.v"
"""The model of an SDRAM at its pins."""
CELLS = {"ice40": "ice40/cells_sim.v", "ecp5": "ecp5/cells_sim.v", "gowin": "gowin/cells_sim.v"}
BLOCKS = (
    "SB_MAC16",
    "SB_RAM40_4K",
    "SB_SPRAM256KA",
    "MULT18X18D",
    "DP16KD",
    "MULT9X9",
    "SDPB",
    "SDPX9B",
    "DPB",
    "DPX9B",
    "TRELLIS_IO",
    "ODDRX1F",
)
"""Cells whose models stay modules; those of the others are dissolved in the netlist, which makes the
simulation much faster."""
PINS = """
module pins(input clk, input rst, input rx, output tx);
  {design};
endmodule
"""
SDRAM_PINS = """
module pins(input clk, input rst, input rx, output tx, output [31:0] errors);
  wire cke, cs_n, ras_n, cas_n, we_n, sdram_clk, host_oe, dq_oe;
  wire [1:0] ba, dqm;
  wire [12:0] a;
  wire [15:0] host_dq, dq, pads;
  {design},
    .sdram_cke(cke), .sdram_cs_n(cs_n), .sdram_ras_n(ras_n), .sdram_cas_n(cas_n), .sdram_we_n(we_n),
    .sdram_ba(ba), .sdram_a(a), .sdram_dqm(dqm), {data});
  assign {joined};
  poblano_sdram #(.PERIOD_PS({period})) sdram (
    .clk(sdram_clk), .cke(cke), .cs_n(cs_n), .ras_n(ras_n), .cas_n(cas_n), .we_n(we_n), .ba(ba), .a(a), \
.dqm(dqm),
    .host_dq(host_dq), .host_oe(host_oe), .dq(dq), .dq_oe(dq_oe), .errors(errors)
  );
endmodule
"""
"""The design, or its netlist, and an SDRAM at its pins."""
FASTEST = 4
"""Clock cycles in a bit, in simulation."""
START_S = 250e-6
"""Until an SDRAM has been started, and the host is listened to."""


def _modules(text):
    """The Verilog modules of ``text`` by name."""
    return {
        match[1]: match[0]
        for match in re.finditer(r"^[ \t]*module\s+(\w+).*?^[ \t]*endmodule", text, re.MULTILINE | re.DOTALL)
    }


def _models(family):
    """What stands before the models (macros), and the models by cell: those of ``models/``, else yosys'."""
    source = SHARE / CELLS[family]
    text = re.sub(
        r'^`include "(.*)"$',
        lambda match: (source.parent / match[1]).read_text(),
        source.read_text(),
        flags=re.MULTILINE,
    )
    # The delays of cells, which a simulation of cycles has no use for.
    text = re.sub(r"^\s*specify\b.*?^\s*endspecify\b", "", text, flags=re.MULTILINE | re.DOTALL)
    return text[: text.index("module ")].rpartition("\n")[0], _modules(text) | _modules(
        (MODELS / f"{family}.v").read_text()
    )


def _closure(names, models):
    """``names`` and the modules that their models instantiate."""
    found, pending = set(), list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [
                other for other in models if other != name and re.search(rf"\b{other}\b", models[name])
            ]
    return sorted(found)


def netlist_verilog(board, netlist, *, report=lambda text: None):
    """The board's netlist with its cells' models, and ``pins`` above it; kept in the cache."""
    head, models = _models(board.family)
    used = [name for name in netlist.cells if not name.startswith("$")]
    if missing := [name for name in used if name not in models]:
        raise ValueError(f"no simulation models of {', '.join(missing)}")
    blocks = _closure([name for name in used if name in BLOCKS], models)
    small = "\n".join(
        [head, *(models[name] for name in _closure([name for name in used if name not in BLOCKS], models))]
    )
    script = [
        "read_verilog -lib blocks.v",
        "read_verilog small.v",
        "read_verilog netlist.v",
        "hierarchy -top top",
        "proc",
        "flatten -noscopeinfo",
        "delete t:$scopeinfo",
        "opt_expr",
        "opt_clean -purge",
        "simplemap",
        "abc -g AND,OR,XOR,MUX",
        "opt_clean -purge",
        "write_verilog -noattr flat.v",
    ]
    stand = "\n".join([head, *(models[name] for name in blocks)])
    path = (
        cache_folder()
        / f"fpga-{digest(netlist.verilog, small, stand, *script, metadata.version('pyosys'))}.v"
    )
    if not path.exists():
        report("dissolving the cells' models")
        with tempfile.TemporaryDirectory(prefix="poblano-") as temporary:
            for name, text in ("blocks.v", stand), ("small.v", small), ("netlist.v", netlist.verilog):
                Path(temporary, name).write_text(text)
            run_yosys(script, folder=temporary)
            keep(path, Path(temporary, "flat.v").read_bytes())
    return (
        stand
        + "\n"
        + path.read_text()
        + _pins(board, "top netlist(.clk(clk), .rx(rx), .tx(tx)", netlist=True)
    )


def _pins(board, design, *, netlist):
    """The module ``pins``, of an instance of the ``design`` without what ends it; a netlist has the SDRAM's
    data pins, RTL what drives them."""
    if board.sdram is None:
        return PINS.format(design=design + ")")
    data = ".sdram_dq_o(host_dq), .sdram_dq_oe(host_oe), .sdram_dq_i(dq)"
    joined = "sdram_clk = ~clk"
    if netlist:
        data = ".sdram_clk(sdram_clk), .sdram_dq(pads)"
        joined = "pads = dq_oe ? dq : 16'bz, host_dq = pads, host_oe = ~netlist.sdram_dq0.T"
    period = 10**12 // board.clock_hz
    return SDRAM_PINS.format(design=design, data=data, joined=joined, period=period) + SDRAM.read_text()


def netlist_port(board, netlist, *, report=lambda text: None):
    """A :class:`SimulatedPort` at the pins of the board's netlist; the PLL is a wire, so that its time is
    the design's."""
    return _port(board, netlist_verilog(board, netlist, report=report), report)


def rtl_port(board, *, report=lambda text: None):
    """A :class:`SimulatedPort` at the pins of the same design's RTL."""
    rtl = emit(board.system(), "system", clock_gates=False)
    instance = "system rtl(.clk(clk), .rst(rst), .rx(rx), .tx(tx)"
    return _port(board, rtl + _pins(board, instance, netlist=False), report)


def _port(board, verilog, report):
    port = SimulatedPort(verilog, clock_hz=board.clock_hz, baudrate=board.baud, report=report)
    if board.sdram is not None:
        port.sleep(START_S)
    return port
