// The chip compiled by Verilator, a memory at each of its ports and an AXI4-Lite host in one shared library, driven from
// Python by ctypes.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "Vchip.h"
#include "memory.h"
#include "ports.h"  // PORTS(X): X(number, name) for each memory port
#include "verilated.h"

namespace {

constexpr int RESET_CYCLES = 8;
constexpr int REGISTER_TIMEOUT = 1000;  // cycles

struct Event {
    uint64_t cycle;
    uint32_t unit;
    uint32_t done;  // 0: a command started, 1: one completed
};

template <typename T>
uint64_t low_bits(const T& port) {
    uint64_t value = 0;
    std::memcpy(&value, &port, sizeof(port) < 8 ? sizeof(port) : 8);
    return value;
}

// Calls an operation on a memory and the pins of the port that it is at.
#define AT_PORT(operation, n, p)                                                                                        \
    operation(memories[n], top.p##_arready, top.p##_awready, top.p##_wready, top.p##_rvalid, top.p##_rid,               \
              top.p##_rresp, top.p##_rlast, top.p##_rdata, top.p##_bvalid, top.p##_bid, top.p##_bresp, top.p##_arvalid, \
              top.p##_arid, top.p##_araddr, top.p##_arlen, top.p##_arsize, top.p##_arburst, top.p##_awvalid,            \
              top.p##_awid, top.p##_awaddr, top.p##_awlen, top.p##_awsize, top.p##_awburst, top.p##_wvalid,             \
              top.p##_wlast, top.p##_wdata, top.p##_wstrb, top.p##_rready, top.p##_bready);

struct Sizes {
    uint64_t memory, home, beat, latency, bandwidth, denominator;
};

struct Simulation {
    VerilatedContext context;
    Vchip top;
    std::unique_ptr<uint8_t, decltype(&std::free)> bytes;  // of all memories, by address; pages come when they are used
    std::vector<poblano::Memory> memories;
    uint64_t cycle = 0, started = 0, completed = 0;
    std::vector<Event> events;

    explicit Simulation(const Sizes& sizes)
        : top(&context), bytes(static_cast<uint8_t*>(std::calloc(sizes.memory, 1)), &std::free), beat(sizes.beat) {
        if (!bytes) throw std::bad_alloc();
#define ADD(n, p)                                                                                                      \
    memories.emplace_back(bytes.get(), std::min(n * sizes.home, sizes.memory),                                        \
                          std::min((n + 1) * sizes.home, sizes.memory), beat, sizes.latency, sizes.bandwidth,         \
                          sizes.denominator);
        PORTS(ADD)
#undef ADD
        reset();
    }

    ~Simulation() { top.final(); }

    void reset() {
        top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_bready = top.s_axil_arvalid = top.s_axil_rready = 0;
        top.rst = 1;
        for (int i = 0; i < RESET_CYCLES; i++) {
            for (poblano::Memory& memory : memories) memory.reset();
            step();
        }
        top.rst = 0;
        step();  // the model has a register before its reset
        for (poblano::Memory& memory : memories) {
            memory.reset();
            memory.error.clear();
        }
        events.clear();
        started = completed = 0;
    }

    // The first breach of AXI's rules, of the first port that has one; empty if none has.
    const char* error() const {
        for (const poblano::Memory& memory : memories)
            if (!memory.error.empty()) return memory.error.c_str();
        return "";
    }

    // Inputs settle while the clock is low; what the chip drives then is what the rising edge sees.
    void settle() {
        if (settled) return;
#define DRIVE(n, p) AT_PORT(drive, n, p)
        PORTS(DRIVE)
#undef DRIVE
        top.clk = 0;
        top.eval();
        settled = true;
    }

    void step() {
        settle();
        settled = false;
        if (!top.rst) {
#define SAMPLE(n, p) AT_PORT(sample, n, p)
            PORTS(SAMPLE)
#undef SAMPLE
        }
        trace(top.trace_start, 0, started);
        trace(top.trace_done, 1, completed);
        top.clk = 1;
        top.eval();
        cycle++;
    }

    // The AXI response, or -1 if the chip does not answer.
    int write_register(uint32_t address, uint32_t data) {
        top.s_axil_awaddr = address;
        top.s_axil_awvalid = 1;
        top.s_axil_wdata = data;
        top.s_axil_wstrb = 15;
        top.s_axil_wvalid = 1;
        top.s_axil_bready = 1;
        for (int n = 0; n < REGISTER_TIMEOUT; n++) {
            settle();
            const bool aw = top.s_axil_awready, w = top.s_axil_wready, b = top.s_axil_bvalid;
            const int code = top.s_axil_bresp;
            step();
            if (aw) top.s_axil_awvalid = 0;
            if (w) top.s_axil_wvalid = 0;
            if (b) {
                top.s_axil_bready = 0;
                return code;
            }
        }
        return -1;
    }

    int read_register(uint32_t address, uint32_t* data) {
        top.s_axil_araddr = address;
        top.s_axil_arvalid = 1;
        top.s_axil_rready = 1;
        for (int n = 0; n < REGISTER_TIMEOUT; n++) {
            settle();
            const bool ar = top.s_axil_arready, r = top.s_axil_rvalid;
            const int code = top.s_axil_rresp;
            *data = top.s_axil_rdata;
            step();
            if (ar) top.s_axil_arvalid = 0;
            if (r) {
                top.s_axil_rready = 0;
                return code;
            }
        }
        return -1;
    }

  private:
    uint64_t beat;
    bool settled = false;

    // The memory's outputs to the pins of its port.
    template <typename Id, typename Data, typename... Outputs>
    void drive(poblano::Memory& memory, CData& arready, CData& awready, CData& wready, CData& rvalid, Id& rid,
               CData& rresp, CData& rlast, Data& rdata, CData& bvalid, Id& bid, CData& bresp, Outputs&...) {
        const poblano::MemoryOutputs o = memory.outputs();
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
    void sample(poblano::Memory& memory, CData&, CData&, CData&, CData&, Id&, CData&, CData&, Data&, CData&, Id&, CData&,
                CData& arvalid, Id& arid, Address& araddr, CData& arlen, CData& arsize, CData& arburst, CData& awvalid,
                Id& awid, Address& awaddr, CData& awlen, CData& awsize, CData& awburst, CData& wvalid, CData& wlast,
                Data& wdata, Strobes& wstrb, CData& rready, CData& bready) {
        poblano::MemoryInputs i;
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

    template <typename T>
    void trace(const T& port, uint32_t done, uint64_t& count) {
        uint32_t words[(sizeof(T) + 3) / 4] = {};
        std::memcpy(words, &port, sizeof(T));
        for (uint32_t n = 0; n < sizeof words / 4; n++) {
            for (uint32_t left = words[n]; left; left &= left - 1) {
                events.push_back({cycle, 32 * n + __builtin_ctz(left), done});
                count++;
            }
        }
    }
};

}  // namespace

extern "C" {

Simulation* poblano_create(uint64_t memory, uint64_t home, uint64_t beat, uint64_t latency, uint64_t bandwidth,
                           uint64_t denominator) {
    return new Simulation(Sizes{memory, home, beat, latency, bandwidth, denominator});
}

void poblano_destroy(Simulation* s) { delete s; }

void poblano_reset(Simulation* s) { s->reset(); }

uint8_t* poblano_memory(Simulation* s) { return s->bytes.get(); }

// Runs until the interrupt is up, a rule of AXI is broken or max_cycles have passed; returns the cycles run.
uint64_t poblano_run(Simulation* s, uint64_t max_cycles) {
    const uint64_t start = s->cycle;
    while (s->cycle - start < max_cycles && !s->top.irq && !*s->error()) s->step();
    return s->cycle - start;
}

int poblano_irq(Simulation* s) { return s->top.irq; }
uint64_t poblano_cycle(Simulation* s) { return s->cycle; }
uint64_t poblano_started(Simulation* s) { return s->started; }
uint64_t poblano_completed(Simulation* s) { return s->completed; }

uint64_t poblano_beats_read(Simulation* s) {
    uint64_t beats = 0;
    for (const poblano::Memory& memory : s->memories) beats += memory.beats_read;
    return beats;
}

uint64_t poblano_beats_written(Simulation* s) {
    uint64_t beats = 0;
    for (const poblano::Memory& memory : s->memories) beats += memory.beats_written;
    return beats;
}

const char* poblano_error(Simulation* s) { return s->error(); }

void poblano_fault(Simulation* s, uint64_t low, uint64_t high) {
    for (poblano::Memory& memory : s->memories) memory.fault(low, high);
}

uint64_t poblano_events(Simulation* s, const Event** events) {
    *events = s->events.data();
    return s->events.size();
}

void poblano_clear_events(Simulation* s) { s->events.clear(); }

int poblano_write_register(Simulation* s, uint32_t address, uint32_t data) { return s->write_register(address, data); }

int poblano_read_register(Simulation* s, uint32_t address, uint32_t* data) { return s->read_register(address, data); }
}
