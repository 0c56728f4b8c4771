"""FPGA boards: their pins, what is refused, and the netlists' answers against the golden model."""

from dataclasses import replace
import json
import re
import shutil
import sys

from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.ulx3s import ULX3S_85F_Platform
import numpy as np
import pytest

from poblano.config import ConfigError, preset
from poblano_cli import main as cli
from poblano_fpga import build as build_module
from poblano_fpga.boards import BOARDS, board, with_array
from poblano_fpga.build import BuildError, BuildReport, build, tool
from poblano_fpga.chip import CHIP_BOARDS
from poblano_fpga.engine import device
from poblano_fpga.engine_check import awkward_matrices, check_layer, check_matmul, matmul_on, token_products
from poblano_fpga.floorplan import place_multipliers
from poblano_fpga.simulation import rtl_port
from poblano_fpga.synthesis import Netlist, check_fits, synthesise
from poblano_host.runtime.errors import Mismatch
from poblano_host.serial.bridge import BridgeClient
from poblano_host.serial.engine import EngineDevice, engine_traffic


class FalseEngine:
    """An engine in Python; ``wrong`` adds 1 to one sum of every product."""

    def __init__(self, wrong=False):
        self.wrong = wrong

    def block_sums(self, a, w):
        assert a.dtype == w.dtype == np.int8
        sums = np.stack(
            [a[:, k : k + 32].astype(int) @ w[k : k + 32].astype(int) for k in range(0, a.shape[1], 32)]
        )
        sums[-1, 0, 0] += self.wrong
        return sums


def test_pins():
    """Clock and UART are where amaranth-boards has them; its rx and tx are the FPGA's too."""
    for name, platform in (("icebreaker", ICEBreakerPlatform), ("ulx3s", ULX3S_85F_Platform)):
        found = {}
        for resource in platform.resources:
            if resource.name == platform.default_clk and resource.number == 0:
                found["clk"] = resource.ios[0].names[0]
                assert resource.clock.frequency == board(name).input_hz
            if resource.name == "uart" and resource.number == 0:
                found |= {io.name: io.ios[0].names[0] for io in resource.ios if io.name in ("rx", "tx")}
        assert found == {name: pin for name, pin in board(name).pins.items() if name in ("clk", "rx", "tx")}
    pins = [pin for b in BOARDS.values() for pin in (*b.pins.values(), *b.fixed)]
    assert (
        all(len({*b.pins.values(), *b.fixed}) == len(b.pins) + len(b.fixed) for b in BOARDS.values()) and pins
    )


def test_sdram_pins():
    """The SDRAM is where amaranth-boards has it."""
    (sdram,) = (r for r in ULX3S_85F_Platform.resources if r.name == "sdram")
    names = {"clk_en": "cke"} | {name: f"{name}_n" for name in ("cs", "we", "ras", "cas")}
    found = {}
    for io in sdram.ios:
        if hasattr(io, "name"):
            pins, port = io.ios[0].names, f"sdram_{names.get(io.name, io.name)}"
            found |= {f"{port}[{n}]": pin for n, pin in enumerate(pins)} if len(pins) > 1 else {port: pins[0]}
    ours = CHIP_BOARDS["ulx3s"].pins
    assert found == {port: pin for port, pin in ours.items() if port.startswith("sdram_")}
    assert len({*ours.values()}) == len(ours)


def test_clocks():
    """The PLLs' parameters give the clocks, within their oscillators' ranges."""
    for b in (*BOARDS.values(), *CHIP_BOARDS.values()):
        p = b.pll
        if b.family == "ice40":
            oscillator = b.input_hz * (p["DIVF"] + 1) / (p["DIVR"] + 1)
            clock, low, high = oscillator / 2 ** p["DIVQ"], 533e6, 1066e6
        elif b.family == "ecp5":
            clock = b.input_hz * p["CLKFB_DIV"] / p["CLKI_DIV"]
            oscillator, low, high = clock * p["CLKOP_DIV"], 400e6, 800e6
        else:
            clock = b.input_hz * (p["FBDIV_SEL"] + 1) / (p["IDIV_SEL"] + 1)
            oscillator, low, high = clock * p["ODIV_SEL"], 500e6, 1250e6
        assert clock == b.clock_hz and low <= oscillator <= high


