"""The frequencies of rotary position embedding, as published and as scaled for longer contexts, and what
files say of them."""

from dataclasses import dataclass, fields
import math
from typing import Any

import numpy as np

from .errors import ModelError

__all__ = ["GGUF_KEYS", "GGUF_TENSORS", "RopeScaling", "rope_frequencies"]

FREQUENCIES, SHORT, LONG = "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"
GGUF_TENSORS = FREQUENCIES, SHORT, LONG
"""GGUF's tensors that divide frequencies."""

MOST_CONTEXT = 1 << 40


def rope_frequencies(base, head_dim):
    """The frequencies of RoPE as it was published: base**(-2i / head_dim)."""
    return tuple((base ** -(np.arange(0, head_dim, 2) / head_dim)).tolist())


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How a model's frequencies differ from the published.

    Parameters
    ----------
    kind : ``none``; ``linear``, all divided by ``factor``; ``llama3``, those of wavelengths above
        ``original_context`` / ``low`` so, those below ``original_context`` / ``high`` not, those between
        gradually; ``yarn`` (Peng et al., 2023), those that turn less than ``beta_slow`` times in
        ``original_context`` so, those that turn more than ``beta_fast`` times not; ``divided``, each by its
        own of ``divisors``; ``longrope`` (Ding et al., 2024), the same with those for contexts up to
        ``original_context``, which is then the model's.
    attention : of ``yarn`` and ``longrope``, what rotated elements are multiplied by
    truncate : of ``yarn``, whether the frequencies at which scaling begins and ends are whole numbers of them
    """

    kind: str = "none"
    factor: float = 1.0
    original_context: int = 0
    low: float = 1.0
    high: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention: float = 1.0
    divisors: tuple[float, ...] = ()
    truncate: bool = True

    def frequencies(self, base, head_dim):
        """The frequencies of heads of ``head_dim`` elements, a tuple."""
        plain = np.array(rope_frequencies(base, head_dim))
        if self.kind == "none":
            return tuple(plain.tolist())
        if self.kind in ("divided", "longrope"):
            return tuple((plain / np.array(self.divisors)).tolist())
        kept = {"linear": self._no, "llama3": self._llama3, "yarn": self._yarn}[self.kind](plain, base)
        return tuple((kept * plain + (1 - kept) * plain / self.factor).tolist())

    def _no(self, plain, base):
        return np.zeros(len(plain))

    def _llama3(self, plain, base):
        turns = self.original_context * plain / (2 * np.pi)
        return np.clip((turns - self.low) / (self.high - self.low), 0, 1)

    def _yarn(self, plain, base):
        size = 2 * len(plain)
        where = lambda turns: (
            size * math.log(self.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))
        )
        low, high = where(self.beta_fast), where(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        return 1 - np.clip((np.arange(len(plain)) - low) / max(0.001, high - low), 0, 1)

    def check(self, where, base, head_dim):
        """:class:`ModelError` if the constants are none of frequencies of ``base``."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float and not (math.isfinite(value) and value > 0):
                raise ModelError(f"{where}: RoPE scaling's {field.name} is {value!r}")
        if self.kind in ("llama3", "yarn", "longrope"):
            if type(self.original_context) is not int or not 0 < self.original_context <= MOST_CONTEXT:
                raise ModelError(f"{where}: RoPE scaling's original context is {self.original_context!r}")
            if self.low >= self.high:
                raise ModelError(f"{where}: RoPE scaling's factors {self.low} and {self.high} do not ascend")
        if self.kind == "yarn" and base == 1:
            raise ModelError(f"{where}: RoPE scaling 'yarn' of rope_base 1")
        if self.kind in ("divided", "longrope"):
            if len(self.divisors) != head_dim // 2:
                raise ModelError(
                    f"{where}: RoPE has {len(self.divisors)} factors, not {head_dim // 2}, half of head_dim"
                )
            if not all(math.isfinite(value) and value > 0 for value in self.divisors):
                raise ModelError(f"{where}: RoPE has a factor that is not above 0")

    # Hugging Face

    @classmethod
    def of_hugging_face(cls, where, raw, context, original):
        """That of the fields ``raw`` of ``config.json``'s ``rope_scaling`` or ``rope_parameters``;
        ``original`` is the context that the file says elsewhere to be the original, or None."""
        kind = raw.get("rope_type", raw.get("type", "default"))
        kind = "longrope" if kind == "su" else kind  # its first name
        known = _HUGGING_FACE.get(kind) if isinstance(kind, str) else None
        if known is None:
            names = ", ".join(_HUGGING_FACE)
            raise ModelError(f"{where}: RoPE scaling {kind!r} is not supported; known are {names}")
        for key, value in raw.items():
            if key not in known and key not in _ALWAYS and value:
                raise ModelError(
                    f"{where}: RoPE scaling {kind!r} has no field {key}; it has {', '.join(known) or 'none'}"
                )
        if kind == "default":
            return cls()
        if kind == "longrope":
            return cls._long(where, raw, context, raw.get("original_max_position_embeddings") or original)
        values = {}
        for key, name in known.items():
            if raw.get(key) is not None:
                values[name] = raw[key]
        try:
            plain: dict[str, Any] = {
                name: bool(value) if name == "truncate" else float(value)
                for name, value in values.items()
                if name != "original_context"
            }
            if "factor" not in plain:
                raise ModelError(f"{where}: RoPE scaling {kind!r} needs factor")
            if "original_context" in known.values():
                plain["original_context"] = values.get("original_context") or context
            if kind == "yarn":
                plain |= _attention(plain)
        except (TypeError, ValueError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{where}: RoPE scaling has a constant that is no number: {error}") from None
        plain = {name: value for name, value in plain.items() if not name.startswith("mscale")}
        return cls(kind=kind, **plain)

    @classmethod
    def _long(cls, where, raw, context, original):
        """That of ``longrope``: scores of the whole ``context`` are as flat as those of the original."""
        divisors = raw.get("short_factor")
        if not isinstance(divisors, list) or not original:
            raise ModelError(
                f"{where}: RoPE scaling 'longrope' needs short_factor and original_max_position_embeddings"
            )
        try:
            divisors = tuple(map(float, divisors))
            attention = raw.get("attention_factor")
            if attention is None:
                attention = math.sqrt(1 + max(0.0, math.log(context / original)) / math.log(original))
            return cls(
                kind="longrope", divisors=divisors, original_context=original, attention=float(attention)
            )
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise ModelError(f"{where}: RoPE scaling has a constant that is no number: {error}") from None

    def hugging_face(self):
        """The fields of ``rope_scaling``, None if there is no scaling; ValueError of divisors."""
        if self.kind == "none":
            return None
        if self.kind == "longrope":
            factors = list(self.divisors)
            return {
                "rope_type": self.kind,
                "short_factor": factors,
                "long_factor": factors,
                "original_max_position_embeddings": self.original_context,
                "attention_factor": self.attention,
            }
        return {"rope_type": self.kind} | {
            key: getattr(self, name)
            for key, name in _HUGGING_FACE[self.kind].items()
            if not name.startswith("mscale")
        }

    # GGUF

    @classmethod
    def of_gguf(cls, where, fields, context, tensors):
        """That of an architecture's ``fields`` without its name before them, and of the ``tensors`` that
        divide frequencies, by name (mappings)."""
        get = lambda name, default: fields.get(f"rope.scaling.{name}", default)
        divisors = {name: tuple(map(float, tensor)) for name, tensor in tensors.items()}
        if SHORT in divisors:
            attention, original = float(get("attn_factor", 1.0)), int(get("original_context_length", context))
            return cls(
                kind="longrope", divisors=divisors[SHORT], original_context=original, attention=attention
            )
        scaling = cls._of_fields(where, fields, context, get)
        if FREQUENCIES not in divisors:
            return scaling
        if scaling.kind != "none":
            raise ModelError(f"{where}: RoPE scaling {scaling.kind!r} beside {FREQUENCIES}")
        return cls(kind="divided", divisors=divisors[FREQUENCIES])

    @classmethod
    def _of_fields(cls, where, fields, context, get):
        kind, factor = get("type", "linear"), float(get("factor", fields.get("rope.scale_linear", 0.0)))
        if kind not in ("none", "linear", "yarn"):
            raise ModelError(
                f"{where}: rope.scaling.type {kind!r} is not supported; known are none, linear, yarn"
            )
        if kind == "none" or factor == 0 or kind == "linear" and factor == 1:
            return cls()
        if kind == "linear":
            return cls(kind=kind, factor=factor)
        for name, plain in (
            ("yarn_ext_factor", 1.0),
            ("yarn_attn_factor", 1.0),
            ("yarn_log_multiplier", 0.0),
        ):
            if get(name, plain) != plain:
                raise ModelError(
                    f"{where}: rope.scaling.{name} {get(name, plain)!r} is not supported, only {plain}"
                )
        return cls(
            kind=kind,
            factor=factor,
            original_context=int(get("original_context_length", context)),
            beta_fast=float(get("yarn_beta_fast", 32.0)),
            beta_slow=float(get("yarn_beta_slow", 1.0)),
            attention=float(get("attn_factor", 1.0)) * (1 + 0.1 * math.log(factor)),
        )

    def gguf(self, base, head_dim):
        """(fields to be written, tensors): the frequencies of ``llama3`` are tensors in GGUF."""
        if self.kind in ("llama3", "divided"):
            plain = np.array(rope_frequencies(base, head_dim))
            divisors = plain / np.array(self.frequencies(base, head_dim))
            return {}, {FREQUENCIES: divisors.astype(np.float32)}
        if self.kind == "longrope":
            scaling = {"original_context_length": self.original_context, "attn_factor": self.attention}
            factors = np.array(self.divisors, np.float32)
            fields = {f"rope.scaling.{name}": value for name, value in scaling.items()}
            return fields, {SHORT: factors, LONG: factors}
        if self.kind == "none":
            return {}, {}
        found = {"rope.scaling.type": self.kind, "rope.scaling.factor": self.factor}
        if self.kind == "yarn":
            if not self.truncate:
                raise ModelError("GGUF can't state truncate False of RoPE scaling 'yarn'")
            found |= {
                "rope.scaling.original_context_length": self.original_context,
                "rope.scaling.attn_factor": self.attention / (1 + 0.1 * math.log(self.factor)),
                "rope.scaling.yarn_beta_fast": self.beta_fast,
                "rope.scaling.yarn_beta_slow": self.beta_slow,
            }
        return found, {}


def _attention(values):
    """What Hugging Face multiplies rotated elements by, of YaRN's ``values`` by their names here."""
    scale = lambda m: 0.1 * m * math.log(values["factor"]) + 1 if values["factor"] > 1 else 1.0
    if "attention" in values:
        return {}
    if values.get("mscale") and values.get("mscale_all"):
        return {"attention": scale(values["mscale"]) / scale(values["mscale_all"])}
    return {"attention": scale(1.0)}


_ALWAYS = ("rope_type", "type", "rope_theta")
_ORIGINAL = {"factor": "factor", "original_max_position_embeddings": "original_context"}
_HUGGING_FACE: dict[str, dict[str, str]] = {
    "default": {},
    "linear": {"factor": "factor"},
    "longrope": {
        "short_factor": "divisors",
        "long_factor": "",
        "original_max_position_embeddings": "original_context",
        "attention_factor": "attention",
    },
    "llama3": _ORIGINAL | {"low_freq_factor": "low", "high_freq_factor": "high"},
    "yarn": _ORIGINAL
    | {
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
        "attention_factor": "attention",
        "mscale": "mscale",
        "mscale_all_dim": "mscale_all",
        "truncate": "truncate",
    },
}
"""The kinds of scaling in ``config.json``, and the names here of their fields."""

GGUF_KEYS = (
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
)
"""What GGUF may say of scaling, after the architecture's name."""
