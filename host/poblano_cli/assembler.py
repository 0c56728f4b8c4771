"""The commands ``poblano asm`` and ``poblano disasm``."""

from pathlib import Path

import typer

from poblano.config import ConfigError
from poblano_host.assembler import AssemblyError, assemble, disassemble
from poblano_host.cache import keep

__all__ = ["asm", "disasm"]


def asm(
    source: str = typer.Argument(help="Text of commands."),
    output: str = typer.Option(
        ..., "-o", "--output", help="Write the commands, 64 bytes each, to this file."
    ),
):
    """Assemble a program of commands."""
    try:
        commands = assemble(Path(source).read_text())
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: not a text") from None
    except AssemblyError as error:
        raise ConfigError(f"{source}: {error}") from None
    keep(Path(output), b"".join(command.encode() for command in commands))


def disasm(source: str = typer.Argument(help="Commands, 64 bytes each.")):
    """Print the text of a program of commands."""
    try:
        print(disassemble(Path(source).read_bytes()), end="")
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
