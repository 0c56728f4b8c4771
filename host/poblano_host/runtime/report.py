"""What runs took, against the roofline: figures for programs, a table and plots for people."""

import base64
from dataclasses import dataclass
import html
import io
from pathlib import Path

import numpy as np

from poblano.config import ConfigError
from poblano.isa.topology import UnitKind

from ..cache import keep
from ..compiler.program import Program, with_experts
from .result import SAMPLED, RunResult
from .timeline import slices
from .usage import REASONS, phase_use, unit_uses

__all__ = [
    "UNIT_COLUMNS",
    "LayerTime",
    "Run",
    "Summary",
    "busy_fractions",
    "check_report_path",
    "layer_times",
    "phase_uses",
    "roofline_cycles",
    "stall_fractions",
    "summarise",
    "summary_rows",
    "unit_rows",
    "use_figures",
    "write_report",
]

SUFFIXES = (".html", ".png")
UNIT_COLUMNS = ("at work", "waits for input", "output is not taken", "no command", "next command waits for")
"""What :func:`unit_rows` says of a unit."""


@dataclass(frozen=True, eq=False)
class Run:
    """A program's run: its phase (``prefill``, ``decode``, ``matmul``), tokens, :class:`Program` and
    :class:`RunResult`; the error after which it was ``retried``."""

    phase: str
    tokens: int
    program: Program
    result: RunResult
    retried: object = None

    @classmethod
    def of_step(cls, step):
        """That of a session's :class:`~poblano_host.runtime.session.Step`."""
        return cls(step.phase, step.count, step.program, step.result, step.retried)

    @property
    def work(self):
        """The :class:`LayerWork` s of the program, with the experts that got rows in this run."""
        return with_experts(self.program.work, self.result.experts)


def roofline_cycles(work, config):
    """The least cycles of a layer's work: of its multiply-accumulates or of its bytes, the larger."""
    return max(
        work.macs / config.macs_per_cycle,
        (work.weight_bytes + work.other_bytes) / float(config.memory.total_bandwidth),
    )


@dataclass(frozen=True)
class Summary:
    """Sums over runs. Utilisations are of what the chip could do in these cycles; None where there are no
    cycles. ``clock_mhz`` is the chip's clock, None where its memory has none."""

    tokens: int
    steps: int
    cycles: int
    roofline_cycles: float
    macs: int
    bytes_read: int
    bytes_written: int
    seconds: float
    array_utilisation: float | None
    vector_utilisation: float | None
    memory_utilisation: float | None
    clock_mhz: float | None = None

    @property
    def tokens_per_second(self):
        """Of the chip at its clock."""
        if not self.cycles or self.clock_mhz is None:
            return None
        return 1e6 * self.clock_mhz * self.tokens / self.cycles

    @property
    def roofline_fraction(self):
        return self.roofline_cycles / self.cycles if self.cycles else None

    @property
    def cycles_per_token(self):
        return self.cycles / self.tokens if self.cycles and self.tokens else None

    @property
    def cycles_per_second(self):
        return self.cycles / self.seconds if self.cycles and self.seconds else None

    def as_json(self):
        return dict(
            tokens=self.tokens,
            steps=self.steps,
            cycles=self.cycles,
            cycles_per_token=self.cycles_per_token,
            roofline_cycles=self.roofline_cycles,
            roofline_fraction=self.roofline_fraction,
            macs=self.macs,
            array_utilisation=self.array_utilisation,
            vector_utilisation=self.vector_utilisation,
            memory_utilisation=self.memory_utilisation,
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
            seconds=self.seconds,
            cycles_per_second=self.cycles_per_second,
            clock_mhz=self.clock_mhz,
            tokens_per_second=self.tokens_per_second,
        )


