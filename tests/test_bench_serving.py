"""The benches of serving and of the host's time."""

import bench_host
import bench_serving
import pytest


def test_no_row_of_logits_differs():
    figures = {}
    bench_serving.different(2, 3, figures)
    assert figures["different_logits"] == 0 and figures["compared_logits"] > 20


@pytest.mark.slow
def test_host_times_are_measured():
    figures = bench_host.measure("default/desk", 3)
    assert figures["default/desk/ms_per_token"] > 0
