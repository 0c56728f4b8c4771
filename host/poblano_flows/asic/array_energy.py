"""Energy of an array's netlist for each multiplication, of random data in simulation."""

import ctypes
from dataclasses import asdict, dataclass

from poblano_host.sim.native import NativeObject

from .activity import module_powers
from .flat import Flat
from .flow import Design, array_source
from .simulate import Activity, compile_netlist

__all__ = ["ArrayEnergy", "Energy"]

_HARNESS = """\
#include "Vsystolic_array.h"
#include "verilated.h"
#include <cstdint>
double sc_time_stamp() { return 0; }
struct Array {
    VerilatedContext context;
    Vsystolic_array top{&context};
    const uint64_t tokens, rows, wide;
    const uint8_t transpose;
    uint64_t random = 0x9E3779B97F4A7C15ull, token = 0;

    Array(uint64_t tokens, uint8_t transpose, uint64_t rows, uint64_t cols)
        : tokens(tokens), rows(rows), wide(rows > cols ? rows : cols), transpose(transpose) {
        top.w___05Fvalid = top.a___05Fvalid = top.o___05Fready = 1;
        item();
        activation();
        top.rst = 1;
        for (int n = 0; n < 4; ++n) tick();
        top.rst = 0;
    }
    void tick() {
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
    }
    void fill(void *port, uint64_t bytes, uint8_t last) {
        uint8_t *at = static_cast<uint8_t *>(port);
        for (uint64_t n = 0; n < bytes; ++n) {
            random ^= random << 13; random ^= random >> 7; random ^= random << 17;
            at[n] = uint8_t(random >> 24);
        }
        at[bytes] = last;
    }
    void item() { fill(&top.w___05Fpayload, wide, transpose); }
    void activation() { fill(&top.a___05Fpayload, rows, token == 0); }
    uint64_t run(uint64_t cycles) {
        uint64_t taken = 0;
        for (uint64_t n = 0; n < cycles; ++n) {
            top.eval();
            const bool new_item = top.w___05Fready, new_activation = top.a___05Fready;
            tick();
            if (new_item) item();
            if (new_activation) {
                ++taken;
                token = token + 1 == tokens ? 0 : token + 1;
                activation();
            }
        }
        return taken;
    }
};
extern "C" void *array_create(uint64_t tokens, uint8_t transpose, uint64_t rows, uint64_t cols) {
    return new Array(tokens, transpose, rows, cols);
}
extern "C" void array_destroy(Array *array) { array->top.final(); delete array; }
extern "C" uint64_t array_run(Array *array, uint64_t cycles) { return array->run(cycles); }
"""
_U64 = ctypes.c_uint64
_FUNCTIONS = {
    "create": (ctypes.c_void_p, _U64, ctypes.c_uint8, _U64, _U64),
    "destroy": (None,),
    "run": (_U64, _U64),
}


@dataclass(frozen=True)
class Energy:
    """What an array takes for a multiplication in pJ, where ``tokens`` activations meet each weight tile,
    in a whole number of tiles with ``macs`` multiplications."""

    tokens: int
    transpose: bool
    macs: int
    clock: float
    internal: float
    switching: float

    @property
    def energy(self):
        return self.clock + self.internal + self.switching

    def as_json(self):
        return asdict(self) | {"energy": self.energy}


class ArrayEnergy:
    """The netlist of a ``rows`` x ``cols`` INT8 array in simulation.

    A weight item and an activation, of uniform random bytes, are always there, and sums are always taken:
    the array waits for nothing but the rest of a weight tile.
    """

    def __init__(self, rows, cols, *, report=lambda text: None):
        self.rows, self.cols = rows, cols
        self.design = Design.build(array_source(rows, cols, ("int8",)), report=report)
        self.flat = Flat(self.design.modules, self.design.source.top, self.design.library)
        self.library = compile_netlist(self.flat, self.design.source.top, {"array.cpp": _HARNESS})

    def measure(self, tokens, *, transpose=False, cycles=4000):
        """The :class:`Energy` of at least ``cycles`` cycles, after the array has filled."""
        model = NativeObject(self.library, "array", _FUNCTIONS, tokens, transpose, self.rows, self.cols)
        period = max(tokens, self.cols if transpose else self.rows)
        model.call("run", 2 * period + self.rows + self.cols)
        activity = Activity(self.flat, model.library)
        activity.clear()
        macs = model.call("run", -(-cycles // period) * period) * self.rows * self.cols
        powers = module_powers(self.design, self.flat, *activity.take()).values()
        model.close()
        part = lambda name: sum(getattr(power, name) for power in powers) / macs
        return Energy(tokens, transpose, macs, part("clock"), part("internal"), part("switching"))
