"""The command ``poblano formats``: what the number formats hold and cost, and their error on a layer."""

from dataclasses import asdict

import typer

from poblano_flows.formats_table import Layer, all_formats, pair_widths
from poblano_host.models import ModelError, load_model

from .options import JSON, write_json
from .tables import note, print_table

__all__ = ["formats"]


def _model(name):
    if name is not None:
        return load_model(name)
    try:
        return load_model("smollm2")
    except ModelError as error:
        note(f"{error}; taking the default model")
        return load_model("default")


def formats(
    model: str = typer.Option(
        None, help="The model whose layer is multiplied; smollm2, or default where that can't be had."
    ),
    json_file: str = JSON,
):
    """List the number formats: bits, range, exact sums, a processing element's cells, and the error on a
    real layer."""
    layer = Layer.of(_model(model))
    table = all_formats(layer, area=True)
    write_json(
        json_file, dict(layer=layer.name, formats=[asdict(row) for row in table], sum_widths=pair_widths())
    )
    columns = ["format", "bits", "scales", "largest", "smallest", "specials", "exact sum bits"]
    rows = [
        (
            row.name,
            str(row.bits),
            ", ".join(row.scales),
            f"{row.largest:g}",
            f"{row.smallest:g}",
            row.specials,
            str(row.sum_width),
            row.macs,
            str(row.pe_luts),
            f"{100 * row.error:.2f} %",
        )
        for row in table
    ]
    columns += ["MAC/cycle of a PE", "PE LUT4", "RMS error"]
    print_table(columns, rows, title=f"Errors: {layer.name}")
