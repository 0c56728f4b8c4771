#!/usr/bin/env python3
"""DRAM controllers in simulation: fractions of the peak that kinds of traffic reach.

Beside each figure of the RTL are those of schedulers without hardware that get the same bursts: first ready,
first come, first served among 16 bursts, with refreshes of all banks or, if the DRAM has them, of one bank
after the other, and strictly in order. Fails if the RTL misses a bar.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
import json
from pathlib import Path
import sys

from document import rewrite
import numpy as np

from poblano.dram.config import DramConfig
from poblano.dram.timing import TIMING_SETS
from poblano_host.sim.controller import SimulatedController
from poblano_host.sim.dram import SimulatedDram
from poblano_host.sim.dram_rules import dram_times
from poblano_host.sim.traffic import merged, random_chunks, sequential

KINDS = {
    "hbm3": "HBM3-6.4",
    "hbm3e": "HBM3E-9.6",
    "hbm2e": "HBM2E-3.2",
    "ddr3": "DDR3-1600",
    "sdr": "SDR-100",
}
ROWS = 2048
"""Of a bank: enough that two random chunks are hardly ever in one row."""
WINDOW = 16
"""Bursts among which the schedulers choose."""
MAX_CYCLES = 20_000_000
PAGE = Path(__file__).parents[1] / "docs" / "dram.md"


def config_of(name, *, bank_refresh=True, ecc=False):
    """The :class:`DramConfig` of one of :data:`KINDS`, at its full clock."""
    timing = TIMING_SETS[KINDS[name]]
    return DramConfig(
        kind=timing.name,
        clock_mhz=1000 / timing.clock_ns / timing.ratio,
        rows=min(ROWS, timing.rows),
        bank_refresh=bank_refresh,
        ecc=ecc,
    )


def one_stream(config, beats):
    beat = config.timing.burst_bytes
    return sequential(0, beats * beat, beat=beat)


def two_streams(config, beats):
    """Half of the memory apart, so that they share banks."""
    beat, half = config.timing.burst_bytes, config.timing.bytes // 2
    streams = (sequential(n * half, beats // 2 * beat, beat=beat, id=n) for n in range(2))
    return merged(*streams)


def read_write(config, beats):
    """Two streams that read and one that writes."""
    beat, quarter = config.timing.burst_bytes, config.timing.bytes // 4
    size = beats // 3 * beat // 4096 * 4096
    return merged(*(sequential(n * quarter, size, beat=beat, id=n, write=n == 2) for n in range(3)))


def random_of(size):
    def chunks(config, beats):
        beat, rng = config.timing.burst_bytes, np.random.default_rng(size)
        memory = config.timing.bytes
        return random_chunks(rng, beats * beat // size, size=size, beat=beat, memory_bytes=memory)

    return chunks


@dataclass(frozen=True)
class Case:
    """``bursts`` makes so many beats for a configuration; ``bar``: the least fraction of the peak. With
    ``drift`` streams stay so many bursts together, at the most."""

    kind: str
    bursts: Callable
    bar: float = 0.0
    beats: int = 1 << 17
    bank_refresh: bool = True
    drift: int = 0
    ecc: bool = False

    @property
    def config(self):
        return config_of(self.kind, bank_refresh=self.bank_refresh, ecc=self.ecc)


def all_bank_bound(config):
    """What refreshes of all banks leave of the peak for reads."""
    t = dram_times(config)
    return 1 - (t["rtp"] + t["rp"] + t["rfc_all"] + t["rcd_read"]) / t["refi"]


def cases():
    """The :class:`Case` s by name."""
    found = {
        "hbm3/sequential": Case("hbm3", one_stream, 0.985),
        "hbm3/sequential_all_bank": Case(
            "hbm3", one_stream, 0.99 * all_bank_bound(config_of("hbm3")), bank_refresh=False
        ),
        "hbm3/two_streams": Case("hbm3", two_streams, 0.95),
        "hbm3/random_4096": Case("hbm3", random_of(4096), 0.93),
        "hbm3/random_256": Case("hbm3", random_of(256), 0.60, beats=1 << 16),
        "hbm3/random_64": Case("hbm3", random_of(64), 0.30, beats=1 << 15),
        "hbm3/read_write_2_1": Case("hbm3", read_write, 0.88, drift=6),
        "hbm3e/sequential": Case("hbm3e", one_stream, 0.98),
    }
    for name in ("sequential", "random_64", "read_write_2_1"):
        found[f"hbm3/{name}_ecc"] = replace(found[f"hbm3/{name}"], ecc=True)
    for kind, others in KINDS.items():
        if others.startswith("HBM3-"):
            continue
        bar = found.get(f"{kind}/sequential", Case(kind, one_stream)).bar
        short = Case(kind, one_stream, bar, beats=1 << 16)
        found[f"{kind}/sequential"] = short
        found[f"{kind}/random_4096"] = Case(kind, random_of(4096), beats=1 << 16)
        found[f"{kind}/random_64"] = Case(kind, random_of(64), beats=1 << 14)
        found[f"{kind}/read_write_2_1"] = Case(kind, read_write, beats=1 << 16, drift=6)
    return found


CASES = cases()
SCHEDULERS = {"fr_fcfs": (WINDOW, False), "fr_fcfs_per_bank": (WINDOW, True), "in_order": (1, False)}
"""Window, and whether banks are refreshed one by one."""


def fraction(config, beats, cycles):
    """Of the peak."""
    return beats * config.cycles.burst / cycles


def references(config, bursts):
    """The schedulers' fractions by their names."""
    found = {}
    for name, (window, bank_refresh) in SCHEDULERS.items():
        if bank_refresh and not config.timing.bank_refresh:
            continue
        dram = SimulatedDram(config)
        cycles = dram.reference(bursts, window=window, bank_refresh=bank_refresh)
        if dram.violations:
            raise RuntimeError(f"{name} broke a rule of the DRAM: {dram.violations}")
        found[name] = fraction(config, int(bursts["beats"].sum()), cycles)
        dram.close()
    return found


