// The chip compiled by Verilator, an AXI4 memory and an AXI4-Lite host in one shared library, driven from Python by ctypes.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "Vchip.h"
#include "verilated.h"

namespace {

constexpr int OKAY = 0, SLVERR = 2, DECERR = 3;
constexpr uint64_t PAGE = 4096;
constexpr size_t QUEUE = 64;  // bursts that the memory takes before it stalls

template <typename T>
uint64_t low_bits(const T& port) {
    uint64_t value = 0;
    std::memcpy(&value, &port, sizeof(port) < 8 ? sizeof(port) : 8);
    return value;
}

struct Burst {
    uint64_t id, address, beats, ready_at;
};

struct Response {
    uint64_t id, ready_at;
    int code;
};

struct Event {
    uint64_t cycle;
    uint32_t unit;
    uint32_t done;
};

struct Simulation {
    VerilatedContext context;
    Vchip top;
    std::vector<uint8_t> memory;
    uint64_t cycle = 0;
    uint64_t latency, beat;
    uint64_t bandwidth, denominator;  // bytes per cycle = bandwidth / denominator
    uint64_t credit = 0;
    uint64_t fault_low = 0, fault_high = 0;
    uint64_t bytes_read = 0, bytes_written = 0;
    std::deque<Burst> reads, writes;
    std::deque<Response> responses;
    std::vector<Event> events;
    bool write_turn = false;
    std::string protocol_error;

    Simulation(uint64_t size, uint64_t beat, uint64_t latency, uint64_t bandwidth, uint64_t denominator)
        : top(&context), memory(size), latency(latency), beat(beat), bandwidth(bandwidth), denominator(denominator) {}

    void fail(const char* what, uint64_t address) {
        if (protocol_error.empty()) {
            char text[128];
            std::snprintf(text, sizeof text, "cycle %llu: %s at 0x%llx", (unsigned long long)cycle, what,
                          (unsigned long long)address);
            protocol_error = text;
        }
    }

    int response(uint64_t address) const {
        if (address + beat > memory.size()) return DECERR;
        if (address < fault_high && address + beat > fault_low) return SLVERR;
        return OKAY;
    }

    Burst take(uint64_t id, uint64_t address, uint64_t len) {
        if (address % beat) fail("burst not aligned to the beat", address);
        if (address / PAGE != (address + (len + 1) * beat - 1) / PAGE) fail("burst crosses 4 KiB", address);
        return {id, address, len + 1, cycle + latency};
    }

    bool afford() {
        if (credit < beat * denominator) return false;
        credit -= beat * denominator;
        return true;
    }

    void step() {
        // Inputs for this cycle follow from the memory's state; outputs then settle.
        top.m_axi_wready = 0;
        top.m_axi_arready = reads.size() < QUEUE;
        top.m_axi_awready = writes.size() < QUEUE;
        top.m_axi_bvalid = !responses.empty() && responses.front().ready_at <= cycle;
        if (top.m_axi_bvalid) {
            top.m_axi_bid = responses.front().id;
            top.m_axi_bresp = responses.front().code;
        }
        top.clk = 0;
        top.eval();
        // A beat that was offered stays; a new one needs credit, and so does a write.
        const bool want_write = !writes.empty() && top.m_axi_wvalid;
        const bool want_read = !top.m_axi_rvalid && !reads.empty() && reads.front().ready_at <= cycle;
        bool may_write = false, may_read = false;
        for (int i = 0; i < 2; i++) {
            const bool write = write_turn ? i == 0 : i == 1;
            if (write && want_write) may_write = afford();
            if (!write && want_read) may_read = afford();
        }
        if (may_read || may_write) write_turn = !may_write;
        top.m_axi_wready = may_write;
        if (may_read) {
            const Burst& burst = reads.front();
            const int code = response(burst.address);
            top.m_axi_rvalid = 1;
            top.m_axi_rid = burst.id;
            top.m_axi_rresp = code;
            top.m_axi_rlast = burst.beats == 1;
            if (code == DECERR)
                std::memset(&top.m_axi_rdata, 0, beat);
            else
                std::memcpy(&top.m_axi_rdata, &memory[burst.address], beat);
        }
        if (may_read || may_write) top.eval();

        const bool ar = top.m_axi_arvalid && top.m_axi_arready, aw = top.m_axi_awvalid && top.m_axi_awready;
        const bool r = top.m_axi_rvalid && top.m_axi_rready, w = top.m_axi_wvalid && top.m_axi_wready;
        const bool b = top.m_axi_bvalid && top.m_axi_bready;
        if (ar) reads.push_back(take(top.m_axi_arid, top.m_axi_araddr, top.m_axi_arlen));
        if (r) {
            bytes_read += beat;
            Burst& burst = reads.front();
            burst.address += beat;
            if (--burst.beats == 0) reads.pop_front();
        }
        if (w) {
            bytes_written += beat;
            Burst& burst = writes.front();
            const int code = response(burst.address);
            if (code == OKAY) {
                const uint8_t* data = reinterpret_cast<const uint8_t*>(&top.m_axi_wdata);
                const uint64_t strobes = low_bits(top.m_axi_wstrb);
                for (uint64_t i = 0; i < beat; i++)
                    if (strobes >> i & 1) memory[burst.address + i] = data[i];
            }
            if (burst.id >> 62 == 0 && code != OKAY) burst.id |= uint64_t(code) << 62;
            burst.address += beat;
            if (bool(top.m_axi_wlast) != (burst.beats == 1)) fail("wlast in the wrong beat", burst.address);
            if (--burst.beats == 0) {
                responses.push_back({burst.id & ~(3ull << 62), cycle + latency, int(burst.id >> 62)});
                writes.pop_front();
            }
        }
        if (aw) writes.push_back(take(top.m_axi_awid, top.m_axi_awaddr, top.m_axi_awlen));
        if (b) responses.pop_front();
        const uint64_t started = low_bits(top.trace_start), done = low_bits(top.trace_done);
        if (started | done) {
            for (uint32_t unit = 0; unit < 64; unit++) {
                if (done >> unit & 1) events.push_back({cycle, unit, 1});
                if (started >> unit & 1) events.push_back({cycle, unit, 0});
            }
        }
        top.clk = 1;
        top.eval();
        if (r) top.m_axi_rvalid = 0;
        credit += bandwidth;
        if (credit > 2 * beat * denominator) credit = 2 * beat * denominator;
        cycle++;
    }
};

}  // namespace

