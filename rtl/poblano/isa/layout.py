"""The operands of a command, by name, from its bits."""

from types import SimpleNamespace

from .commands import fields_of

__all__ = ["operands"]


def operands(command, opcode):
    """The operands of ``opcode`` in the 512 bits ``command``, as attributes."""
    return SimpleNamespace(
        **{
            name: command[field.offset : field.offset + field.width]
            for name, field in fields_of(opcode).items()
        }
    )
