"""Small programs for a small chip, and what every backend must make of them."""

import numpy as np
import pytest

from poblano.isa.commands import Command, ErrorCode, Opcode
from poblano_host.runtime.errors import ChipError
from tests.models_tiny import chip

__all__ = ["LOAD", "SMALL", "STORE", "chip_errors", "program"]

SMALL = chip(4, 4, lanes=2, tiles=1, data_width=64)
LOAD = dict(mem_addr=4096, mem_stride=64, dst=0, dst_stride=2, rows=2, lines=2, tiles=1)
STORE = dict(mem_addr=8192, mem_stride=64, src=0, src_stride=2, rows=2, lines=2, tile=0)


def program(*commands):
    """The bytes of (opcode, operands) s for unit 0."""
    return b"".join(Command(opcode, 0, operands).encode() for opcode, operands in commands)


def chip_errors(backend):
    """A refused command is named; what came before is done; the backend goes on after it."""
    data = np.arange(128, dtype=np.uint8)
    backend.write(4096, data.tobytes())
    good = [(Opcode.LOAD, LOAD), (Opcode.STORE, STORE)]
    assert backend.run(program(*good)).commands == 2
    assert backend.read(8192, 128) == data.tobytes()
    with pytest.raises(ChipError) as caught:
        backend.run(
            program(
                good[0],
                (Opcode.STORE, STORE | dict(mem_addr=12288)),
                (Opcode.LOAD, LOAD | dict(dst=2048)),
                good[1],
            )
        )
    error = caught.value
    assert (error.code, error.index, error.unit) == (ErrorCode.LOCAL_RANGE, 2, 0)
    assert (
        "LOCAL_RANGE (local memory address out of range) at command 2 (dma): dma LOAD mem_addr=0x1000"
        in str(error)
    )
    backend.write(8192, bytes(128))
    assert backend.run(program(*good)).commands == 2
    assert backend.read(8192, 128) == data.tobytes()
    with pytest.raises(ChipError, match=r"OPCODE \(unknown opcode\) at command 0 \(dma\): ff000000 "):
        backend.run(b"\xff" + bytes(3) + program((Opcode.NOP, {}))[4:])
    assert backend.run(program(*good)).commands == 2
    assert backend.run(b"").commands == 0
