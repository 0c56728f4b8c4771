"""The command ``poblano faults``: a decode step in which bits flip, memory fails or the chip is reset."""

import os

from rich.console import Console
from rich.progress import Progress
import typer

from poblano.config import ConfigError
from poblano_host.faults.campaign import Campaign
from poblano_host.faults.faults import KINDS
from poblano_host.faults.places import KINDS_OF_BITS
from poblano_host.faults.summary import COLUMNS
from poblano_host.models import load_model

from .options import BANDWIDTH, JSON, LATENCY, PRESET, check_outputs, chip_config, write_json
from .tables import note, print_table

__all__ = ["faults"]

DEFAULT_PROMPT = "And God said unto Moses,"
SHOWN = 12
"""Kinds of errors that are shown."""


def faults(
    preset_name: str = PRESET,
    model: str = typer.Option("default", help="As of `poblano run`."),
    prompt: str = typer.Option(DEFAULT_PROMPT, help="The text before the token whose step has the faults."),
    flips: int = typer.Option(1000, min=1, help="Faults of all kinds together."),
    seed: int = typer.Option(0, min=0, help="Of the random faults."),
    kinds: str = typer.Option(
        ",".join(KINDS_OF_BITS), help=f"Kinds of faults, each of which has its share: {', '.join(KINDS)}."
    ),
    bits: int = typer.Option(1, min=1, help="Bits that flip at once in a word."),
    ecc: bool = typer.Option(True, "--ecc/--no-ecc", help="Whether the chip's memories have codes."),
    jobs: int = typer.Option(None, min=1, help="Processes at a time; as many as there are cores by default."),
    bandwidth: str = BANDWIDTH,
    latency: int = LATENCY,
    json_file: str = JSON,
):
    """Inject faults into a decode step on the simulated chip, each into a run of its own, and classify them.

    Bits flip in DRAM, in memories (sram), in queues that are memories (fifo) and in flip-flops, each bit as
    likely as the others of its kind. The other kinds are error responses of memory (axi-error), channels of
    memory that do not answer (silent), resets by the pin (reset) and by the host (queue-reset).
    """
    check_outputs(json_file)
    config = chip_config(preset_name, bandwidth, latency).with_ecc(ecc)
    chosen = [kind.strip() for kind in kinds.split(",")]
    for kind in chosen:
        if kind not in KINDS:
            raise ConfigError(f"unknown kind of faults {kind!r}; there are {', '.join(KINDS)}")
    loaded = load_model(model)
    campaign = Campaign(loaded, config, loaded.framed(prompt), report=note)
    for kind in chosen:
        if kind not in campaign.kinds:
            raise ConfigError(
                f"{config.name} has a DRAM, which has no {kind}: --bandwidth gives it AXI4 ports instead"
            )
    planned = []
    for n, kind in enumerate(chosen):
        share = flips // len(chosen) + (n < flips % len(chosen))
        planned += campaign.faults(kind, share, seed, bits=bits)
    note(f"{len(planned):,} faults in a step of {campaign.golden.cycles:,} cycles")
    summary = campaign.summary(_run(campaign, planned, jobs))
    campaign.close()
    settings = dict(model=loaded.config.name, preset=config.name, ecc=ecc, seed=seed, bits=bits)
    write_json(json_file, settings | {"step": vars(campaign.golden)} | summary.as_json())
    _print(summary, f"{loaded.config.name} on {config.name}, {'with' if ecc else 'without'} ECC")


def _run(campaign, planned, jobs):
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("faults", total=len(planned))
        tell = lambda done: bar.update(task, completed=done)
        return campaign.run(planned, jobs=jobs or os.cpu_count() or 1, progress=tell)


def _print(summary, title):
    kinds = summary.kinds()
    print_table([title, *COLUMNS], [share.row() for share in kinds])
    for share in kinds:
        if share.name in KINDS_OF_BITS and share.faults > share.classes["masked"]:
            print()
            print_table([share.name, *COLUMNS], [part.row() for part in summary.parts(share.name)])
    errors = summary.errors()
    if errors:
        print()
        print_table(
            ["kind", "error", "unit", "command", "times"],
            [[*e[:4], f"{e[4]:,}"] for e in errors[:SHOWN]],
            left=4,
        )
    if any(share.name == "flip-flop" for share in kinds):
        print(
            "\nFlip-flops have no protection: their silent share is their architectural vulnerability "
            "factor (AVF)."
        )
