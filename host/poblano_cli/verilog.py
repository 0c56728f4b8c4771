"""The command ``poblano verilog``: a folder for a chip-design flow."""

from dataclasses import replace
from pathlib import Path
import time

import typer

from poblano.config import ConfigError
from poblano.dram.config import DramConfig
from poblano_flows.export import PERIOD, array_design, chip_design, dram_design, export

from .options import array_size, chip_config, fraction

__all__ = ["verilog"]


def verilog(
    preset_name: str = typer.Option(
        None, "--preset", help="The chip's configuration, as for `poblano run`; desk by default."
    ),
    array: str = typer.Option(
        None, help="Instead of a chip, a bare array of so many rows and columns, as 128x128."
    ),
    block: str = typer.Option(
        None, help="Instead of a chip, a part of one, for its DRAM: dram_controller is the only one."
    ),
    dram: str = typer.Option(None, help="The DRAM of the controller; HBM3-6.4 by default."),
    clock: str = typer.Option(
        None, help="The DRAM controller's clock in MHz; as fast as the DRAM by default."
    ),
    output: str = typer.Option(
        ..., "-o", "--output", help="The folder for the files, which is made if it does not exist."
    ),
    tiles: int = typer.Option(None, help="Tiles of the chip; the preset's by default."),
    formats: str = typer.Option(
        None, "--formats", help="Number formats, as int8,mxfp8_e4m3; see `poblano formats`."
    ),
    period: float = typer.Option(
        None, help=f"The clock's period in ns, for the constraints; {PERIOD:g}, or the DRAM's, by default."
    ),
):
    """Write Verilog and what goes with it for an ASIC flow: constraints, file lists, projects for FuseSoC,
    LibreLane and SiliconCompiler, the register map as SystemRDL, C header and HTML."""
    start = time.monotonic()
    chosen = {} if formats is None else {"formats": tuple(formats.split(","))}
    if block is not None:
        if any(option is not None for option in (array, preset_name, tiles, formats)):
            raise ConfigError(
                "--block is for a part: --preset, --array, --tiles and --formats can't go with it"
            )
        design = _block(block, dram, clock)
        period = float(1000 / design.component.config.clock_mhz) if period is None else period
    elif dram is not None or clock is not None:
        raise ConfigError("--dram and --clock are for --block dram_controller")
    elif array is not None:
        if preset_name is not None or tiles is not None:
            raise ConfigError("--array is for a bare array: --preset and --tiles can't go with it")
        design = array_design(*array_size(array, "128x128"), **chosen)
    else:
        config = chip_config("desk" if preset_name is None else preset_name, tiles=tiles)
        design = chip_design(replace(config, **chosen))
    modules = export(design, output, period=PERIOD if period is None else period)
    size = sum(len(module.text) for module in modules)
    print(
        f"{design.name}: {len(modules)} modules, top {design.top}, {size / 1e6:.1f} MB of Verilog in "
        f"{Path(output, 'rtl')}; {time.monotonic() - start:.1f} s"
    )


def _block(name, kind, clock):
    """The design of the part ``name``; ConfigError for what can't be."""
    if name != "dram_controller":
        raise ConfigError(f"unknown block {name!r}; the only one is dram_controller")
    clock_mhz = None if clock is None else fraction(clock)
    if clock is not None and clock_mhz is None:
        raise ConfigError(f"the clock must be a number of MHz like 800 or 2400/7, not {clock!r}")
    return dram_design(kind=DramConfig.kind if kind is None else kind, clock_mhz=clock_mhz)