def test_check_finds_differences():
    config = preset("nano")
    a, b = awkward_matrices((3, 64, 5))
    product, _ = matmul_on(FalseEngine(), a, b, config=config)
    assert product.shape == (3, 5)
    with pytest.raises(
        Mismatch, match="1 of 15 elements of the product differ .* the first at row 0, column 0"
    ):
        matmul_on(FalseEngine(wrong=True), a, b, config=config)
    assert check_layer(FalseEngine()) > 3
    with pytest.raises(Mismatch, match="layer 0: .* differs from the golden model's, the first byte is at"):
        check_layer(FalseEngine(wrong=True))


def test_traffic():
    """What is computed about a token is what the products' weights take, at least, and counts every MAC."""
    products = token_products()
    b = board("icebreaker")
    traffic = engine_traffic(b.engine, b.payload, products)
    weights = sum(k * n for _, k, n in products)
    assert traffic.macs == sum(m * k * n for m, k, n in products) and traffic.to_device >= weights
    assert traffic.line_bytes < 1.5 * weights


def test_traffic_is_the_engines():
    """The figures that are only counted are those of the simulated engine."""
    b = board("icebreaker")
    engine = EngineDevice(BridgeClient(rtl_port(b)))
    begun = replace(engine.traffic)
    rng = np.random.default_rng(0)
    shapes = (3, 64, 9), (1, 128, 6)
    for m, k, n in shapes:
        engine.block_sums(rng.integers(-127, 128, (m, k)), rng.integers(-128, 128, (k, n)))
    counted = engine_traffic(b.engine, b.payload, shapes)
    for name in "to_device", "from_device", "requests", "macs":
        assert getattr(engine.traffic, name) - getattr(begun, name) == getattr(counted, name)
    assert abs(engine.traffic.cycles / counted.cycles - 1) < 0.15


def check_crossing(netlist):
    """The only input that is not of the clock, rx, goes to a flip-flop, on iCE40 inverted, whose output
    goes to one more alone."""
    module = json.loads(netlist)["modules"]["top"]
    (bit,) = module["ports"]["rx"]["bits"]

    def reader():
        ((cell, port),) = [
            (cell, port)
            for cell in module["cells"].values()
            for port, bits in cell["connections"].items()
            if bit in bits and cell["port_directions"][port] == "input"
        ]
        return cell, port

    cell, port = reader()
    if (
        cell["type"] == "SB_LUT4"
        and sum(isinstance(bits[0], int) for bits in cell["connections"].values()) == 2
    ):
        (bit,) = cell["connections"]["O"]
    for _ in range(2):
        cell, port = reader()
        assert re.match("SB_DFF|TRELLIS_FF", cell["type"]) and port in ("D", "DI"), (cell["type"], port)
        (bit,) = cell["connections"]["Q"]


@pytest.mark.slow
def test_icebreaker_netlist():
    """The synthesised iCE40 design, with the vendor's cells, computes an awkward product bit for bit."""
    b = board("icebreaker")
    netlist = synthesise(b)
    check_fits(b, netlist.cells)
    check_crossing(netlist.json)
    assert (
        netlist.cells["SB_MAC16"] == 8
        and netlist.cells["SB_SPRAM256KA"] == 4
        and "SB_RAM40_4K" in netlist.cells
    )
    engine = device(b)
    product = check_matmul(engine)
    assert product.shape == (5, 13) and np.abs(product).max() > 1e3
    assert not any(engine.client.statistics().values()) and engine.client.port.bad == 0


@pytest.mark.nightly
def test_ulx3s_netlist():
    """A small array for the ECP5: multipliers with their registers inside, each in a place of its own; the
    same sums."""
    b = with_array(board("ulx3s"), 4, 3)
    netlist = synthesise(b)
    check_crossing(netlist.json)
    cells = json.loads(place_multipliers(netlist.json, b.array))["modules"]["top"]["cells"]
    products = {name: cell for name, cell in cells.items() if cell["type"] == "MULT18X18D"}
    assert len(products) == 12 and len({cell["attributes"]["BEL"] for cell in products.values()}) == 12
    assert all(
        cell["parameters"][f"REG_{name}_CLK"] == "CLK0"
        for cell in products.values()
        for name in ("INPUTA", "INPUTB", "OUTPUT")
    )
    with pytest.raises(ValueError, match="12 multipliers of 20 were found"):
        place_multipliers(netlist.json, with_array(b, 4, 5).array)
    assert place_multipliers(netlist.json, with_array(b, 16, 4).array) == netlist.json
    check_matmul(device(b))


