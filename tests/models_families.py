"""A tiny random model of every family, with what is special to it."""

from poblano_host.models.rope import RopeScaling
from poblano_host.models.tokenizer import Tokenizer
from tests.models_files import tiny_tokenizer
from tests.models_tiny import tiny_model

__all__ = ["CASES", "SMALL_SIZES", "model_of"]

LLAMA3 = RopeScaling(kind="llama3", factor=8.0, original_context=64, low=1.0, high=4.0)
YARN = RopeScaling(kind="yarn", factor=4.0, original_context=64, attention=1.1386294361119891)
LONG = RopeScaling(
    kind="longrope",
    divisors=tuple(1 + n / 8 for n in range(16)),
    original_context=300,
    attention=1.1902380714238083,
)
GROUPED = dict(
    layers=3,
    experts=16,
    used=3,
    shared=2,
    dense_layers=1,
    dense_dim=160,
    factor=2.5,
    renormalise=True,
    groups=4,
    used_groups=2,
    tied=False,
)
CASES = {
    "llama": dict(family="llama"),
    "llama with llama3": dict(family="llama", rope=LLAMA3),
    "llama with linear": dict(family="llama", rope=RopeScaling(kind="linear", factor=4.0)),
    "llama with yarn": dict(family="llama", rope=YARN),
    "mistral": dict(family="mistral", window=None),
    "qwen2": dict(family="qwen2"),
    "qwen3": dict(family="qwen3", dim=96),
    "smollm3": dict(family="smollm3", interval=4, layers=5),
    "phi3": dict(family="phi3", window=400, tied=False),
    "phi3 with longrope": dict(family="phi3", window=None, tied=False, rope=LONG, context=300),
    "granite": dict(
        family="granite", embedding_scale=3.0, attention_scale=0.05, residual_scale=0.3, logit_divisor=2.5
    ),
    "gemma3": dict(
        family="gemma3", dim=96, layers=7, window=11, period=6, local_base=10000.0, query_scalar=32.0
    ),
    "gpt2": dict(family="gpt2", kv_heads=4, tied=True),
    "mixtral": dict(family="mixtral", experts=4, used=2),
    "gpt_oss": dict(
        family="gpt_oss", experts=8, used=3, window=3, limit=7.0, slope=1.702, tied=False, rope=YARN
    ),
    "deepseek": dict(
        family="deepseek",
        kv_heads=1,
        head_dim=48,
        rope_dim=16,
        value_dim=64,
        rank=64,
        query_rank=96,
        **GROUPED,
    ),
    "dots1": dict(family="dots1", kv_heads=4, **GROUPED),
    "olmoe": dict(family="olmoe", kv_heads=4, experts=8, used=3, renormalise=False, tied=False),
    "qwen3moe": dict(family="qwen3moe", dim=96, experts=8, used=3, renormalise=True),
    "qwen2moe": dict(family="qwen2moe", experts=8, used=4, shared_dim=64, renormalise=False, tied=False),
}

SMALL_SIZES = dict(dim=64, vocab=101, bos_id=None, eos_id=None, tokenizer=None, layers=2, context=64)
"""Changes for programs that are simulated; the vocabulary is a multiple of nothing."""


def model_of(case, **changes):
    """The tiny random model of a case."""
    sizes = dict(dim=128, vocab=416, bos_id=397, eos_id=399, context=512) | CASES[case]
    return tiny_model(**{"tokenizer": Tokenizer(tiny_tokenizer(), "qwen2")} | sizes | changes)
