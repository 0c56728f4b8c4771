"""What a processing element costs for a set of number formats, synthesised by
yosys."""

from dataclasses import dataclass
import json
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

from amaranth.back import rtlil  # type: ignore[attr-defined]  # not in amaranth-stubs

from poblano.compute.pe import PE
from poblano.config import ArrayConfig, ConfigError
from poblano.formats.element import FORMATS

__all__ = [
    "Area",
    "FORMAT_SETS",
    "TARGETS",
    "markdown",
    "measure",
    "processing_element",
    "synthesise",
    "title",
]

FORMAT_SETS = (
    ("int8",),
    ("int8", "int4"),
    ("mxint8",),
    ("mxfp8_e4m3",),
    ("mxfp8_e5m2",),
    ("mxfp6_e2m3",),
    ("mxfp6_e3m2",),
    ("mxfp4_e2m1",),
    ("int8", "mxfp4_e2m1"),
    ("int8", "mxfp8_e4m3"),
    tuple(FORMATS),
)
"""What is measured unless something else is asked for."""

NAND2 = {
    "$_NOT_": 0.5,
    "$_NAND_": 1,
    "$_NOR_": 1,
    "$_AND_": 1.5,
    "$_OR_": 1.5,
    "$_ANDNOT_": 1.5,
    "$_ORNOT_": 1.5,
    "$_AOI3_": 1.5,
    "$_OAI3_": 1.5,
    "$_AOI4_": 2,
    "$_OAI4_": 2,
    "$_NMUX_": 2.5,
    "$_MUX_": 3,
    "$_XOR_": 3,
    "$_XNOR_": 3,
    "$_DFF_P_": 6,
}
"""Two-input NANDs of as many transistors: those of yosys' ``stat -tech cmos``, and 24 of a static
flip-flop."""


@dataclass(frozen=True)
class Target:
    """Yosys commands for a module ``pe``, how to count their cells, and the multiplier that the target's PE
    has.

    ``luts`` maps cells (their names' beginnings) to LUT4s; ``carries``, ``dsps`` and ``flip_flops`` are
    beginnings of cells' names.
    """

    title: str
    commands: tuple
    multiplier: str
    flip_flops: str
    luts: dict | None = None
    carries: str | None = None
    dsps: str | None = None


_ECP5: dict[str, Any] = dict(
    luts={"LUT4": 1, "CCU2C": 2}, carries="CCU2C", dsps="MULT18X18D", flip_flops="TRELLIS_FF"
)

TARGETS = {
    "ice40": Target(
        "iCE40", ("synth_ice40 -top pe",), "lut", "SB_DFF", {"SB_LUT4": 1}, "SB_CARRY", "SB_MAC16"
    ),
    "ecp5": Target("ECP5", ("synth_ecp5 -nodsp -top pe",), "lut", **_ECP5),
    "ecp5-dsp": Target("ECP5, DSP", ("synth_ecp5 -top pe",), "dsp", **_ECP5),
    "gowin": Target(
        "Gowin", ("synth_gowin -nodsp -noiopads -top pe",), "lut", "DFF", {"LUT": 1, "ALU": 1}, "ALU", "MULT"
    ),
    "gates": Target(
        "gates",
        ("synth -flatten -top pe", "dfflegalize -cell $_DFF_P_ 01", "abc -g cmos", "opt_clean"),
        "dsp",
        "$_DFF_",
    ),
}


@dataclass(frozen=True)
class Area:
    """Cells of one processing element; None where the target has no such cells.

    ``luts``: four-input LUTs, with those of carry chains (a CCU2C is two); ``gates``: generic gates and
        flip-flops, ``nand2``
    of them as two-input NANDs; ``cells``: all, by their names.
    """

    formats: tuple
    target: str
    flip_flops: int
    cells: dict
    luts: int | None = None
    carries: int | None = None
    dsps: int | None = None
    gates: int | None = None
    nand2: float | None = None


def processing_element(formats, target, *, transpose=True):
    """The PE that an array of ``formats`` has on ``target``; ConfigError if there is none."""
    config = ArrayConfig(formats=tuple(formats), multiplier=_target(target).multiplier)
    return PE(arithmetic=config.arithmetic, transpose=transpose, multiplier=config.multiplier)


def synthesise(source, target, *, verilog=False):
    """The cells (a dict of counts) of the module ``pe`` in ``source``, RTLIL or Verilog, on ``target``;
    RuntimeError if yosys fails."""
    with tempfile.TemporaryDirectory() as folder:
        design, statistics = Path(folder, "design"), Path(folder, "statistics")
        design.write_text(source)
        commands = (
            f"read_{'verilog' if verilog else 'rtlil'} {design}",
            *_target(target).commands,
            f"tee -q -o {statistics} stat -json",
        )
        # A process of its own, because yosys writes its log to standard output and ends on errors.
        program = (
            "import sys\nfrom pyosys import libyosys\ndesign = libyosys.Design()\n"
            "for command in sys.argv[1:]:\n    libyosys.run_pass(command, design)\n"
        )
        result = subprocess.run([sys.executable, "-c", program, *commands], capture_output=True, text=True)
        if result.returncode or not statistics.exists():
            raise RuntimeError("yosys failed:\n" + (result.stdout + result.stderr)[-2000:])
        text = statistics.read_text()
        return json.loads(text[text.index("{") :])["design"]["num_cells_by_type"]


def count(formats, target, cells):
    """The :class:`Area` of ``cells`` on ``target``."""
    kind = _target(target)
    total = lambda prefix: sum(number for name, number in cells.items() if name.startswith(prefix))
    common = dict(formats=tuple(formats), target=target, flip_flops=total(kind.flip_flops), cells=dict(cells))
    if kind.luts is None:
        return Area(
            **common,
            gates=sum(cells.values()),
            nand2=sum(NAND2[name] * number for name, number in cells.items()),
        )
    return Area(
        **common,
        luts=sum(weight * total(prefix) for prefix, weight in kind.luts.items()),
        carries=total(kind.carries),
        dsps=total(kind.dsps),
    )


def measure(formats, target, *, transpose=True):
    """The :class:`Area` of a PE for ``formats`` on ``target``."""
    pe = processing_element(formats, target, transpose=transpose)
    return count(formats, target, synthesise(rtlil.convert(pe, name="pe", emit_src=False), target))


def markdown(areas):
    """Lines of a Markdown table, a row for each set of formats, from areas on all of :data:`TARGETS`."""
    lines = [
        "| Formats | Sum bits | Flip-flops | iCE40 LUT4 | ECP5 LUT4 | ECP5 with DSP: LUT4 | DSP | Gowin LUT4 "
        "| Gates | NAND2 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for formats in dict.fromkeys(a.formats for a in areas):
        on = {a.target: a for a in areas if a.formats == formats}
        numbers = [
            ArrayConfig(formats=formats).sum_width,
            on["gates"].flip_flops,
            on["ice40"].luts,
            on["ecp5"].luts,
            on["ecp5-dsp"].luts,
            on["ecp5-dsp"].dsps,
            on["gowin"].luts,
            on["gates"].gates,
            round(on["gates"].nand2),
        ]
        lines.append(f"| {title(formats)} | " + " | ".join(f"{n:,}" for n in numbers) + " |")
    return lines


def _target(name):
    if name not in TARGETS:
        raise ConfigError(f"unknown target {name!r}; the targets are {', '.join(TARGETS)}")
    return TARGETS[name]


def title(formats):
    """A set of formats in words."""
    return "all" if formats == tuple(FORMATS) else ", ".join(formats)
