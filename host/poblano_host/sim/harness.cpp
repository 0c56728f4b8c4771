// The chip compiled by Verilator, a memory and an AXI4-Lite host in one shared library, driven from Python by ctypes.

#include <cstdint>
#include <cstring>
#include <vector>

#include "Vchip.h"
#include "memory.h"
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

struct Simulation {
    VerilatedContext context;
    Vchip top;
    poblano::Memory memory;
    uint64_t cycle = 0, started = 0, completed = 0;
    std::vector<Event> events;

    Simulation(uint64_t size, uint64_t beat, uint64_t latency, uint64_t bandwidth, uint64_t denominator)
        : top(&context), memory(size, beat, latency, bandwidth, denominator), beat(beat) {
        reset();
    }

    ~Simulation() { top.final(); }

    void reset() {
        top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_bready = top.s_axil_arvalid = top.s_axil_rready = 0;
        top.rst = 1;
        for (int i = 0; i < RESET_CYCLES; i++) {
            memory.reset();
            step();
        }
        top.rst = 0;
        step();  // the model has a register before its reset
        memory.reset();
        memory.error.clear();
        events.clear();
        started = completed = 0;
    }

    // Inputs settle while the clock is low; what the chip drives then is what the rising edge sees.
    void settle() {
        if (settled) return;
        const poblano::MemoryOutputs o = memory.outputs();
        top.m_axi_arready = o.arready;
        top.m_axi_awready = o.awready;
        top.m_axi_wready = o.wready;
        top.m_axi_rvalid = o.rvalid;
        if (o.rvalid) {
            top.m_axi_rid = o.rid;
            top.m_axi_rresp = o.rresp;
            top.m_axi_rlast = o.rlast;
            std::memcpy(&top.m_axi_rdata, o.rdata, beat);
        }
        top.m_axi_bvalid = o.bvalid;
        top.m_axi_bid = o.bid;
        top.m_axi_bresp = o.bresp;
        top.clk = 0;
        top.eval();
        settled = true;
    }

    void step() {
        settle();
        settled = false;
        poblano::MemoryInputs i;
        i.arvalid = top.m_axi_arvalid;
        if (i.arvalid) i.ar = {top.m_axi_arid, top.m_axi_araddr, top.m_axi_arlen, top.m_axi_arsize, top.m_axi_arburst};
        i.awvalid = top.m_axi_awvalid;
        if (i.awvalid) i.aw = {top.m_axi_awid, top.m_axi_awaddr, top.m_axi_awlen, top.m_axi_awsize, top.m_axi_awburst};
        i.wvalid = top.m_axi_wvalid;
        i.wlast = top.m_axi_wlast;
        i.wdata = reinterpret_cast<const uint8_t*>(&top.m_axi_wdata);
        i.wstrb = low_bits(top.m_axi_wstrb);
        i.rready = top.m_axi_rready;
        i.bready = top.m_axi_bready;
        if (!top.rst) memory.advance(i);
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

Simulation* poblano_create(uint64_t memory_bytes, uint64_t beat, uint64_t latency, uint64_t bandwidth,
                           uint64_t denominator) {
    return new Simulation(memory_bytes, beat, latency, bandwidth, denominator);
}

void poblano_destroy(Simulation* s) { delete s; }

void poblano_reset(Simulation* s) { s->reset(); }

uint8_t* poblano_memory(Simulation* s) { return s->memory.bytes.data(); }

// Runs until the interrupt is up, a rule of AXI is broken or max_cycles have passed; returns the cycles run.
uint64_t poblano_run(Simulation* s, uint64_t max_cycles) {
    const uint64_t start = s->cycle;
    while (s->cycle - start < max_cycles && !s->top.irq && s->memory.error.empty()) s->step();
    return s->cycle - start;
}

int poblano_irq(Simulation* s) { return s->top.irq; }
uint64_t poblano_cycle(Simulation* s) { return s->cycle; }
uint64_t poblano_started(Simulation* s) { return s->started; }
uint64_t poblano_completed(Simulation* s) { return s->completed; }
uint64_t poblano_beats_read(Simulation* s) { return s->memory.beats_read; }
uint64_t poblano_beats_written(Simulation* s) { return s->memory.beats_written; }
const char* poblano_error(Simulation* s) { return s->memory.error.c_str(); }
void poblano_fault(Simulation* s, uint64_t low, uint64_t high) { s->memory.fault(low, high); }

uint64_t poblano_events(Simulation* s, const Event** events) {
    *events = s->events.data();
    return s->events.size();
}

void poblano_clear_events(Simulation* s) { s->events.clear(); }

int poblano_write_register(Simulation* s, uint32_t address, uint32_t data) { return s->write_register(address, data); }

int poblano_read_register(Simulation* s, uint32_t address, uint32_t* data) { return s->read_register(address, data); }
}
