"""Models from files: configuration, weights in their stored grid, tokenizer, and the float reference."""

from .config import ModelConfig, ModelError
from .float_model import FloatModel
from .loader import load_model
from .model import BlockTensor, Model
from .quantise import quantise_model

__all__ = ["BlockTensor", "FloatModel", "Model", "ModelConfig", "ModelError", "load_model", "quantise_model"]
