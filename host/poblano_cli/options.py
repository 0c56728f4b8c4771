"""Options that several commands have, and what they stand for."""

from dataclasses import replace
from fractions import Fraction
import json
from pathlib import Path
import re

import typer

from poblano.config import ConfigError, preset
from poblano_host.cache import keep
from poblano_host.compiler.experts import mixtures
from poblano_host.models.capacity import Capacity

from .tables import note

__all__ = [
    "ACTIVATIONS",
    "BACKEND",
    "BANDWIDTH",
    "CAPACITY",
    "FORMATS",
    "JSON",
    "LATENCY",
    "MODEL_PRESET",
    "PRESET",
    "REPORT",
    "SEED",
    "TEMPERATURE",
    "TIMELINE",
    "TOP_K",
    "TRACE",
    "array_size",
    "check_outputs",
    "check_text",
    "fraction",
    "limited",
    "chip_config",
    "write_json",
    "wrote",
]

PRESET = typer.Option(
    "desk", "--preset", help="The chip's configuration: a name of `poblano presets`, or a .toml file."
)
MODEL_PRESET = typer.Option(
    None,
    "--preset",
    help="The chip's configuration: a name of `poblano presets`, or a .toml file.",
    show_default="desk; desk-moe of a model with experts",
)
BANDWIDTH = typer.Option(
    None,
    help="Memory bandwidth in bytes per cycle, as 20 or 5/2, of a plain memory; the preset's own by default.",
)
CAPACITY = typer.Option(
    None,
    help="Limit experts to so many of each window of a prompt's tokens, as 8/32; other tokens go to their "
    "next experts. This is another model.",
)
LATENCY = typer.Option(None, help="Latency in cycles of a plain memory; the preset's own by default.")
JSON = typer.Option(None, "--json", help="Write the figures to this file.")
TRACE = typer.Option(
    None,
    help="Write a timeline for Chrome's or Perfetto's trace viewer to this file; a microsecond there is a "
    "cycle.",
)
TIMELINE = "a timeline for ui.perfetto.dev, in which a microsecond is a cycle"
"""What is said of it when it is written."""
FORMATS = typer.Option(
    None,
    "--formats",
    help="Number formats of the chip, as int8,mxfp8_e4m3; the preset's by default. See `poblano formats`.",
)
ACTIVATIONS = typer.Option(
    None, help="Format of the activations, one of the chip's; its first (int8) by default."
)
BACKEND = typer.Option("sim", help="sim: the RTL in simulation; golden: the golden model.")
TEMPERATURE = typer.Option(0.0, help="0: the chip's argmax; else sampled on the host.")
TOP_K = typer.Option(40, help="Sample from so many best tokens; 0: from all.")
SEED = typer.Option(0, min=0, help="Of the sampling.")
REPORT = typer.Option(None, help="Write plots to this .html or .png file.")


def chip_config(name, bandwidth=None, latency=None, tiles=None, formats=None, model=None):
    """The preset ``name`` (None: that of the ``model``) with what differs from it; ConfigError for what can't
    be.

    A bandwidth or a latency is that of a plain memory at AXI4 ports, in place of a DRAM: a DRAM has its own.
    """
    if name is None:
        name = "desk-moe" if mixtures(model.graph.nodes) else "desk"
    config = preset(name)
    if formats is not None:
        config = replace(config, name=f"{config.name} with {formats}", formats=tuple(formats.split(",")))
    if tiles is not None:
        config = replace(config, name=f"{config.name} with {tiles} tile{'s' * (tiles != 1)}", tiles=tiles)
    changes = {}
    if bandwidth is not None:
        changes["bandwidth"] = fraction(bandwidth)
        if changes["bandwidth"] is None:
            raise ConfigError(
                f"memory bandwidth must be a number or a fraction like 20 or 5/2, not {bandwidth!r}"
            )
    if latency is not None:
        if latency < 1:
            raise ConfigError(f"memory latency must be at least 1 cycle, not {latency}")
        changes["latency"] = latency
    if changes and config.memory.dram is not None:
        changes = {"bandwidth": config.memory.bandwidth, "latency": config.memory.latency} | changes
        return config.with_axi_ports(**changes)
    return config.with_memory(**changes)


def limited(model, capacity):
    """The ``model`` with the capacity of an option; ConfigError for a text that is none."""
    if capacity is None:
        return model
    try:
        found = Capacity.read(capacity)
    except ValueError as error:
        raise ConfigError(f"--capacity: {error}") from None
    return model.with_capacity(found)


def fraction(text):
    """A number like 20, 2.5 or 5/2 as a Fraction, None for anything else, and for what is very long."""
    if not re.fullmatch(r"[+-]?\d{1,12}(\.\d{1,12}|/0*[1-9]\d{0,11})?", text):
        return None
    return Fraction(text)


def array_size(text, example):
    """Rows and columns of an array that is given as the ``example``; ConfigError for anything else."""
    size = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if size is None:
        raise ConfigError(f"an array is rows x columns, as {example}, not {text!r}")
    return int(size[1]), int(size[2])


def check_outputs(*paths):
    """OSError now rather than after a long run: for a file in no folder, or a folder in place of a file."""
    for path in paths:
        if path is None:
            continue
        if not Path(path).absolute().parent.is_dir():
            raise FileNotFoundError(2, "its folder does not exist", str(path))
        if Path(path).is_dir():
            raise IsADirectoryError(21, "it is a folder, not a file", str(Path(path)))


def check_text(text, name):
    """:class:`ConfigError` if an argument's bytes were not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) & 0xFF
        raise ConfigError(f"{name} is not UTF-8: byte 0x{byte:02x} behind {error.start} characters") from None


def write_json(path, content):
    """Write figures to a file, if there is a path."""
    if path is not None:
        keep(Path(path), (json.dumps(content, indent=2) + "\n").encode())
        wrote(path, "the figures")


def wrote(path, what):
    """Say that a file was written."""
    note(f"wrote {path}: {what}")
