"""The command ``poblano verilog``: a folder for a chip-design flow."""

from dataclasses import replace
from pathlib import Path
import time

import typer

from poblano.config import ConfigError
from poblano_flows.export import PERIOD, array_design, chip_design, export

from .options import array_size, chip_config

__all__ = ["verilog"]


def verilog(
    preset_name: str = typer.Option(
        None, "--preset", help="The chip's configuration, desk by default: see `poblano presets`."
    ),
    array: str = typer.Option(
        None, help="Instead of a chip, a bare array of so many rows and columns, as 128x128."
    ),
    output: str = typer.Option(
        ..., "-o", "--output", help="The folder for the files, which is made if it does not exist."
    ),
    tiles: int = typer.Option(None, help="Tiles of the chip; the preset's by default."),
    formats: str = typer.Option(
        None, "--formats", help="Number formats, as int8,mxfp8_e4m3; see `poblano formats`."
    ),
    period: float = typer.Option(PERIOD, help="The clock's period in ns, for the constraints."),
):
    """Write Verilog and what goes with it for an ASIC flow: constraints, file lists, projects for FuseSoC,
    LibreLane and SiliconCompiler, the register map as SystemRDL, C header and HTML."""
    start = time.monotonic()
    chosen = {} if formats is None else {"formats": tuple(formats.split(","))}
    if array is not None:
        if preset_name is not None or tiles is not None:
            raise ConfigError("--array is for a bare array: --preset and --tiles can't go with it")
        design = array_design(*array_size(array, "128x128"), **chosen)
    else:
        config = chip_config("desk" if preset_name is None else preset_name, tiles=tiles)
        design = chip_design(replace(config, **chosen))
    modules = export(design, output, period=period)
    size = sum(len(module.text) for module in modules)
    print(
        f"{design.name}: {len(modules)} modules, top {design.top}, {size / 1e6:.1f} MB of Verilog in "
        f"{Path(output, 'rtl')}; {time.monotonic() - start:.1f} s"
    )
