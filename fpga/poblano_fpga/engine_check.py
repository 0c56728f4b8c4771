"""What a board must answer: an awkward matrix product, and a layer of the default model, bit for bit as the
golden model."""

from dataclasses import replace
import time

import numpy as np

from poblano.config import preset
from poblano_host.compiler import CompiledModel, MatmulJob
from poblano_host.models import load_model
from poblano_host.runtime.backend import GoldenBackend, place_model, run_job, write_pieces
from poblano_host.runtime.errors import Mismatch

__all__ = ["check_engine", "check_layer", "check_matmul", "matmul_on", "token_products"]

PRESET = "desk"
"""The chip whose golden model runs the rest; block sums do not depend on it."""
AWKWARD = 5, 96, 13
PROMPT = "In the beginning"


class EngineBackend(GoldenBackend):
    """The golden model behind the Backend interface, with the block sums of ``device``."""

    def __init__(self, device, config, memory_bytes, ring):
        super().__init__(config, memory_bytes, ring)
        self.chip.block_sums = device.block_sums


def awkward_matrices(shape=AWKWARD, seed=0):
    """A (M, K) and B (K, N) with outliers, zero blocks and columns of one sign."""
    rng = np.random.default_rng(seed)
    m, k, n = shape
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    a[0, :32], a[-1, -1], b[:, 0] = 0, 1e4, np.abs(b[:, 0])
    b[-1, -1] = -1e3
    return a, b


def matmul_on(device, a, b, *, format="q8_0", activation=None, config=None, quantiser=None):
    """The product on ``device`` and its :class:`RunResult`; Mismatch where it differs from the golden
    model's."""
    config = preset(PRESET) if config is None else config
    job = MatmulJob(a, b, config, format=format, activation=activation, quantiser=quantiser)
    chips = [
        EngineBackend(device, config, job.memory_bytes, job.ring),
        GoldenBackend(config, job.memory_bytes, job.ring),
    ]
    (product, result), (golden, _) = (run_job(job, chip) for chip in chips)
    different = np.argwhere(product.view(np.uint32) != golden.view(np.uint32))
    if len(different):
        row, col = different[0]
        raise Mismatch(
            f"{len(different)} of {product.size} elements of the product differ from the golden model's, the "
            f"first at row {row}, "
            f"column {col}: {product[row, col]!r}, golden {golden[row, col]!r}"
        )
    return product, result


def check_matmul(device, shape=AWKWARD):
    """Mismatch if the device's product of :func:`awkward_matrices` is not the golden model's."""
    return matmul_on(device, *awkward_matrices(shape))[0]


def check_layer(device, *, prompt=PROMPT):
    """Run the first layer of the default model over a prompt; Mismatch if anything that it leaves differs.
    Its number of tokens."""
    config, model = preset(PRESET), load_model("default")
    compiled = CompiledModel(model.shortened(1), config)
    tokens = model.tokenizer.encode(prompt)
    program = compiled.step(tokens, 0, logits="none")
    chips = [
        EngineBackend(device, config, compiled.memory_bytes, compiled.ring),
        GoldenBackend(config, compiled.memory_bytes, compiled.ring),
    ]
    for chip in chips:
        place_model(chip, compiled)
        write_pieces(chip, program.inputs)
        chip.run(program.words)
    ours, golden = chips
    pairs = [("memory", ours.memory, golden.memory)]
    for n, (tile, other) in enumerate(zip(ours.chip.tiles, golden.chip.tiles)):
        pairs += [
            (f"{name} of tile {n}", getattr(tile, name), getattr(other, name))
            for name in ("vmem", "amem_q", "amem_scale", "amem_sum")
        ]
    for what, x, y in pairs:
        x, y = (array.reshape(-1).view(np.uint8) for array in (x, y))
        if not np.array_equal(x, y):
            raise Mismatch(
                f"layer 0: {what} differs from the golden model's, the first byte is at "
                f"0x{int(np.argmax(x != y)):x}"
            )
    return len(tokens)


def token_products(position=64):
    """The shapes (M, K, N) of the products that a token of the default model takes at ``position``."""
    config, model = preset(PRESET), load_model("default")
    compiled = CompiledModel(model, config, context=128)
    products = []

    def note(a, w):
        products.append((*a.shape, w.shape[1]))
        return np.zeros((a.shape[1] // 32, a.shape[0], w.shape[1]), np.int32)

    chip = GoldenBackend(config, compiled.memory_bytes, compiled.ring)
    place_model(chip, compiled)
    chip.chip.block_sums = note
    program = compiled.step([1], position, logits="last")
    write_pieces(chip, program.inputs)
    chip.run(program.words)
    return products


def check_engine(device, layer, note):
    """Both checks, the second if ``layer``, on a device; figures by their names."""
    figures = {}
    for name, run in (("matmul", check_matmul), ("layer", check_layer))[: 1 + layer]:
        before = replace(device.traffic)
        begun = time.monotonic()
        note(
            f"{name}: "
            + (
                f"A ({AWKWARD[0]}, {AWKWARD[1]}) times B ({AWKWARD[1]}, {AWKWARD[2]})"
                if name == "matmul"
                else "the first layer of the default model"
            )
        )
        run(device)
        figures[name] = dict(
            bytes_to_board=device.traffic.to_device - before.to_device,
            bytes_from_board=device.traffic.from_device - before.from_device,
            cycles=device.traffic.cycles - before.cycles,
            seconds=round(time.monotonic() - begun, 3),
            bit_exact=True,
        )
    return figures
