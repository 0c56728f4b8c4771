"""The command ``poblano area``: what a processing element costs."""

from dataclasses import asdict

import typer

from poblano_flows.area import FORMAT_SETS, TARGETS, measure, processing_element, title

from .options import JSON, check_outputs, write_json
from .tables import note, print_table

__all__ = ["area"]


def area(
    target: list[str] = typer.Option(None, help=f"{', '.join(TARGETS)}; may be repeated; all by default."),
    formats: list[str] = typer.Option(None, help="A set of formats, as int8,mxfp4_e2m1; may be repeated."),
    json_file: str = JSON,
):
    """Synthesise a processing element for sets of number formats and print what it costs."""
    targets = list(dict.fromkeys(target or TARGETS))
    sets = (
        [tuple(name.strip() for name in text.split(",")) for text in formats]
        if formats
        else list(FORMAT_SETS)
    )
    for name in targets:
        for chosen in sets:
            processing_element(chosen, name)._MustUse__used = True
    check_outputs(json_file)
    areas = []
    for chosen in dict.fromkeys(sets):
        for name in targets:
            note(f"{title(chosen)} on {TARGETS[name].title}")
            areas.append(measure(chosen, name))
    write_json(json_file, [asdict(a) for a in areas])
    rows = []
    for a in areas:
        gates = None if a.nand2 is None else round(a.nand2)
        numbers = (a.luts, a.carries, a.dsps, a.flip_flops, a.gates, gates)
        figures = ("" if n is None else f"{n:,}" for n in numbers)
        rows.append((title(a.formats), TARGETS[a.target].title, *figures))
    columns = ["formats", "target", "LUT4", "carry", "DSP", "flip-flops", "gates", "NAND2"]
    print_table(columns, rows, title="A processing element", left=2)
