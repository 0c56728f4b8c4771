"""Trains the models in ``data``: a small Llama and a small mixture of experts, on the King James Bible
(public domain, Debian's bible-kjv-text).

Needs torch (``pip install .[train]``) and the ``bible`` command of Debian's bible-kjv, which reads the
compressed text.
"""

import json
import math
import os
from pathlib import Path
import re
import subprocess
import time
from typing import Any

__all__ = ["CONFIG", "EXPERTS_CONFIG", "kjv_text", "losses", "tokens_of", "train", "train_tokenizer"]

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "_name_or_path": "poblano-1m",
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "torch_dtype": "float16",
}
EXPERTS_CONFIG: dict[str, Any] = {
    **{key: value for key, value in CONFIG.items() if key not in ("attention_bias", "mlp_bias")},
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "_name_or_path": "poblano-moe",
    "intermediate_size": 192,
    "num_local_experts": 16,
    "num_experts_per_tok": 2,
}
"""As many parameters are used for a token as of the default model, but for the router's."""
END = "<|endoftext|>"
TOKENIZER_CONFIG = {"bos_token": END, "eos_token": END, "add_bos_token": True}


def kjv_text():
    """The whole text, a chapter a paragraph, without verse numbers."""
    try:
        raw = subprocess.run(
            ["bible", "-f", "Gen1:1-Rev22:21"], capture_output=True, text=True, check=True
        ).stdout
    except FileNotFoundError:
        raise RuntimeError(
            "there is no bible command; install Debian's bible-kjv and bible-kjv-text"
        ) from None
    chapters, previous = [], None
    for line in raw.splitlines():
        match = re.match(r"(\d?[A-Za-z]+)(\d+):(\d+) (.*)", line)
        if not match:
            continue
        chapter = (match[1], match[2])
        if chapter != previous:
            chapters.append([])
            previous = chapter
        chapters[-1].append(re.sub(r"[\[\]{}<>]", "", match[4]).strip())
    if not chapters:
        raise RuntimeError("the bible command printed no verses; is Debian's bible-kjv-text installed?")
    return "\n".join(" ".join(verses) for verses in chapters)


