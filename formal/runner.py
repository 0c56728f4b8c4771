"""Runs proofs, mutations and covers: Amaranth to RTLIL, through yosys, to abc's PDR or to yices by
k-induction.

``python -m formal.runner [file or file/property ...]`` runs all, or those named, two at a time, and fails
if anything does.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
import difflib
import importlib
import importlib.abc
import importlib.machinery
import json
import multiprocessing
import os
from pathlib import Path
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback

from .engines import AIGER, PREPARE, SMT2, abc, smtbmc, yosys
from .trace import read_trace

__all__ = ["FILES", "Job", "jobs", "run_job", "table"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "formal"
READ = "read_aiger design.aig; fold; strash"
"""The script by which abc reads a design, with an output for each check or cover."""
READ_ANY = f"{READ}; orpos"
"""The same with one output, which any of them raises: each frame is then solved once."""
PROCESSES = multiprocessing.get_context("forkserver")
"""Each job is a process, as a mutation has to be imported in place of a module: a copy of one that has
imported what all need, and nothing of the RTL."""
PROCESSES.set_forkserver_preload(
    [
        "formal.engines",
        "formal.harness",
        "formal.trace",
        "amaranth.back.rtlil",
        "amaranth.lib.memory",
        "numpy",
        "pyosys.libyosys",
    ]
)
FILES = (
    "fifo",
    "skid",
    "pages",
    "credit",
    "read_ahead",
    "broadcast",
    "loop_walk",
    "region_walk",
    "round_robin",
    "axi_arbiter",
    "axi_reader",
    "axi_reorder_reader",
    "axi_write_arbiter",
    "axi_read_split",
    "axi_write_split",
    "axi_ram",
    "axi_guards",
    "broadcast_bus",
    "memory",
    "array",
    "pe",
    "overflow",
    "queue",
    "watchdog",
    "sorter",
    "listed_rows",
    "selector",
    "capacity",
    "router",
    "group_scores",
    "expert_stage",
    "block_sums",
    "accumulator",
    "dram_address",
    "ecc",
    "ecc_memory",
    "dram_data",
    "dram_ecc",
    "dram_partial",
    "dram_queue",
    "dram_refresh",
    "dram_served",
    "dram_times",
    "dram_wait",
)
"""Property files: modules of this package with a tuple ``PROPERTIES``."""


class _PatchedLoader(importlib.machinery.SourceFileLoader):
    def __init__(self, name, path, mutation):
        super().__init__(name, path)
        self._mutation = mutation

    def get_code(self, fullname):
        return compile(self._mutation.apply(Path(self.path).read_text(encoding="utf-8")), self.path, "exec")


class _PatchedFinder(importlib.abc.MetaPathFinder):
    """Imports a mutated module in place of the real one."""

    def __init__(self, mutation):
        self._mutation = mutation

    def find_spec(self, name, path, target=None):
        if name != self._mutation.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = _PatchedLoader(name, spec.origin, self._mutation)
        return spec


def _properties(file):
    return importlib.import_module(f"{__package__}.{file}").PROPERTIES


def _property(file, name):
    return next(prop for prop in _properties(file) if prop.name == name)


# In the process of a job.


class _Attempt:
    """One job: the property's design, in a folder of its own. ``name``: of the files of a counterexample."""

    def __init__(self, request, folder):
        from amaranth.back import rtlil

        self.prop, self.folder = _property(request["file"], request["name"]), folder
        self.explains, mutation = request["explain"], request["mutation"]
        self.property = f"{request['file']}/{request['name']}"
        self.name = re.sub(r"\W+", "-", "-".join([self.property] + ([mutation.name] if mutation else [])))
        self.harness = harness = self.prop.build()
        harness.mode = "cover" if request["kind"] == "cover" else "assert"
        fragment, ports = harness.make()
        self.text = rtlil.convert(fragment, name="top", ports=ports)
        if not harness.checks:
            raise ValueError(f"{self.property} checks nothing")

    @property
    def by_induction(self):
        return self.prop.method in ("induction", "bounded")

    def abc(self, script):
        return abc(self.folder, script, self.prop.timeout)

    def smtbmc(self, *options):
        return smtbmc(self.folder, [*options, "--dump-vcd", "trace.vcd"], self.prop.timeout)

    def cover(self):
        """Whether each cover is reached."""
        prop, count = self.prop, len(self.harness.covers)
        if prop.covers and not count:
            raise ValueError(f"{self.property} covers nothing")
        if not count:
            return "covered", "nothing to cover"
        yosys(self.text, PREPARE + AIGER, self.folder)
        names = [path[-1] for path in json.loads((self.folder / "design.ywmap").read_text())["asserts"]]
        if len(names) != count:
            raise ValueError(f"{self.property}: {count} covers, {len(names)} outputs")
        missing = []
        for n, output in enumerate(names):
            log = self.abc(f"{READ}; cone -O {n}; bmc3 -F {prop.frames + 1} -T {prop.timeout}")
            if not re.search(r"was asserted in frame", log):
                missing.append(output)
        found = f"{len(names) - len(missing)} of {len(names)} covers"
        return ("unknown", f"{found}; not {', '.join(missing)}") if missing else ("covered", found)

    def mutation(self):
        """Whether a counterexample is found; if asked for it is explained."""
        prop = self.prop
        by_yices = self.by_induction and not prop.sat
        yosys(self.text, PREPARE + (SMT2 if by_yices else AIGER), self.folder)
        if by_yices:
            log = self.smtbmc("-t", str(prop.frames))
            if "Status: FAILED" not in log:
                return "missed", log.strip()[-200:]
            return "caught", self.keep(table=self.explains)
        log = self.abc(f"{READ_ANY}; bmc3 -F {prop.frames + 1} -T {prop.timeout}")
        found = re.search(r"was asserted in frame (\d+)", log)
        if not found:
            return "missed", log.strip().splitlines()[-1][:200]
        cycle = f"in cycle {found[1]}"
        return "caught", f"{cycle}\n{self.explain(int(found[1]) + 1)}" if self.explains else cycle

    def proof(self):
        """Whether the property is proved, and if not why."""
        yosys(self.text, PREPARE + (SMT2 if self.by_induction else AIGER), self.folder)
        why = self._induction() if self.by_induction else self._pdr()
        return why or ("proved", f"{len(self.harness.checks)} checks")

    def _induction(self):
        parts = [("base", ()), ("induction", ("-i",))]
        for part, options in parts if self.prop.method == "induction" else parts[:1]:
            log = self.smtbmc(*options, "-t", str(self.prop.depth))
            if "Status: PASSED" not in log:
                end = log.strip().splitlines()[-1]
                if part == "base" and "Status: FAILED" in log:
                    return "failed", f"{end}\n{self.keep()}"
                where = "from a state that may not be reachable" if part == "induction" else part
                return "unknown", f"{where}: {end}\n{self.keep()}"
        return None

    def _pdr(self):
        timeout = self.prop.timeout
        log = self.abc(f"{READ_ANY}; scorr; dc2; pdr -T {timeout}")
        if "All outputs solved" in log:  # no logic is left: PDR has nothing to say about a constant
            log = self.abc(f"{READ_ANY}; pdr -T {timeout}")
        if "Property proved" in log:
            return None
        found = re.search(r"Output (\d+) .*was asserted in frame (\d+)", log)
        if found:
            return "failed", f"there is a counterexample\n{self.explain(int(found[2]) + 1)}"
        return "unknown", log.strip().splitlines()[-1][:200]

    def explain(self, frames):
        """The checks that fail within ``frames`` cycles, by a trace that has all signals."""
        yosys(self.text, PREPARE + SMT2, self.folder)
        smtbmc(self.folder, ["-t", str(frames), "--dump-vcd", "trace.vcd"], 600)
        return self.keep()

    def keep(self, *, table=True):
        """Keeps a counterexample's trace; says which checks fail in it, in which lines they are stated, where
        the trace is, and with ``table`` the harness' signals in it."""
        if not (self.folder / "trace.vcd").exists():
            return "no trace"
        BUILD.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / "trace.vcd", BUILD / f"{self.name}.vcd")
        trace = read_trace(self.folder / "trace.vcd")
        (BUILD / f"{self.name}.txt").write_text(trace.table() + "\n")
        lines = []
        for name, cycle in trace.failing.items():
            check, place = self.harness.places.get(name, (name, "not known where"))
            lines.append(f'{place}: the check "{check}" fails in cycle {cycle}')
        lines.append(f"trace: build/formal/{self.name}.txt, and for GTKWave or Surfer {self.name}.vcd")
        return "\n".join([*lines, trace.table(inside=False)] if table else lines)


