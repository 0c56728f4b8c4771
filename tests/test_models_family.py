"""A family that is not in the project: a file like this one and its name in the registry are all it takes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from poblano_host.models import FloatModel, ModelError
from poblano_host.models.arch import FAMILIES
from poblano_host.models.arch.family import Family
from poblano_host.models.config import ModelConfig, stored
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.graph import GraphBuilder
from poblano_host.models.safetensors import load_directory
from poblano_host.models.tokenizer import Tokenizer
from tests.models_files import save_directory, tiny_tokenizer
from tests.models_tiny import tiny_model


@dataclass(frozen=True, kw_only=True)
class PoblaConfig(ModelConfig):
    multiplier: float = stored("residual_scale", "residual_multiplier")
    cap: float = stored("final_logit_softcapping", "final_logit_softcapping", 30.0)


def graph(c):
    """Gated layers without attention, whose residuals are scaled and whose logits are capped."""
    b = GraphBuilder()
    x = b.embedding("token_embd", c.vocab, c.dim, scale=c.dim**0.5)
    for _ in b.layers(c.layers):
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        y = b.gated("ffn_gated", b.linear("ffn_gate", y, c.ffn_dim), b.linear("ffn_up", y, c.ffn_dim))
        y = b.scale("ffn_scaled", b.linear("ffn_down", y, c.dim, bias=True), c.multiplier)
        x = b.residual("ffn_residual", x, y)
    b.softcap("capped", b.head("output", x, c.vocab, weight="token_embd.weight"), c.cap)
    return b.graph()


POBLA = Family(
    name="pobla",
    graph=graph,
    config_type=PoblaConfig,
    names={"wte.weight": "token_embd.weight"}
    | {
        f"h.*.{theirs}": f"blk.*.{ours}"
        for theirs, ours in {
            "ln.weight": "ffn_norm.weight",
            "gate.weight": "ffn_gate.weight",
            "up.weight": "ffn_up.weight",
            "down.weight": "ffn_down.weight",
            "down.bias": "ffn_down.bias",
        }.items()
    },
    gguf_halves=False,
)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setitem(FAMILIES, "pobla", POBLA)
    return tiny_model(
        family="pobla", vocab=400, multiplier=0.25, cap=30.0, tokenizer=Tokenizer(tiny_tokenizer(), "qwen2")
    )


def test_float_model(model):
    """Against the same network written out."""
    t = {n: x.dequantise() if hasattr(x, "dequantise") else x for n, x in model.tensors.items()}
    tokens = [3, 399, 7]
    x = t["token_embd.weight"][tokens].astype(float) * 8
    np.testing.assert_allclose(model.embed(tokens), x, rtol=1e-6)
    for n in range(2):
        y = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * t[f"blk.{n}.ffn_norm.weight"]
        gate, up = y @ t[f"blk.{n}.ffn_gate.weight"].T, y @ t[f"blk.{n}.ffn_up.weight"].T
        down = (gate / (1 + np.exp(-gate)) * up) @ t[f"blk.{n}.ffn_down.weight"].T + t[
            f"blk.{n}.ffn_down.bias"
        ]
        x = x + down * 0.25
    logits = 30 * np.tanh(x @ t["token_embd.weight"].T / 30)
    np.testing.assert_allclose(FloatModel(model).forward(tokens), logits, rtol=1e-4, atol=1e-4)


def test_files(model, tmp_path):
    """Its own constants are read from both kinds of files and written."""
    model = replace(model, config=replace(model.config, cap=12.5))
    save_directory(model, tiny_tokenizer(), tmp_path / "model")
    loaded = load_directory(tmp_path / "model")
    assert loaded.config == model.config
    export_gguf(loaded, tmp_path / "model.gguf")
    again = load_gguf(tmp_path / "model.gguf")
    assert (again.config.multiplier, again.config.cap) == (0.25, 12.5)
    tokens = [5, 6, 7]
    np.testing.assert_array_equal(FloatModel(again).forward(tokens), FloatModel(loaded).forward(tokens))


def test_a_constant_that_is_missing(model, tmp_path):
    save_directory(model, tiny_tokenizer(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace("final_logit_softcapping", "_other"))
    assert load_directory(tmp_path).config.cap == 30.0
    path.write_text(path.read_text().replace("residual_multiplier", "_other"))
    with pytest.raises(ModelError, match="config.json: residual_multiplier is missing$"):
        load_directory(tmp_path)