def summarise(runs, config):
    """The :class:`Summary` of :class:`Run` objects."""
    works = [work for run in runs for work in run.work]
    results = [run.result for run in runs]
    cycles = sum(result.cycles for result in results)
    macs = sum(work.macs for work in works)
    bytes_read, bytes_written = sum(r.bytes_read for r in results), sum(r.bytes_written for r in results)
    working = sum(
        c["BUSY"] - c["STALL_IN"] - c["STALL_OUT"]
        for result in results
        for unit, c in result.counters.items()
        if config.topology.kind_of(unit) is UnitKind.VECTOR
    )
    share = lambda amount, most: amount / (most * cycles) if cycles else None
    return Summary(
        tokens=sum(run.tokens for run in runs),
        steps=len(runs),
        cycles=cycles,
        roofline_cycles=sum(roofline_cycles(work, config) for work in works),
        macs=macs,
        bytes_read=bytes_read,
        bytes_written=bytes_written,
        seconds=sum(result.seconds for result in results),
        array_utilisation=share(macs, config.macs_per_cycle),
        vector_utilisation=share(working, config.tiles),
        memory_utilisation=share(bytes_read + bytes_written, float(config.memory.total_bandwidth)),
        clock_mhz=None if config.memory.dram is None else float(config.memory.dram.clock_mhz),
    )


def summary_rows(summaries):
    """Rows of text, (name, a value for each of ``summaries``), of a table for people."""
    number = lambda value: "-" if value is None else f"{value:,.0f}"
    percent = lambda value: "-" if value is None else f"{value:.1%}"
    clock = next((summary.clock_mhz for summary in summaries if summary.clock_mhz is not None), None)
    rows = [
        ("tokens", number, "tokens"),
        ("cycles", number, "cycles"),
        ("cycles per token", number, "cycles_per_token"),
        ("roofline, cycles", number, "roofline_cycles"),
        ("fraction of the roofline", percent, "roofline_fraction"),
        ("array utilisation", percent, "array_utilisation"),
        ("vector utilisation", percent, "vector_utilisation"),
        ("memory utilisation", percent, "memory_utilisation"),
        ("bytes read", number, "bytes_read"),
        ("seconds", lambda value: f"{value:,.1f}", "seconds"),
        ("simulated cycles per second", number, "cycles_per_second"),
    ]
    if clock is not None:
        speed = lambda value: "-" if value is None else f"{value:,.1f}"
        rows.insert(3, (f"tokens per second at {clock:g} MHz", speed, "tokens_per_second"))
    return [
        (name, *(form(getattr(summary, attribute)) for summary in summaries))
        for name, form, attribute in rows
    ]


@dataclass(frozen=True)
class LayerTime:
    """A layer's work and the cycles from the end of the layer before to its own end, summed over runs of a
    phase."""

    name: str
    macs: int
    bytes: int
    cycles: int


def layer_times(runs):
    """For each phase the :class:`LayerTime` of its layers, in order."""
    phases = {}
    for run in runs:
        commands = run.program.commands
        times = slices(commands, run.result.events)
        ends = {}
        for command, end in zip(times["command"].tolist(), times["end"].tolist()):
            layer = commands[command].label.partition(".")[0]
            ends[layer] = max(ends.get(layer, 0), end)
        layers, before, works = phases.setdefault(run.phase, {}), 0, run.work
        for i, work in enumerate(works):
            end = run.result.cycles if i + 1 == len(works) else max(before, ends.get(work.name, before))
            macs, bytes_, cycles = layers.get(work.name, (0, 0, 0))
            layers[work.name] = (
                macs + work.macs,
                bytes_ + work.weight_bytes + work.other_bytes,
                cycles + end - before,
            )
            before = end
    return {
        phase: [LayerTime(name, *sums) for name, sums in layers.items()] for phase, layers in phases.items()
    }


def _labels(layers):
    """(label, place) for layers under the roofline; layers one after the other in almost one place share a
    label."""
    groups = []
    for layer in layers:
        place = layer.macs / layer.bytes, layer.macs / layer.cycles
        if groups and all(abs(a / b - 1) < 0.1 for a, b in zip(place, groups[-1][2])):
            groups[-1][1] = layer.name
        else:
            groups.append([layer.name, layer.name, place])
    return [(first if first == last else f"{first} to {last}", place) for first, last, place in groups]


