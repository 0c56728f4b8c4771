// AXI4 memories at the ports of a compiled model.

#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "memory.h"
#include "sizes.h"

namespace poblano {

// Calls an operation on a memory and the pins of the port that it is at.
#define AT_PORT(operation, n, p)                                                                                        \
    operation(memories[n], top.p##_arready, top.p##_awready, top.p##_wready, top.p##_rvalid, top.p##_rid,               \
              top.p##_rresp, top.p##_rlast, top.p##_rdata, top.p##_bvalid, top.p##_bid, top.p##_bresp, top.p##_arvalid, \
              top.p##_arid, top.p##_araddr, top.p##_arlen, top.p##_arsize, top.p##_arburst, top.p##_awvalid,            \
              top.p##_awid, top.p##_awaddr, top.p##_awlen, top.p##_awsize, top.p##_awburst, top.p##_wvalid,             \
              top.p##_wlast, top.p##_wdata, top.p##_wstrb, top.p##_rready, top.p##_bready);

// Each cycle: drive(), then sample().
class Ports {
  public:
    Ports(uint8_t* bytes, const Sizes& sizes) : beat(sizes.beat) {
#define ADD(n, p)                                                                                             \
    memories.emplace_back(bytes, std::min(n * sizes.home, sizes.memory),                                     \
                          std::min((n + 1) * sizes.home, sizes.memory), sizes.beat, sizes.latency,            \
                          sizes.bandwidth, sizes.denominator);
        PORTS(ADD)
#undef ADD
    }

    void reset() {
        for (Memory& memory : memories) {
            memory.reset();
            memory.error.clear();
        }
    }

    template <typename Top>
    void drive(Top& top) {
#define DRIVE(n, p) AT_PORT(drive, n, p)
        PORTS(DRIVE)
#undef DRIVE
    }

    template <typename Top>
    void sample(Top& top) {
#define SAMPLE(n, p) AT_PORT(sample, n, p)
        PORTS(SAMPLE)
#undef SAMPLE
    }

    // The first breach of AXI's rules, of the first port that has one; empty if none has.
    const std::string& error() const {
        for (const Memory& memory : memories)
            if (!memory.error.empty()) return memory.error;
        return memories.front().error;
    }

    uint64_t beats_read() const { return sum(&Memory::beats_read); }
    uint64_t beats_written() const { return sum(&Memory::beats_written); }
    uint64_t responded() const { return sum(&Memory::responded); }

    void fault(uint64_t low, uint64_t high) {
        for (Memory& memory : memories) memory.fault(low, high);
    }

    void fail_beat(uint64_t home, bool write, uint64_t number, int code) { memories[home].fail_beat(write, number, code); }
    void silence(uint64_t home, uint32_t channels, uint64_t cycles) { memories[home].silence(channels, cycles); }

    // Its bits are those of its bytes.
    void flip(uint64_t home, uint64_t address, uint64_t bit) { memories[home].flip(address, bit); }
    uint64_t different(uint64_t, uint64_t*, uint64_t) { return 0; }

  private:
    std::vector<Memory> memories;
    uint64_t beat;

    uint64_t sum(uint64_t Memory::*count) const {
        uint64_t all = 0;
        for (const Memory& memory : memories) all += memory.*count;
        return all;
    }

    // The memory's outputs to the pins of its port.
    template <typename Id, typename Data, typename... Outputs>
    void drive(Memory& memory, CData& arready, CData& awready, CData& wready, CData& rvalid, Id& rid,
               CData& rresp, CData& rlast, Data& rdata, CData& bvalid, Id& bid, CData& bresp, Outputs&...) {
        const MemoryOutputs o = memory.outputs();
        arready = o.arready;
        awready = o.awready;
        wready = o.wready;
        rvalid = o.rvalid;
        if (o.rvalid) {
            rid = o.rid;
            rresp = o.rresp;
            rlast = o.rlast;
            std::memcpy(&rdata, o.rdata, beat);
        }
        bvalid = o.bvalid;
        bid = o.bid;
        bresp = o.bresp;
    }

    // The pins of a port to its memory.
    template <typename Id, typename Data, typename Address, typename Strobes>
    void sample(Memory& memory, CData&, CData&, CData&, CData&, Id&, CData&, CData&, Data&, CData&, Id&, CData&,
                CData& arvalid, Id& arid, Address& araddr, CData& arlen, CData& arsize, CData& arburst, CData& awvalid,
                Id& awid, Address& awaddr, CData& awlen, CData& awsize, CData& awburst, CData& wvalid, CData& wlast,
                Data& wdata, Strobes& wstrb, CData& rready, CData& bready) {
        MemoryInputs i;
        i.arvalid = arvalid;
        if (i.arvalid) i.ar = {arid, araddr, arlen, arsize, arburst};
        i.awvalid = awvalid;
        if (i.awvalid) i.aw = {awid, awaddr, awlen, awsize, awburst};
        i.wvalid = wvalid;
        i.wlast = wlast;
        i.wdata = reinterpret_cast<const uint8_t*>(&wdata);
        i.wstrb = low_bits(wstrb);
        i.rready = rready;
        i.bready = bready;
        memory.advance(i);
    }
};

}  // namespace poblano
