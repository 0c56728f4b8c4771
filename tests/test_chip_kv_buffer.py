"""A chip with KV buffers in simulation: bits as without, and memory moves less by exactly what they hold."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from poblano.isa.commands import Command, Opcode
from poblano_host.compiler import CompiledModel
from poblano_host.models.operators import Attention
from poblano_host.runtime.session import Session
from tests.models_tiny import chip, tiny_model

TOKENS = np.random.default_rng(5).integers(0, 72, 18).tolist()
BEAT = 8
NONE = chip(4, 4, lanes=2, tiles=2, data_width=8 * BEAT, queue_depth=2).with_memory(
    addr_width=24, bandwidth=Fraction(7), latency=31
)
KV = NONE.with_memory(kv_bytes=1 << 15)
HOMES = chip(4, 4, lanes=2, tiles=2, homes=2, data_width=8 * BEAT, queue_depth=2).with_memory(
    kv_bytes=1 << 13
)


def beats(command, ranges):
    """(beats that are read, beats that are written) of a command in ranges of addresses."""
    o = command.operands
    if "mem_addr" not in o:
        return 0, 0
    stride, rows = o["mem_stride"], o["rows"]
    size = o.get("row_bytes") or 32 * o.get("lines", 0) or o.get("length", 0) or 4
    if command.opcode is Opcode.STORE_SCALE and stride == 4 and o["mem_addr"] % BEAT == rows * 4 % BEAT == 0:
        stride, rows = BEAT, rows * 4 // BEAT  # they go in whole beats
    count = 0
    for row in range(rows):
        first = o["mem_addr"] + row * stride
        places = range(first // BEAT * BEAT, first + size, BEAT)
        count += sum(any(low <= place < high for low, high in ranges) for place in places)
    writes = command.opcode not in (Opcode.STREAM, Opcode.LOAD)
    return (0, count) if writes else (count, 0)


def run(config, model, context):
    """The last steps of a context, whose tokens before are zeros in the caches: (commands, bytes read, bytes
    written, token, logits) of each; what the KV buffers hold in the end is compared with the golden
    model's."""
    session = Session(model, config, context=context, check=True)
    session.position, steps = context - len(TOKENS), []
    for phase, tokens in (("prefill", TOKENS[:-2]), ("decode", TOKENS[-2:-1]), ("decode", TOKENS[-1:])):
        step = session.step(phase, tokens, "last")
        result = step.result
        steps.append((step.program.commands, result.bytes_read, result.bytes_written, step.best, step.logits))
    compare_buffers(session)
    session.close()
    return steps


def compare_buffers(session):
    """Copies the KV buffers to memory behind the ring."""
    lines, (ring, commands) = 32, session.compiled.ring
    room = ring + 64 * commands
    for first, end in session.config.memory.kv_buffers:
        code = []
        for at in range(first, end, 32 * lines):
            load = dict(mem_addr=at, rows=1, lines=lines, tiles=1)
            store = dict(mem_addr=room + at - first, rows=1, lines=lines, tile=0)
            code += [Command(Opcode.LOAD, 0, load), Command(Opcode.STORE, 0, store)]
        session.backend.run(b"".join(command.encode() for command in code))
        got = session.backend.read(room, end - first)
        assert got == session.golden.read(first, end - first) and any(got)


@cache
def without(config, context, layers):
    return run(config.with_memory(kv_bytes=0), tiny_model(layers=layers, context=context), context)


@pytest.mark.parametrize(
    "config, context, layers, held",
    [
        (KV, 32, 2, 1),
        (KV, 250, 2, 0),
        (KV, 2048, 1, 0),
        pytest.param(HOMES, 32, 2, 1, marks=pytest.mark.nightly),
    ],
    ids=["32", "250", "2048", "32, 2 homes"],
)
def test_memory_moves_less_by_what_is_resident(config, context, layers, held):
    """All of the caches are in the KV buffers, or a part of them."""
    model = tiny_model(layers=layers, context=context)
    compiled = CompiledModel(model, config, context=context)
    parts = [compiled.memory.cache(node).in_memory(config) for node in model.graph.of(Attention)]
    assert (max(parts) == 0) == held and min(parts) < 1
    steps = zip(run(config, model, context), without(config, context, layers))
    for (commands, read, written, token, logits), (
        _,
        all_read,
        all_written,
        expected,
        expected_logits,
    ) in steps:
        reads, writes = map(sum, zip(*(beats(command, config.memory.kv_buffers) for command in commands)))
        assert reads and writes
        assert (all_read - read, all_written - written) == (BEAT * reads, BEAT * writes)
        assert token == expected
        np.testing.assert_array_equal(logits, expected_logits)


def test_the_host_does_not_reach_it():
    session = Session(tiny_model(), KV, context=32)
    ((first, end),) = KV.memory.kv_buffers
    with pytest.raises(ValueError, match=f"from {first} to {end - 1}, in a KV buffer"):
        session.backend.read(first - 8, 16)
    with pytest.raises(ValueError, match="in a KV buffer"):
        session.backend.write(end - 4, bytes(4))
    session.close()
