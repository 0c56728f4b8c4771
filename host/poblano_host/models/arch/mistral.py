"""Mistral (Jiang et al., 2023): Llama with attention to a sliding window. Its GGUF files are Llama's, without
one."""

from dataclasses import dataclass

from ..config import stored
from .family import NAMES, Family, WindowConfig
from .llama import graph

__all__ = ["FAMILY"]


@dataclass(frozen=True, kw_only=True)
class MistralConfig(WindowConfig):
    window: int | None = stored(None, "sliding_window", None)


def windowed(c):
    return graph(c, window=c.window)


FAMILY = Family(
    name="mistral",
    gguf_name="llama",
    graph=windowed,
    config_type=MistralConfig,
    names=NAMES,
    gguf_halves=False,
    of_gguf=lambda fields: False,
)
