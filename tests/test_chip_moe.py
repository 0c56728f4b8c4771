"""The mixture of experts in the repository on the RTL and on the golden chip: a prompt and an answer of one
sequence and of eight, all of memory after each step."""

from dataclasses import replace

import numpy as np
import pytest

from poblano.config import ExpertsConfig, preset
from poblano_host.compiler import Chunk, CompiledModel
from poblano_host.models import load_model
from poblano_host.runtime.backend import open_backend, place_model
from poblano_host.runtime.logits import Logits
from poblano_host.runtime.session import run_program

PROMPT, ANSWER = 64, 32
CONFIGS = {
    "nano": replace(preset("nano"), experts=ExpertsConfig(experts=16, used=2, rows=16)),
    "desk-moe": preset("desk-moe"),
}


class Both:
    """A compiled model on both chips, which are compared after each step."""

    def __init__(self, compiled):
        self.compiled = compiled
        places = compiled.config, compiled.memory_bytes, compiled.ring
        self.chips = [open_backend(name, *places) for name in ("golden", "sim")]
        for chip in self.chips:
            place_model(chip, compiled)

    def run(self, chunks, logits):
        """The tokens of the largest logits of the last ``logits`` chunks."""
        program = self.compiled.batch(chunks, logits=logits)
        for chip in self.chips:
            run_program(chip, program)
        for start, end in self.compiled.memory.extents:
            golden, rtl = (np.frombuffer(chip.read(start, end - start), np.uint8) for chip in self.chips)
            np.testing.assert_array_equal(rtl, golden)
        if not logits:
            return []
        rows = Logits(self.chips[0], self.compiled, program)
        return [int(rows[n].best) for n in range(logits)]


@pytest.mark.nightly
@pytest.mark.timeout(6000)  # beside others on a small machine
@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("name", CONFIGS)
def test_prompts_and_answers(name, count):
    compiled = CompiledModel(load_model("moe"), CONFIGS[name], context=PROMPT + ANSWER, slots=count)
    both, each = Both(compiled), min(PROMPT, compiled.max_tokens // count)
    texts = np.random.default_rng(count).integers(0, compiled.model.config.vocab, (count, PROMPT)).tolist()
    tokens = []
    for first in range(0, PROMPT, each):
        chunks = [Chunk(slot, first, tuple(text[first : first + each])) for slot, text in enumerate(texts)]
        tokens = both.run(chunks, count if first + each >= PROMPT else 0)
    for position in range(PROMPT, PROMPT + ANSWER):
        tokens = both.run([Chunk(slot, position, (token,)) for slot, token in enumerate(tokens)], count)
    both.chips[1].close()