def _plot_roofline(axes, runs, config):
    peak, bandwidth = config.macs_per_cycle, float(config.memory.total_bandwidth)
    layers = {
        phase: [layer for layer in found if layer.cycles and layer.bytes]
        for phase, found in layer_times(runs).items()
    }
    intensities = [layer.macs / layer.bytes for found in layers.values() for layer in found] or [
        peak / bandwidth
    ]
    x = np.geomspace(
        min(intensities + [peak / bandwidth]) / 2, max(intensities + [peak / bandwidth]) * 2, 200
    )
    axes.loglog(x, np.minimum(peak, bandwidth * x), color="black", label="roofline")
    for (phase, found), marker in zip(layers.items(), "osD"):
        for label, place in _labels(found):
            axes.annotate(label, place, fontsize=7, xytext=(6, -3), textcoords="offset points")
        axes.plot(
            [layer.macs / layer.bytes for layer in found],
            [layer.macs / layer.cycles for layer in found],
            marker,
            label=phase,
            alpha=0.7,
        )
    axes.set_xlabel("multiply-accumulates per byte of memory")
    axes.set_ylabel("multiply-accumulates per cycle")
    axes.set_title(
        f"Layers under the roofline of {config.name}: {peak} MAC and {bandwidth:g} bytes per cycle"
    )
    axes.legend()
    axes.grid(True, which="both", alpha=0.2)


def busy_fractions(runs, units, bins):
    """For each unit the fraction of each of ``bins`` equal parts of the runs' time in which a command was
    in progress."""
    total = max(sum(run.result.cycles for run in runs), 1)
    edges = np.linspace(0, total, bins + 1)
    covered = np.zeros((units, bins + 1))
    at = 0
    for run in runs:
        times = slices(run.program.commands, run.result.events)
        for unit in range(units):
            mine = times[times["unit"] == unit]
            # Cycles covered before x: of a unit's slices, which do not overlap, in order.
            points = np.stack((mine["start"], mine["end"]), 1).ravel() + at
            values = np.stack((np.zeros(len(mine)), mine["end"] - mine["start"]), 1).ravel().cumsum()
            if len(mine):
                covered[unit] += np.interp(edges, points, values)
        at += run.result.cycles
    return np.diff(covered) / np.diff(edges)


def stall_fractions(runs, units, bins):
    """For each unit and each of ``bins`` equal parts of the runs' time, of the cycles with a command in
    progress the fractions that were lost for want of input and for output: (units, bins, 2). As fine as the
    runs' samples of counters."""
    edges = np.linspace(0, max(sum(run.result.cycles for run in runs), 1), bins + 1)
    sums, at = np.zeros((units, bins + 1, len(SAMPLED))), 0
    for run in runs:
        result = run.result
        last = [[result.counters[unit][name] for name in SAMPLED] for unit in range(units)]
        inside = [(cycle, counts) for cycle, counts in result.samples if 0 < cycle < result.cycles]
        points = at + np.array([0, *(cycle for cycle, _ in inside), result.cycles])
        counts = np.array([np.zeros_like(last), *(counts for _, counts in inside), last], float)
        for unit in range(units):
            for n in range(len(SAMPLED)):
                sums[unit, :, n] += np.interp(edges, points, counts[:, unit, n])
        at += result.cycles
    parts = np.diff(sums, axis=1)
    return np.clip(parts[..., 1:] / np.maximum(parts[..., :1], 1), 0, 1)


COLOURS = {
    "at work": (0.13, 0.55, 0.33),
    "lost: waits for input": (0.93, 0.55, 0.10),
    "lost: output is not taken": (0.75, 0.15, 0.45),
    "no command": (0.93, 0.93, 0.93),
}
"""What a unit does in a cycle; a part of the time has the mixture."""


def _plot_units(axes, runs, config):
    from matplotlib.patches import Patch

    bins = 200
    total = sum(run.result.cycles for run in runs)
    busy = busy_fractions(runs, config.units, bins)
    lost = stall_fractions(runs, config.units, bins) * busy[..., None]
    lost[..., 1] = np.minimum(lost[..., 1], busy - lost[..., 0])
    shares = np.stack((busy - lost.sum(-1), lost[..., 0], lost[..., 1], 1 - busy), -1)
    axes.imshow(
        np.clip(shares @ np.array(list(COLOURS.values())), 0, 1),
        aspect="auto",
        extent=(0, total, config.units - 0.5, -0.5),
        interpolation="nearest",
    )
    patches = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    axes.legend(
        handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(patches), fontsize=8
    )
    axes.set_yticks(
        range(config.units), [config.topology.name(unit) for unit in range(config.units)], fontsize=7
    )
    axes.set_xlabel("cycle")
    at = 0
    for run in runs[:-1]:
        at += run.result.cycles
        axes.axvline(at, color="black", linewidth=0.5)
    axes.set_title("What the units do over time")


