"""A layer with MX weights and activations on the RTL against the golden chip: every local memory and all of memory, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

from poblano.config import ArrayConfig, ChipConfig, MemoryConfig, TileConfig
from poblano_host.compiler import CompiledModel
from poblano_host.models import Model, load_model
from poblano_host.models.quantise import quantise_model
from poblano_host.runtime import GoldenBackend, SimulationBackend

from .test_first_light import dump

FORMATS = ("int8", "int4", "mxfp8_e4m3", "mxfp4_e2m1")
CONFIG = ChipConfig(
    name="formats", tiles=1, formats=FORMATS,
    tile=TileConfig(array=ArrayConfig(rows=8, cols=8, load_rows=2, fp4_rate=2), lanes=8, tokens=16, vmem_lines=4096, amem_blocks=2048, fifo_bytes=1024),
    memory=MemoryConfig(data_width=128, burst_beats=8, outstanding=4, bandwidth=16), queue_depth=2)
CASES = {"mxfp8": ("mxfp8_e4m3", "mxfp8_e4m3"), "mxfp4": ("mxfp4_e2m1", "mxfp8_e4m3"),
         "int8 attention": ("mxfp4_e2m1", {"linear": "mxfp8_e4m3", "attention": "int8"})}


def first_layer(model):
    """The model with only its first layer and a small vocabulary's head."""
    vocab = 64
    rows = lambda tensor: tensor.rows(slice(vocab)) if hasattr(tensor, "rows") else tensor[:vocab]
    tensors = {name: rows(t) if name in ("token_embd.weight", "output.weight") else t
               for name, t in model.tensors.items() if not name.startswith("blk.") or name.startswith("blk.0.")}
    return Model(replace(model.config, layers=1, vocab=vocab, bos_id=None, eos_id=None, context=64), tensors, model.tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("which, case", [("smollm2", "mxfp8"), ("smollm2", "mxfp4"), ("default", "int8 attention")])
def test_layer(which, case):
    """Prefill of some tokens and a decode step after them."""
    weights, activations = CASES[case]
    model = quantise_model(first_layer(load_model(which)), weights, again=True)
    compiled = CompiledModel(model, CONFIG, activations=activations)
    dumping, end = dump(CONFIG, compiled.memory_bytes)
    chips = [backend(CONFIG, end, compiled.ring) for backend in (SimulationBackend, GoldenBackend)]
    for chip in chips:
        for address, data in compiled.image:
            chip.write(address, data)
    position = 0
    for tokens in ([3, 1, 4, 1, 5], [9]):
        program = compiled.step(tokens, position)
        position += len(tokens)
        results = []
        for chip in chips:
            for address, data in program.inputs:
                chip.write(address, data)
            chip.run(program.encode())
            chip.run(dumping)
            results.append(np.array(chip.memory))
            results[-1][compiled.ring[0]:compiled.ring[0] + 64 * compiled.ring[1]] = 0  # the golden chip has none
        assert results[0][compiled.memory_bytes:].any()
        np.testing.assert_array_equal(*results)
    for chip in chips:
        chip.close()
