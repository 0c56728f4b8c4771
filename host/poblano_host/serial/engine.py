"""Exact block sums on an array engine, over the bridge."""

from dataclasses import dataclass
import math

import numpy as np

from poblano.config import BLOCK
from poblano.engine.config import DESIGN, IDENTITY, REGISTERS, STEP_BITS, VERSION, Fault

from .bridge import BridgeError

__all__ = ["EngineDevice", "Traffic", "engine_traffic"]

LARGEST = (1 << STEP_BITS) - 1
POLLS = 1000
FRAME_BYTES = 8 + 2 + 2 * (4 + 2)
"""Of a request and its answer besides their data: header, sequence number and status, FCS and flags."""


@dataclass
class Traffic:
    """What block sums took: bytes of data each way, requests, cycles of the engine, MACs."""

    to_device: int = 0
    from_device: int = 0
    requests: int = 0
    cycles: int = 0
    macs: int = 0

    @property
    def line_bytes(self):
        """Bytes on the line, without escapes."""
        return self.to_device + self.from_device + FRAME_BYTES * self.requests


class EngineDevice:
    """An array engine behind a :class:`~poblano_host.serial.bridge.BridgeClient`; BridgeError if there is
    none.

    Members
    -------
    rows, cols : of the array; tokens, passes, word, memory : see :data:`~poblano.engine.config.REGISTERS`
    traffic : Traffic, since the start
    """

    def __init__(self, client):
        self.client = client
        if client.identity.design != DESIGN:
            raise BridgeError(
                f"the board holds the design {client.identity.design!r}, not an array engine ({DESIGN})"
            )
        self.traffic = Traffic()
        self._content = {}  # what was written last, by address
        identity, version, array, limits, self.memory = (
            self._read(name) for name in ("ID", "VERSION", "ARRAY", "LIMITS", "MEMORY_BYTES")
        )
        if (identity, version) != (IDENTITY, VERSION):
            raise BridgeError(
                f"the engine's ID and VERSION are 0x{identity:08x} and {version}, not 0x{IDENTITY:08x} and "
                f"{VERSION}"
            )
        self.rows, self.cols, self.word = array & 0xFF, array >> 8 & 0xFF, array >> 16
        self.tokens, self.passes = limits & 0xFFFF, limits >> 16

    def _read(self, name):
        self.traffic.requests += 1
        self.traffic.from_device += 4
        return self.client.read_register(REGISTERS[name])

    def _write(self, name, value):
        self.traffic.requests += 1
        self.traffic.to_device += 4
        self.client.write_register(REGISTERS[name], value)

    def block_sums(self, a, w):
        """int32 (K/32, M, N): for each block of 32 along K, the products' sums of ``a`` (M, K) and ``w``
        (K, N), integers of 8 bits.

        -128 of ``a`` counts as -127.
        """
        a, w = _bytes(a), _bytes(w)
        (m, k), n = a.shape, w.shape[1]
        if k % BLOCK or w.shape[0] != k:
            raise ValueError(f"shapes {a.shape} and {w.shape} must share a K that is a multiple of {BLOCK}")
        blocks, groups = k // BLOCK, -(-n // self.cols)
        result = np.zeros((blocks, m, groups * self.cols), np.int32)
        activations, weights = self._activation_words(a), self._weight_words(w)
        for rows, steps, part in self.tiles(m, blocks, groups):
            sums = self._job(activations[steps, :, rows], weights[part, steps])
            result[steps, rows, part.start * self.cols : part.stop * self.cols] = sums
        self.traffic.macs += m * k * n
        return result[:, :, :n]

    def _activation_words(self, a):
        """(block, pass, M, word bytes), zeros where there is nothing."""
        m, k = a.shape
        words = np.zeros((k // BLOCK, self.passes, m, self.word), np.int8)
        padded = np.zeros((m, k // BLOCK, self.passes * self.rows), np.int8)
        padded[:, :, :BLOCK] = a.reshape(m, -1, BLOCK)
        words[..., : self.rows] = padded.reshape(m, k // BLOCK, self.passes, self.rows).transpose(1, 2, 0, 3)
        return words

    def _weight_words(self, w):
        """(group, block, pass, row, word bytes)."""
        k, n = w.shape
        groups = -(-n // self.cols)
        padded = np.zeros((k // BLOCK, self.passes * self.rows, groups * self.cols), np.int8)
        padded[:, :BLOCK, :n] = w.reshape(k // BLOCK, BLOCK, n)
        words = np.zeros((groups, k // BLOCK, self.passes, self.rows, self.word), np.int8)
        words[..., : self.cols] = padded.reshape(
            k // BLOCK, self.passes, self.rows, groups, self.cols
        ).transpose(3, 0, 1, 2, 4)
        return words

    def tiles(self, m, blocks, groups):
        """Slices of rows, blocks and groups that the engine's memories hold; rows change fastest, so that
        weights stay."""
        row_bytes, weight_bytes = self.passes * self.word, self.passes * self.rows * self.word
        result_bytes = -(-4 * self.cols // self.word) * self.word
        rows = min(m, self.tokens)
        steps = min(
            blocks,
            LARGEST,
            self.memory // (rows * row_bytes),
            self.memory // (weight_bytes + rows * result_bytes),
        )
        parts = min(groups, LARGEST, self.memory // (steps * (weight_bytes + rows * result_bytes)))
        for group in range(0, groups, parts):
            for block in range(0, blocks, steps):
                for row in range(0, m, rows):
                    yield (
                        slice(row, min(m, row + rows)),
                        slice(block, min(blocks, block + steps)),
                        slice(group, min(groups, group + parts)),
                    )

    def _job(self, activations, weights):
        """int32 (block, M, columns of the groups) of (block, pass, M, word) and (group, block, pass, row,
        word)."""
        groups, steps, rows = weights.shape[0], weights.shape[1], activations.shape[2]
        self._put(0, activations.tobytes())
        self._put(self.memory, weights.tobytes())
        row_bytes = -(-4 * self.cols // self.word) * self.word
        start = weights.size
        for name, value in (
            ("ROWS", rows),
            ("K_BLOCKS", steps),
            ("GROUPS", groups),
            ("ACTIVATIONS", 0),
            ("WEIGHTS", 0),
            ("RESULTS", start),
            ("CONTROL", 1),
        ):
            self._write(name, value)
        for _ in range(POLLS):
            status = self._read("STATUS")
            if not status & 1:
                break
        else:
            raise BridgeError(f"the engine is still busy after {POLLS} looks")
        if status >> 1 != Fault.NONE:
            raise BridgeError(
                f"the engine's job of {rows} rows, {steps} blocks and {groups} groups failed: "
                f"{Fault(status >> 1).name}"
            )
        self.traffic.cycles += self._read("CYCLES")
        size = groups * steps * rows * row_bytes
        data = self._get(self.memory + start, size)
        sums = np.frombuffer(data, np.int32).reshape(groups, steps, rows, row_bytes // 4)[..., : self.cols]
        return sums.transpose(1, 2, 0, 3).reshape(steps, rows, groups * self.cols)

    def _put(self, address, data):
        """Write, unless that is what was written there last."""
        if self._content.get(address) == data:
            return
        self._content.pop(address, None)
        self.traffic.requests += math.ceil(len(data) / self.client.identity.payload)
        self.traffic.to_device += len(data)
        self.client.write_memory(address, data)
        self._content[address] = data

    def _get(self, address, size):
        self.traffic.requests += math.ceil(size / self.client.identity.payload)
        self.traffic.from_device += size
        return self.client.read_memory(address, size)


def _bytes(array):
    """``array`` as int8; ValueError if that changes a value."""
    array = np.asarray(array)
    result = array.astype(np.int8)
    if not np.array_equal(result, array):
        raise ValueError(f"block sums take integers of 8 bits, not {array.min()} to {array.max()}")
    return result


def engine_traffic(config, payload, products):
    """The :class:`Traffic` of an engine (an EngineConfig) for products of shapes (M, K, N), each weight
    sent once for each product."""
    counter = _Counter(config, payload)
    for m, k, n in products:
        counter.block_sums(np.zeros((m, k), np.int8), np.zeros((k, n), np.int8))
    return counter.traffic


class _Counter(EngineDevice):
    """An engine that only counts what it would take."""

    def __init__(self, config, payload):
        self.config, self.payload = config, payload
        self.traffic, self._content = Traffic(), {}
        self.rows, self.cols, self.word, self.memory = (
            config.array.rows,
            config.array.cols,
            config.word_bytes,
            config.memory_bytes,
        )
        self.tokens, self.passes = config.tokens, config.array.passes
        self._job_size = {}

    def _read(self, name):
        self.traffic.requests += 1
        self.traffic.from_device += 4
        return 0

    def _write(self, name, value):
        self.traffic.requests += 1
        self.traffic.to_device += 4
        if name == "CONTROL":
            self.traffic.cycles += self.config.job_cycles(**self._job_size)
        elif name in ("ROWS", "K_BLOCKS", "GROUPS"):
            self._job_size[name.lower()] = value

    def _put(self, address, data):
        self.traffic.requests += math.ceil(len(data) / self.payload)
        self.traffic.to_device += len(data)

    def _get(self, address, size):
        self.traffic.requests += math.ceil(size / self.payload)
        self.traffic.from_device += size
        return bytes(size)
