#!/usr/bin/env python3
"""One decode step of the default model on `desk`, in RTL simulation: the figures, the commands and the
picture of ``docs/life-of-a-token.md``. ``--write`` measures it and writes them anew."""

import argparse
from html import escape
from pathlib import Path

import document

from poblano.config import preset
from poblano_host.assembler import format_command
from poblano_host.compiler import CompiledModel
from poblano_host.models import load_model
from poblano_host.runtime.session import Session
from poblano_host.runtime.timeline import slices

__all__ = ["EXCERPTS", "NAME", "PAGE", "excerpt", "program"]

NAME = "scripts/token_timeline.py"
DOCS = Path(__file__).parent.parent / "docs"
PAGE, PICTURE = DOCS / "life-of-a-token.md", DOCS / "token-timeline.svg"
PROMPT, CONTEXT = "In the beginning", 32
"""What `make run` begins with, and the positions of its caches."""
POSITION, TOKEN = 8, 269
"""The step that is shown: the first decoded token, " of", goes in, behind a prompt of 8 tokens."""

EXCERPTS = {
    "norm": ("attn_norm.squares", "attn_norm.rsqrt", "attn_norm.scale"),
    "queries": ("attn_q",),
    "keys": ("attn_k.rope", "attn_k.quantise", "attn_k.store"),
    "scores": ("attn.scores",),
    "softmax": ("attn.max", "attn.exp", "attn.v_scales", "attn.p_quantise", "attn.reciprocal"),
    "values": ("attn.output", "attn.normalise"),
    "residual": ("attn_output", "attn_residual.add"),
    "network": ("ffn_gated.silu",),
    "head": ("output", "output.argmax", "output.store", "output.best"),
}
"""The commands of tile 0 and of the DMA engine for it that the document shows, by what they do."""

STAGES = (
    ("load the gains, the embedding and the sines", ("*.gain", "token_embd", "rope.table"), None),
    ("norm of the layer's input", ("attn_norm.squares", "attn_norm.rsqrt", "attn_norm.scale"), 0),
    ("queries, keys, values: products", ("attn_q", "attn_k", "attn_v"), 0),
    ("RoPE, and quantising of all three", ("attn_?.rope", "attn_?.quantise"), 0),
    ("store keys and values in the caches", ("attn_k.store", "attn_v.store"), 0),
    ("scores: queries times the K cache", ("attn.scores",), 0),
    ("softmax", ("attn.max", "attn.exp", "attn.v_scales", "attn.p_quantise", "attn.reciprocal"), 0),
    ("probabilities times the V cache", ("attn.output", "attn.normalise"), 0),
    ("output projection and residual", ("attn_output", "attn_residual.add"), 0),
    ("norm of the network's input", ("ffn_norm.rsqrt", "ffn_norm.scale"), 0),
    ("gate and up projection, SiLU", ("ffn_gate", "ffn_up", "ffn_gated.silu"), 0),
    ("down projection and residual", ("ffn_down", "ffn_residual.add"), 0),
    ("last norm", ("output_norm.*",), None),
    ("logits, the largest of them, and their stores", ("output", "output.*"), None),
)
"""The stages of the first layer and of what is around the layers: a name, labels of commands, the layer."""

COLOURS = {
    "projections": "#8fcf83",
    "attention": "#86b9f0",
    "vector work": "#f5c37a",
    "caches": "#c3a6ea",
    "loads and stores": "#c4c4c4",
}


def program():
    """The :class:`~poblano_host.compiler.program.Program` of the step."""
    compiled = CompiledModel(load_model("default"), preset("desk"), context=CONTEXT)
    return compiled.step([TOKEN], POSITION)


def excerpt(commands, name):
    """The lines of an excerpt: commands of the first layer, or of what is around the layers."""
    lines = []
    for command in commands:
        layer, _, label = command.label.rpartition("layer0.")
        mine = command.unit <= 3 and not command.operands.get("tile") and command.operands.get("tiles") != 2
        if label in EXCERPTS[name] and not layer and mine:
            lines.append(format_command(command).partition(" ;")[0])
    return lines


def _matches(command, labels, layer):
    own = command.label.removeprefix("layer0.")
    if (own == command.label) != (layer is None):
        return False
    return any(Path(own).match(label) for label in labels)


def stages(commands, found):
    """Rows of the table of stages."""
    lines = ["| stage | commands | begins | ends |", "|---|--:|--:|--:|"]
    for name, labels, layer in STAGES:
        of = [s for s in found if _matches(commands[s["command"]], labels, layer)]
        work = [s for s in of if commands[s["command"]].opcode.name != "STREAM"]
        begin, end = min(s["start"] for s in work), max(s["end"] for s in work) - 1
        lines.append(f"| {name} | {len(of)} | {begin:,} | {end:,} |")
    return lines


