"""The bench of mixtures: its sizes, its count of bytes, and a measurement."""

import pytest

from poblano.config import preset
from poblano_host.compiler import CompiledModel
from poblano_host.runtime.report import roofline_cycles
from scripts.bench_moe import (
    CASES,
    Case,
    Sizes,
    empty_expert_cycles,
    measure,
    operators_cycles,
    step_bytes,
    whole_experts,
)

SMALL = Sizes(64, 64, 2, 1, 8, 2, head_dim=32)


def test_step_bytes():
    """An expert that is passed over has neither commands nor weights: inputs, hidden elements and outputs are
    passed over, those that follow each other at once."""
    config = preset("desk-moe")
    compiled = CompiledModel(SMALL.model(), config)
    program = compiled.step([1, 2], 0, logits="none")
    found, passes = zip(*(step_bytes(program, routes) for routes in (2, 3, 4)))
    assert passes == (4, 3, 0)
    size = compiled.memory.experts(compiled.model.graph.node("layer0.ffn_experts")).size
    for fewer, more in zip(found, found[1:]):
        assert size < more - fewer < size + 64 * 40


def test_whole_experts():
    """Two of two experts on two tiles, two of four, where each third pair is on one tile, and all of them."""
    sizes = lambda experts, used: Sizes(64, 64, 2, 1, experts, used, head_dim=32)
    assert whole_experts(Case("desk-moe", sizes(2, 2), 1)) == 1
    assert whole_experts(Case("desk-moe", sizes(4, 2), 1)) == pytest.approx(3 / 4, abs=0.02)
    assert whole_experts(Case("desk-moe", sizes(4, 2), 64)) == 1


def test_cycles_of_operators():
    """Where memory limits all operators, as for one token, it is the layer's roofline. Of 16 sequences the
    arrays limit the products of Q, K, V and the output, which have 3 * 64 * 64 weights, and of two experts
    the one that has 28 of the 32 rows, and memory the other one, the router and attention."""

    def cycles(count, *rows):
        case = Case("desk-moe", SMALL, count)
        compiled = CompiledModel(case.model, case.config, slots=count)
        (work,) = compiled.batch(case.chunks(), logits=0).work
        routes = [(n, some, None) for n, some in enumerate(rows)]
        layer = roofline_cycles(work.using(len(rows)), case.config)
        return operators_cycles(case, compiled, routes), layer, compiled

    whole, layer, _ = cycles(1, 1, 1)
    assert whole == pytest.approx(layer)
    many, layer, compiled = cycles(16, 28, 4)
    node = compiled.memory.graph.node
    experts = compiled.memory.experts(node("layer0.ffn_experts"))
    caches = 16 * compiled.memory.cache(node("layer0.attn")).layout.token_bytes(1, 1)
    memory = (experts.size + experts.router.size + caches) / 32
    assert many == (16 + 28) * 3 * 64 * 64 / 512 + memory > layer


@pytest.mark.slow
def test_measures():
    fraction, found = measure(Case("desk-moe", SMALL, 1, further=True))
    assert 0.1 < fraction < 1 and found["bytes_unused_experts"] == 0
    assert 0 < found["further_layer_cycles"] < found["cycles"] and fraction < found["further_layer"] < 1
    assert found["experts_used"] == 2 and found["routing_cycles"] < 400
    assert 0.5 < found["bytes_ahead"] <= 1


@pytest.mark.slow
def test_measures_of_the_peak():
    """Both experts have all rows of a prompt; one that has fewer than 64 is refused."""
    sizes = Sizes(64, 64, 2, 1, 2, 2, head_dim=32)
    _, found = measure(Case("desk-moe", sizes, 1, tokens=64, peak_bar=0.85))
    assert 0.2 < found["experts_of_peak"] < 1 and "routing_cycles" not in found
    with pytest.raises(ValueError, match="less than 64 rows"):
        measure(Case("desk-moe", sizes, 1, tokens=63, peak_bar=0.85))


@pytest.mark.slow
def test_measures_of_a_capacity():
    """Four experts have room for half of a window's choices each."""
    sizes = Sizes(64, 64, 2, 1, 4, 2, head_dim=32)
    _, found = measure(Case("desk-moe", sizes, 1, tokens=16, capacity="4/8"))
    assert found["rerouted"] > 0 and found["experts_used"] == 4


@pytest.mark.slow
def test_experts_without_rows():
    """Six of eight slots have no expert."""
    each, first = empty_expert_cycles(Case("desk-moe", SMALL, 4, alike=True))
    assert each <= 4 and 0 <= first < 200


@pytest.mark.nightly
@pytest.mark.timeout(7200)  # most of it is the compilation of the chip
@pytest.mark.parametrize("name", ["quad/decode1", "quad/decode8"])
def test_a_large_chip(name):
    """A layer of gpt-oss-20b's sizes: all of memory as the golden chip has it, no byte of an expert without
    rows, and the bar."""
    fraction, found = measure(CASES[name])
    assert fraction >= CASES[name].bar and found["bytes_unused_experts"] == 0
