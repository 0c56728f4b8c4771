"""The mixture of experts in the repository: what it is, against llama.cpp, against the default model."""

from collections import Counter

import numpy as np
import pytest

from poblano_host.models import FloatModel, load_model
from poblano_host.models.experts import Experts
from poblano_host.models.loader import MOE
from tests.test_models import check_against_llama_cpp

HELD_OUT = [
    "And he shewed me a pure river of water of life, clear as crystal, proceeding out of the throne of "
    "God and of the Lamb. In the midst of the street of it, and on either side of the river, was there "
    "the tree of life, which bare twelve manner of fruits, and yielded her fruit every month: and the "
    "leaves of the tree were for the healing of the nations.",
    "And I saw a new heaven and a new earth: for the first heaven and the first earth were passed away; "
    "and there was no more sea. And I John saw the holy city, new Jerusalem, coming down from God out "
    "of heaven, prepared as a bride adorned for her husband.",
    "And when he had opened the seventh seal, there was silence in heaven about the space of half an "
    "hour. And I saw the seven angels which stood before God; and to them were given seven trumpets.",
    "Beloved, believe not every spirit, but try the spirits whether they are of God: because many false "
    "prophets are gone out into the world.",
]
"""Of the last 5 % of the text, which neither model has been trained on."""


@pytest.fixture(scope="module")
def moe():
    return load_model("moe")


def losses(model):
    """Nats per token of the texts."""
    found = []
    for text in HELD_OUT:
        ids = model.framed(text)
        logits = FloatModel(model).forward(ids[:-1]).astype(np.float64)
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        found += list(-logits[np.arange(len(ids) - 1), ids[1:]])
    return found


def test_what_it_is(moe):
    """Sixteen experts in 4 bits, of which two are used, in about 3 MB; the default model's vocabulary and,
    but for the router, as many parameters for a token."""
    assert MOE.stat().st_size < 3.2e6
    default, nodes = load_model("default"), moe.graph.of(Experts)
    assert len(nodes) == moe.config.layers == default.config.layers == 4
    for node in nodes:
        assert (node.experts, node.used) == (16, 2)
        for name in (node.gate, node.up, node.down):
            assert moe.tensors[name].format == "q4_0"
    size = lambda model, of: sum(np.prod(s) for name, s in model.graph.shapes().items() if of(name))
    shared = size(moe, lambda name: "_exps" not in name and "ffn_gate_inp" not in name)
    used = shared + size(moe, lambda name: "_exps" in name) // 8
    assert used == size(default, lambda name: True)
    assert moe.tokenizer.encode(HELD_OUT[0]) == default.tokenizer.encode(HELD_OUT[0])


def test_against_llama_cpp(moe, tmp_path):
    check_against_llama_cpp(moe, tmp_path / "moe.gguf", 1000)


def test_better_than_the_default_model(moe):
    ours, theirs = losses(moe), losses(load_model("default"))
    assert len(ours) == len(theirs) > 200
    assert np.mean(ours) < np.mean(theirs)


def test_every_expert_is_used(moe):
    """Of each layer's assignments no expert has less than a quarter or more than four times its share."""
    ids = [i for text in HELD_OUT for i in moe.tokenizer.encode(text)]
    network = FloatModel(moe)
    for node in moe.graph.of(Experts):
        x = network.value(node.inputs[0], ids[:200])
        chosen, weights = node.weights(x @ moe.tensors[node.router].T)
        counts = Counter(chosen.ravel().tolist())
        share = chosen.size / node.experts
        assert len(counts) == node.experts
        assert share / 4 <= min(counts.values()) and max(counts.values()) <= 4 * share
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_it_writes_english(moe):
    """What it goes on with, the most probable token each time, are words of the text."""
    network, ids = FloatModel(moe), moe.framed("And God said unto Moses,")
    while len(ids) < 60:
        ids.append(int(network.forward(ids)[-1].argmax()))
    words = moe.tokenizer.decode(ids[1:]).replace(",", " ").replace(".", " ").split()
    known = set(
        "and god said unto moses i am the lord which of egypt land children israel thou shalt".split()
    )
    assert sum(word.lower() in known for word in words) > len(words) / 3
