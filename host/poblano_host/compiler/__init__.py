"""Models and matrix products to commands and memory images."""

from .errors import CompileError
from .matmul import MatmulJob
from .model import CompiledModel
from .program import LayerWork, Program

__all__ = ["CompileError", "CompiledModel", "LayerWork", "MatmulJob", "Program"]
