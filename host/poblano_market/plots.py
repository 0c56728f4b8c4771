"""Plots of a comparison, as PNG in text that HTML can hold."""

import base64
import io

from .closed_form import serve

__all__ = ["plots"]

COLOURS = {"compute": "#4477aa", "memory": "#ee6677", "links": "#228833", "latency": "#ccbb44"}


def plots(comparison):
    """{title: data URI} of all plots."""
    import matplotlib

    matplotlib.use("Agg")
    drawn = {
        "Roofline: what each chip can do, and where its serving lies": _roofline,
        "Tokens a second and chip against the batch": _batches,
        "What bounds what: parts of a step": _bounds,
        "Watts by cause, of a package": _watts,
        "Dollars for a million tokens": _costs,
        "What the cost hangs on (of the cheapest chip)": _tornado,
        "The closed form against public measurements": _held,
    }
    return {title: _png(draw, comparison) for title, draw in drawn.items()}


def _png(draw, comparison):
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 5.5), layout="constrained")
    draw(axes, comparison)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    pyplot.close(figure)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _roofline(axes, comparison):
    for row in comparison.rows:
        specification = row.chip.at("mid")
        peak = specification.peak(row.deployment.formats.compute)
        ridge = peak / specification.bandwidth
        (line,) = axes.plot(
            [1, ridge, 1e5], [specification.bandwidth / 1e12, peak / 1e12, peak / 1e12], label=row.key
        )
        middle = row.served["mid"]
        work = middle.flops_per_token
        axes.plot(
            work / middle.bytes_per_token, work * middle.chip_tokens / 1e12, "o", color=line.get_color()
        )
    axes.set(xscale="log", yscale="log", xlabel="operations a byte of memory", ylabel="TFLOPS")
    axes.legend(fontsize="small", ncols=2)


def _batches(axes, comparison):
    wanted = comparison.wanted
    for row in comparison.rows:
        most = max(row.batch, row.deployment.sequences(wanted.prompt + wanted.output))
        sizes = [2**n for n in range(most.bit_length())]
        speeds = [
            serve(
                row.deployment, wanted.prompt, wanted.output, size, row.chip.at("mid"), row.efficiency.mid
            ).chip_tokens
            for size in sizes
        ]
        axes.plot(sizes, speeds, marker=".", label=f"{row.key}, {row.deployment.split.text()}")
    axes.set(xscale="log", yscale="log", xlabel="requests at once", ylabel="tokens a second and chip")
    axes.legend(fontsize="small")


def _stacked(axes, rows, parts, label, colours=None):
    """A bar for each row, of ``parts(row)``: {name: length}."""
    names = [row.key for row in rows]
    starts = [0.0] * len(rows)
    for number, kind in enumerate(parts(rows[0])):
        lengths = [parts(row)[kind] for row in rows]
        axes.barh(names, lengths, left=starts, label=kind, color=(colours or {}).get(kind, f"C{number}"))
        starts = [start + length for start, length in zip(starts, lengths)]
    axes.set(xlabel=label)
    axes.legend(fontsize="small", loc="upper right")


def _bounds(axes, comparison):
    _stacked(
        axes,
        comparison.rows,
        lambda row: {
            kind: 100 * part / row.served["mid"].step for kind, part in row.served["mid"].bound.items()
        },
        "% of the time of a step",
        COLOURS,
    )


def _watts(axes, comparison):
    rate = lambda row: row.served["mid"].chip_tokens
    _stacked(
        axes,
        comparison.rows,
        lambda row: {name: part.mid * rate(row) for name, part in row.energy.parts.items()},
        "W; the dots are the packages' ratings",
    )
    for row in comparison.rows:
        axes.plot(row.chip.power_w.value, row.key, "ko")


def _costs(axes, comparison):
    scale = lambda row: row.costs.million / row.costs.hour
    _stacked(
        axes,
        comparison.rows,
        lambda row: {name: part * scale(row) for name, part in row.costs.hours.items()},
        "dollars for a million tokens, all that is most likely",
    )


def _tornado(axes, comparison):
    row = comparison.rows[0]
    found = row.sensitivity[:14][::-1]
    middle = row.costs.million
    axes.barh(
        [item.name for item in found], [item.high - item.low for item in found], left=[i.low for i in found]
    )
    axes.axvline(middle, color="black")
    axes.set(
        xlabel=f"dollars for a million tokens of {comparison.wanted.model} on {row.chip.name}", xscale="log"
    )


def _held(axes, comparison):
    for vendor in comparison.calibration.efficiency:
        held = [item for item in comparison.calibration.held if item.vendor == vendor]
        axes.plot([h.point.value for h in held], [h.modelled for h in held], "o", label=vendor)
    ends = axes.get_xlim()
    ends = max(ends[0], 0.1), max(ends[1], 1e5)
    for factor, style in ((1, "-"), (1.15, ":"), (1 / 1.15, ":")):
        axes.plot(ends, [end * factor for end in ends], f"k{style}", linewidth=0.7)
    axes.set(xscale="log", yscale="log", xlabel="measured", ylabel="closed form (dotted: 15 %)")
    axes.legend(fontsize="small")
