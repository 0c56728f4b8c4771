"""The benches of serving and of the host's time."""

import bench_host
import bench_serving
import numpy as np
import pytest

from poblano.compute.reference import matmul
from poblano.config import PagingConfig, preset
from poblano_host.compiler import CompiledModel
from poblano_host.golden import chip as golden_chip
from poblano_host.runtime.backend import GoldenBackend
from poblano_host.runtime.logits import Logits
from tests.models_tiny import chip, tiny_model

PAGED = chip(tokens=32, vmem_lines=8192, amem_blocks=2048).with_memory(paging=PagingConfig(slots=8, pages=8))


def compare(monkeypatch, **options):
    """The figures of random requests of a small model."""
    monkeypatch.setattr(bench_serving, "CHOSEN_PAGES", 8)
    monkeypatch.setattr(bench_serving, "CHOSEN_TOKENS", 80)
    figures = {}
    model = tiny_model(context=256, layers=1, dim=128)  # four blocks: three or more have an order
    bench_serving.different(model, PAGED, 6, 0, figures, **options)
    assert figures["compared_logits"] > 60
    return figures


def test_no_row_of_logits_differs(monkeypatch):
    """With others, with shared beginnings, after preemption, on another number of tiles."""
    figures = compare(monkeypatch, tiles=(1, 2))
    assert figures["different_logits"] == 0
    assert figures["cached_tokens"] > 0 and figures["preempted"] > 0


def test_a_sum_in_another_order_is_seen(monkeypatch):
    """In products of several rows blocks along K are added from the last one on."""

    def reordered(q, scale, total, weights, weight_scale, minimum, **options):
        if len(q) > 1:
            blocks = lambda x, axis: np.flip(x, axis)
            q = blocks(q.reshape(len(q), -1, 32), 1).reshape(q.shape)
            weights = blocks(weights.reshape(-1, 32, weights.shape[-1]), 0).reshape(weights.shape)
            scale, total = blocks(scale, 1), blocks(total, 1)
            weight_scale, minimum = (None if x is None else blocks(x, 0) for x in (weight_scale, minimum))
        return matmul(q, scale, total, weights, weight_scale, minimum, **options)

    monkeypatch.setattr(golden_chip, "matmul", reordered)
    assert compare(monkeypatch, tiles=(2,))["different_logits"] > 0


def test_waste_of_pages():
    """Of one sequence of 40 positions in pages of 32: a prompt of 24 tokens, 4 a step, and then 15 tokens;
    from 33 on it has two pages."""
    compiled, figures = CompiledModel(tiny_model(), PAGED), {}
    bench_serving.kv_waste([40], compiled, figures, "waste")
    filled, reserved = sum(range(4, 24, 4)) + sum(range(24, 39)), 32 * (5 + 9 + 2 * 6)
    used = compiled.pages.used / compiled.pages.bytes
    assert figures["waste"] == round(1 - used * filled / reserved, 4)


def test_the_host_reads_what_a_step_leaves():
    """The bench's maxima are those of its logits: the best of a row are the best of all of its logits."""
    compiled = CompiledModel(tiny_model(vocab=200), preset("desk"), context=512, slots=3)
    backend = GoldenBackend(compiled.config, compiled.memory_bytes, compiled.ring)
    bench_serving.leave_logits(compiled, backend.memory, 3)
    logits = Logits(backend, compiled, compiled.batch(bench_serving.around(3), logits=-1))
    for n in range(3):
        assert logits[n].best == logits[n].values.argmax()


@pytest.mark.slow
def test_host_times_are_measured():
    figures = bench_host.measure("default/desk", 3)
    assert figures["default/desk/ms_per_token"] > 0
