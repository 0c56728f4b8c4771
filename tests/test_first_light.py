"""The default model on the RTL of the desk chip against the golden chip: after each layer every local
memory, at the end all of memory, and the tokens; and products of matrices."""

from dataclasses import replace

import numpy as np
import pytest

from poblano.config import BLOCK, LINE_BYTES, preset
from poblano.isa.commands import Command, Opcode
from poblano_host.compiler import CompiledModel, MatmulJob
from poblano_host.models import load_model
from poblano_host.runtime.backend import GoldenBackend, SimulationBackend, run_job, write_pieces
from poblano_host.runtime.report import Run, summarise
from poblano_host.runtime.session import Session

PROMPT = "And God said unto Moses, Speak unto the children of Israel"
DMA = 0


def dump(config, address):
    """Commands that store every tile's local memories from ``address`` on, and the bytes that they write."""
    tile, commands = config.tile, []
    for n in range(config.tiles):
        commands.append(
            Command(Opcode.STORE, DMA, dict(mem_addr=address, rows=1, lines=tile.vmem_lines, tile=n))
        )
        address += LINE_BYTES * tile.vmem_lines
        blocks = dict(src=0, src_stride=1, rows=tile.amem_blocks, tile=n)
        commands.append(
            Command(
                Opcode.STORE_BLOCK,
                DMA,
                dict(mem_addr=address, mem_stride=BLOCK, offset=0, length=BLOCK, **blocks),
            )
        )
        address += BLOCK * tile.amem_blocks
        commands.append(Command(Opcode.STORE_SCALE, DMA, dict(mem_addr=address, mem_stride=4, **blocks)))
        address += 4 * tile.amem_blocks
    return b"".join(command.encode() for command in commands), address


@pytest.mark.slow
def test_every_layer():
    config, model = preset("desk"), load_model("default")
    compiled = CompiledModel(model, config)
    start = compiled.memory_bytes
    dumping, end = dump(config, start)
    chips = [backend(config, end, compiled.ring) for backend in (SimulationBackend, GoldenBackend)]
    ring = slice(compiled.ring[0], compiled.ring[0] + 64 * compiled.ring[1])  # the golden chip has none
    tokens = model.tokenizer.encode(PROMPT)
    for layers in range(1, model.config.layers + 1):
        # The same ring for all: the memory of fewer layers ends before it.
        part = CompiledModel(model.shortened(layers), config)
        program = part.step(tokens, 0, logits="last" if layers == model.config.layers else "none")
        for chip in chips:
            write_pieces(chip, [*part.image, *program.inputs])
            # Pages behind the ring, as of all layers; what is dumped lies behind them.
            pages = replace(part.pages, first=compiled.pages.first)
            chip.use_pages(pages.first, pages.bytes)
            chip.set_pages(0, [pages.address(n) for n in range(pages.count)])
            chip.run(program.words)
            chip.use_pages(end, pages.bytes)
            chip.run(dumping)
        results = [np.array(chip.memory) for chip in chips]
        for result in results:
            result[ring] = 0
        assert results[0][start:].any()
        np.testing.assert_array_equal(results[0], results[1], err_msg=f"after {layers} layers")
    for chip in chips:
        chip.close()


@pytest.mark.slow
def test_text():
    """Prefill and decode with the golden model beside, every token and logit compared."""
    config, model = preset("desk"), load_model("default")
    session = Session(model, config, check=True)
    tokens = [token for _, token in session.generate(model.tokenizer.encode(PROMPT), 5)]
    assert len([token for token in tokens if token is not None]) == 5
    session.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape, cycles, roofline",
    [((5, 1, 1), 290, 0.15), ((17, 40, 300), 1740, 0.82), ((128, 128, 128), 6300, 0.74)],
)
def test_product(shape, cycles, roofline):
    """A product's input, work and output at once: the golden chip's bits in so many cycles at most."""
    config, generator = preset("desk"), np.random.default_rng(0)
    rows, inner, columns = shape
    job = MatmulJob(generator.normal(size=(rows, inner)), generator.normal(size=(inner, columns)), config)
    products = []
    for backend in (SimulationBackend, GoldenBackend):
        chip = backend(config, job.memory_bytes, job.ring)
        product, result = run_job(job, chip)
        products.append((product, result))
        chip.close()
    (simulated, result), (golden, _) = products
    np.testing.assert_array_equal(simulated.view(np.uint32), golden.view(np.uint32))
    assert result.cycles <= cycles
    assert summarise([Run("matmul", rows, job.program, result)], config).roofline_fraction >= roofline
