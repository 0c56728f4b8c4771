"""A small random model and the golden chip's side of running it, for tests."""

import numpy as np

from poblano.config import ArrayConfig, ChipConfig, MemoryConfig, TileConfig
from poblano_host.golden.chip import GoldenChip
from poblano_host.models import Model
from poblano_host.models.arch import FAMILIES
from poblano_host.models.quantise import QUANTISERS

__all__ = ["Run", "chip", "tiny_model"]


def tiny_model(*, family="llama", seed=0, formats=("q8_0",), tokenizer=None, **changes):
    """Random weights; the matrices' formats take turns."""
    sizes = dict(
        architecture=family,
        name="tiny",
        dim=64,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=32,
        ffn_dim=96,
        vocab=72,
        context=96,
        rope_base=10000.0,
        norm_eps=1e-5,
    )
    config = FAMILIES[family].config_type(**sizes | changes)
    shapes = FAMILIES[family].graph(config).shapes()
    generator = np.random.default_rng(seed)
    tensors = {}
    for i, name in enumerate(sorted(shapes, key=lambda name: name.startswith("blk."))):
        shape = shapes[name]
        if name.endswith(".bias"):
            tensors[name] = generator.normal(0, 0.5, shape).astype(np.float32)
        elif len(shape) == 1:
            tensors[name] = generator.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            values = generator.normal(0, 1.5 * shape[1] ** -0.5, shape).astype(np.float32)
            tensors[name] = QUANTISERS[formats[i % len(formats)]](values)
    return Model(config, tensors, tokenizer)


def chip(
    rows=16,
    cols=16,
    lanes=8,
    tiles=2,
    tokens=16,
    vmem_lines=2048,
    amem_blocks=512,
    data_width=256,
    homes=1,
    **changes,
):
    """A chip of small memories; a home has 8 MiB, of which the ring takes 4."""
    tile = TileConfig(
        array=ArrayConfig(rows=rows, cols=cols),
        lanes=lanes,
        tokens=tokens,
        vmem_lines=vmem_lines,
        amem_blocks=amem_blocks,
        fifo_bytes=2048,
    )
    return ChipConfig(
        tiles=tiles,
        tile=tile,
        memory=MemoryConfig(data_width=data_width, bandwidth=8, homes=homes, home_bytes=1 << 23),
        **changes,
    )


class Run:
    """A compiled model on the golden chip; ``steps`` gives the logits of tokens, in steps of the given
    lengths."""

    def __init__(self, compiled):
        self.compiled = compiled
        self.memory = np.zeros(compiled.memory_bytes, np.uint8)
        for address, data in compiled.image:
            self.memory[address : address + len(data)] = np.frombuffer(data, np.uint8)
        self.chip = GoldenChip(compiled.config, self.memory)
        if compiled.pages is not None:
            self.chip.tables.use(compiled.pages.first, compiled.pages.bytes)
            for slot, pages in enumerate(compiled.whole_tables):
                self.chip.tables.set(slot, pages)

    def step(self, tokens, position, *, logits="all", shuffle=None):
        """The logits (rows, vocab) and the argmax results [(value, index)] of each tile."""
        program = self.compiled.step(tokens, position, logits=logits)
        return self.run(program, shuffle=shuffle)

    def run(self, program, *, shuffle=None):
        for address, data in program.inputs:
            self.memory[address : address + len(data)] = np.frombuffer(data, np.uint8)
        self.chip.reset_queue()
        self.chip.run(program.encode(), shuffle=shuffle)
        if program.logits is None:
            return None, []
        address, rows = program.logits
        stored = (
            self.memory[address : address + rows * self.compiled.vocab_stride]
            .view(np.float32)
            .reshape(rows, -1)
        )
        best = [
            (
                self.memory[at : at + 4].view(np.float32)[0],
                int(self.memory[at + 4 : at + 8].view(np.uint32)[0]),
            )
            for at in program.best
        ]
        return stored[:, : self.compiled.model.config.vocab].copy(), best

    def steps(self, tokens, lengths, *, shuffle=None):
        position, logits = 0, []
        for i, length in enumerate(lengths):
            some = tokens[position : position + length]
            logits.append(self.step(some, position, shuffle=None if shuffle is None else shuffle + i)[0])
            position += length
        return np.concatenate(logits)
