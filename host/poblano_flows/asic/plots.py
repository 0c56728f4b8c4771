"""Plots of synthesised designs: area by block, the critical path, power."""

import base64
import html
import io
from pathlib import Path

__all__ = ["write_plots"]

LABELS = {"clock": "clock pins", "internal": "inside cells", "switching": "pins' charge"}


def write_plots(path, designs):
    """Write area, path and power of ``designs`` to ``path``, .html or .png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 3
    figure, axes = pyplot.subplots(
        len(designs), columns, figsize=(18, 5 * len(designs)), squeeze=False, layout="constrained"
    )
    for row, design in zip(axes, designs):
        _area(row[0], design)
        _path(row[1], design)
        _power(row[2], design)
    library = designs[0].library
    figure.suptitle(f"{library.title}; corner {library.corner}; synthesised, not placed")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    pyplot.close(figure)
    if Path(path).suffix == ".png":
        Path(path).write_bytes(data.getvalue())
        return
    rows = "".join(
        f"<tr><td>{html.escape('- ' * b.depth + b.path.rsplit('/', 1)[-1])}</td>"
        f"<td>{html.escape(b.module)}</td><td>{b.count:,}</td><td>{b.cells:,}</td>"
        f"<td>{b.area:,.0f}</td><td>{b.memory_bits:,}</td></tr>"
        for design in designs
        for b in design.blocks()
    )
    title = html.escape(", ".join(design.source.title for design in designs))
    Path(path).write_text(
        "<!doctype html><meta "
        f"charset=utf-8><title>{title}</title>"
        "<style>body{font-family:sans-serif}td{padding:0 1em;text-align:right}"
        f"td:nth-child(-n+2){{text-align:left}}</style><h1>{title}</h1><p>{html.escape(library.title)}; "
        f"corner {html.escape(library.corner)}; "
        "synthesised, not placed.</p><img style='max-width:100%' "
        f"src='data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}'>"
        "<table><tr><th>block<th>module<th>copies<th>cells<th>cell area um2<th>memory "
        f"bits</tr>{rows}</table>\n"
    )


def _area(axes, design):
    blocks = [block for block in design.blocks() if block.depth][:24]
    axes.barh(
        ["  " * b.depth + b.path.rsplit("/", 1)[-1] for b in blocks],
        [b.area / 1e6 for b in blocks],
        label="cells",
    )
    axes.barh(
        range(len(blocks)),
        [b.memory_area / 1e6 for b in blocks],
        left=[b.area / 1e6 for b in blocks],
        color="lightgrey",
        label="memories (estimate)",
    )
    axes.invert_yaxis()
    axes.set_title(f"{design.source.title}: {design.total.area / 1e6:.2f} mm2 of cells")
    axes.set_xlabel("mm2")
    axes.tick_params(labelsize=7)
    axes.legend()


def _path(axes, design):
    timing = design.timing.get("all")
    if timing is None:
        axes.set_axis_off()
        return
    steps = timing.paths[0].steps
    axes.step([arrival for _, _, arrival in steps], range(len(steps)), where="post")
    axes.set_yticks(range(len(steps)), [kind for kind, _, _ in steps], fontsize=5)
    axes.invert_yaxis()
    axes.set_title(f"critical path {timing.period:.2f} ns, {timing.fmax:.0f} MHz")
    axes.set_xlabel("ns")


def _power(axes, design):
    if not design.power:
        axes.set_axis_off()
        return
    power = design.power[0]
    blocks = power.blocks
    left = [0.0] * len(blocks)
    for kind in ("clock", "internal", "switching"):
        values = [getattr(block, kind) for block in blocks]
        axes.barh([block.name for block in blocks], values, left=left, label=LABELS[kind])
        left = [a + b for a, b in zip(left, values)]
    axes.invert_yaxis()
    axes.set_xlabel("pJ a cycle")
    axes.set_title(f"{power.title}: {power.energy:,.0f} pJ a cycle", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend()
