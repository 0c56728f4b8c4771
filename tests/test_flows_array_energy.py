"""Energy of an array's multiplications: what moves, by the activations that meet a weight tile."""

import pytest

from poblano_flows.asic.array_energy import ArrayEnergy
from poblano_flows.asic.liberty import load_library
from poblano_flows.asic.tools import AsicError


@pytest.fixture(scope="module")
def array():
    try:
        load_library()
    except AsicError as error:
        pytest.skip(str(error))
    return ArrayEnergy(8, 8)


@pytest.mark.parametrize("transpose", [False, True])
def test_energy(array, transpose):
    """A whole number of tiles, each of max(tokens, items) cycles. For one token a multiplication costs a few
    times what it costs for many, not as many times as a tile has items."""
    few, many = (array.measure(tokens, transpose=transpose, cycles=1000) for tokens in (1, 32))
    assert few.macs == 125 * 64 and many.macs == 1024 * 64
    assert 5 < many.energy < few.energy < 3 * many.energy
    assert few.energy == few.clock + few.internal + few.switching and few.clock > many.clock
