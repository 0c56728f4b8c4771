"""A chip whose tiles Verilator compiles once, for all of them: the same cycles and the same bits."""

import pytest

from poblano_host.runtime.session import Session
from poblano_host.sim import simulation
from tests.models_tiny import chip, tiny_model


def decoded(model, config):
    """(tokens, cycles of each step, bytes of memory) of a prompt and an answer."""
    session = Session(model, config, backend="sim", context=32, check=True)
    steps = list(session.generate([1, 2, 3, 4, 5], 4))
    memory = session.backend.read(0, session.compiled.memory_bytes)
    session.close()
    return [token for _, token in steps], [step.result.cycles for step, _ in steps], memory


@pytest.mark.slow
def test_blocks(monkeypatch):
    config, model = chip(4, 4, lanes=2, tiles=2, data_width=64, vmem_lines=512, amem_blocks=128), tiny_model()
    expected, built = decoded(model, config), []
    build = simulation.build_library
    keep = lambda *arguments, blocks=(), **options: (
        built.append(blocks) or build(*arguments, blocks=blocks, **options)
    )
    monkeypatch.setattr(simulation, "LARGE", 1)
    monkeypatch.setattr(simulation, "build_library", keep)
    assert decoded(model, config) == expected
    assert built == [["poblano_tile"]]