@pytest.mark.nightly
@pytest.mark.parametrize("name", BOARDS)
def test_netlist(name):
    """The product and a layer of the default model."""
    engine = device(board(name))
    check_matmul(engine)
    check_layer(engine)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name,mhz,dsps", [("icebreaker", 24, 8), ("ulx3s", 80, 0.92 * 156), ("tangnano20k", 48, 96)]
)
def test_build(tmp_path, name, mhz, dsps):
    result = build(board(name), tmp_path)
    assert result.fmax >= result.clock >= mhz and result.used["DSP"] >= dsps
    assert json.loads((tmp_path / f"{name}.json").read_text())["slack_ns"] == round(result.slack_ns, 3) >= 0
    assert len(list(tmp_path.iterdir())) == 3 and all(path.stat().st_size for path in tmp_path.iterdir())


def run(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["poblano", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capfd.readouterr()
    return left.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize(
    "arguments,status,message",
    [
        (("--board", "ice"), 2, "unknown board 'ice'; the boards are icebreaker, ulx3s, tangnano20k"),
        (
            ("--board", "icebreaker", "--array", "8x8"),
            2,
            "an array of 8 x 8 needs 64 multipliers, 48 more than the 16 of iCEBreaker .*; 4 x 4 fits",
        ),
        (
            ("--board", "ulx3s", "--array", "40x3"),
            2,
            "array rows must be below 32 or a multiple of it, not 40",
        ),
        (("--board", "ulx3s", "--array", "big"), 2, "an array is rows x columns, as 4x4, not 'big'"),
        (("--board", "ulx3s", "--simulate", "--program"), 2, "--simulate needs no board"),
        (
            ("--board", "ulx3s", "--json", "/nonexistent/x.json"),
            2,
            "/nonexistent/x.json: its folder does not exist",
        ),
        (("--board", "icebreaker", "--port", "/dev/nonexistent"), 3, "/dev/nonexistent: "),
    ],
)
def test_bad_input(monkeypatch, capfd, arguments, status, message):
    code, out, error = run(monkeypatch, capfd, "fpga", *arguments)
    assert (
        (code, out) == (status, "") and re.match("poblano: " + message, error) and error.count("\n") == 1
    ), error


def test_missing_loader(monkeypatch, capfd):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    code, out, error = run(monkeypatch, capfd, "fpga", "--board", "icebreaker", "--program")
    assert (code, out) == (3, "") and error.startswith("poblano: openFPGALoader is not installed")
    with pytest.raises(BuildError, match="gowin_pack is not installed: make fpga installs it"):
        tool("gowin_pack")


def test_too_large():
    """Cells beyond the device's are an error that says how many."""
    with pytest.raises(
        ConfigError, match="an array of 4 x 4 takes 6000 LUTs, 720 more than the 5280 of iCEBreaker"
    ):
        check_fits(board("icebreaker"), {"SB_LUT4": 6000})
    assert with_array(board("tangnano20k"), 4, 6).engine.array.cols == 6


def test_nothing_half_written(monkeypatch, tmp_path):
    """A build that fails leaves no file behind."""
    monkeypatch.setattr(build_module, "tool", lambda name: "false")
    monkeypatch.setattr(build_module, "synthesise", lambda board, report: Netlist("{}", "", {}))
    with pytest.raises(BuildError, match="false failed"):
        build(board("icebreaker"), tmp_path / "out")
    monkeypatch.setattr(
        build_module,
        "_run",
        lambda command, folder: (folder / "report.json").write_text(
            json.dumps(dict(utilization={}, fmax=dict(clk=dict(achieved=20.0))))
        ),
    )
    with pytest.raises(BuildError, match="misses its clock: 20.0 MHz of 24 MHz, slack -8.33 ns"):
        build(board("icebreaker"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_report():
    result = BuildReport("x", 4, 4, dict(LUT=1), dict(LUT=2), 50.0, 25.0, 16)
    assert result.slack_ns == 20 and result.as_json()["slack_ns"] == 20
