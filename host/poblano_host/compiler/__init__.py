"""Models and matrix products to commands and memory images."""

from .errors import CompileError
from .integers import IntegerProduct, integer_weights, is_integer
from .matmul import MatmulJob
from .model import Chunk, CompiledModel
from .program import LayerWork, Program

__all__ = [
    "Chunk",
    "CompileError",
    "CompiledModel",
    "IntegerProduct",
    "LayerWork",
    "MatmulJob",
    "Program",
    "integer_weights",
    "is_integer",
]
