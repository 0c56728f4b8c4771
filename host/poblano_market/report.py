"""The tables of a comparison, for the terminal and for a page of HTML that holds all it shows."""

from dataclasses import dataclass

from .claims import claims, remarks
from .facts import DATA

__all__ = ["Section", "as_json", "html", "sections"]


@dataclass(frozen=True)
class Section:
    """A table with a title."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


def sections(comparison):
    """The tables, in order."""
    return [_speed(comparison), _money(comparison), _chips(comparison), _held(comparison)]


def summary(comparison):
    """A sentence on what is compared."""
    wanted, formats = comparison.wanted, comparison.rows[0].deployment.formats if comparison.rows else None
    text = (
        f"{wanted.model}, {wanted.prompt:,} tokens read and {wanted.output:,} made for each request, at "
        f"least {wanted.speed:g} tokens a second for each user"
    )
    if formats is not None:
        text += (
            f"; weights in {formats.weights}, products in {formats.compute}, keys and values in {formats.kv}"
        )
    return text + "."


def _speed(comparison):
    rows = [
        [
            row.chip.name + (" (estimates)" if row.chip.estimate else ""),
            row.deployment.split.text(),
            f"{row.batch:,}",
            row.tokens.text(),
            row.user.text(),
            (row.first_token * 1000).text(),
            (row.utilisation * 100).text(),
            row.limit,
        ]
        for row in comparison.rows
    ]
    columns = [
        "chip",
        "split",
        "batch",
        "tokens/s a chip",
        "tokens/s a user",
        "first token ms",
        "% of peak",
        "bound by",
    ]
    note = "The most likely value, and the range that the chip's figures and the efficiency leave."
    return Section("Speed", columns, rows, note)


def _money(comparison):
    rows = [
        [
            row.chip.name,
            row.watts.text(),
            row.chip.power_w.range.text(),
            row.energy.sum.text(),
            row.energy.full.text(),
            f"{row.costs.paid:,.0f}" + ("" if row.costs.price else " *"),
            f"{row.costs.package:,.0f}",
            row.cost.text(),
        ]
        for row in comparison.rows
    ]
    columns = [
        "chip",
        "W by operations",
        "W rated",
        "J a token by operations",
        "J a token at rated power",
        "$ a chip",
        "$ to make",
        "$ a million tokens",
    ]
    note = "The cheapest first. *: no price is known; what it costs to make, with a share for its designers."
    return Section("Energy and cost", columns, rows, note)


def _chips(comparison):
    mark = {"confirmed": "", "reported": " (R)", "assumed": " (A)"}
    show = lambda fact: fact.range.text(4) + mark[fact.status] if fact else "none"
    rows = []
    for row in comparison.rows:
        chip = row.chip
        peaks = [chip.peak_tflops.get(engine) for engine in ("bf16", "fp8", "fp4")]
        facts = [*peaks, chip.memory_gb, chip.bandwidth_tb_s, chip.power_w, chip.link_gb_s]
        rows.append([chip.name, chip.node, *map(show, facts)])
    columns = [
        "chip",
        "node",
        "BF16 TFLOPS",
        "FP8 TFLOPS",
        "FP4 TFLOPS",
        "memory GB",
        "TB/s",
        "W",
        "link GB/s",
    ]
    note = "Dense peaks. (R): reported by press or analysts; (A): assumed; else confirmed by the maker."
    return Section("The chips", columns, rows, note)


def _held(comparison):
    calibration = comparison.calibration
    rows = [
        [
            item.point.name,
            comparison.chips[item.point.chip].name
            if item.point.chip in comparison.chips
            else item.point.chip,
            f"{item.point.value:,.4g} {item.point.what}",
            f"{item.modelled:,.4g}",
            f"{round(100 * item.error):+d} %",
            "fitted" if item.point.fit else "yes" if item.within else "no",
            f"{item.implied:.2f}",
        ]
        for item in calibration.held
    ]
    columns = [
        "measurement",
        "chip",
        "measured",
        "closed form",
        "error",
        "within 15 %",
        "efficiency it implies",
    ]
    fitted = ", ".join(f"{vendor} {e.text()}" for vendor, e in calibration.efficiency.items())
    note = (
        f"One efficiency a vendor, fitted on one point: {fitted}. The ranges are what the other points "
        "imply, and go into all ranges of this report. A vendor without measurements gets the range of all."
    )
    return Section("The closed form against public measurements", columns, rows, note)


def as_json(comparison):
    """All figures."""
    held = comparison.calibration.held
    out = [item for item in held if not item.point.fit]
    return {
        "model": comparison.wanted.model,
        "summary": summary(comparison),
        "chips": [row.as_json() for row in comparison.rows],
        "left_out": comparison.left_out,
        "claims": [claim.as_json() for claim in claims(comparison)],
        "remarks": remarks(),
        "calibration": {
            "held_out": len(out),
            "held_out_within": sum(item.within for item in out),
            "points": [
                {
                    "name": item.point.name,
                    "chip": item.point.chip,
                    "what": item.point.what,
                    "measured": item.point.value,
                    "modelled": item.modelled,
                    "error": item.error,
                    "fitted": item.point.fit,
                    "implied_efficiency": item.implied,
                    "source": calibration_source(comparison, item),
                }
                for item in held
            ],
        },
    }


def calibration_source(comparison, item):
    return comparison.calibration.sources[item.point.source]


def html(comparison):
    """The page."""
    from jinja2 import Environment

    from .plots import plots

    template = Environment(autoescape=True).from_string((DATA / "report.html.j2").read_text())
    files = (comparison.energy, comparison.cost, comparison.calibration)
    sources = dict(comparison.sources)
    for file in files:
        sources |= file.sources
    return template.render(
        title=f"Chips for {comparison.wanted.model}",
        summary=summary(comparison),
        tables=sections(comparison),
        claims=claims(comparison),
        remarks=remarks(),
        plots=plots(comparison) if comparison.rows else {},
        sources=sources,
    )
