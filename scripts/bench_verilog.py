#!/usr/bin/env python3
"""Time and memory of ``poblano verilog`` for every preset and a bare 128x128 array: the table of
docs/verilog.md.

Seconds are of CPU, of the command and all that it runs; on a machine that does nothing else they are the
time that passes.
"""

import argparse
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time

from poblano.config import PRESETS

CASES = [("--preset", name) for name in PRESETS] + [("--array", "128x128")]


def measure(arguments):
    """Columns of a row."""
    with tempfile.TemporaryDirectory() as folder:
        command = [Path(sys.executable).with_name("poblano"), "verilog", *arguments, "-o", folder]
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        if status:
            sys.exit(f"poblano verilog {' '.join(arguments)} failed")
        files = list(Path(folder, "rtl").iterdir())
        size = sum(path.stat().st_size for path in files)
        return [
            arguments[1],
            len(files),
            f"{size / 1e6:.1f}",
            f"{usage.ru_utime + usage.ru_stime:.1f}",
            f"{wall:.1f}",
            f"{usage.ru_maxrss / 1024:.0f}",
        ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="*", help="presets, or rows and columns; all by default")
    chosen = parser.parse_args().only
    print("| | modules | MB | CPU seconds | seconds passed | MiB of memory |\n|---|--:|--:|--:|--:|--:|")
    for arguments in CASES:
        if not chosen or arguments[1] in chosen:
            print("| " + " | ".join(map(str, measure(arguments))) + " |", flush=True)


if __name__ == "__main__":
    main()
