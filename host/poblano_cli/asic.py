"""The command ``poblano asic``: area, critical path and power of a preset, an array or anyone's Verilog in
standard cells."""

from dataclasses import replace
from pathlib import Path

import typer

from poblano.config import ConfigError, preset
from poblano_flows.asic.activity import measure_power
from poblano_flows.asic.equivalence import prove
from poblano_flows.asic.flow import MEMORY_UM2_PER_BIT, Design, array_source, chip_source, peer_source
from poblano_flows.asic.liberty import load_library
from poblano_flows.asic.netlist import structural
from poblano_flows.asic.plots import write_plots
from poblano_flows.asic.timing import MACRO_ACCESS
from poblano_flows.asic.tools import AsicError, sta_program
from poblano_host.runtime.report import check_report_path

from .options import JSON, array_size, check_outputs, write_json
from .tables import note, print_table

__all__ = ["asic"]

SIMULATED = 3_000_000
"""Cells up to which a netlist is simulated unless it is asked for: larger ones take an hour and more."""
WIDTH = 170
"""Columns of a table that goes to a file."""


def asic(
    preset_name: str = typer.Option(
        None, "--preset", help="A chip, as for `poblano run`; tile64 unless --array or --peer is given."
    ),
    array: str = typer.Option(None, help="An array alone, as 16x16."),
    formats: str = typer.Option(
        None, help="Number formats, as int8,mxfp8_e4m3; the preset's, or int8, by default."
    ),
    peer: list[str] = typer.Option(
        None, help="Verilog of anyone's, through the same flow; may be repeated, with as many --top."
    ),
    top: list[str] = typer.Option(None, help="The top module of a --peer."),
    library: str = typer.Option("osu018", help="Standard cells."),
    power: bool = typer.Option(
        None,
        "--power/--no-power",
        help="Simulate a chip's netlist with programs of the default model; by "
        f"default, of chips of up to {SIMULATED:,} cells.",
    ),
    check: bool = typer.Option(False, "--check", help="Prove each module's netlist equal to its RTL."),
    json_file: str = JSON,
    report: str = typer.Option(None, help="Write plots to this .html or .png file."),
    netlist: str = typer.Option(None, help="Write the netlist (of the first design) to this Verilog file."),
):
    """Synthesise to standard cells: area by block, critical path, power."""
    if report is not None:
        check_report_path(report)
    check_outputs(json_file, report, netlist)
    sources = _sources(preset_name, array, formats, peer or [], top or [])
    load_library(library)
    sta_program()
    designs = _designs(sources, library)
    _measure(designs, power)
    verdicts = []
    if check:
        for design in designs:
            if not design.source.peer:
                verdicts += prove(design.modules, design.counts, design.library, report=note)
    if netlist is not None:
        Path(netlist).write_text(structural(designs[0].modules, designs[0].library))
    proofs = {"equivalence": [vars(v) for v in verdicts]} if check else {}
    write_json(json_file, {"designs": [design.as_json() for design in designs]} | proofs)
    if report is not None:
        write_plots(report, designs)
    for design in designs:
        _print(design)
    if len(designs) > 1:
        _compare(designs)
    if check:
        _print_verdicts(verdicts)
        if any(verdict.result == "different" for verdict in verdicts):
            raise AsicError("a netlist differs from its RTL")


def _sources(preset_name, array, formats, peers, tops):
    """The designs that are asked for, a preset's first."""
    if len(peers) != len(tops):
        raise ConfigError(f"each --peer needs its --top: {len(peers)} and {len(tops)} were given")
    sources = []
    chosen = tuple(formats.split(",")) if formats else None
    if preset_name is not None or array is None and not peers:
        config = preset(preset_name or "tile64")
        if chosen is not None:
            config = replace(config, name=f"{config.name} with {formats}", formats=chosen)
        sources.append(chip_source(config))
    if array is not None:
        rows, cols = array_size(array, "16x16")
        sources.append(array_source(rows, cols, chosen or ("int8",)))
    return sources + [peer_source(Path(path), name) for path, name in zip(peers, tops)]


