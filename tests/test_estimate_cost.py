"""What an estimate takes of a computer: the modules that the command imports, and calls for each burst."""

import os
import subprocess
import sys

from poblano_estimate.burst import Burst
from poblano_host.compiler.model import Chunk
from scripts.estimate_cases import LATER, WIDE, Case
from tests.story import ROOT

HEAVY = (
    "gguf",
    "jinja2",
    "matplotlib",
    "optuna",
    "poblano.chip",
    "poblano_flows",
    "poblano_fpga",
    "poblano_host.golden",
    "poblano_host.models.tokenizer",
    "poblano_host.runtime",
    "poblano_host.serve",
    "poblano_host.sim",
    "poblano_market",
    "pyosys",
    "safetensors",
    "tokenizers",
    "yaml",
)
"""Modules that other commands need."""
CALLS = 80
"""Of Python's functions for each burst: about 71 when this was written."""
RUN = """
import sys
from poblano_cli.main import main
sys.argv[1:] = ["estimate", "--preset", "nano", "--model", "smollm2-135m", "--context", "16"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_imports():
    """The command imports nothing that only others need."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["rtl", "host", "fpga"])}
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and "cycles per token" in done.stdout, done.stderr
    loaded = set(done.stderr.split())
    assert "poblano_estimate.step" in loaded
    assert sorted(loaded.intersection(HEAVY)) == []


def test_calls():
    """Calls of functions in a step, whose bursts of a DRAM take most of them."""
    case, counts = Case("desk", WIDE, "q4_1", LATER), {"calls": 0, "bursts": 0}
    program = case.model.compiled.batch([Chunk(0, 250, (0,))], logits=1)

    def count(frame, event, _):
        if event == "call":
            counts["calls"] += 1
            counts["bursts"] += frame.f_code is Burst.__init__.__code__

    sys.setprofile(count)
    try:
        case.model.of_program(program, 1)
    finally:
        sys.setprofile(None)
    assert counts["bursts"] > 1000
    assert counts["calls"] < CALLS * counts["bursts"], counts