def _execute(request):
    """Verdict ("proved", "failed", "covered", "caught", "missed" or "unknown") and details."""
    with tempfile.TemporaryDirectory() as folder:
        return getattr(_Attempt(request, Path(folder)), request["kind"])()


def _child(request, sender):
    """Executes a job and sends its verdict, "error" with the traceback for an exception, and details."""
    os.chdir(ROOT)
    with open(os.devnull, "w") as nothing:
        for stream in (1, 2):
            os.dup2(nothing.fileno(), stream)
    try:
        if mutation := request["mutation"]:
            if mutation.module in sys.modules:
                raise RuntimeError(f"{mutation.module} was imported before its mutation")
            sys.meta_path.insert(0, _PatchedFinder(mutation))
        sender.send(_execute(request))
    except Exception:
        sender.send(("error", traceback.format_exc()[-3000:].strip()))


# In the parent.


class Job:
    """One proof, mutation or set of covers. ``kind``: "proof", "cover" or "mutation"."""

    WANTED = {"proof": "proved", "cover": "covered", "mutation": "caught"}

    def __init__(self, file, prop, kind, mutation=None):
        self.file, self.prop, self.kind, self.mutation = file, prop, kind, mutation

    def __str__(self):
        return f"{self.file}/{self.prop.name} " + (
            f"mutation {self.mutation.name}" if self.mutation else self.kind
        )


