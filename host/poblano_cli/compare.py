"""The command ``poblano compare``: chips of the market serving a model, with ranges and sources."""

from pathlib import Path

import typer

from .options import JSON, check_outputs, write_json, wrote
from .tables import note, print_table

__all__ = ["compare"]

WIDTH = 190
"""Columns of a table that goes to a file."""


def compare(
    model: str = typer.Option("llama-3.1-70b", help="A model: llama-3.1-8b, gpt-oss-120b, deepseek-v3, .."),
    chips: str = typer.Option(None, help="Chips of the file, as b200,tpu-v7; most of them by default."),
    chips_file: str = typer.Option(None, help="Another chips file (TOML); this project's by default."),
    weights: str = typer.Option(None, help="Format of the weights: bf16, fp8, fp4; fp8 by default."),
    kv: str = typer.Option("fp8", help="Format of keys and values: bf16 or fp8."),
    prompt: int = typer.Option(1024, help="Tokens that are read for each request."),
    output: int = typer.Option(1024, help="Tokens that are made for each."),
    speed: float = typer.Option(20, help="Tokens a second that each user must see."),
    batch: int = typer.Option(None, help="Requests at once; the best by default."),
    tensor: int = typer.Option(None, help="Chips that a layer is split over; the best by default."),
    data: int = typer.Option(1, help="Groups of such chips that take other requests."),
    expert: int = typer.Option(None, help="Chips that share the experts."),
    pipeline: int = typer.Option(1, help="Stages of layers."),
    html_file: str = typer.Option(None, "--html", help="Write a report with plots to this file."),
    json_file: str = JSON,
):
    """Compare chips serving a model: speed, energy, cost, what bounds them, and what is claimed of them."""
    from poblano_market.chips import CHIPS
    from poblano_market.claims import claims, remarks
    from poblano_market.compare import Wanted
    from poblano_market.compare import compare as compare_chips
    from poblano_market.deployment import Split
    from poblano_market.report import as_json, html, sections, summary

    check_outputs(html_file, json_file)
    given = tensor is not None or (data, expert, pipeline) != (1, None, 1)
    split = Split(tensor or 1, data, expert, pipeline) if given else None
    keys = chips.split(",") if chips else None
    wanted = Wanted(model, weights, kv, prompt, output, speed, batch, split)
    comparison = compare_chips(wanted, keys, Path(chips_file or CHIPS))
    print(summary(comparison))
    for section in sections(comparison):
        print(f"\n{section.note}")
        print_table(section.columns, section.rows, title=section.title, width=WIDTH)
    for key, reason in comparison.left_out.items():
        print(f"\nnot compared: {key}: {reason}")
    for claim in claims(comparison):
        print(f"\nClaim: {claim.title}: {claim.verdict}")
        for line in claim.findings:
            print(f"  * {line}")
    print("\nPlain arithmetic")
    for line in remarks():
        print(f"  * {line}")
    write_json(json_file, as_json(comparison))
    if html_file is not None:
        note("drawing plots")
        Path(html_file).write_text(html(comparison))
        wrote(html_file, "the report")
