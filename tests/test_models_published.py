"""Configurations as published mixtures of experts have them are read, field by field."""

import pytest

from poblano_host.models.arch import find_family
from poblano_host.models.experts import Experts
from poblano_host.models.latent_attention import LatentAttention
from poblano_host.models.operators import Attention
from poblano_host.models.safetensors import _fields

PLAIN = {
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "output_router_logits": False,
    "rms_norm_eps": 1e-05,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "tie_word_embeddings": False,
}
"""Fields that all of them have, and that change nothing here."""
QWEN = {
    "decoder_sparse_step": 1,
    "use_sliding_window": False,
    "num_hidden_layers": 24,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "vocab_size": 151936,
    "hidden_size": 2048,
}
PUBLISHED = {
    "Mixtral-8x7B-v0.1": {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "num_attention_heads": 32,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.02,
        "sliding_window": None,
        "vocab_size": 32000,
    },
    "OLMoE-1B-7B-0924": {
        "model_type": "olmoe",
        "attention_bias": False,
        "clip_qkv": None,
        "hidden_size": 2048,
        "intermediate_size": 1024,
        "max_position_embeddings": 4096,
        "norm_topk_prob": False,
        "num_attention_heads": 16,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 16,
        "num_key_value_heads": 16,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "router_aux_loss_coef": 0.01,
        "vocab_size": 50304,
    },
    "Qwen1.5-MoE-A2.7B": QWEN
    | {
        "model_type": "qwen2_moe",
        "intermediate_size": 5632,
        "max_window_layers": 21,
        "moe_intermediate_size": 1408,
        "norm_topk_prob": False,
        "num_attention_heads": 16,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "num_key_value_heads": 16,
        "shared_expert_intermediate_size": 5632,
        "sliding_window": 32768,
    },
    "Qwen3-30B-A3B": QWEN
    | {
        "model_type": "qwen3_moe",
        "attention_bias": False,
        "head_dim": 128,
        "intermediate_size": 6144,
        "max_window_layers": 48,
        "mlp_only_layers": [],
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "num_attention_heads": 32,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 48,
        "num_key_value_heads": 4,
        "rope_scaling": None,
        "sliding_window": None,
    },
    "gpt-oss-20b": {
        "model_type": "gpt_oss",
        "attention_bias": True,
        "experts_per_token": 4,
        "head_dim": 64,
        "hidden_size": 2880,
        "initial_context_length": 4096,
        "intermediate_size": 2880,
        "layer_types": ["sliding_attention", "full_attention"] * 12,
        "max_position_embeddings": 131072,
        "num_attention_heads": 64,
        "num_experts_per_tok": 4,
        "num_hidden_layers": 24,
        "num_key_value_heads": 8,
        "num_local_experts": 32,
        "pad_token_id": 199999,
        "quantization_config": {"modules_to_not_convert": ["lm_head"], "quant_method": "mxfp4"},
        "rope_scaling": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "rope_type": "yarn",
            "truncate": False,
        },
        "rope_theta": 150000,
        "router_aux_loss_coef": 0.9,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
        "vocab_size": 201088,
    },
    "dots.llm1": {
        "model_type": "dots1",
        "attention_bias": False,
        "first_k_dense_replace": 1,
        "hidden_size": 4096,
        "intermediate_size": 10944,
        "max_position_embeddings": 32768,
        "max_window_layers": 62,
        "moe_intermediate_size": 1408,
        "moe_layer_freq": 1,
        "n_group": 1,
        "n_routed_experts": 128,
        "n_shared_experts": 2,
        "norm_topk_prob": True,
        "num_attention_heads": 32,
        "num_experts_per_tok": 6,
        "num_hidden_layers": 62,
        "num_key_value_heads": 32,
        "pretraining_tp": 1,
        "rope_scaling": None,
        "rope_theta": 10000000,
        "routed_scaling_factor": 2.5,
        "scoring_func": "noaux_tc",
        "sliding_window": None,
        "topk_group": 1,
        "vocab_size": 152064,
    },
    "Moonlight-16B-A3B": {
        "model_type": "deepseek_v3",
        "attention_bias": False,
        "aux_loss_alpha": 0.001,
        "ep_size": 1,
        "first_k_dense_replace": 1,
        "hidden_size": 2048,
        "intermediate_size": 11264,
        "kv_lora_rank": 512,
        "max_position_embeddings": 8192,
        "moe_intermediate_size": 1408,
        "moe_layer_freq": 1,
        "n_group": 1,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "norm_topk_prob": True,
        "num_attention_heads": 16,
        "num_experts_per_tok": 6,
        "num_hidden_layers": 27,
        "num_key_value_heads": 16,
        "num_nextn_predict_layers": 0,
        "pretraining_tp": 1,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rope_theta": 50000.0,
        "routed_scaling_factor": 2.446,
        "scoring_func": "sigmoid",
        "seq_aux": True,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "v_head_dim": 128,
        "vocab_size": 163840,
    },
}
SHAPES = {
    "Mixtral-8x7B-v0.1": ("blk.31.ffn_down_exps.weight", (8 * 4096, 14336)),
    "OLMoE-1B-7B-0924": ("blk.15.attn_k_norm.weight", (2048,)),
    "Qwen1.5-MoE-A2.7B": ("blk.23.ffn_up_shexp.weight", (5632, 2048)),
    "Qwen3-30B-A3B": ("blk.47.ffn_gate_exps.weight", (128 * 768, 2048)),
    "gpt-oss-20b": ("blk.23.attn_sinks.weight", (64,)),
    "dots.llm1": ("blk.61.exp_probs_b.bias", (128,)),
    "Moonlight-16B-A3B": ("blk.26.ffn_down_shexp.weight", (2048, 2816)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published(name):
    fields = PLAIN | PUBLISHED[name]
    family = find_family(fields["model_type"], name, of="model_type")
    config = _fields(name, fields).config(family, name=name, vocab=fields["vocab_size"])
    graph = family.graph(config)
    tensor, shape = SHAPES[name]
    assert graph.shapes()[tensor] == shape
    dense = fields.get("first_k_dense_replace", 0)
    assert len(graph.of(Experts)) == config.layers - dense
    assert len(graph.of((Attention, LatentAttention))) == config.layers
    assert all(node.used == fields["num_experts_per_tok"] for node in graph.of(Experts))
    if name == "gpt-oss-20b":
        assert [node.window for node in graph.of(Attention)] == [128, None] * 12
        assert not config.rope.truncate
