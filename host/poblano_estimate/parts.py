"""Components of the hardware that are asked for their latencies, and never elaborated."""

__all__ = ["asked"]


def asked(component):
    """``component``, of which Amaranth is told that nobody forgot to use it."""
    component._MustUse__used = True
    return component
