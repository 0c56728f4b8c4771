"""What a ROUTE command tells the command processor of an expert that has rows."""

from amaranth.hdl import *
from amaranth.lib import data

from ..isa.header import LOCAL_BITS

__all__ = ["EXPERT_BITS", "ROW_BITS", "RoutedExpert", "RouteWrite"]

EXPERT_BITS = 8
ROW_BITS = 16


class RoutedExpert(data.StructLayout):
    """An expert's number, how many rows it has, and the line of its list."""

    def __init__(self):
        super().__init__({"expert": EXPERT_BITS, "rows": ROW_BITS, "line": LOCAL_BITS})


class RouteWrite(data.StructLayout):
    """If ``valid``, the expert of a ``slot``: slots are written in ascending order, and slot 0 begins a new
    routing. ``rerouted`` are the choices of the routing for which there was no room."""

    def __init__(self):
        super().__init__({"valid": 1, "slot": EXPERT_BITS, "routed": RoutedExpert(), "rerouted": ROW_BITS})
