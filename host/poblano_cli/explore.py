"""The command ``poblano explore``: configurations of the chip, searched for speed, energy and area."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
import typer

from poblano.config import ConfigError

from .tables import note, print_table

__all__ = ["explore"]

WIDTH = 160
"""Columns of a table that goes to a file."""


def explore(
    folder: str = typer.Option("build/explore", help="Where all is kept; an exploration in it goes on."),
    base: str = typer.Option("nano", "--base", help="The preset that all else comes from."),
    model: str = typer.Option("default", help="default, smollm2, a .gguf file or a directory."),
    prompt: int = typer.Option(16, help="Tokens of the prompt."),
    output: int = typer.Option(16, help="Tokens that are decoded after it."),
    channel: int = typer.Option(400, help="MB/s of the memory behind each channel."),
    latency: int = typer.Option(300, help="ns until the memory answers."),
    largest: float = typer.Option(60, help="The most mm2 at 180 nm, memories included."),
    points: int = typer.Option(200, min=1, help="Points in closed form."),
    events: int = typer.Option(0, min=0, help="Of these, points by `poblano estimate`."),
    cells: int = typer.Option(0, min=0, help="Of these, points in standard cells: area and longest path."),
    rtl: int = typer.Option(0, min=0, help="Of these, points on the RTL, against the golden model."),
    sampler: str = typer.Option("tpe", help="How points are proposed: tpe, nsga2 or random."),
    seed: int = typer.Option(0, min=0, help="Of the sampler."),
    scheduler: str = typer.Option(None, help="Address of a Dask scheduler, as tcp://host:8786."),
    workers: int = typer.Option(2, min=1, help="Processes of this machine, without --scheduler."),
):
    """Search rows, columns, tiles, lanes, formats, buffers, channels and clock for the best chips."""
    try:
        from poblano_explore.report import plot, write
        from poblano_explore.search import Search
        from poblano_explore.search import workers as start_workers
        from poblano_explore.space import Task
    except ImportError as error:
        raise ConfigError(
            f"{error.name} is missing; install it with: pip install 'poblano[explore]'"
        ) from None
    search = Search(
        Path(folder),
        Task(base, model, prompt, output, channel, latency, largest).check(),
        sampler=sampler,
        seed=seed,
    )
    try:
        with start_workers(scheduler, workers) as client, _bars() as bars:
            shown: dict[str, int] = {}

            def progress(level, done, total):
                if level not in shown:
                    shown[level] = bars.add_task(level, total=total)
                bars.update(shown[level], completed=done)

            search.propose(client, points, progress)
            search.refine(client, "events", events, progress)
            search.refine(client, "cells", cells, progress)
            search.refine(client, "rtl", rtl, progress)
    finally:
        if search.points("closed form"):
            _show(search, write(search))
            plot({sampler: search}, Path(folder) / "points.png")
            note(
                f"kept in {folder}: study.db, front.json, points.png and a preset for each point of the front"
            )


def _bars():
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=Console(stderr=True))


def _show(search, found):
    from poblano_explore.report import best_level, commands

    rows = []
    for path, point in found.items():
        p = point.parameters
        rows.append(
            (
                path.stem,
                f"{p['tiles']} x {p['rows']}x{p['cols']}",
                str(p["lanes"]),
                p["formats"],
                str(p["channels"]),
                f"{p['clock_mhz']}",
                f"{point.tokens_s:,.1f}",
                f"{point.tokens_j:,.0f}",
                f"{point.area_mm2:,.1f}",
                f"{point.fmax_mhz:.0f}" if point.fmax_mhz else "",
            )
        )
    columns = [
        "preset",
        "arrays",
        "lanes",
        "formats",
        "channels",
        "MHz",
        "tokens/s",
        "tokens/J",
        "mm2",
        "most MHz",
    ]
    print_table(columns, rows, title=f"The front, by {best_level(search)}", width=WIDTH)
    for path in found:
        for line in commands(search, path):
            print(line)
