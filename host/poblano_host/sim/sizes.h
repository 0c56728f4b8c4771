// What a simulation's memories are made of; host/poblano_host/sim/simulation.py fills it in.

#pragma once

#include <cstdint>
#include <cstring>

#include "dram_checker.h"
#include "dram_code.h"

namespace poblano {

// The memory of all ports has `memory` bytes, that of one `home`; a beat is `beat` bytes. AXI memories have a latency and a
// bandwidth of `bandwidth / denominator` bytes a cycle, DRAMs a shape, a code and times, and, if they are checked, rules.
struct Sizes {
    uint64_t memory, home, beat, latency, bandwidth, denominator;
    DramShape shape;
    DramCode code;
    DramTimes times;
    const DramRule* rules;
    uint64_t rule_count;
    const char* trace;  // a path, for each port's number after it, or null
};

template <typename T>
uint64_t low_bits(const T& port) {
    uint64_t value = 0;
    std::memcpy(&value, &port, sizeof(port) < 8 ? sizeof(port) : 8);
    return value;
}

}  // namespace poblano
