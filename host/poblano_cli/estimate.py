"""The command ``poblano estimate``."""

from pathlib import Path

import typer

from poblano.config import ConfigError
from poblano_estimate.serve import estimate as estimate_model
from poblano_estimate.shapes import model_shape

from .options import BANDWIDTH, JSON, LATENCY, PRESET, check_outputs, chip_config, write_json
from .tables import print_table

__all__ = ["estimate"]


def estimate(
    preset: str = PRESET,
    model: str = typer.Option(
        "default",
        help="smollm2-135m, llama-3.1-8b, llama-3.1-70b, ...; or a .gguf file or a config.json, of which no "
        "weights are read.",
    ),
    batch: int = typer.Option(1, min=1, help="Sequences that are decoded at once."),
    context: int = typer.Option(
        None, min=1, help="Positions that each of them sees; 512, or all of the model's, by default."
    ),
    prefill: int = typer.Option(0, min=0, help="Estimate a prompt of so many tokens too."),
    format: str = typer.Option(
        None, help="Of the model's matrices, as q4_1; the file's, or q4_1, by default."
    ),
    tiles: int = typer.Option(None, help="Tiles; the preset's by default."),
    bandwidth: str = BANDWIDTH,
    latency: int = LATENCY,
    seed: int = typer.Option(
        0, min=0, help="Of the experts that tokens use, in a mixture: each uses any, as likely as another."
    ),
    clock: float = typer.Option(None, help="MHz, for a chip whose memory has no clock of its own."),
    json: Path = JSON,
):
    """Estimate what a chip takes for a model: cycles, tokens a second, what its units do.

    Nothing is simulated: the commands that the compiler makes are walked through the hardware's own times.
    See docs/estimate.md.
    """
    check_outputs(json)
    if clock is not None and clock <= 0:
        raise ConfigError(f"the clock must be above 0 MHz, not {clock:g}")
    config = chip_config(preset, bandwidth, latency, tiles)
    shape, form = model_shape(model, format)
    if context is None:
        context = min(512, shape.context)
    found = estimate_model(shape, form, config, batch=batch, context=context, prefill=prefill, seed=seed)
    mhz = found.decode.clock_mhz if clock is None else clock
    print_table(["", *found.phases], _rows(found, mhz), title=f"{shape.name} in {form} on {config.name}")
    print("\nOf all cycles")
    print_table(
        ["", *found.phases],
        [
            (name, *(f"{step.utilisation[key]:.1%}" for step in found.phases.values()))
            for key, name in UTILISATION.items()
        ],
    )
    if json is not None:
        write_json(json, found.as_json(mhz) | {"preset": preset, "model": shape.name, "format": form})


UTILISATION = {
    "arrays": "multiply-accumulates, of all that the arrays can do",
    "matmul": "matmul units at work",
    "vector": "vector units at work",
    "dma": "DMA engine moves data",
    "stream": "weights, keys and values, of all bytes that memory can give",
    "memory": "all bytes, of those",
}
"""What a step's utilisation is called."""


def _rows(found, mhz):
    """Rows of text, (name, a value for each phase)."""
    steps = found.phases.values()
    number = lambda name, values: (name, *(f"{value:,.0f}" for value in values))
    rows = [
        number("tokens", (step.tokens for step in steps)),
        number("cycles", (step.cycles for step in steps)),
        number("cycles per token", (step.cycles / step.tokens for step in steps)),
        number("roofline, cycles", (step.roofline_cycles for step in steps)),
        ("fraction of the roofline", *(f"{step.roofline_fraction:.1%}" for step in steps)),
        number("bytes read", (step.activity.bytes_read for step in steps)),
        number("bytes written", (step.activity.store_bytes for step in steps)),
        number("commands", (step.activity.commands for step in steps)),
    ]
    if mhz is not None:
        speeds = [1e6 * mhz / step.cycles for step in steps]
        rows += [
            (
                f"tokens a second of the chip, at {mhz:g} MHz",
                *(f"{speed * step.tokens:,.1f}" for speed, step in zip(speeds, steps)),
            ),
            ("tokens a second of a user", f"{speeds[0]:,.1f}", *("" for _ in speeds[1:])),
        ]
    return rows