def _designs(sources, library):
    """The sources in cells, with their critical paths. A peer's text is read before anything takes long."""
    parsed = {source.title: source.elaborate() for source in sources if source.peer}
    designs = []
    for source in sources:
        design = Design.build(source, library=library, rtl=parsed.get(source.title), report=note)
        design.analyse(report=note)
        designs.append(design)
    return designs


def _measure(designs, power):
    """The power of chips, if it is asked for (None: if they are small enough)."""
    for design in designs:
        if design.source.config is not None and power is not False:
            if power or design.total.cells <= SIMULATED:
                design.power = measure_power(design, report=note)
            else:
                note(f"no power: {design.total.cells:,} cells are many to simulate; --power does it")


def _table(title, columns, rows):
    print_table(columns, rows, title=title, width=WIDTH)


def _print(design):
    print(
        f"\n{design.source.title}: {design.library.title}; corner {design.library.corner}; synthesised, not "
        "placed: wires have no load"
    )
    rows = []
    for block in design.blocks():
        rows.append(
            (
                "  " * block.depth + block.path.rsplit("/", 1)[-1],
                block.module.removeprefix("poblano_"),
                f"{block.count:,}",
                f"{block.cells:,}",
                f"{block.flip_flops:,}",
                f"{block.area:,.0f}",
                f"{100 * block.area / max(design.total.area, 1):.1f} %",
                f"{block.memory_bits:,}",
                f"{block.memory_area / 1e6:,.2f}",
            )
        )
    _table(
        "Area",
        [
            "block",
            "module",
            "copies",
            "cells",
            "flip-flops",
            "cell area um2",
            "",
            "memory bits",
            "memory mm2 (estimate)",
        ],
        rows,
    )
    gates, behind = design.gated()
    if gates:
        print(f"{gates:,} clock gates, {behind:,} of {design.total.flip_flops:,} flip-flops behind them.")
    if design.total.memory_bits:
        print(
            f"Memories are black boxes: {MEMORY_UM2_PER_BIT:g} um2 a bit and {MACRO_ACCESS:g} ns of access "
            "are estimates, not the library's."
        )
    paths = [
        (
            title,
            f"{timing.period:.2f}",
            f"{timing.fmax:.1f}",
            timing.paths[0].start,
            timing.paths[0].end,
            str(len(timing.paths[0].steps)),
            "yes" if timing.paths[0].macros else "",
        )
        for title, timing in design.timing.items()
    ]
    _table(
        "Critical paths (OpenSTA)",
        ["of", "ns", "MHz", "from", "to", "cells", "with a memory's estimate"],
        paths,
    )
    for power in design.power:
        print(power.words())
        _table(
            "Power",
            [
                "block",
                "pJ/cycle",
                "clock pins",
                "inside cells",
                "pins' charge",
                f"mW at {power.frequency:.0f} MHz",
            ],
            power.rows(),
        )


def _compare(designs):
    rows = []
    for design in designs:
        timing = design.timing.get("all")
        rows.append(
            (
                design.source.title,
                f"{design.total.cells:,}",
                f"{design.total.flip_flops:,}",
                f"{design.total.area:,.0f}",
                f"{design.total.memory_bits:,}",
                f"{timing.period:.2f}" if timing else "",
                f"{timing.fmax:.1f}" if timing else "",
            )
        )
    _table(
        f"Side by side, in {designs[0].library.title}, {designs[0].library.corner}",
        ["design", "cells", "flip-flops", "cell area um2", "memory bits", "critical path ns", "MHz"],
        rows,
    )


def _print_verdicts(verdicts):
    rows = [
        (v.module, v.result, str(v.registers), str(v.outputs), "the netlist's" if v.same_multiplier else "")
        for v in verdicts
    ]
    _table("Netlist = RTL", ["module", "result", "registers", "signals compared", "multipliers"], rows)