def train_tokenizer(text, vocab):
    """A byte-level BPE tokenizer (GPT-2's scheme) of ``vocab`` entries."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        text.splitlines(),
        trainers.BpeTrainer(
            vocab_size=vocab,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def tokens_of(tokenizer, text):
    """Token ids of ``text``, every paragraph after an END: those trained on, and the last 5 %, which are
    not."""
    ids = [i for line in text.splitlines() for i in [*tokenizer.encode(END), *tokenizer.encode(line)]]
    split = len(ids) * 95 // 100
    return ids[:split], ids[split:]


def losses(model, windows=300, seed=0):
    """Mean losses (nats per token) of the float model: on random windows of the text it is trained on, with
    their standard error, and on every window of the rest.
    """
    import numpy as np

    from .models import FloatModel

    network, length = FloatModel(model), model.config.context
    training, held_out = map(np.array, tokens_of(model.tokenizer, kjv_text()))

    def loss_on(window):
        logits = network.forward(window[:-1]).astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        return (np.log(np.exp(logits).sum(-1)) - logits[np.arange(length), window[1:]]).mean()

    starts = np.random.default_rng(seed).integers(0, len(training) - length - 1, windows)
    seen = [loss_on(training[start : start + length + 1]) for start in starts]
    rest = held_out[: len(held_out) // (length + 1) * (length + 1)].reshape(-1, length + 1)
    return np.mean(seen), np.std(seen) / windows**0.5, np.mean([loss_on(window) for window in rest])


def _blocks(config, dropout):
    """Classes of torch modules: the norm and the layer of a model."""
    import torch
    from torch import nn
    from torch.nn import functional

    dim, head_dim = config["hidden_size"], config["head_dim"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    experts, Network = config.get("num_local_experts"), _feed_forward(config)

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(dim))

        def forward(self, x):
            return functional.rms_norm(x, (dim,), self.weight, config["rms_norm_eps"])

    def rotate(x, cos, sin):
        half = head_dim // 2
        return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj = nn.Linear(dim, heads * head_dim, bias=False)
            self.k_proj = nn.Linear(dim, kv_heads * head_dim, bias=False)
            self.v_proj = nn.Linear(dim, kv_heads * head_dim, bias=False)
            self.o_proj = nn.Linear(heads * head_dim, dim, bias=False)

        def forward(self, x, cos, sin):
            batch, length, _ = x.shape
            split = lambda y, n: y.view(batch, length, n, head_dim).transpose(
                1, 2
            )  # (batch, heads, length, head_dim)
            q = rotate(split(self.q_proj(x), heads), cos, sin)
            k = rotate(split(self.k_proj(x), kv_heads), cos, sin)
            v = split(self.v_proj(x), kv_heads)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            return self.o_proj(y.transpose(1, 2).reshape(batch, length, heads * head_dim))

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_layernorm, self.self_attn = Norm(), Attention()
            self.post_attention_layernorm = Norm()
            self.add_module("mlp" if experts is None else "block_sparse_moe", Network())

        def forward(self, x, cos, sin):
            added = lambda y: functional.dropout(y, dropout, self.training)
            network = self.mlp if experts is None else self.block_sparse_moe
            x = x + added(self.self_attn(self.input_layernorm(x), cos, sin))
            return x + added(network(self.post_attention_layernorm(x)))

    return Norm, Layer


def _feed_forward(config):
    """The class of the torch module of a layer's feed-forward network: one, or a mixture of experts."""
    import torch
    from torch import nn
    from torch.nn import functional

    dim, hidden = config["hidden_size"], config["intermediate_size"]
    count, used = (config.get(f"num_{name}") for name in ("local_experts", "experts_per_tok"))

    class MLP(nn.Module):
        def __init__(self, gate="gate_proj", up="up_proj", down="down_proj"):
            super().__init__()
            self.parts = gate, up, down
            self.add_module(gate, nn.Linear(dim, hidden, bias=False))
            self.add_module(up, nn.Linear(dim, hidden, bias=False))
            self.add_module(down, nn.Linear(hidden, dim, bias=False))

        def forward(self, x):
            gate, up, down = map(self.get_submodule, self.parts)
            return down(functional.silu(gate(x)) * up(x))

    class Experts(nn.Module):
        """Each token's result is the sum of its experts', weighted by the softmax of their scores;
        ``balance`` is 1 if experts are used alike, and more if not (Fedus et al., 2021)."""

        def __init__(self):
            super().__init__()
            self.gate = nn.Linear(dim, count, bias=False)
            self.experts = nn.ModuleList(MLP("w1", "w3", "w2") for _ in range(count))

        def forward(self, x):
            rows = x.reshape(-1, dim)
            scores = self.gate(rows)
            highest, chosen = scores.topk(used)
            chosen, weights = chosen.flatten(), highest.softmax(-1).flatten()
            counts, order = chosen.bincount(minlength=count), chosen.argsort(stable=True)
            self.balance = count * (counts / len(chosen) * scores.softmax(-1).mean(0)).sum()
            parts = rows[order // used].split(counts.tolist())
            results = [expert(part) for expert, part in zip(self.experts, parts)]
            y = torch.cat(results) * weights[order, None]
            return torch.zeros_like(rows).index_add(0, order // used, y).view(x.shape)

    return MLP if count is None else Experts


def _network(config, dropout):
    """The model with its initial weights, a torch module."""
    import torch
    from torch import nn
    from torch.nn import functional

    dim, head_dim = config["hidden_size"], config["head_dim"]
    Norm, Layer = _blocks(config, dropout)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(config["vocab_size"], dim)
            self.layers = nn.ModuleList(Layer() for _ in range(config["num_hidden_layers"]))
            self.norm = Norm()
            positions = torch.arange(config["max_position_embeddings"])[:, None]
            frequencies = config["rope_theta"] ** (-torch.arange(0, head_dim, 2) / head_dim)
            angles = torch.cat((positions * frequencies,) * 2, -1)
            self.register_buffer("cos", angles.cos(), persistent=False)
            self.register_buffer("sin", angles.sin(), persistent=False)

        def forward(self, tokens):
            x = self.embed_tokens(tokens)
            cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
            for layer in self.layers:
                x = layer(x, cos, sin)
            return functional.linear(self.norm(x), self.embed_tokens.weight)

    network = Network()
    residual_std = 0.02 / math.sqrt(2 * config["num_hidden_layers"])
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2:
            last = name.endswith(("o_proj.weight", "down_proj.weight", "w2.weight"))
            std = residual_std if last else 0.02
            nn.init.normal_(parameter, std=std)
    return network


def _optimizer(network, decay):
    import torch

    matrices = [p for p in network.parameters() if p.ndim == 2]
    vectors = [p for p in network.parameters() if p.ndim == 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0}],
        betas=(0.9, 0.95),
        eps=1e-9,
    )