class Controllers:
    """Simulated controllers with random contents, each configuration's once."""

    def __init__(self, report):
        self._report, self._made = report, {}

    def __getitem__(self, config):
        if config not in self._made:
            controller = SimulatedController(config, report=self._report)
            contents = np.random.default_rng(0).integers(0, 256, config.timing.bytes, np.uint8)
            controller.load(contents)
            self._made[config] = controller
        return self._made[config]


def measure(case, controller, *, beats=None):
    """The figures of a case by name; "" is that of the RTL."""
    config = controller.config
    bursts = case.bursts(config, beats or case.beats)
    counts = controller.run(bursts, drift=case.drift, max_cycles=MAX_CYCLES)
    controller.drain()
    if violations := controller.violations():
        raise RuntimeError(f"the controller broke a rule of the DRAM: {violations}")
    figures = {"": fraction(config, counts.beats, counts.cycles)} | references(config, bursts)
    waits = {"longest_read": counts.longest_read, "longest_write": counts.longest_write}
    return {name: round(value, 4) for name, value in figures.items()} | waits


def table(names, figures):
    """Lines of Markdown."""
    lines = [
        "| traffic | this controller | bar | FR-FCFS, all banks | FR-FCFS, bank by bank | in order |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    percent = lambda value: f"{100 * value:.1f} %"
    for name in names:
        bar = CASES[name].bar
        others = [figures.get(f"{name}/{key}") for key in SCHEDULERS]
        cells = [percent(figures[name]), percent(bar) if bar else ""]
        cells += ["" if value is None else percent(value) for value in others]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="HBM3 with refresh of single banks, fewer beats")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/dram.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in CASES:
            parser.error(f"no case {name!r}; there are {', '.join(CASES)}")
    return arguments


def main():
    arguments = parse()
    controllers = Controllers(lambda line: print(line, file=sys.stderr, flush=True))
    figures, missed = {}, []
    names = arguments.cases or CASES
    if arguments.quick and not arguments.cases:
        names = [name for name, case in CASES.items() if case.kind == "hbm3" and case.bank_refresh]
    for name in names:
        case = CASES[name]
        found = measure(case, controllers[case.config], beats=case.beats // 4 if arguments.quick else None)
        figures |= {f"{name}/{key}" if key else name: value for key, value in found.items()}
        if found[""] < case.bar:
            missed.append(name)
        others = ", ".join(f"{key} {found[key]:.4f}" for key in SCHEDULERS if key in found)
        bar = f" (bar {case.bar:.4f})" if case.bar else ""
        print(
            f"{name}: {found['']:.4f} of the peak{bar}; {others}; longest wait of a read "
            f"{found['longest_read']} cycles",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.write:
        rewrite(PAGE, "scripts/bench_memory.py", table(names, figures))
    if missed:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
