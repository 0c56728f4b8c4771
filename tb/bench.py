"""Runs one cocotb bench on one configuration: ``python -m tb.bench vector desk --seed 3 --waves``.

Without names it lists the benches and their configurations; ``make bench`` does the same.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
import difflib
import os
import signal
import sys
import time

from tb.bridge.configs import CONFIGS as BRIDGE_CONFIGS
from tb.bridge.tops import BridgeTop
from tb.common.failure import BenchFailure
from tb.common.runner import run_bench, seed_of
from tb.common.units import matmul_unit, vector_unit
from tb.compute.configs import CONFIGS as COMPUTE_CONFIGS
from tb.compute.configs import REPEATED
from tb.control.configs import CHECKED
from tb.control.configs import CONFIGS as CONTROL_CONFIGS
from tb.control.tops import CheckerTop, ProcessorTop
from tb.dram.configs import CONFIGS as DRAM_CONFIGS
from tb.dram.configs import MEMORY_BITS
from tb.dram.device import DramSystem
from tb.dram.sdram import SdramSystem
from tb.memory.configs import CONFIGS as MEMORY_CONFIGS
from tb.memory.system import MemorySystem

__all__ = [
    "BENCHES",
    "Bench",
    "VECTOR",
    "MATMUL",
    "MEMORY",
    "PROCESSOR",
    "CHECKER",
    "DRAM",
    "SDRAM",
    "BRIDGE",
    "SMALL",
    "run",
]


@dataclass(frozen=True)
class Bench:
    """A cocotb bench and what it can be run on.

    Parameters
    ----------
    name : what ``make bench BLOCK=`` takes
    what : the block, in words
    module : of the cocotb tests
    component : makes the component that is simulated, of a configuration's name
    configs : names of configurations, the first the one that is run if none is named
    env : environment variables, of a configuration's name
    no_inline : modules that a large configuration's simulator compiles once, of a configuration's name
    testcase : the only test that is run, if not all
    """

    name: str
    what: str
    module: str
    component: Callable
    configs: Iterable[str]
    env: Callable[[str], Mapping[str, str]] = field(default=lambda config: {})
    no_inline: Callable[[str], Iterable[str]] = field(default=lambda config: ())
    testcase: str | None = None


COUNTS = {"nano": "6"}
"""Random commands of the matmul unit's bench in each round, if not 8."""
SMALL = ("nano", "mx", "eight")
VECTOR = Bench(
    "vector",
    "the vector unit: random commands against the reference",
    "tb.vector.bench",
    lambda name: vector_unit(COMPUTE_CONFIGS[name]),
    # 2, 2, 8, 4, 4, 16 and 32 lanes; the own tile alone, two and five tiles; "four" has every number
    # format, "mx" no INT8.
    ("nano", "four", "desk", "mx", "tall", "wide", "tile64"),
)
MATMUL = Bench(
    "matmul",
    "the matmul unit, from weight loader to accumulator: random commands against the reference",
    "tb.compute.bench",
    lambda name: matmul_unit(COMPUTE_CONFIGS[name]),
    tuple(COMPUTE_CONFIGS),
    env=lambda name: {"COUNT": COUNTS.get(name, "8")},
    no_inline=lambda name: () if name in SMALL else REPEATED,
)
MEMORY = Bench(
    "memory",
    "DMA engine, stream units, broadcast bus and local memories with AXI memory that stalls",
    "tb.memory.bench",
    lambda name: MemorySystem(MEMORY_CONFIGS[name]),
    tuple(MEMORY_CONFIGS),
)
PROCESSOR = Bench(
    "processor",
    "the command processor: random programs on units of random speed, errors, resets",
    "tb.control.bench",
    lambda name: ProcessorTop(CONTROL_CONFIGS[name]),
    tuple(CONTROL_CONFIGS),
    env=lambda name: {"LENGTH": "60" if name == "many" else "150"},
)
CHECKER = Bench(
    "checker",
    "the command checker of several chips: error codes against the golden chip's",
    "tb.control.checker_bench",
    lambda name: CheckerTop(CHECKED),
    ("all",),
)
DRAM = Bench(
    "dram",
    "the DRAM controller with a model of the DRAM in Verilog",
    "tb.dram.bench",
    lambda name: DramSystem(DRAM_CONFIGS[name], memory_bits=MEMORY_BITS),
    tuple(DRAM_CONFIGS),
)
SDRAM = Bench(
    "sdram",
    "the DRAM controller and the PHY with an SDRAM at its pins",
    "tb.dram.bench",
    lambda name: SdramSystem(DRAM_CONFIGS[name]),
    ("sdr_slow", "sdr_pins"),
    testcase="random_accesses",
)
BRIDGE = Bench(
    "bridge",
    "the UART bridge: requests, bad frames, lines that break",
    "tb.bridge.bench",
    lambda name: BridgeTop(BRIDGE_CONFIGS[name]),
    tuple(BRIDGE_CONFIGS),
    env=lambda name: {"LENGTH": "24" if name == "large" else "60"},
)

BENCHES = {bench.name: bench for bench in (VECTOR, MATMUL, MEMORY, PROCESSOR, CHECKER, DRAM, SDRAM, BRIDGE)}
"""By their names."""


def run(bench, config, *, waves=None, **env):
    """Run a :class:`Bench` on a configuration; how many tests ran. ``env``: of the bench, besides its own.
    Raises :class:`~tb.common.failure.BenchFailure`."""
    __tracebackhide__ = True
    return run_bench(
        bench.component(config),
        name=f"{bench.name}_{config}",
        module=bench.module,
        env={"CONFIG": config, **bench.env(config), **env},
        testcase=bench.testcase,
        no_inline=bench.no_inline(config),
        waves=waves,
        again=f"make bench BLOCK={bench.name} CONFIG={config} SEED={seed_of(env)} WAVES=1",
    )


def _known(what, name, names):
    """``name``, if it is one of ``names``."""
    if name in names:
        return name
    near = "".join(f"; {close} is near" for close in difflib.get_close_matches(name, names, n=1))
    raise ValueError(f"there is no {what} {name!r}{near}; there are {', '.join(names)}")


def _list():
    print("make bench BLOCK=... [CONFIG=...] [SEED=n] [WAVES=1]; without CONFIG the first one is run\n")
    for bench in BENCHES.values():
        print(f"{bench.name:10} {bench.what}\n{'':10} CONFIG={'|'.join(bench.configs)}")


def main():
    parser = argparse.ArgumentParser(prog="tb.bench", description=__doc__)
    parser.add_argument("block", nargs="?", default="", help="a bench; all are listed without")
    parser.add_argument("config", nargs="?", default="", help="a configuration; the first by default")
    parser.add_argument("--seed", default="", help="of all random numbers; SEED or 1 by default")
    parser.add_argument("--waves", action="store_true", help="leave all signals in an FST file")
    arguments = parser.parse_args()
    try:
        if not arguments.block:
            if arguments.config:
                raise ValueError("CONFIG needs a BLOCK: make bench lists them")
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # quiet before head or less
            _list()
            return 0
        block = _known("block", arguments.block, tuple(BENCHES))
        configs = tuple(BENCHES[block].configs)
        config = _known(f"configuration of {block}", arguments.config or configs[0], configs)
        if arguments.seed:
            os.environ["SEED"] = arguments.seed
        start, waves = time.monotonic(), arguments.waves or None
        count = run(BENCHES[block], config, waves=waves)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except BenchFailure as failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"passed  {count} tests, {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
