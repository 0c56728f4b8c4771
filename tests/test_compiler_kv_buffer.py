"""Caches at the ends of homes, where there are KV buffers: the same bits, one distance from layer to layer,
and room for all else."""

import numpy as np
import pytest

from poblano_host.compiler import CompiledModel, CompileError
from poblano_host.compiler.image import Image
from poblano_host.models.operators import Attention
from tests.models_tiny import Run, chip, tiny_model

TOKENS = np.random.default_rng(2).integers(0, 72, 40).tolist()
STEPS = [5, 1, 1, 9, 1, 16, 1]
CHIP = chip().with_memory(addr_width=24)
CHIPS = {
    "a part of a layer": CHIP.with_memory(kv_bytes=4096),
    "three layers and a part": CHIP.with_memory(kv_bytes=1 << 16),
    "all": CHIP.with_memory(kv_bytes=1 << 18),
    "2 homes": chip(homes=2).with_memory(kv_bytes=1 << 14),
}


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("layers", [2, 7])
def test_bits_are_the_same(name, layers):
    """Of seven layers five are compiled; the third is moved, caches and weights by their own distances."""
    model, config = tiny_model(layers=layers), CHIPS[name]
    compiled = CompiledModel(model, config)
    assert compiled.memory.alike
    expected = Run(CompiledModel(model, chip())).steps(TOKENS, STEPS)
    np.testing.assert_array_equal(Run(compiled).steps(TOKENS, STEPS, shuffle=3), expected)


@pytest.mark.parametrize("name", CHIPS)
def test_caches_lie_one_below_the_other(name):
    model, config = tiny_model(layers=7), CHIPS[name]
    memory, size = CompiledModel(model, config).memory, config.memory.bytes_of_home
    places = [memory.cache(node) for node in model.graph.of(Attention)]
    room = places[0].layout.size
    for n, place in enumerate(places):
        ends = [(home + 1) * size for home in range(config.memory.homes)]
        assert list(place.address) == [end - (n + 1) * room for end in ends]
        resident = max(0, min(room, config.memory.kv_bytes - n * room))
        assert place.in_memory(config) == pytest.approx(1 - resident / room)
    assert [memory.pitch_at(at) for at in places[1].address] == [-room] * config.memory.homes
    assert memory.pitch_at(0) == memory.pitch > 0


def test_the_roofline_counts_what_is_in_memory():
    model = tiny_model(layers=2)
    works = {
        name: CompiledModel(model, config).step([1], 20).work
        for name, config in (CHIPS | {"none": CHIP}).items()
    }
    assert all(layer.other_bytes == 0 for layer in works["all"])
    for part, whole in zip(works["a part of a layer"], works["none"]):
        assert part.weight_bytes == whole.weight_bytes and part.other_bytes <= whole.other_bytes
    assert 0 < works["a part of a layer"][0].other_bytes < works["none"][0].other_bytes


def test_what_the_host_sees():
    """Extents leave out the KV buffers, and an image does not reach into them."""
    image = Image("it", chip(homes=2).with_memory(kv_bytes=1 << 16))
    size = 1 << 23
    assert image.reserve_caches(1 << 15) == [size - (1 << 15), 2 * size - (1 << 15)]
    image.reserve(100, 1)
    assert image.extents == [(0, 0), (size, size + 4096)] and image.size == 2 * size
    image.reserve_caches(1 << 16)
    assert image.extents[2:] == [(end - (1 << 15) - (1 << 16), end - (1 << 16)) for end in (size, 2 * size)]
    assert image.cached(size - 1) and image.cached(size - 3 * (1 << 15)) and not image.cached(size)
    assert not image.cached(size - 3 * (1 << 15) - 1)
    image.reserve(size - 3 * (1 << 15))
    assert image.size == 2 * size
    image.reserve(1)
    with pytest.raises(
        CompileError, match="^it needs 8392704 bytes of memory in home 0; a home has 8388608$"
    ):
        _ = image.size
    small = Image("it", CHIP.with_memory(kv_bytes=1 << 23))
    small.reserve(1 + (1 << 23))
    with pytest.raises(
        CompileError, match="^it needs 16781312 bytes of memory; 24 address bits reach 16777216$"
    ):
        _ = small.size