BALANCE = 0.01
"""Weight of the experts' balance in the loss that is trained on."""


def train(
    folder,
    *,
    config=CONFIG,
    steps=3500,
    batch=16,
    rate=4e-3,
    decay=0.1,
    dropout=0.0,
    seed=1,
    threads=1,
    minutes=None,
    report=print,
):
    """Train and write ``model.safetensors`` (F16), its configuration and its tokenizer to ``folder``.

    The files are there from the 100th step on, the best so far. ``minutes`` is a limit of time: the
    learning rate falls faster if the steps would take longer, and the result then depends on the machine's
    speed.

    Returns the mean loss (nats per token) on the last 5 % of the text, which is not trained on.
    """
    import torch
    from torch.nn import functional

    from .models.tokenizer import Tokenizer

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    folder, text = Path(folder), kjv_text()
    tokenizer = train_tokenizer(text, config["vocab_size"])
    _save_text(folder, config, tokenizer)
    training, held_out = map(torch.tensor, tokens_of(Tokenizer(tokenizer), text))
    count, length = len(training) + len(held_out), config["max_position_embeddings"]
    report(f"{len(text)} characters, {count} tokens, {len(text) / count:.2f} characters a token")

    network = _network(config, dropout)
    optimizer = _optimizer(network, decay)
    generator = torch.Generator().manual_seed(seed)

    def loss_on(window):
        tokens = window[:, :-1]
        return functional.cross_entropy(network(tokens).flatten(0, 1), window[:, 1:].flatten())

    def evaluate():
        windows = held_out[: len(held_out) // (length + 1) * (length + 1)].view(-1, length + 1)
        network.eval()
        with torch.no_grad():
            loss = float(loss_on(windows))
        network.train()
        return loss

    start, total = time.time(), 0.0
    for step in range(steps):
        progress = step / steps
        if minutes is not None:
            progress = min(1.0, max(progress, (time.time() - start) / (60 * minutes)))
        warm = min(1.0, (step + 1) / 100)
        scale = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale
        starts = torch.randint(len(training) - length - 1, (batch,), generator=generator)
        loss = loss_on(torch.stack([training[s : s + length + 1] for s in starts]))
        balance = sum(module.balance for module in network.modules() if hasattr(module, "balance"))
        optimizer.zero_grad()
        (loss + BALANCE * balance).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        if step % 100 == 99 or step == steps - 1 or progress == 1:
            report(
                f"step {step + 1}/{steps}: loss {total / (step % 100 + 1):.3f}, held out {evaluate():.3f}, "
                f"{time.time() - start:.0f} s"
            )
            _save(network, folder)
            total = 0.0
        if progress == 1:
            break
    return evaluate()


def _save_text(folder, config, tokenizer):
    """Write all but the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")


def _save(network, folder):
    """Write the weights at once, F16."""
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {
        f"model.{name}": parameter.detach().numpy().astype(np.float16)
        for name, parameter in network.named_parameters()
    }
    part = folder / "model.safetensors.part"
    save_file(tensors, str(part), metadata={"format": "pt"})
    part.chmod(0o644)
    os.replace(part, folder / "model.safetensors")
