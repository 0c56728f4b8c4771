"""What the command shows of runs: progress, and what they took."""

from contextlib import contextmanager
import os
import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from poblano_host.runtime.report import UNIT_COLUMNS, phase_uses, summary_rows, unit_rows

from .tables import note, print_table

__all__ = ["Display", "print_summaries", "print_uses"]


def print_summaries(title, names, summaries):
    """Summaries of runs side by side."""
    print(f"\n{title}")
    print_table(["", *names], summary_rows(summaries))


def print_uses(runs, config):
    """What each phase of runs is limited by, and what the units did."""
    uses = phase_uses(runs, config)
    for use in uses:
        print(f"\n{use.sentences}")
    if uses:
        print("\nWhat the units did, of all cycles")
        print_table(["unit", *UNIT_COLUMNS], unit_rows(runs, config))


def _same_output():
    """Whether standard output and error go to the same file."""
    try:
        return os.path.sameopenfile(1, 2)
    except OSError:
        return False


def _time(seconds):
    """Minutes and seconds, as 3:07 or 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Display:
    """Tokens on standard output as they come; progress on standard error: a bar on a terminal, lines
    elsewhere.

    Where both are one terminal, the text is shown above the bar, and printed when all is done.

    Members
    -------
    run : :class:`~poblano_host.runtime.progress.Progress` of the steps to come, once it is known
    """

    def __init__(self, clock_mhz=None):
        self.console = Console(stderr=True, highlight=False)
        self.together = sys.stdout.isatty() and self.console.is_terminal
        self.bar = self.run = None
        self.text, self.said, self.clock_mhz = "", 0, clock_mhz

    @contextmanager
    def running(self, text=True):
        """Show what :meth:`progress` tells; ``text``: and what :meth:`write` gives."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[speed]}"),
        )
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as self.bar:
            self.task = self.bar.add_task("starting", total=None, left="", speed="")
            try:
                yield self
            finally:
                self.bar.stop()
                self.bar = None
                if self.together and text:
                    print(self.text)
                elif text:
                    print(flush=True)

    def note(self, line):
        """A line about a slow step."""
        if self.console.is_terminal and self.bar is not None:
            self.bar.update(self.task, description=line, total=None)
        else:
            note(line)

    def progress(self, phase, program, completed, cycles):
        """As :class:`~poblano_host.runtime.session.Session` calls it."""
        if self.run is None:
            return
        self.run.update(phase, program, completed, cycles)
        left = "" if self.run.left is None else f"{_time(self.run.left)} left"
        if not self.console.is_terminal:
            self._say(phase, self.run, left)
        elif self.bar is not None:
            shown = self.text.replace("\n", " ")[-40:] if self.together else ""
            self.bar.update(
                self.task,
                description=f"{shown} [{phase}]" if shown else phase,
                completed=min(self.run.fraction, 0.999),
                total=1,
                left=left,
            )

    def _say(self, phase, run, left):
        """A line for each tenth of the run that passes in the prompt."""
        tenth = int(10 * run.fraction)
        if phase == "prefill" and tenth > self.said:
            self.said = tenth
            note(f"{phase}: {tenth}0 % of the run, {_time(run.elapsed)}, {left}")

    def step(self, step):
        """A step has ended."""
        cycles = step.result.cycles
        if self.run is not None:
            self.run.step_done(step)
        if self.bar is not None and self.clock_mhz and cycles:
            speed = step.count * 1e6 * float(self.clock_mhz) / cycles
            text = f"{speed:,.1f} tokens/s at {float(self.clock_mhz):g} MHz"
            self.bar.update(self.task, speed=text)
        # Not between the tokens of a log that has both.
        if not self.console.is_terminal and not (step.phase == "decode" and _same_output()):
            tokens = f"{step.count} token{'s' * (step.count > 1)} at {step.position}"
            note(f"{step.phase}: {tokens}, {cycles:,} cycles, {step.result.seconds:.1f} s")

    def write(self, text):
        self.text += text
        if not self.together:
            print(text, end="", flush=True)
