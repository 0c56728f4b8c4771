"""The DRAM controller on Verilator with cocotbext-axi's masters, and the DRAM's model in Verilog."""

from dataclasses import replace
from pathlib import Path
import shutil
import subprocess

import numpy as np
import pytest

from poblano_host.sim.dram import SimulatedDram
from tb.common.runner import run_bench
from tb.dram.configs import CONFIGS, MEMORY_BITS
from tb.dram.device import DEVICE, DramSystem, device_parameters
from tests.dram_commands import ROWS, random_commands
from tests.dram_configs import CONFIGS as KINDS


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in ("hbm3", "sdr") else pytest.mark.nightly)
        for n in CONFIGS
    ],
)
def test_controller(name):
    system = DramSystem(CONFIGS[name], memory_bits=MEMORY_BITS)
    assert run_bench(system, name=f"dram_{name}", module="tb.dram.bench", env={"CONFIG": name}) == 2


BENCH = Path(__file__).with_name("dram_device_bench.v")


def fields(config):
    """Name and bits of the pins that a bench drives, the first the highest of a word."""
    bits = device_parameters(config, memory_bits=0)
    group, width = max(1, bits["GROUP_BITS"]), 8 * bits["BURST_BYTES"] // bits["BURST_CYCLES"]
    return {
        **dict(row_op=3, row_group=group, row_bank=bits["BANK_BITS"], row=bits["ROW_BITS"]),
        **dict(column_op=2, column_group=group, column_bank=bits["BANK_BITS"], column=bits["COLUMN_BITS"]),
        **dict(data=width, strb=width // 8, sideband=max(1, bits["SIDEBAND_BITS"] // bits["BURST_CYCLES"])),
    }


def words(config, commands, data, strb, sideband):
    """A line for each cycle, in hexadecimal."""
    lines = []
    for cycle, command in enumerate(commands):
        values = {name: int(command[name]) for name in commands.dtype.names}
        values["data"] = int.from_bytes(data[cycle].tobytes(), "little")
        values["strb"], values["sideband"] = int(strb[cycle]), int(sideband[cycle])
        word = 0
        for name, bits in fields(config).items():
            word = word << bits | values[name] & (1 << bits) - 1
        lines.append(f"{word:x}")
    return "\n".join(lines) + "\n"


def simulate(config, folder, text):
    """What the Verilog model drives in each cycle, and what it says."""
    (folder / "cycles.hex").write_text(text)
    parameters = device_parameters(config, memory_bits=MEMORY_BITS)
    options = [f"-Pbench.{name}={value}" for name, value in parameters.items()]
    command = ["iverilog", "-g2005", "-Wall", "-s", "bench", *options, "-o", "bench", str(BENCH), str(DEVICE)]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    run = subprocess.run(["vvp", "-n", "bench"], cwd=folder, capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    told = [line for line in lines if line.startswith("bench")]
    return [line.split() for line in lines if line not in told], told


@pytest.mark.skipif(
    not shutil.which("iverilog"), reason="iverilog is not installed: apt-get install iverilog"
)
@pytest.mark.parametrize("kind", KINDS)
def test_device(kind, tmp_path):
    """The model in Verilog drives in every cycle what the one in C++ drives."""
    config = replace(KINDS[kind], rows=ROWS)
    rng = np.random.default_rng(2)
    commands = random_commands(config, rng)
    beat = config.timing.burst_bytes // config.cycles.burst
    data = rng.integers(0, 256, (len(commands), beat), np.uint8)
    strb = rng.integers(0, 1 << beat, len(commands), np.uint64)
    sideband = rng.integers(0, 1 << 16, len(commands)).astype(np.uint64)
    dram = SimulatedDram(config, 1 << MEMORY_BITS)
    read, read_sideband = dram.run(commands, data, strb, sideband)
    driven, told = simulate(config, tmp_path, words(config, commands, data, strb, sideband))
    assert len(driven) == len(commands)
    for cycle, (text, bits) in enumerate(driven):
        assert int(text, 16) == int.from_bytes(read[cycle].tobytes(), "little"), cycle
        assert not config.timing.sideband_bits or int(bits, 16) == read_sideband[cycle], cycle
    assert len(told) >= 50 and all("bank" in line for line in told)
    states = [text for text in dram.violations.texts if text.startswith("state")]
    assert states and len(told) >= len(states)