extern "C" {

Simulation* poblano_create(uint64_t memory_bytes, uint64_t beat, uint64_t latency, uint64_t bandwidth, uint64_t denominator) {
    auto* s = new Simulation(memory_bytes, beat, latency, bandwidth, denominator);
    s->top.rst = 1;
    for (int i = 0; i < 8; i++) s->step();
    s->top.rst = 0;
    s->step();
    return s;
}

void poblano_destroy(Simulation* s) {
    s->top.final();
    delete s;
}

uint8_t* poblano_memory(Simulation* s) { return s->memory.data(); }

// Runs until the interrupt rises or max_cycles have passed; returns the cycles run.
uint64_t poblano_run(Simulation* s, uint64_t max_cycles) {
    const uint64_t start = s->cycle;
    while (s->cycle - start < max_cycles && !s->top.irq && s->protocol_error.empty()) s->step();
    return s->cycle - start;
}

int poblano_irq(Simulation* s) { return s->top.irq; }
uint64_t poblano_cycle(Simulation* s) { return s->cycle; }
uint64_t poblano_bytes_read(Simulation* s) { return s->bytes_read; }
uint64_t poblano_bytes_written(Simulation* s) { return s->bytes_written; }
const char* poblano_protocol_error(Simulation* s) { return s->protocol_error.c_str(); }

void poblano_fault(Simulation* s, uint64_t low, uint64_t high) {
    s->fault_low = low;
    s->fault_high = high;
}

uint64_t poblano_events(Simulation* s, const Event** events) {
    *events = s->events.data();
    return s->events.size();
}

void poblano_clear_events(Simulation* s) { s->events.clear(); }

// Register access; the return value is the AXI response, or -1 if the chip does not answer.
int poblano_register_write(Simulation* s, uint32_t address, uint32_t data) {
    auto& t = s->top;
    t.s_axil_awaddr = address;
    t.s_axil_awvalid = 1;
    t.s_axil_wdata = data;
    t.s_axil_wstrb = 15;
    t.s_axil_wvalid = 1;
    t.s_axil_bready = 1;
    for (int i = 0; i < 1000; i++) {
        t.clk = 0;
        t.eval();
        const bool aw = t.s_axil_awvalid && t.s_axil_awready, w = t.s_axil_wvalid && t.s_axil_wready;
        const bool b = t.s_axil_bvalid;
        const int code = t.s_axil_bresp;
        s->step();
        if (aw) t.s_axil_awvalid = 0;
        if (w) t.s_axil_wvalid = 0;
        if (b) {
            t.s_axil_bready = 0;
            return code;
        }
    }
    return -1;
}

int poblano_register_read(Simulation* s, uint32_t address, uint32_t* data) {
    auto& t = s->top;
    t.s_axil_araddr = address;
    t.s_axil_arvalid = 1;
    t.s_axil_rready = 1;
    for (int i = 0; i < 1000; i++) {
        t.clk = 0;
        t.eval();
        const bool ar = t.s_axil_arvalid && t.s_axil_arready, r = t.s_axil_rvalid;
        const int code = t.s_axil_rresp;
        *data = t.s_axil_rdata;
        s->step();
        if (ar) t.s_axil_arvalid = 0;
        if (r) {
            t.s_axil_rready = 0;
            return code;
        }
    }
    return -1;
}
}
