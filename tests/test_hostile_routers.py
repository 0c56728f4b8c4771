"""Mixtures whose routers give scores that are all alike, not finite or no numbers, of every kind of router:
the RTL computes what the golden chip does, and the experts are those that the specification says."""

import numpy as np
import pytest

from poblano_host.models import Model
from poblano_host.models.quantise import QUANTISERS
from poblano_host.runtime.session import Session
from tests.models_families import SMALL_SIZES, model_of
from tests.test_chip_experts import SETTINGS

KINDS = {
    "softmax of the selected": dict(case="mixtral", used=1),
    "softmax": dict(case="olmoe"),
    "renormalised softmax": dict(case="qwen3moe", dim=64),
    "softmax of the selected, with biases": dict(case="gpt_oss"),
    "sigmoid with groups": dict(case="dots1", dense_layers=0),
}
TOKENS = [3, 14, 15, 92, 65]


BIASED = ("softmax of the selected, with biases", "sigmoid with groups")
NORMS = {"gpt_oss": "post_attention_norm.weight"}
CONFIG = SETTINGS["plain"][0]


def hostile(model, name):
    """``model`` with other tensors of its last layer's router: scores that are equal, or no numbers, or huge,
    which are infinite where there are biases: of every second expert positive."""
    layer, changed = f"blk.{model.config.layers - 1}.", {}
    for key, tensor in model.tensors.items():
        part = key.removeprefix(layer)
        signs = np.where(np.arange(tensor.shape[0]) % 2, np.inf, -np.inf)
        if part == "ffn_gate_inp.weight" and name == "equal":
            changed[key] = QUANTISERS["q8_0"](np.zeros(tensor.shape, np.float32))
        elif part in ("ffn_gate_inp.bias", "exp_probs_b.bias"):
            value = {"equal": 0, "NaN": np.nan, "huge": signs}[name]
            changed[key] = np.broadcast_to(value, tensor.shape).astype(np.float32)
        elif part == NORMS.get(model.config.architecture, "ffn_norm.weight"):
            changed[key] = tensor * np.float32({"equal": 1, "NaN": np.nan, "huge": 1e36}[name])
    assert changed
    return Model(model.config, model.tensors | changed, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["equal", "NaN", "huge"])
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_router(kind, name):
    model = hostile(model_of(**SMALL_SIZES | KINDS[kind]), name)
    session, used = Session(model, CONFIG, check=True), model.config.used
    for phase, tokens in (("prefill", TOKENS), ("decode", TOKENS[:1])):
        session.step(phase, tokens, "last", read=True)
        rows = {expert: count for expert, count, _ in session.golden.chip.routes}
        assert sum(rows.values()) == used * len(tokens)
        if name != "huge":
            assert rows == dict.fromkeys(range(used), len(tokens))
        elif kind in BIASED:
            assert rows == dict.fromkeys(range(1, 2 * used, 2), len(tokens))
    session.close()