def figures(commands, found, result, step):
    """Rows of the table of totals."""
    first = min(s["start"] for s in found if commands[s["command"]].opcode.name == "STREAM")
    streams = sum(c.operands["rows"] * c.operands["row_bytes"] for c in commands if c.opcode.name == "STREAM")
    template = step.program.code.template
    busy = {n: f"{100 * counts['BUSY'] / result.cycles:.0f} %" for n, counts in result.counters.items()}
    rows = [
        ("cycles, from the doorbell to the last write", f"{result.cycles:,}"),
        ("begin of the first STREAM, in cycles", f"{first:,}"),
        ("commands", f"{len(commands)}"),
        ("command words that are patched", f"{len(template.places)} of {template.words.size:,}"),
        ("different numbers that are added to them", f"{len(template.kinds[0])}"),
        ("bytes read from memory", f"{result.bytes_read:,}"),
        ("of these, weights and caches in streams", f"{streams:,}"),
        ("of these, commands", f"{64 * len(commands):,}"),
        ("bytes written to memory", f"{result.bytes_written:,}"),
        ("cycles in which the stream units work, tile 0 and 1", f"{busy[1]}, {busy[4]}"),
        ("the matmul units", f"{busy[2]}, {busy[5]}"),
        ("the vector units", f"{busy[3]}, {busy[6]}"),
        ("the DMA engine", busy[0]),
    ]
    return ["| one decode step | |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows)]


def _colour(command):
    label = command.label.rpartition(".")[0] or command.label
    name = command.label.split(".", 1)[1] if command.label.startswith("layer") else command.label
    if name.endswith(".store") and name.startswith("attn_"):
        kind = "caches"
    elif command.opcode.name in ("LOAD", "STORE"):
        kind = "loads and stores"
    elif name.startswith("attn."):
        kind = "attention"
    elif command.opcode.name == "VECTOR" or not label:
        kind = "vector work"
    else:
        kind = "projections"
    return COLOURS[kind]


class _Drawing:
    """Strips of a timeline below each other, as SVG."""

    LEFT, WIDTH, ROW = 96, 850, 22

    def __init__(self, names):
        self.names, self.y, self.parts = names, 16, []

    def text(self, x, y, text, style="s", anchor="start"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def box(self, x, y, width, height, colour, title=""):
        inside = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.8):.1f}" height="{height}" '
            f'fill="{colour}" class="c">{inside}</rect>'
        )

    def strip(self, title, commands, found, last, tick):
        """A row for each unit, from cycle 0 to ``last``."""
        named = any(s["end"] > last for s in found)  # a part of the time: boxes are wide enough
        self.text(12, self.y + 4, title, "h")
        self.y += 16
        scale = self.WIDTH / last
        for name in self.names:
            self.text(self.LEFT - 8, self.y + 15, name, anchor="end")
            self.box(self.LEFT, self.y, self.WIDTH, self.ROW - 2, "#ececec")
            for s in found:
                command = commands[s["command"]]
                start, end = int(s["start"]), min(int(s["end"]), last)
                if self.names[command.unit] != name or start >= last:
                    continue
                x, width = self.LEFT + start * scale, (end - start) * scale
                label = command.label.removeprefix("layer0.")
                title = f"{label} {start} to {end - 1}" if named else ""
                self.box(x, self.y, width, self.ROW - 2, _colour(command), title)
                if named and width > 6 * len(label):
                    self.text(x + width / 2, self.y + 14, label, "s", "middle")
            self.y += self.ROW
        for cycle in range(0, last + 1, tick):
            x = self.LEFT + cycle * scale
            self.text(x, self.y + 12, f"{cycle:,}", "s", "middle" if cycle < last else "end")
        self.y += 36

    def svg(self):
        for n, (name, colour) in enumerate(COLOURS.items()):
            self.box(self.LEFT + 160 * n, self.y - 10, 12, 12, colour)
            self.text(self.LEFT + 160 * n + 18, self.y, name)
        height = self.y + 14
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" '
                'font-family="Helvetica, Arial, sans-serif">',
                "<title>The units of desk while it computes one token</title>",
                "<style>.h{font-size:13px;font-weight:bold;fill:#111}.s{font-size:10.5px;fill:#222}"
                ".c{stroke:#fff;stroke-width:.4}</style>",
                f'<rect width="960" height="{height}" rx="6" fill="#fafafa"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def picture(commands, found, cycles, names):
    """The timeline of the whole step, and of its first layer."""
    drawing = _Drawing(names)
    drawing.strip("The first layer, and the streams of the second (cycles)", commands, found, 8000, 1000)
    drawing.strip("The whole token: four layers and the logits (cycles)", commands, found, cycles, 5000)
    return drawing.svg()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the figures into docs/life-of-a-token.md")
    write = parser.parse_args().write
    model, config = load_model("default"), preset("desk")
    session = Session(model, config, context=CONTEXT)
    _, (step, _) = (run for run in session.generate(model.framed(PROMPT), 2))
    session.close()
    assert step.position == POSITION, "the prompt has other tokens than the document says"
    commands, result = step.program.commands, step.result
    found = slices(commands, result.events)
    parts = {"figures": figures(commands, found, result, step), "stages": stages(commands, found)}
    for name in EXCERPTS:
        parts[name] = ["```text", *excerpt(commands, name), "```"]
    for name, lines in parts.items():
        print("\n".join(lines))
        if write:
            document.rewrite(PAGE, f"{NAME}: {name}", lines)
    if write:
        names = [config.topology.name(unit) for unit in range(config.units)]
        PICTURE.write_text(picture(commands, found, result.cycles, names))


if __name__ == "__main__":
    main()
