"""The command ``poblano exec``: a program of commands on the RTL or on the golden model."""

from dataclasses import dataclass
from pathlib import Path
import re

import numpy as np
import typer

from poblano.config import ConfigError
from poblano_host.cache import keep
from poblano_host.runtime.backend import BACKENDS
from poblano_host.runtime.execution import Execution
from poblano_host.runtime.timeline import write_timeline

from .arrays import load_array, save_array
from .assembler import read_program
from .options import BACKEND, PRESET, TIMELINE, TRACE, check_outputs, chip_config, wrote
from .tables import note

__all__ = ["execute"]

TYPES = {"f32": "<f4", "i32": "<i4", "i8": "i1", "u8": "u1"}
"""What bytes can be shown as."""
WIDTHS = {"f32": 14, "i32": 12, "i8": 5, "u8": 4}
"""Columns of a number."""
ROW = 16
"""Bytes in a line of a dump."""


@dataclass(frozen=True)
class _Dump:
    address: int
    size: int
    type: str
    path: str | None


def execute(
    program: str = typer.Argument(help="Text of commands: see `poblano asm --help`."),
    preset_name: str = PRESET,
    load: list[str] = typer.Option(
        None,
        help="ADDR=FILE: before it runs, write the file (.npy, else its bytes) to memory; may be repeated.",
    ),
    dump: list[str] = typer.Option(
        None,
        help="ADDR:N or ADDR:N:TYPE: print N bytes of memory after it ran, also as numbers "
        f"({', '.join(TYPES)}; f32 if not said); with =FILE write them to a .npy file, or as they are to "
        "another; may be repeated.",
    ),
    backend: str = BACKEND,
    check: bool = typer.Option(
        False, "--check", help="sim: run the golden model too, and compare all that the program writes."
    ),
    orders: int = typer.Option(
        20, min=0, help="golden: other orders of execution that are tried, of those that the waits allow."
    ),
    trace: str = TRACE,
):
    """Run a program of commands, on the RTL in simulation or on the golden model.

    Memory is zero but for what is loaded. On the golden model the program is also run in other orders: where
    the result then differs a wait is missing, and the exit code is 1.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"unknown backend {backend!r}; there are {', '.join(BACKENDS)}")
    if backend == "golden" and (trace or check):
        raise ConfigError("the golden model has no cycles: --trace and --check need --backend sim")
    config = chip_config(preset_name)
    dumps = [_dump(text) for text in dump or []]
    check_outputs(trace, *(d.path for d in dumps))
    lines = read_program(program, config)
    loads = [_load(text) for text in load or []]
    execution = Execution(config, lines, loads, [(d.address, d.size) for d in dumps])
    chip, result = execution.run(backend, report=note)
    took = f" in {result.cycles:,} cycles" if result.cycles else ""
    print(f"{program}: {len(lines)} commands on {config.name} ({backend}){took}")
    for d in dumps:
        _show(d, chip.read(d.address, d.size))
    if check:
        execution.compare_golden(chip.read)
    chip.close()
    if trace is not None:
        write_timeline(trace, [(Path(program).name, execution.commands, result.events, result.cycles)])
        wrote(trace, TIMELINE)
    if backend == "golden":
        execution.compare_orders(orders)
    for line in execution.missing_waits():
        note(f"missing wait: {line}")
    if check:
        print("bit-exact: the golden model agrees in all that the program writes")
    if backend == "golden" and orders:
        print(f"the same in {orders} other orders of execution")


def _number(text, what):
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise ConfigError(f"{what} {text!r} is not a number, as 4096 or 0x1000")
    return value


def _load(text):
    """(address, bytes) of a ``--load``."""
    address, equals, path = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"--load is ADDR=FILE, as 0x1000=a.npy, not {text!r}")
    at = _number(address, "--load: the address")
    return at, load_array(path).tobytes() if path.endswith(".npy") else Path(path).read_bytes()


def _dump(text):
    place, _, path = text.partition("=")
    parts = re.fullmatch(r"([^:]+):([^:]+)(?::(\w+))?", place)
    if parts is None:
        raise ConfigError(
            f"--dump is ADDR:N, ADDR:N:TYPE or either with =FILE, as 0x1000:64:f32, not {text!r}"
        )
    kind = parts[3] or "f32"
    if kind not in TYPES:
        raise ConfigError(f"--dump: unknown type {kind!r}; there are {', '.join(TYPES)}")
    address, size = (
        _number(part, f"--dump: the {name}") for part, name in zip(parts.groups(), ("address", "size"))
    )
    step = np.dtype(TYPES[kind]).itemsize
    if not size or size % step:
        raise ConfigError(f"--dump: {size} bytes are no whole number of {kind}, of {step} bytes each")
    return _Dump(address, size, kind, path or None)


def _show(dump, data):
    """Print what was dumped, or write it to its file."""
    numbers = np.frombuffer(data, TYPES[dump.type])
    if dump.path is not None:
        if dump.path.endswith(".npy"):
            save_array(dump.path, numbers)
        else:
            keep(Path(dump.path), data)
        print(f"0x{dump.address:x}: {dump.size} bytes, written to {dump.path}")
        return
    per_row = ROW // numbers.itemsize
    for at in range(0, dump.size, ROW):
        part = numbers[at // numbers.itemsize :][:per_row]
        shown = " ".join(str(number).rjust(WIDTHS[dump.type]) for number in part)
        print(f"0x{dump.address + at:08x}  {data[at : at + ROW].hex(' ', -4):<35}  {shown}")
