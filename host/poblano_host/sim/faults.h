// Faults in a compiled model: the bits that can be flipped, and channels and beats of memory ports that fail.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "Vchip___024root.h"
#include "verilated_syms.h"

// Verilator's: all that is combinational, from the registers and the inputs on.
void Vchip___024root___eval_settle(Vchip___024root*);

namespace poblano {

// A register (depth 1) or a memory whose words are `stride` bytes apart.
struct State {
    const char *scope, *name;
    uint8_t* data;
    uint32_t width, depth, stride, reserved;
};

// What the build has left visible, in an order that is always the same.
inline std::vector<State> visible_state(VerilatedContext& context) {
    std::vector<State> found;
    for (const auto& [scope, about] : *context.scopeNameMap()) {
        if (!about->varsp()) continue;
        for (const auto& [name, variable] : *about->varsp()) {
            if (variable.isParam()) continue;
            const uint32_t depth = variable.udims() ? variable.elements(1) : 1;
            const uint32_t stride = variable.totalSize() / depth;
            found.push_back({scope, name, static_cast<uint8_t*>(variable.datap()), variable.entBits(), depth, stride, 0});
        }
    }
    return found;
}

inline void flip(Vchip& top, const State& state, uint64_t word, uint64_t bit) {
    state.data[word * state.stride + bit / 8] ^= 1 << bit % 8;
    Vchip___024root___eval_settle(top.rootp);
}

}  // namespace poblano
