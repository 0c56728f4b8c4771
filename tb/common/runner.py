"""Runs a cocotb bench on a component's Verilog with Verilator."""

import ast
from contextlib import contextmanager
import fcntl
from importlib.util import find_spec
import json
import logging
import os
from pathlib import Path
import shutil

from cocotb_tools.runner import get_runner

from poblano.verilog import emit
from poblano_host.cache import digest
from poblano_host.sim.verilator import verilator_root

from .failure import BenchFailure, failed_tests, read_results, tail
from .probes import probes, visible

__all__ = ["BUILD", "WAVES", "run_bench", "seed_of"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "tb"
WAVES = ROOT / "build" / "waves"
HEADERS = {"zlib.h": "zlib1g-dev", "lz4.h": "liblz4-dev"}
"""What Verilator's FST files are compressed with, and the Debian packages that hold them."""


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


def seed_of(env=()):
    """The seed of a bench's random numbers: ``SEED`` of ``env``, else of the environment, else 1."""
    seed = dict(env).get("SEED") or os.environ.get("SEED") or "1"
    if not seed.isascii() or not seed.isdigit():
        raise ValueError(f"SEED must be a whole number, not {seed!r}")
    return seed


def run_bench(
    component, *, name, module, env=None, build_args=(), testcase=None, no_inline=(), waves=None, again=None
):
    """Emit ``component`` as module ``name``, compile it once for each distinct Verilog, and run
    ``module``'s cocotb tests; how many ran.

    Ports have their Verilog names: the path in the signature joined with two underscores (``i__payload``,
    ``i__valid``); a struct is one packed port; clk and rst are the clock and synchronous reset. ``env`` (a
    dict of strings) reaches the bench through ``os.environ``; ``SEED`` of the environment is that of all its
    random numbers, and is printed. Modules in ``no_inline`` (names without prefix), which stand often in the
    design, are compiled once. With ``waves`` (or ``WAVES=1`` in the environment) the run leaves all signals
    in an FST file in ``build/waves``, whose path is printed. ``again`` is the command that runs it again;
    by default the test's.

    Raises :class:`BenchFailure`, an AssertionError, that says which test failed, the rule that was broken,
    where, the seed and the path of the log; so too if no test ran.
    """
    __tracebackhide__ = True
    waves = os.environ.get("WAVES", "0") not in ("", "0") if waves is None else waves
    verilog, seed = emit(component, name), seed_of(env or {})
    print(f"bench   {name}: {module}, seed {seed}", flush=True)
    config = visible(verilog) + "".join(f'no_inline -module "poblano_{repeated}"\n' for repeated in no_inline)
    paths = probes(verilog, name)
    if config:
        verilog += "`verilator_config\n" + config
    folder = _build(verilog, name, [*ARGUMENTS, *build_args], waves)
    run = folder / f"run-{os.getpid()}-{module.replace('.', '_')}"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    (run / "probes.json").write_text(json.dumps(paths))
    env = {**(env or {}), "SEED": seed, "COCOTB_RANDOM_SEED": seed, "PROBES": str(run / "probes.json")}
    file = WAVES / f"{name}-seed{seed}.fst" if waves else None
    ended = _run(folder, run, name, module, testcase, env, file)
    names, failed = read_results(run / "results.xml")
    if file:
        print(f"waves   {_short(file)}", flush=True)
    if names and not failed and not ended:
        shutil.rmtree(run, ignore_errors=True)
        return len(names)
    raise BenchFailure(_told(name, module, seed, run / "sim.log", names, failed, again)) from None


def _told(name, module, seed, log, names, failed, again):
    """What is to be said about a run in which tests failed, or that was none."""
    if failed:
        first = f"{len(failed)} of {len(names)} tests of the bench {name} failed, seed {seed}"
        told = failed_tests(failed, _rules(module))
    else:
        first = f"the bench {name} did not come to its end, seed {seed}"
        told = f"broken  the simulator ended without {'results' if names is None else 'a test'}:\n{tail(log)}"
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if test and not again:
        again = f'SEED={seed} WAVES=1 .venv/bin/pytest "{test}"'
    lines = [first, told, f"log     {_short(log)}"]
    return "\n".join(lines + [f"again   {again}"] * bool(again))


def _short(path):
    """A path from where the reader is, if it is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _rules(module):
    """What each test of a bench checks, from its docstring."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return {}
    tree = ast.parse(Path(spec.origin).read_text())
    found = {
        node.name: ast.get_docstring(node) for node in tree.body if isinstance(node, ast.AsyncFunctionDef)
    }
    return {name: " ".join(text.split()) for name, text in found.items() if text}


def _runner():
    """cocotb's runner, without a line for each command that it runs."""
    runner = get_runner("verilator")
    runner.log.setLevel(logging.CRITICAL)
    return runner


@contextmanager
def _without_waves():
    """cocotb's runner takes WAVES for a VCD file; here it is an FST file."""
    before = os.environ.pop("WAVES", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["WAVES"] = before


def _build(verilog, name, arguments, waves):
    """The folder of the compiled simulation of the module ``name``, one with waves and one without."""
    __tracebackhide__ = True
    root = verilator_root()
    os.environ["VERILATOR_ROOT"] = str(root)
    path = os.environ["PATH"]
    if str(root / "bin") not in path.split(os.pathsep):
        os.environ["PATH"] = str(root / "bin") + os.pathsep + path
    if waves:
        missing = [
            package for header, package in HEADERS.items() if not Path("/usr/include", header).is_file()
        ]
        if missing:
            raise BenchFailure(f"waves need a header that is missing: apt-get install {' '.join(missing)}")
        arguments = [*arguments, "--trace-fst", "-CFLAGS", "-O0"]
    folder = BUILD / f"{name}-{digest(verilog, *arguments)}{'-waves' * waves}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock, _without_waves():  # tests in other processes may build the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = folder / "built"
        source = folder / f"{name}.v"
        source.write_text(verilog)
        try:
            _runner().build(
                sources=[source],
                hdl_toplevel=name,
                build_dir=folder,
                build_args=arguments,
                waves=waves,
                always=not built.exists(),
                timescale=("1ns", "1ps"),
                log_file=str(folder / "build.log"),
            )
        except (SystemExit, RuntimeError, OSError) as error:
            log = folder / "build.log"
            told = f"the bench {name} does not compile: {error}\n{tail(log)}\nlog     {_short(log)}"
            raise BenchFailure(told) from None
        built.touch()
    return folder


def _run(folder, run, name, module, testcase, env, waves):
    """Run the tests of ``module`` in the folder ``run``, where they leave ``results.xml``; whether the runner
    ended otherwise than by itself, which a failed test makes it do, too."""
    paths = [str(ROOT), str(ROOT / "rtl"), str(ROOT / "host"), os.environ.get("PYTHONPATH", "")]
    if waves:
        waves.parent.mkdir(parents=True, exist_ok=True)
    runner = _runner()
    with _without_waves():
        try:
            runner.test(
                hdl_toplevel=name,
                hdl_toplevel_lang="verilog",
                test_module=module,
                build_dir=folder,
                test_dir=run,
                testcase=testcase,
                extra_env={"PYTHONPATH": os.pathsep.join(paths), **env},
                results_xml=str(run / "results.xml"),
                log_file=str(run / "sim.log"),
                test_args=["--trace", "--trace-file", str(waves)] if waves else [],
            )
        except (SystemExit, RuntimeError):
            return True
    return False
