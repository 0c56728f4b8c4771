"""Runs a cocotb bench on a component's Verilog with Verilator."""

import fcntl
import os
from pathlib import Path
import shutil
import xml.etree.ElementTree as ElementTree

from cocotb_tools.runner import get_runner

from poblano.verilog import emit
from poblano_host.cache import digest
from poblano_host.sim.verilator import verilator_root

__all__ = ["BUILD", "run_bench"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "tb"


ARGUMENTS = [
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "-Wno-fatal",
    "--timing",
    "--no-public-flat-rw",
    "--public-depth",
    "1",  # the ports only: thousands of public signals take minutes to compile
    "-CFLAGS",
    "-O1",
    "--output-split",
    "20000",
    "--output-split-cfuncs",
    "2000",
]
"""Of Verilator."""


def run_bench(component, *, name, module, env=None, build_args=(), testcase=None, no_inline=()):
    """Emit ``component`` as module ``name``, compile it once for each distinct Verilog, and run
    ``module``'s cocotb tests.

    Ports have their Verilog names: the path in the signature joined with two underscores (``i__payload``,
    ``i__valid``); a struct is one packed port; clk and rst are the clock and synchronous reset. ``env`` (a
    dict of strings) reaches the bench through ``os.environ``. Modules in ``no_inline`` (names without
    prefix), which stand often in the design, are compiled once. Raises AssertionError naming the failed
    tests, and if no test ran.
    """
    verilog = emit(component, name)
    if no_inline:
        verilog += "`verilator_config\n" + "".join(
            f'no_inline -module "poblano_{repeated}"\n' for repeated in no_inline
        )
    runner = get_runner("verilator")
    folder = _build(runner, verilog, name, [*ARGUMENTS, *build_args])
    run = folder / f"run-{os.getpid()}-{module.replace('.', '_')}"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    results = _run(runner, folder, run, name, module, testcase, env or {})
    cases = list(ElementTree.parse(results).iter("testcase"))
    failed = [
        case.get("name", "?")
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    assert cases, f"{module}: no test ran; see {run / 'sim.log'}"
    if failed:
        tail = (run / "sim.log").read_text()[-6000:]
        raise AssertionError(f"{module}: {', '.join(failed)} failed\n{tail}")
    shutil.rmtree(run, ignore_errors=True)
    return len(cases)


def _build(runner, verilog, name, arguments):
    """The folder of the compiled simulation of the module ``name``."""
    root = verilator_root()
    os.environ["VERILATOR_ROOT"] = str(root)
    path = os.environ["PATH"]
    if str(root / "bin") not in path.split(os.pathsep):
        os.environ["PATH"] = str(root / "bin") + os.pathsep + path
    folder = BUILD / f"{name}-{digest(verilog, *arguments)}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:  # tests in other processes may build the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = folder / "built"
        source = folder / f"{name}.v"
        source.write_text(verilog)
        runner.build(
            sources=[source],
            hdl_toplevel=name,
            build_dir=folder,
            build_args=arguments,
            always=not built.exists(),
            timescale=("1ns", "1ps"),
            log_file=str(folder / "build.log"),
        )
        built.touch()
    return folder


def _run(runner, folder, run, name, module, testcase, env):
    """Run the tests of ``module`` in the folder ``run``; the path of their results."""
    paths = [str(ROOT), str(ROOT / "rtl"), str(ROOT / "host"), os.environ.get("PYTHONPATH", "")]
    try:
        return runner.test(
            hdl_toplevel=name,
            test_module=module,
            build_dir=folder,
            test_dir=run,
            testcase=testcase,
            extra_env={"PYTHONPATH": os.pathsep.join(paths), **env},
            results_xml=str(run / "results.xml"),
            log_file=str(run / "sim.log"),
        )
    except SystemExit:
        raise AssertionError(
            f"{module}: the simulation ended early\n{(run / 'sim.log').read_text()[-6000:]}"
        ) from None
