"""Models by their sizes: those of well-known ones, and of files whose weights are not read."""

from dataclasses import replace
from pathlib import Path

from poblano_host.models import ModelConfig, ModelError
from poblano_host.models.loader import DEFAULT
from poblano_host.models.outline import FORMATS

__all__ = ["SHAPES", "model_shape"]

NATIVE = "q4_1"
"""The format of matrices whose file names none that is multiplied as it is."""


def _llama(name, layers, dim, ffn_dim, heads, kv_heads, head_dim, vocab, context, *, tied=False, base=5e5):
    return ModelConfig(
        architecture="llama",
        name=name,
        vocab=vocab,
        dim=dim,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_dim=ffn_dim,
        context=context,
        rope_base=base,
        norm_eps=1e-5,
        tied=tied,
    )


SHAPES = {
    config.name: config
    for config in (
        _llama("smollm2-135m", 30, 576, 1536, 9, 3, 64, 49152, 8192, tied=True, base=1e5),
        _llama("smollm2-360m", 32, 960, 2560, 15, 5, 64, 49152, 8192, tied=True, base=1e5),
        _llama("llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128256, 131072, tied=True),
        _llama("llama-3.1-8b", 32, 4096, 14336, 32, 8, 128, 128256, 131072),
        _llama("llama-3.1-70b", 80, 8192, 28672, 64, 8, 128, 128256, 131072),
    )
}
"""By name, as their ``config.json`` has them."""
ALIASES = {"smollm2": "smollm2-135m", "1b": "llama-3.2-1b", "8b": "llama-3.1-8b", "70b": "llama-3.1-70b"}


def model_shape(name, format=None):
    """(:class:`ModelConfig`, format of its matrices) of a name of :data:`SHAPES`, ``default``, a ``.gguf``
    file, a ``config.json`` or the folder of one; ModelError for another."""
    if format is not None and format not in FORMATS:
        raise ModelError(f"unknown format {format!r}; a model's matrices are in one of {', '.join(FORMATS)}")
    path, found = Path(DEFAULT if name == "default" else name), SHAPES.get(ALIASES.get(name, name))
    if found is not None:
        return found, format or NATIVE
    if path.suffix == ".gguf":
        from poblano_host.models.gguf import gguf_sizes

        config, kind = gguf_sizes(path)
        return config, format or (kind.lower() if kind.lower() in FORMATS else NATIVE)
    if path.is_dir():
        path = path / "config.json"
    if path.suffix == ".json" and path.exists():
        from poblano_host.models.safetensors import read_sizes

        config = read_sizes(path)
        return replace(config, name="default") if name == "default" else config, format or "q8_0"
    known = ", ".join(["default", *SHAPES])
    raise ModelError(f"{name}: no model; give {known}, a .gguf file, or a config.json")