def _figure(plots, runs, config):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5 * len(plots)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, plot in zip(np.atleast_1d(figure.subplots(len(plots))), plots):
        plot(axes, runs, config)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def phase_uses(runs, config):
    """The :class:`~.usage.PhaseUse` of each phase whose cycles were seen one by one."""
    phases = {
        phase: [run for run in runs if run.phase == phase] for phase in dict.fromkeys(r.phase for r in runs)
    }
    uses = [phase_use(phase, part, summarise(part, config), config) for phase, part in phases.items()]
    return [use for use in uses if use is not None]


def use_figures(runs, config):
    """What limits each phase and what each unit did, for a file."""
    return dict(
        limits=[use.as_json() for use in phase_uses(runs, config)],
        units={config.topology.name(use.unit): use.as_json() for use in unit_uses(runs, config)},
    )


def unit_rows(runs, config):
    """Rows of text about what each unit did: its name, shares of the cycles, what its next command waited
    for."""
    share = lambda value: f"{value:.1%}"
    rows = []
    for use in unit_uses(runs, config):
        waits = ", ".join(f"{kind.value} {share(value)}" for kind, value in use.waiting.items())
        name = config.topology.name(use.unit)
        rows.append((name, *map(share, (use.working, use.input, use.output, use.idle)), waits or "-"))
    return rows


def _unit_table(runs, config):
    """The same for a page, with the reasons."""
    rows = unit_rows(runs, config)
    if not rows:
        return ""
    cell = lambda tag, value: f"<{tag}>{html.escape(value)}</{tag}>"
    lines = "".join(
        "<tr>" + cell("th", name) + "".join(cell("td", value) for value in values) + "</tr>\n"
        for name, *values in [("", *UNIT_COLUMNS), *rows]
    )
    reasons = "".join(
        cell("li", f"{kind.value}: waits for input when {lacks}; its output is not taken when {holds}")
        for kind, (lacks, holds) in REASONS.items()
    )
    return f"<h2>What the units did</h2>\n<table>\n{lines}</table>\n<ul>{reasons}</ul>\n"


def check_report_path(path):
    """:class:`ConfigError` unless the suffix names a kind of report."""
    if Path(path).suffix not in SUFFIXES:
        raise ConfigError(f"{path}: a report is an .html or a .png file")


def write_report(path, title, runs, config, *, text="", notes=()):
    """Write a self-contained HTML page, or its plots as one PNG, by the suffix of ``path``. ``runs`` need
    cycles. ``notes`` are lines about the weights."""
    check_report_path(path)
    plots = (_plot_roofline, _plot_units)
    if Path(path).suffix == ".png":
        keep(Path(path), _figure(plots, runs, config))
        return
    phases = list(dict.fromkeys(run.phase for run in runs))
    summaries = [summarise([run for run in runs if run.phase == phase], config) for phase in phases]
    cell = lambda tag, value: f"<{tag}>{html.escape(value)}</{tag}>"
    table = "".join(
        "<tr>" + cell("th", name) + "".join(cell("td", value) for value in values) + "</tr>\n"
        for name, *values in [("", *phases), *summary_rows(summaries)]
    )
    limits = [use.sentences for use in phase_uses(runs, config)]
    images = "".join(
        '<p><img alt="" '
        f'src="data:image/png;base64,{base64.b64encode(_figure([plot], runs, config)).decode()}"></p>\n'
        for plot in plots
    )
    style = (
        "body{font-family:sans-serif;margin:2em} td{text-align:right;padding:0 1em} "
        "th{text-align:left} img{max-width:100%}"
    )
    page = (
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style></head>\n<body><h1>{html.escape(title)}</h1>\n<p>{html.escape(text)}</p>\n"
        f"{''.join(cell('p', line) for line in notes)}"
        f"<table>\n{table}</table>\n{''.join(cell('p', line) for line in limits)}"
        f"{_unit_table(runs, config)}{images}</body></html>\n"
    )
    keep(Path(path), page.encode())
