"""A board's design as a netlist of the device's cells."""

from dataclasses import dataclass
from importlib import metadata
import json
from pathlib import Path
import tempfile

from poblano.config import ConfigError
from poblano_host.cache import cache_folder, digest, keep

from . import multipliers
from .top import top_verilog
from .yosys import run_yosys

__all__ = ["Netlist", "cell_counts", "check_fits", "synthesise"]

_ICE40 = "-device u -spram -top top"
_FLAGS = "w:*.row*.swaps w:*.row*.captures w:*.row*.valids %u %u %ci1:+[Q] t:$*dff* %i"
_SCRIPTS = {
    # The products are paired before the mapping of the rest.
    "ice40": (
        f"synth_ice40 {_ICE40} -run begin:coarse",
        "opt_expr",
        "opt_clean",
        "wreduce t:$mul",
        "pair_products",
        f"synth_ice40 {_ICE40} -run coarse:",
    ),
    # Flags of PEs on one diagonal of the array are equal: as one register they would be a net across the
    # device.
    "ecp5": (
        "synth_ecp5 -top top -run begin:coarse",
        "proc",
        "flatten",
        "opt_expr",
        "opt_clean",
        f"setattr -set keep 1 {_FLAGS}",
        "wreduce t:$mul",
        "opt_clean",
        "register_products",
        "synth_ecp5 -top top -run coarse:",
    ),
    "gowin": ("synth_gowin -family gw2a -top top",),
}


def _script(board):
    """Yosys commands. An engine never uses a word that it reads in the cycle in which it is written."""
    relaxed = " -no-rw-check" if board.engine is not None else ""
    return [
        command + relaxed if command.startswith("synth_") else command for command in _SCRIPTS[board.family]
    ]


LUTS = {
    "ice40": {"SB_LUT4": 1},
    "ecp5": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
    "gowin": {"LUT": 1, "ALU": 1, "RAM16S": 4},
}
FLIP_FLOPS = {"ice40": "SB_DFF", "ecp5": "TRELLIS_FF", "gowin": "DFF"}


@dataclass(frozen=True)
class Netlist:
    """``json`` for place and route, ``verilog`` for simulation, ``cells``: counts by cell."""

    json: str
    verilog: str
    cells: dict


def synthesise(board, *, report=lambda text: None):
    """The :class:`Netlist` of the board's design; kept in the cache for each design and version of the
    tools."""
    report("writing the RTL")
    verilog = top_verilog(board)
    script = _script(board)
    key = digest(verilog, *script, Path(multipliers.__file__).read_text(), metadata.version("pyosys"))
    folder = cache_folder()
    kept = [folder / f"fpga-{key}.{kind}" for kind in ("json", "v", "stat")]
    if not all(path.exists() for path in kept):
        report(f"synthesising for {board.title}")
        with tempfile.TemporaryDirectory(prefix="poblano-") as temporary:
            Path(temporary, "top.v").write_text(verilog)
            commands = [
                "read_verilog top.v",
                *script,
                "tee -q -o design.stat stat -json",
                "write_json design.json",
                "write_verilog -noattr design.v",
            ]
            run_yosys(commands, folder=temporary)
            for path in kept:
                keep(path, Path(temporary, f"design{path.suffix}").read_bytes())
    texts = [path.read_text() for path in kept]
    cells = json.loads(texts[2][texts[2].index("{") :])["design"]["num_cells_by_type"]
    return Netlist(texts[0], texts[1], cells)


def cell_counts(board, cells):
    """LUTs (with those of carry chains) and flip-flops of ``cells``."""
    luts = sum(
        weight * number
        for kind, weight in LUTS[board.family].items()
        for name, number in cells.items()
        if name.startswith(kind) and name not in ("RAM16SDP",)
    )
    return luts, sum(number for name, number in cells.items() if name.startswith(FLIP_FLOPS[board.family]))


def check_fits(board, cells):
    """ConfigError if the netlist has more LUTs or flip-flops than the device."""
    for what, used, available in zip(
        ("LUTs", "flip-flops"), cell_counts(board, cells), (board.luts, board.flip_flops)
    ):
        if used > available:
            array = board.array
            raise ConfigError(
                f"an array of {array.rows} x {array.cols} takes {used} {what}, {used - available} more than "
                f"the {available} of "
                f"{board.title}"
            )
