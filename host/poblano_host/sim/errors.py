"""What can go wrong in a simulation."""

__all__ = ["SimulationError", "VerilatorError"]


class SimulationError(RuntimeError):
    """The simulator can't be built, or the design broke a protocol or does not answer."""


class VerilatorError(SimulationError):
    """Verilator can't run here; the message says what to install."""
