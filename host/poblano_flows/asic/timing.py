"""The critical path of a netlist, by OpenSTA: an ideal clock, no wires yet."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
import re
import subprocess
import tempfile

from poblano.clock_gate import CLOCK_GATE
from poblano_host.cache import cache_folder, digest, keep

from .clock_gates import gate_setup
from .netlist import MACRO_LOAD, Module, structural, summary
from .tools import AsicError, sta_program

__all__ = ["TimedPath", "Timing", "analyse"]

MACRO_ACCESS, MACRO_SETUP = 2.0, 0.3
"""ns from the clock to a black box's outputs, and its inputs' setup: estimates of a small 0.18 um SRAM, as
the library has none."""
REGISTER = 0.35
"""ns from the clock to the output of an instance that is only a load."""
SLEW = 0.1
"""ns of transition at the inputs."""
GATE = f"macro_{CLOCK_GATE}"
"""A clock gate in what OpenSTA reads: the clock passes without delay, the enable has a setup."""


@dataclass(frozen=True)
class TimedPath:
    """A path: ``delay`` with setup, in ns, from ``start`` to ``end``; ``steps`` are (cell, its pin, arrival
    in ns)."""

    delay: float
    start: str
    end: str
    steps: tuple

    @property
    def macros(self):
        """Whether an estimate of a memory is in it."""
        return any(kind.startswith("macro_") and kind != GATE for kind, _, _ in self.steps)


@dataclass(frozen=True)
class Timing:
    """``paths``: the slowest, one an endpoint, slowest first."""

    paths: tuple

    @property
    def period(self):
        return self.paths[0].delay

    @property
    def fmax(self):
        """MHz."""
        return 1000 / self.period

    def as_json(self):
        return {
            "period_ns": self.period,
            "fmax_mhz": self.fmax,
            "paths": [asdict(path) | {"macros": path.macros} for path in self.paths],
        }


LARGE = 150_000
"""Cells from which on only some of equal instances are timed."""
KEPT, SMALL = 8, 300
"""Equal instances in a module of which all are timed; and cells of a module that it always is."""


def analyse(modules, loads, top, library, *, paths=5, timeout=1500):
    """The :class:`Timing` of ``top`` of buffered ``modules``; None where it has no path.

    The clock is the port ``clk`` or, of anyone's Verilog, ``clock``. Inputs come with its edge, outputs may
    take its period. Registers behind clock gates have the same ideal clock, and a gate's enable has to be
    there :func:`~.clock_gates.gate_setup` before its edge. In a design of more than :data:`LARGE`
    cells, of more than :data:`KEPT` equal instances in a module the first two and the last are timed and
    stand for all; the others are loads, and their registered outputs come with the clock's edge.
    """
    program = sta_program()
    kept = {name: modules[name] for name in summary(modules, top)}
    kept, standing = _reduced(kept, loads, top, library)
    if CLOCK_GATE in kept:
        kept[CLOCK_GATE] = replace(kept[CLOCK_GATE], instances=[], macro=True)
    macros = {name: module for name, module in kept.items() if module.macro}
    files = {
        "design.v": structural(_renamed(kept, macros), library),
        "macros.lib": _macro_library(macros, loads, standing, library),
    }
    period = 1000
    clock = next((name for name in ("clk", "clock") if name in kept[top].inputs), None)
    files["script.tcl"] = (
        "\n".join(
            [
                f"read_liberty {library.path}",
                "read_liberty macros.lib" if macros else "",
                "read_verilog design.v",
                f"link_design {top}",
                f"create_clock -name clock -period {period}" + (f" [get_ports {clock}]" if clock else ""),
                "set_input_delay 0 -clock clock [all_inputs]",
                f"set_input_transition {SLEW} [all_inputs]",
                "set_output_delay 0 -clock clock [all_outputs]",
                f"report_checks -path_delay max -digits 4 -group_count {paths} -endpoint_count 1 -format "
                "full",
                "exit",
            ]
        )
        + "\n"
    )
    cached = cache_folder() / "asic" / f"{digest(*files.values(), str(program.stat().st_size))}.sta"
    if cached.exists():
        report = cached.read_text()
    else:
        report = _run(program, files, top, timeout)
        keep(cached, report.encode())
    found = [
        path
        for path in (
            _path(text, period) for text in re.split(r"^Startpoint:", report, flags=re.MULTILINE)[1:]
        )
        if path
    ]
    if not found:
        return None
    return Timing(tuple(sorted(found, key=lambda path: -path.delay)))


def _run(program, files, top, timeout):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text)
        try:
            result = subprocess.run(
                [program, "-no_splash", "-exit", "script.tcl"],
                capture_output=True,
                text=True,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise AsicError(f"OpenSTA takes more than {timeout} s for {top}") from None
    log = result.stdout + result.stderr
    if result.returncode or "Error" in log:
        reason = next(
            (line for line in log.splitlines() if "Error" in line),
            log.strip()[-300:] or f"status {result.returncode}",
        )
        raise AsicError(f"OpenSTA failed for {top}: {reason}")
    return result.stdout


def _reduced(kept, loads, top, library):
    """``kept`` with most of many equal instances replaced by black boxes, and what those stand for, by
    their names."""
    counts = summary(kept, top)
    own = {name: sum(i.kind in library.cells for i in module.instances) for name, module in kept.items()}
    if sum(own[name] * counts[name] for name in counts) <= LARGE:
        return kept, {}
    whole, registered = {}, {}

    def of(name):
        if name in whole:
            return
        module, drivers = kept[name], set()
        whole[name] = own[name]
        for instance in module.instances:
            if instance.kind in kept:
                of(instance.kind)
                whole[name] += whole[instance.kind]
                if kept[instance.kind].macro or registered[instance.kind]:
                    drivers |= {
                        bit
                        for pin, bits in instance.pins.items()
                        if pin in kept[instance.kind].outputs
                        for bit in bits
                    }
            elif library.cells[instance.kind].sequential:
                drivers |= {
                    bits[0]
                    for pin, bits in instance.pins.items()
                    if pin in library.cells[instance.kind].outputs and bits
                }
        registered[name] = not module.macro and all(
            bit in drivers or isinstance(bit, str) for bits in module.outputs.values() for bit in bits
        )

    of(top)
    standing, result = {}, {}
    for name, module in kept.items():
        places = {}
        for n, instance in enumerate(module.instances):
            if instance.kind in kept and registered[instance.kind] and whole[instance.kind] >= SMALL:
                places.setdefault(instance.kind, []).append(n)
        instances = list(module.instances)
        for kind, found in places.items():
            if len(found) > KEPT:
                standing[f"load_{kind}"] = kind
                for n in found[2:-1]:
                    instances[n] = replace(instances[n], kind=f"load_{kind}")
        result[name] = replace(module, instances=instances)
    for load, kind in standing.items():
        result[load] = Module(load, kept[kind].ports, [], macro=True)
    return {name: result[name] for name in summary(result, top)}, standing


def _renamed(kept, macros):
    """Black boxes under names that tell them from modules."""
    result = {}
    for name, module in kept.items():
        instances = [replace(i, kind=f"macro_{i.kind}") if i.kind in macros else i for i in module.instances]
        result[f"macro_{name}" if name in macros else name] = replace(module, instances=instances)
    return result


def _macro_library(macros, loads, standing, library):
    """Liberty of black boxes: outputs and setups of estimated times."""
    lines = [
        'library(macros) { delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V"; current_unit '
        ': "1uA";',
        'pulling_resistance_unit : "1kohm"; leakage_power_unit : "1nW"; capacitive_load_unit (1,pf);',
        "nom_process : 1; nom_voltage : 1.8; nom_temperature : 25;",
    ]
    lines += [
        f"slew_{edge}_threshold_pct_{way} : {percent};"
        for edge, percent in (("upper", 80), ("lower", 20))
        for way in ("rise", "fall")
    ]
    lines += [f"{side}_threshold_pct_{way} : 50;" for side in ("input", "output") for way in ("rise", "fall")]
    scalar = lambda name, value: f'{name}(scalar) {{ values("{value}"); }}'
    for name, module in macros.items():
        if name == CLOCK_GATE:
            lines += _gate_library(scalar, loads[name], gate_setup(library))
            continue
        lines.append(f"cell (macro_{name}) {{ area : 0;")
        stands = standing.get(name)
        access = REGISTER if stands else MACRO_ACCESS
        clocks = [
            f"{port}_{n}"
            for port, bits in module.inputs.items()
            if port.lower().endswith("clk")
            for n in range(len(bits))
        ]
        for port, (direction, bits) in module.ports.items():
            for n in range(len(bits)):
                pin = f"{port}_{n}"
                load = loads[stands][port][n] if stands and direction == "input" else MACRO_LOAD
                if pin in clocks:
                    lines.append(f"pin({pin}) {{ direction : input; capacitance : {load}; clock : true; }}")
                elif not clocks or stands and direction == "input":
                    lines.append(
                        f"pin({pin}) "
                        f"{{ direction : {direction}; capacitance : {load if direction == 'input' else 0}; }}"
                    )
                elif direction == "input":
                    values = " ".join(
                        scalar(kind, MACRO_SETUP) for kind in ("rise_constraint", "fall_constraint")
                    )
                    lines.append(
                        f"pin({pin}) "
                        f"{{ direction : input; capacitance : {load}; "
                        f'timing() {{ related_pin : "{clocks[0]}"; '
                        f"timing_type : setup_rising; {values} }} }}"
                    )
                else:
                    values = " ".join(
                        [
                            scalar("cell_rise", access),
                            scalar("cell_fall", access),
                            scalar("rise_transition", SLEW),
                            scalar("fall_transition", SLEW),
                        ]
                    )
                    lines.append(
                        f"pin({pin}) "
                        f'{{ direction : output; timing() {{ related_pin : "{clocks[0]}"; '
                        f"timing_type : rising_edge; {values} }} }}"
                    )
        lines.append("}")
    return "\n".join([*lines, "}", ""])


def _gate_library(scalar, loads, setup):
    """Lines of Liberty of the clock gate."""
    late = " ".join(scalar(kind, setup) for kind in ("rise_constraint", "fall_constraint"))
    at_once = " ".join(
        [scalar(f"cell_{edge}", 0) + scalar(f"{edge}_transition", SLEW) for edge in ("rise", "fall")]
    )
    return [
        f"cell ({GATE}) {{ area : 0;",
        f"pin(clk_0) {{ direction : input; capacitance : {loads['clk'][0]}; clock : true; }}",
        f"pin(en_0) {{ direction : input; capacitance : {loads['en'][0]}; "
        f'timing() {{ related_pin : "clk_0"; timing_type : setup_rising; {late} }} }}',
        'pin(gclk_0) { direction : output; function : "clk_0"; '
        f'timing() {{ related_pin : "clk_0"; timing_sense : positive_unate; {at_once} }} }}',
        "}",
    ]


def _path(text, period):
    """A path of OpenSTA's report."""
    required = re.search(r"^\s*(\S+)\s+data required time", text, re.MULTILINE)
    slack = re.search(r"^\s*(\S+)\s+slack", text, re.MULTILINE)
    if not required or not slack:
        return None
    arrival = text[: text.index("data arrival time")]
    steps = [
        (match[3], match[2], float(match[1]))
        for match in re.finditer(r"^\s*\S+\s+(\S+) [\^v] (\S+) \((\S+)\)$", arrival, re.MULTILINE)
    ]
    end = re.search(r"^Endpoint: (\S+)", text, re.MULTILINE)
    return TimedPath(round(period - float(slack[1]), 4), text.split()[0], end[1] if end else "", tuple(steps))
