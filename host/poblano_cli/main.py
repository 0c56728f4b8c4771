"""The command ``poblano``: its subcommands, each imported when it is asked for, and what goes wrong."""

from collections.abc import Mapping
from contextlib import contextmanager
import gc
from importlib import import_module
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

__all__ = ["app", "main"]

COMMANDS = {
    name: name
    for name in (
        "run",
        "chat",
        "serve",
        "faults",
        "model",
        "matmul",
        "estimate",
        "area",
        "asic",
        "fpga",
        "verilog",
        "presets",
        "formats",
        "compare",
        "explore",
    )
} | {"asm": "assembler.asm", "disasm": "assembler.disasm", "exec": "execute", "bench": "bench"}
"""Subcommands in the order of the help: for each its module and, if that has several, the function in it."""
INTERRUPTED, CLOSED = 130, 141
"""Exit codes of what ended from outside."""
STYLE: dict[str, Any] = dict(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class _Commands(Mapping):
    """Subcommands by name."""

    def __getitem__(self, name):
        with _lasting():
            return _command(name, COMMANDS[name])

    def __iter__(self):
        return iter(COMMANDS)

    def __len__(self):
        return len(COMMANDS)


def _command(name, place):
    """A subcommand, or a group of them, which is imported here: a command imports only what it needs."""
    path = place.split(".")
    found = getattr(import_module(f".{path[0]}", __package__), path[-1])
    alone = typer.Typer(**STYLE)
    alone.callback()(_group)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    group: Any = get_command(alone)
    return group.commands[name]


@contextmanager
def _lasting():
    """What is made here is not looked through for garbage, neither now nor later: imports make much, and all
    of it stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _Group(TyperGroup):
    """All subcommands."""

    def __init__(self, **options):
        super().__init__(**options)
        self.commands = _Commands()  # type: ignore[assignment]  # nobody writes to it


def _group():
    pass


app = typer.Typer(
    cls=_Group,
    callback=_group,
    no_args_is_help=True,
    help="Run language models on Poblano, an open inference chip, in simulation.",
    **STYLE,
)


def main():
    """The console script."""
    _open_outputs()
    try:
        app()
    except SystemExit as left:
        # The library's own words for these: nothing.
        if left.code == INTERRUPTED:
            _leave("interrupted", INTERRUPTED)
        if left.code == 1:
            _leave("standard output is closed", CLOSED)
        raise
    except KeyboardInterrupt:
        _leave("interrupted", INTERRUPTED)
    except Exception as error:
        from .failures import failure

        found = failure(error)
        if found is None:
            raise
        _leave(*found)


def _open_outputs():
    """A standard output that the caller has closed is nothing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the command runs


def _leave(text, code):
    print(f"poblano: {text}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
