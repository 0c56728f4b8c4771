"""The command ``poblano model``: what a file is, and whether and how it would run on a chip."""

from collections import Counter
from dataclasses import asdict, dataclass
import math
import re

import typer

from poblano_host.compiler import CompiledModel
from poblano_host.compiler.weights import weight_format
from poblano_host.models import ModelError, load_model
from poblano_host.models.config import stored_fields
from poblano_host.models.missing import file_facts, missing
from poblano_host.models.operators import Linear
from poblano_host.runtime.report import roofline_cycles

from .options import ACTIVATIONS, FORMATS, JSON, MODEL_PRESET, check_outputs, chip_config, write_json
from .tables import print_table

__all__ = ["model"]


@dataclass(frozen=True)
class Row:
    """Tensors that are alike: how the file has them and the chip, and one's least cycles for a token."""

    tensor: str
    count: int
    stored: str
    shape: tuple
    held: str
    bytes: int
    cycles: float


def model(
    file: str = typer.Argument(
        "default", help="default, moe, smollm2, a .gguf file or a directory with safetensors."
    ),
    preset_name: str = MODEL_PRESET,
    formats_: str = FORMATS,
    activations: str = ACTIVATIONS,
    context: int = typer.Option(None, min=1, help="Positions of the KV cache; the model's, at most 2048."),
    tensors: bool = typer.Option(False, "--tensors", help="A line for each tensor, not for those alike."),
    json_file: str = JSON,
):
    """Tell what a model's file is, and whether and how it would run on a chip, or what is missing."""
    check_outputs(json_file)
    try:
        loaded = load_model(file)
    except ModelError as error:
        _tell_missing(file, error)
        raise
    config = chip_config(preset_name, formats=formats_, model=loaded)
    facts = _facts(loaded)
    print_table(["", loaded.config.name], facts, left=2)
    compiled = CompiledModel(loaded, config, context=context, activations=activations)
    rows = _rows(loaded, compiled, config)
    _print_rows(rows if tensors else _alike(rows), config)
    running = _running(loaded, compiled, config, rows)
    print_table([f"on {config.name}", ""], [(name, text) for name, text, _ in running], left=1)
    figures = {name.replace(" ", "_").replace(",", ""): value for name, _, value in running}
    write_json(json_file, dict(facts=dict(facts), tensors=[asdict(row) for row in rows], **figures))


def _tell_missing(file, error):
    """What a file that can't be read is, as far as that is known, and all that is missing."""
    try:
        facts = file_facts(file)
    except ModelError:
        return
    if facts:
        print_table(["", file], facts, left=2)
    for line in missing(file, error):
        print(f"missing: {line}")


def _facts(model):
    config, tokenizer = model.config, model.tokenizer
    sizes = [(f.name.replace("_", " "), str(getattr(config, f.name))) for f in stored_fields(type(config))]
    token = lambda id: f"{id} {tokenizer.token_of(id)!r}"
    framing = tokenizer.framing
    kinds = Counter(model.stored.get(name, "F32") for name in model.tensors)
    parameters = sum(math.prod(tensor.shape) for tensor in model.tensors.values())
    around = [name for name, added in (("begin", framing.add_bos), ("end", framing.add_eos)) if added]
    return [
        ("family", config.architecture),
        ("parameters", f"{parameters:,}"),
        *sizes,
        ("vocabulary", str(config.vocab)),
        ("output", "the embedding" if config.tied else "its own matrix"),
        ("tokenizer", tokenizer.kind),
        ("put around a prompt", ", ".join(around) or "nothing"),
        ("begin of text", "none" if config.bos_id is None else token(config.bos_id)),
        ("ends of an answer", ", ".join(token(id) for id in sorted(model.ends)) or "none"),
        ("chat template", "none" if framing.template is None else f"{len(framing.template)} characters"),
        ("stored types", ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())),
    ]


def _rows(model, compiled, config):
    """A :class:`Row` of each tensor."""
    linear = {node.weight for node in model.graph.of(Linear)}
    rows = []
    for name, tensor in model.tensors.items():
        size = compiled.memory.matrix(name).size if name in linear else 4 * math.prod(tensor.shape)
        macs = math.prod(tensor.shape) if name in linear else 0
        cycles = max(macs / config.macs_per_cycle, size / float(config.memory.total_bandwidth))
        held = weight_format(tensor, config) if name in linear else "F32"
        if name not in linear and len(tensor.shape) == 2:  # rows of an embedding, which the host writes
            held, size, cycles = "by the host", 0, 0.0
        rows.append(Row(name, 1, model.stored.get(name, "F32"), tensor.shape, held, size, cycles))
    return rows


def _alike(rows):
    """Rows whose tensors differ in nothing but their layer as one."""
    found: dict = {}
    for row in rows:
        key = (re.sub(r"(?<=\.)\d+(?=\.)", "*", row.tensor), *list(vars(row).values())[2:])
        found[key] = found.get(key, 0) + 1
    return [Row(name, count, *rest) for (name, *rest), count in found.items()]


def _print_rows(rows, config):
    columns = ["tensor", "stored", "on the chip", "tensors", "shape", "bytes", "least cycles a token"]
    text = [
        (
            row.tensor,
            row.stored,
            row.held,
            str(row.count),
            " x ".join(map(str, row.shape)),
            f"{row.count * row.bytes:,}",
            f"{row.count * row.cycles:,.0f}",
        )
        for row in rows
    ]
    print_table(columns, text, left=3)


def _running(model, compiled, config, rows):
    """(name, text, value) of how the model would run."""
    step = sum(roofline_cycles(work, config) for work in compiled.work(1, compiled.context // 2))
    tokens = min(compiled.max_tokens, compiled.context)
    prompt = sum(roofline_cycles(work, config) for work in compiled.work(tokens, 0, logits="none"))
    weights, whole = sum(row.bytes for row in rows), config.memory.homes * config.memory.home_bytes
    there = whole if config.memory.homes > 1 else 1 << config.memory.addr_width
    found = [
        ("memory, bytes", f"{compiled.memory_bytes:,} of {there:,}", compiled.memory_bytes),
        ("weights, bytes", f"{weights:,}", weights),
        ("context", f"{compiled.context:,}", compiled.context),
        ("tokens of a step", f"{compiled.max_tokens:,}", compiled.max_tokens),
        ("least cycles of a token", f"{step:,.0f}", step),
        ("least cycles of a prompt token", f"{prompt / tokens:,.0f}", prompt / tokens),
    ]
    if config.memory.dram is not None:
        clock = float(config.memory.dram.clock_mhz)
        speed = 1e6 * clock / step
        found.append(("most tokens per second", f"{speed:,.1f} at {clock:g} MHz", speed))
    return found