def jobs(names=()):
    """The jobs of all properties, or of those named ``file`` or ``file/property``."""
    known = [(file, prop) for file in FILES for prop in _properties(file)]
    all_names = [*FILES, *(f"{file}/{prop.name}" for file, prop in known)]
    for name in names:
        if name not in all_names:
            near = "".join(f"; {close} is near" for close in difflib.get_close_matches(name, all_names, n=1))
            raise ValueError(f"there is no property or property file {name!r}{near}")
    result = []
    for file, prop in known:
        if names and file not in names and f"{file}/{prop.name}" not in names:
            continue
        result.append(Job(file, prop, "proof"))
        if prop.covers:
            result.append(Job(file, prop, "cover"))
        result += [Job(file, prop, "mutation", mutation) for mutation in prop.mutations]
    return result


def run_job(job, *, explain=False, debug=False):
    """(whether the verdict is the wanted one, verdict, details, seconds). The details of an error are its
    last line, or with ``debug`` its traceback."""
    if job.mutation:
        job.mutation.check()
    request = {
        "file": job.file,
        "name": job.prop.name,
        "kind": job.kind,
        "explain": explain,
        "mutation": job.mutation,
    }
    start = time.monotonic()
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_child, args=(request, sender))
    process.start()
    sender.close()
    try:
        verdict, details = receiver.recv()
    except EOFError:
        verdict, details = "error", "the job's process ended without a word"
    process.join()
    if verdict == "error" and not debug:
        details = details.splitlines()[-1][:400]
    return verdict == Job.WANTED[job.kind], verdict, details, time.monotonic() - start


def table(todo):
    """A table in Markdown of the properties of jobs: a line for each."""
    lines = [
        "| Property | What is proven | Method | Depth | Covers | Mutations |",
        "|---|---|---|---|---|---|",
    ]
    mutations = {}
    for job in todo:
        names = mutations.setdefault((job.file, job.prop), [])
        names += [job.mutation.name] if job.mutation else []
    for (file, prop), names in mutations.items():
        depth = prop.depth if prop.method != "pdr" else "any"
        covers = f"{prop.frames} cycles" if prop.covers else ""
        lines.append(
            f"| `{file}/{prop.name}` | {prop.proves} | {prop.method} | {depth} | {covers} | "
            f"{', '.join(names)} |"
        )
    return "\n".join(lines)


def listing(todo):
    """Lines about the properties of jobs."""
    lines, counts = [], {}
    for job in todo:
        counts.setdefault(f"{job.file}/{job.prop.name}", [job.prop, 0])[1] += job.kind == "mutation"
    for name, (prop, mutations) in counts.items():
        method = prop.method if prop.method == "pdr" else f"{prop.method}, {prop.depth} steps"
        lines += [f"{name} ({method}; {mutations} mutations)", f"    {prop.proves}"]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="formal.runner", description=__doc__)
    parser.add_argument("names", nargs="*", help="property files or file/property; all by default")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--kind", choices=tuple(Job.WANTED), help="only proofs, covers or mutations")
    parser.add_argument("--explain", action="store_true", help="show by which check a mutation is caught")
    parser.add_argument("--processes", type=int, default=2, help="jobs at a time; 2 by default")
    parser.add_argument("--table", action="store_true", help="print the table of README.md, and run nothing")
    parser.add_argument("--debug", action="store_true", help="print the traceback of a job that has an error")
    arguments = parser.parse_args()
    try:
        todo = [job for job in jobs(arguments.names) if arguments.kind in (None, job.kind)]
    except ValueError as error:
        print(f"formal: {error}; --list says what there is (make formal LIST=1)", file=sys.stderr)
        return 2
    if arguments.list or arguments.table:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # quiet before head or less
        print(table(todo) if arguments.table else listing(todo))
        return 0
    return _run_all(todo, arguments)


def _run_all(todo, arguments):
    """Runs jobs and prints what became of them; 1 if one is not as wanted."""
    failures, start = 0, time.monotonic()
    run = lambda job: run_job(job, explain=arguments.explain, debug=arguments.debug)
    with ThreadPoolExecutor(arguments.processes) as pool:
        for job, (good, verdict, details, seconds) in zip(todo, pool.map(run, todo)):
            failures += not good
            first, *more = details.splitlines() or [""]
            print(f"{'ok  ' if good else 'FAIL'} {str(job):60} {verdict:8} {seconds:6.1f} s  {first}")
            print("".join(f"     {line}\n" for line in more), end="", flush=True)
    print(f"{len(todo) - failures} of {len(todo)} as wanted in {time.monotonic() - start:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
