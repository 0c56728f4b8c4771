#!/usr/bin/env python3
"""Power, performance and area in standard cells: the figures that have bars, as JSON.

``--quick`` takes the PE, nano's area and critical path, and the speed of desk's compiled model; otherwise
also the energy of nano and desk in two programs, and the area and critical paths of desk and tile64, which
takes hours on two cores the first time.
"""

import argparse
from dataclasses import replace
import json
from pathlib import Path
import sys
import time

from poblano.config import preset
from poblano_flows.asic.activity import decode, measure_power, prefill
from poblano_flows.asic.flow import Design, array_source, chip_source
from poblano_flows.asic.scaling import SOURCES, tops_per_watt
from poblano_host.models import load_model
from poblano_host.runtime.session import Session

BASELINE_PJ = {"prefill": 1_649_490_854, "decode": 2_944_368_388}
BASELINE_ORIGIN = (
    "energy_ratio: to the same program on nano's RTL of commit 46b6b47, synthesised without clock gates, "
    "from its start to its end: 7,772 and 7,042 pJ a cycle (docs/asic.md had 7,892 for the prefill's first "
    "20,000 cycles)"
)

STEPS, POSITION = 3, 64
"""Steps of which the fastest counts, and the position of their token."""

BARS = {
    "pe/cells": (620, "most"),
    "nano/clock_nj": (1.0, "most"),
    "nano/energy_ratio": (1 / 3, "most"),
    "nano/mhz": (190, "least"),
    "desk/mhz": (190, "least"),
    "tile64/mhz": (190, "least"),
    "tile64/cells": (6_600_000, "most"),
    "tile64/accumulator_cells": (1_600_000, "most"),
}


def note(line):
    print(line, file=sys.stderr, flush=True)


def pe_figures(design):
    """Of a design with an INT8 array."""
    return {"pe/cells": design.whole["poblano_pe"][0], "pe/mhz": design.timing["PE"].fmax}


def chip_figures(name, design):
    """Area and time of a preset; ``array_share``: the part of the arrays in the area of the cells."""
    gates, behind = design.gated()
    share = lambda module, column: design.counts.get(module, 0) * design.whole[module][column]
    return {
        f"{name}/cells": design.total.cells,
        f"{name}/mhz": design.timing["all"].fmax,
        f"{name}/array_share": share("poblano_systolic_array", 1) / design.total.area,
        f"{name}/accumulator_cells": share("poblano_accumulator", 0),
        f"{name}/clock_gates": gates,
        f"{name}/gated_flip_flops": behind / design.total.flip_flops,
    }


def power_figures(name, program, power):
    """Of a :class:`~poblano_flows.asic.activity.Power`; TOPS/W of other nodes are ranges."""
    key = f"{name}/{program}"
    result = {
        f"{key}/cycles": power.cycles,
        f"{key}/clock_nj": power.blocks[0].clock / 1000,
        f"{key}/pj_per_cycle": power.energy,
        f"{key}/pj_per_mac": power.per_mac,
        f"{key}/pj_per_token": power.per_token,
        f"{key}/pj_per_byte": power.per_byte,
        f"{key}/tops_per_watt": power.tops_per_watt,
    }
    for node, (least, most) in tops_per_watt(power.tops_per_watt).items():
        result[f"{key}/tops_per_watt/{node}"] = [least, most]
    return result


def energy_figures(name, config, design):
    """Both programs; those of the prefill, which the bars are about, also under short names."""
    programs = {"prefill": prefill(config), "decode": decode(config)}
    result = {}
    powers = measure_power(design, list(programs.values()), report=note)
    for program, power in zip(programs, powers):
        result |= power_figures(name, program, power)
        if name == "nano":
            result[f"nano/{program}/energy_ratio"] = power.total / BASELINE_PJ[program]
    first = f"{name}/prefill/"
    result |= {f"{name}/{key.removeprefix(first)}": n for key, n in result.items() if key.startswith(first)}
    return result


def simulation_figures(name, config):
    """Cycles that a thread simulates in a second of its CPU time, in a decode step of the default model; and
    how many times that is of the same chip's without clock gates. Steps of the two are taken in turns."""
    model = load_model("default")
    configs = config, replace(config, clock_gates=False)
    sessions = [Session(model, each, report=note) for each in configs]
    best = [0.0, 0.0]
    for _ in range(STEPS):
        for n, session in enumerate(sessions):
            session.position = POSITION
            begin = time.process_time()
            step = session.step("decode", [0], "none")
            best[n] = max(best[n], step.result.cycles / (time.process_time() - begin))
    for session in sessions:
        session.close()
    return {
        f"{name}/cycles_per_second_1_thread": best[0],
        f"{name}/gates_speedup_1_thread": best[0] / best[1],
    }


def designed(source, *, blocks=False):
    design = Design.build(source, report=note)
    design.analyse(report=note, blocks=blocks)
    return design


def measure(quick):
    """All figures by name."""
    figures = pe_figures(designed(array_source(16, 16, ("int8",)), blocks=True))
    for name in ("nano",) if quick else ("nano", "desk", "tile64"):
        config = preset(name)
        design = designed(chip_source(config))
        figures |= chip_figures(name, design)
        if name in ("nano", "desk") and not quick:
            figures |= energy_figures(name, config, design)
    return figures | simulation_figures("desk", preset("desk"))


def line(key, value):
    """A figure, and its bar."""
    text = " to ".join(f"{n:,.4g}" for n in value) if isinstance(value, list) else f"{value:,.5g}"
    if key in BARS:
        bar, way = BARS[key]
        met = value <= bar if way == "most" else value >= bar
        text += f" (at {way} {bar:,.4g}: {'met' if met else 'missed'})"
    return f"{key:36} {text}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="leave out what takes more than five minutes")
    given = parser.parse_args(arguments)
    figures = measure(given.quick)
    for key, value in figures.items():
        print(line(key, value))
    if given.json is not None:
        origin = {"baseline": BASELINE_ORIGIN, "scaling": SOURCES}
        given.json.write_text(json.dumps({**figures, "origin": origin}, indent=2) + "\n")


if __name__ == "__main__":
    main()
