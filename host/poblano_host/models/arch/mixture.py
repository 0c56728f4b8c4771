"""What families of mixtures of experts share: their sizes, their tensors' names and their layer's network."""

from dataclasses import dataclass

from ..config import ModelConfig, ModelError, stored
from .family import NAMES

__all__ = ["EXPERT_NAMES", "MixtureConfig", "SmallMixtureConfig", "expert_names", "mixture"]


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(ModelConfig):
    """With the number of experts of a layer, and of those that a token uses; ``ffn_dim`` is an expert's."""

    experts: int = stored("expert_count", "num_experts")
    used: int = stored("expert_used_count", "num_experts_per_tok")

    def check(self, where):
        super().check(where)
        for name in ("experts", "used"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ModelError(f"{where}: {name} is {value!r}")
        if self.used > self.experts:
            raise ModelError(f"{where}: {self.used} experts of a token are more than the {self.experts}")


@dataclass(frozen=True, kw_only=True)
class SmallMixtureConfig(MixtureConfig):
    """With the size of an expert beside that of the network of layers without experts."""

    ffn_dim: int = stored("expert_feed_forward_length", "moe_intermediate_size")


def expert_names(block, gate="gate_proj", up="up_proj", down="down_proj"):
    """GGUF's names of Hugging Face's tensors of a mixture in ``block``: those of most families, with the
    router and the experts instead of the network."""
    dense = {theirs: ours for theirs, ours in NAMES.items() if ".mlp." not in theirs}
    names = {"gate": gate, "up": up, "down": down}
    experts = {
        f"model.layers.*.{block}.experts.*.{theirs}.weight": f"blk.*.ffn_{ours}_exps.*.weight"
        for ours, theirs in names.items()
    }
    return dense | experts | {f"model.layers.*.{block}.gate.weight": "blk.*.ffn_gate_inp.weight"}


EXPERT_NAMES = expert_names("mlp")


def mixture(b, c, y, **options):
    """The experts' sum of the normalised ``y``; ``options`` are :class:`~..experts.Experts`'."""
    return b.experts("ffn_experts", y, hidden=c.ffn_dim, experts=c.experts, used=c.used, **options)
