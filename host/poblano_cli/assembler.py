"""The commands ``poblano asm`` and ``poblano disasm``."""

from pathlib import Path
import textwrap

import typer

from poblano.config import ConfigError
from poblano.isa.assembly import EXAMPLE, FORM, NOTES, line_form
from poblano.isa.commands import Opcode
from poblano_host.assembler import AssemblyError, assemble_lines, disassemble
from poblano_host.cache import keep
from poblano_host.runtime.execution import Execution

from .options import chip_config
from .tables import note

__all__ = ["HELP", "asm", "disasm", "read_program"]


def _help():
    """The form of programs; each paragraph stays as it is laid out here."""
    wrap = lambda text, first: textwrap.fill(
        text, 100, initial_indent=first, subsequent_indent="  ", break_long_words=False
    )
    parts = [
        f"A line is:\n  {FORM}",
        "For example:\n" + textwrap.indent(EXAMPLE, "  "),
        "\n".join(wrap(rule, "* ") for rule in NOTES),
        "Opcodes and operands (N: integer, NAME: choice or its number, X: FP32):\n"
        + "\n".join(
            textwrap.fill(line_form(o), 100, initial_indent="  ", subsequent_indent="      ") for o in Opcode
        ),
    ]
    return "\n\n".join(f"\b\n{part}" for part in parts)


HELP = _help()


def read_program(path, config=None):
    """(line, command) s of a program's text, as ``config``'s chip executes them; ConfigError names the line
    that is wrong."""
    try:
        return assemble_lines(Path(path).read_text(), config)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text") from None
    except AssemblyError as error:
        raise ConfigError(f"{path}: {error}") from None


def asm(
    source: str = typer.Argument(help="Text of commands."),
    output: str = typer.Option(
        ..., "-o", "--output", help="Write the commands, 64 bytes each, to this file."
    ),
    preset_name: str = typer.Option(
        None,
        "--preset",
        help="Refuse what the chip of this preset (as for `poblano exec`) would refuse, and "
        "name waits that are missing.",
    ),
):
    """Assemble a program of commands."""
    config = None if preset_name is None else chip_config(preset_name)
    lines = read_program(source, config)
    keep(Path(output), b"".join(command.encode() for _, command in lines))
    if config is not None:
        for line in Execution(config, lines, [], []).missing_waits():
            note(f"missing wait: {line}")


def disasm(source: str = typer.Argument(help="Commands, 64 bytes each.")):
    """Print the text of a program of commands, which `poblano asm` makes the same commands of."""
    try:
        print(disassemble(Path(source).read_bytes()), end="")
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


asm.__doc__ = f"{asm.__doc__}\n\n{HELP}"
