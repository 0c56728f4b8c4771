"""The benches of serving and of the host's time."""

import bench_host
import bench_serving
import pytest

from poblano.config import preset
from poblano_host.compiler import CompiledModel
from poblano_host.runtime.backend import GoldenBackend
from poblano_host.runtime.logits import Logits
from tests.models_tiny import tiny_model


def test_no_row_of_logits_differs():
    figures = {}
    bench_serving.different(2, 3, figures)
    assert figures["different_logits"] == 0 and figures["compared_logits"] > 20


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
