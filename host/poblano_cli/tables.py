"""Lines and tables that the command prints."""

import sys

from rich.console import Console
from rich.table import Table

__all__ = ["note", "print_table"]

WIDTH = 150
"""Columns of a table that goes to a file."""


def note(line):
    """A line about a slow step, on standard error."""
    print(line, file=sys.stderr, flush=True)


def print_table(columns, rows, *, title=None, left=1, width=WIDTH):
    """A table on standard output; the first ``left`` columns hold words, the others figures."""
    table = Table(title=title, title_justify="left")
    for n, name in enumerate(columns):
        table.add_column(name, justify="left" if n < left else "right")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else width).print(table)
