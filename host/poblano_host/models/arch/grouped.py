"""DeepSeek-V3's feed-forward networks (DeepSeek-AI, 2024), which other families have too: experts that a
sigmoid scores and a bias helps to select from groups, and shared ones; first layers without experts."""

from dataclasses import dataclass

from poblano.config import BLOCK

from ..config import ModelError, stored
from ..graph import GraphBuilder
from .family import NAMES
from .mixture import EXPERT_NAMES, SmallMixtureConfig, mixture
from .parts import added, gated_network

__all__ = ["GROUPED_NAMES", "SIGMOID", "GroupedConfig", "check_scoring", "grouped_graph"]

SIGMOID = 2
"""GGUF's number of this scoring."""

GROUPED_NAMES = (
    NAMES
    | EXPERT_NAMES
    | {
        f"model.layers.*.mlp.shared_experts.{x}_proj.weight": f"blk.*.ffn_{x}_shexp.weight"
        for x in ("gate", "up", "down")
    }
    | {"model.layers.*.mlp.gate.e_score_correction_bias": "blk.*.exp_probs_b.bias"}
)


@dataclass(frozen=True, kw_only=True)
class GroupedConfig(SmallMixtureConfig):
    experts: int = stored("expert_count", "n_routed_experts")
    shared: int = stored("expert_shared_count", "n_shared_experts", 0)
    dense_layers: int = stored("leading_dense_block_count", "first_k_dense_replace", 0)
    dense_dim: int = stored("feed_forward_length", "intermediate_size")
    factor: float = stored("expert_weights_scale", "routed_scaling_factor", 1.0)
    renormalise: bool = stored("expert_weights_norm", "norm_topk_prob", False)
    groups: int = stored("expert_group_count", "n_group", 1)
    used_groups: int = stored("expert_group_used_count", "topk_group", 1)

    def check(self, where):
        super().check(where)
        value = self.dense_dim
        if type(value) is not int or value < 1 or value % BLOCK:
            raise ModelError(f"{where}: dense_dim {value!r} is not a multiple of {BLOCK}")
        for name in ("shared", "dense_layers"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ModelError(f"{where}: {name} is {value!r}")
        groups = self.groups, self.used_groups
        if any(type(value) is not int or value < 1 for value in groups) or self.experts % self.groups:
            raise ModelError(f"{where}: {self.experts} experts in {groups[1]!r} of {groups[0]!r} groups")
        if self.used > self.experts // self.groups * min(groups):
            raise ModelError(f"{where}: {self.used} experts of a token are more than its groups have")


def check_scoring(where, fields):
    """:class:`ModelError` unless GGUF's ``fields`` say that a sigmoid scores."""
    scoring = fields.get("expert_gating_func")
    if scoring != SIGMOID:
        raise ModelError(f"{where}: expert_gating_func {scoring!r} is not supported, only {SIGMOID}")


def networks(b, c, y, dense):
    """The experts' sum and the shared ones', which are one network; of a layer without experts, its own."""
    if dense:
        return gated_network(b, c, y, hidden=c.dense_dim)
    options = dict(scoring="sigmoid", renormalise=c.renormalise, factor=c.factor)
    groups = dict(groups=c.groups, used_groups=min(c.groups, c.used_groups))
    chosen = mixture(b, c, y, selection_bias=True, **options, **groups)
    if not c.shared:
        return chosen
    return chosen, gated_network(b, c, y, ending="_shexp", hidden=c.shared * c.ffn_dim)


def grouped_graph(c, attend):
    """The graph of a configuration; ``attend`` is of (builder, configuration, normalised value) the attention
    before its output projection."""
    b = GraphBuilder()
    x = b.embedding("token_embd", c.vocab, c.dim)
    for n in b.layers(c.layers):
        y = attend(b, c, b.norm("attn_norm", x, eps=c.norm_eps))
        x = b.residual("attn_residual", x, b.linear("attn_output", y, c.dim))
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        x = added(b, x, networks(b, c, y, n < c.dense_layers))
    x = b.norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()
