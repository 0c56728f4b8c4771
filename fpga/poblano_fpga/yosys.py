"""Synthesis by yosys in a process of its own, which ends on errors and writes its log to standard output.

Run as a program: reads commands, one a line, from standard input; those of ``multipliers`` are among them.
"""

import subprocess
import sys

from poblano_fpga.errors import BoardError

__all__ = ["SynthesisError", "run_yosys"]


class SynthesisError(BoardError):
    """Yosys failed."""


def run_yosys(commands, *, folder):
    """Run yosys ``commands`` in ``folder``; the log. SynthesisError has its last lines."""
    result = subprocess.run(
        [sys.executable, "-m", "poblano_fpga.yosys"],
        input="\n".join(commands),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise SynthesisError("yosys failed:\n" + (result.stdout + result.stderr)[-2000:])
    return result.stdout


def main():
    from pyosys import libyosys

    from poblano_fpga import multipliers

    design = libyosys.Design()
    for command in sys.stdin.read().splitlines():
        if command in multipliers.__all__:
            getattr(multipliers, command)(design)
        else:
            libyosys.run_pass(command, design)


if __name__ == "__main__":
    main()
