"""The bars of `scripts/bench_board.py`, on the board's RTL at the pins."""

import pytest

from poblano_fpga.chip import CHIP_BOARDS
from scripts.bench_board import BARS, Bench


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CHIP_BOARDS)
def test_bar(name):
    """The default model with its weights: the golden model's tokens, and fast enough."""
    figures = Bench(CHIP_BOARDS[name], 32, check=True).figures(16, 2)
    assert figures["requests"] == 13  # a token takes longer than a WAIT
    for key, bar in BARS.items():
        assert figures[key] >= bar
