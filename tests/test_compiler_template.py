"""Programs that are compiled once and patched: affine numbers, patches, repeated layers."""

import numpy as np
import pytest

from poblano.isa.commands import Command, Opcode
from poblano_host.compiler import CompiledModel
from poblano_host.compiler import model as compiler
from poblano_host.compiler.builder import Op
from poblano_host.compiler.symbols import affine, column, granules, group, position
from poblano_host.compiler.template import Entry, encode, repeat
from tests.models_tiny import Run, chip, tiny_model
from tests.test_compiler_model import CONFIGS

TOKENS = np.random.default_rng(3).integers(0, 72, 24).tolist()
VALUES = {symbol: value for n, value in ((position, 1000), (group, 7), (column, 5)) for symbol, _ in n.terms}


def test_affine():
    ((granule, _),) = granules(9).terms
    values = VALUES | {granule: 3}
    number = 4 * position + group * 100 + (granules(9) + 1) * 8 + position + 2
    assert number.at(values) == 5 * 1000 + 700 + 8 * 4 + 2
    assert dict(number.terms)[position.terms[0][0]] == 5
    assert affine(7).at({}) == 7 and affine(number) is number


def test_patches():
    """Fields that are patched, two of them in one word, give the command that was meant."""
    operands = dict(mem_addr=position * 64 + 128, mem_stride=group * 32, rows=column + 1, row_bytes=512)
    entries = [
        Entry(Op(Opcode.STREAM, 1, operands, 0, "weights"), ((0, 3),)),
        Entry(Op(Opcode.NOP, 1, {}, 0, ""), (), nop=True),
        Entry(Op(Opcode.STREAM, 1, dict(mem_addr=64, row_bytes=512, rows=1), None, "more"), ()),
    ]
    template = encode(entries)
    words = template.bind(VALUES).words
    decoded = Command.decode(words[0].tobytes())
    wanted = dict(mem_addr=64128, mem_stride=224, rows=6, row_bytes=512)
    assert decoded.operands == wanted and decoded.waits == ((0, 3),) and decoded.unit == 1
    np.testing.assert_array_equal(words[1:], template.words[1:])
    assert template.labels == [(0, "weights"), (0, "wait"), (None, "more")]
    assert len(template.places) == len(set(template.places.tolist())) == 2
    np.testing.assert_array_equal(template.bind(VALUES).words, words)  # binding leaves the template as it is


def test_repeat():
    entries = [
        Entry(Op(Opcode.STREAM, 1, dict(mem_addr=position + 64 * n, row_bytes=512), n, "w"), ())
        for n in range(4)
    ]
    template = encode(entries)
    place = Opcode.STREAM.definition.field["mem_addr"]
    step = np.zeros((4, 8), np.uint64)
    step[:, place.word] = 64 << place.lsb
    repeated = repeat(template, 1, 2, 3, step)
    words = repeated.bind(VALUES).words
    assert len(repeated.kinds[0]) == 1 and len(repeated.kinds[1]) == 7
    addresses = [Command.decode(word.tobytes()).operands["mem_addr"] for word in words]
    assert addresses == [1000 + 64 * n for n in range(7)]
    assert repeated.labels == [(n, "w") for n in range(7)]


@pytest.mark.parametrize("name", ["base", *CONFIGS])
def test_repeated_layers_are_those_that_would_be_compiled(name, monkeypatch):
    """Of nine layers five are compiled: the program is the one of nine compiled layers, bit for bit."""
    model, config = tiny_model(layers=9), CONFIGS.get(name, chip())
    some = CompiledModel(model, config)
    counts = {1, min(3, some.max_tokens), some.max_tokens}
    steps = [
        (count, start, logits)
        for count, start, logits in ((1, 0, "last"), (1, 7, "none"), (3, 5, "last"), (16, 0, "all"))
        if count in counts
    ]
    programs = [some.step([1] * count, start, logits=logits) for count, start, logits in steps]
    monkeypatch.setattr(compiler, "COMPILED_LAYERS", 99)
    every = CompiledModel(model, config)
    for (count, start, logits), program in zip(steps, programs):
        whole = every.step([1] * count, start, logits=logits)
        np.testing.assert_array_equal(program.words, whole.words)
        assert program.names == whole.names
    assert steps and any(label.startswith("layer8.") for label in map(whole.label, range(len(whole))))


def test_layers_that_differ_are_all_compiled():
    """Weights of formats that take turns: no layer is a copy, and the result is right."""
    model = tiny_model(layers=7, formats=("q8_0", "q4_0"))
    compiled = CompiledModel(model, chip())
    assert not compiled.memory.alike
    run, one = Run(compiled), Run(CompiledModel(model, chip(tiles=1)))
    np.testing.assert_array_equal(run.steps(TOKENS, [16, 8]), one.steps(TOKENS, [16, 8]))


def test_a_template_serves_every_position():
    """Decoding compiles once; a prefill once for each bucket of context and place in the K cache."""
    compiled = CompiledModel(tiny_model(), chip())
    for at in range(20):
        compiled.step([1], at)
    assert len(compiled._templates) == 1
    for at in (0, 16, 32, 48):
        compiled.step([1] * 16, at)
    buckets = {shape.context for shape, _ in compiled._templates if shape.count == 16}
    assert len(compiled._templates) == 1 + len(buckets) <= 4
