// Bursts of an AXI4 master, as poblano_host.sim.traffic lists them.

#pragma once

#include <cstdint>

namespace poblano {

struct Burst {
    uint64_t address;
    int64_t earliest;  // cycle in which it may be offered
    uint32_t beats, write, id, reserved;
};

}  // namespace poblano
