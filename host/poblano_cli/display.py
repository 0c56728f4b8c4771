"""What the command shows: progress, notes, tables."""

from contextlib import contextmanager
import os
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from poblano_host.runtime.report import summary_rows

__all__ = ["Display", "note", "print_summaries", "print_table"]

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


def print_summaries(title, names, summaries):
    """Summaries of runs side by side."""
    print(f"\n{title}")
    print_table(["", *names], summary_rows(summaries))


def _same_output():
    """Whether standard output and error go to the same file."""
    try:
        return os.path.sameopenfile(1, 2)
    except OSError:
        return False


class Display:
    """Tokens on standard output as they come; progress on standard error: a bar on a terminal, lines
    elsewhere.

    Where both are one terminal, the text is shown above the bar, and printed when all is done.
    """

    def __init__(self):
        self.console = Console(stderr=True, highlight=False)
        self.together = sys.stdout.isatty() and self.console.is_terminal
        self.bar = None
        self.text = ""
        self.begun, self.before = None, 0

    @contextmanager
    def running(self):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("commands"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as self.bar:
            self.task = self.bar.add_task("starting", total=None, speed="")
            try:
                yield self
            finally:
                self.bar.stop()
                self.bar = None
                if self.together:
                    print(self.text)
                else:
                    print(flush=True)

    def note(self, line):
        """A line about a slow step."""
        if self.console.is_terminal and self.bar is not None:
            self.bar.update(self.task, description=line, total=None)
        else:
            note(line)

    def progress(self, phase, completed, total, cycles):
        if self.bar is None or not self.console.is_terminal:
            return
        now = time.monotonic()
        if self.begun is None or cycles < self.before:
            self.begun = now
        self.before = cycles
        elapsed = now - self.begun
        speed = f"{cycles / elapsed:,.0f} cycles/s" if cycles and elapsed > 0.2 else ""
        shown = self.text.replace("\n", " ")[-40:] if self.together else ""
        self.bar.update(
            self.task,
            description=f"{shown} [{phase}]" if shown else phase,
            completed=completed,
            total=total,
            speed=speed,
        )

    def step(self, step):
        # Not between the tokens of a log that has both.
        if not self.console.is_terminal and not (step.phase == "decode" and _same_output()):
            tokens = f"{step.count} token{'s' * (step.count > 1)} at {step.position}"
            print(
                f"{step.phase}: {tokens}, {step.result.cycles:,} cycles, {step.result.seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )

    def write(self, text):
        self.text += text
        if not self.together:
            print(text, end="", flush=True)
