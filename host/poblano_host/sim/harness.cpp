// The chip compiled by Verilator, a memory at each of its ports and an AXI4-Lite host in one shared library, driven from
// Python by ctypes. ports.h has the ports: PORTS(X) with X(number, name) for each one, and Ports, the memories at them, a
// class of axi_ports.h or dram_ports.h.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "Vchip.h"
#include "ports.h"
#include "verilated.h"
#if __has_include("faults.h")  // in the model for faults only
#define FLIPS
#include "faults.h"
#endif

namespace {

constexpr int RESET_CYCLES = 8;
constexpr int REGISTER_TIMEOUT = 1000;  // cycles

struct Event {
    uint64_t cycle;
    uint32_t unit;
    uint32_t done;  // 0: a command started, 1: one completed
};

// A host's port that a chip may have: nothing comes.
template <typename Top>
auto idle_host(Top& top, int) -> decltype(top.s_axi_arvalid, void()) {
    top.s_axi_arvalid = top.s_axi_rready = top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_bready = 0;
}
template <typename Top>
void idle_host(Top&, long) {}

struct Simulation {
    VerilatedContext context;
    Vchip top;
    std::unique_ptr<uint8_t, decltype(&std::free)> bytes;  // of all memories, by address; pages come when they are used
    poblano::Ports memories;
    uint64_t cycle = 0, started = 0, completed = 0;
    std::vector<Event> events;
    bool tolerant = false;  // a breach of a rule of the memory's port does not end a run

    explicit Simulation(const poblano::Sizes& sizes)
        : top(&context), bytes(static_cast<uint8_t*>(std::calloc(sizes.memory, 1)), &std::free),
          memories(bytes.get(), sizes) {
        if (!bytes) throw std::bad_alloc();
        reset();
    }

    ~Simulation() {
#ifdef FLIPS
        Verilated::threadContextp(&context);  // scopes leave the one of the thread, which may be another by now
#endif
        top.final();
    }

    void reset() {
        top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_bready = top.s_axil_arvalid = top.s_axil_rready = 0;
        idle_host(top, 0);
        top.rst = 1;
        for (int i = 0; i < RESET_CYCLES; i++) {
            memories.reset();
            step();
        }
        top.rst = 0;
        step();  // the model has a register before its reset
        memories.reset();
        events.clear();
        started = completed = 0;
    }

    // Inputs settle while the clock is low; what the chip drives then is what the rising edge sees.
    void settle() {
        if (settled) return;
        memories.drive(top);
        top.clk = 0;
        top.eval();
        settled = true;
    }

#ifdef FLIPS
    std::vector<poblano::State> state = poblano::visible_state(context);

    // Before the rising edge that comes: what depends on the bit sees it at that edge.
    void flip(uint64_t n, uint64_t word, uint64_t bit) {
        settle();
        poblano::flip(top, state[n], word, bit);
    }
#endif

    void step() {
        settle();
        settled = false;
        if (!top.rst) memories.sample(top);
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

Simulation* poblano_create(const poblano::Sizes* sizes) { return new Simulation(*sizes); }

void poblano_destroy(Simulation* s) { delete s; }

void poblano_reset(Simulation* s) { s->reset(); }

uint8_t* poblano_memory(Simulation* s) { return s->bytes.get(); }

// Runs until the interrupt is up, a rule of AXI or of the DRAM is broken or max_cycles have passed; returns the cycles run.
uint64_t poblano_run(Simulation* s, uint64_t max_cycles) {
    const uint64_t start = s->cycle;
    while (s->cycle - start < max_cycles && !s->top.irq && (s->tolerant || s->memories.error().empty())) s->step();
    return s->cycle - start;
}

int poblano_irq(Simulation* s) { return s->top.irq; }
uint64_t poblano_cycle(Simulation* s) { return s->cycle; }
uint64_t poblano_started(Simulation* s) { return s->started; }
uint64_t poblano_completed(Simulation* s) { return s->completed; }

uint64_t poblano_beats_read(Simulation* s) { return s->memories.beats_read(); }
uint64_t poblano_beats_written(Simulation* s) { return s->memories.beats_written(); }
uint64_t poblano_responded(Simulation* s) { return s->memories.responded(); }
const char* poblano_error(Simulation* s) { return s->memories.error().c_str(); }
void poblano_fault(Simulation* s, uint64_t low, uint64_t high) { s->memories.fault(low, high); }
void poblano_flip(Simulation* s, uint64_t home, uint64_t address, uint64_t bit) { s->memories.flip(home, address, bit); }
uint64_t poblano_different(Simulation* s, uint64_t home, uint64_t* addresses, uint64_t most) {
    return s->memories.different(home, addresses, most);
}
void poblano_tolerate(Simulation* s) { s->tolerant = true; }
void poblano_fail_beat(Simulation* s, uint64_t home, int write, uint64_t number, int code) {
    s->memories.fail_beat(home, write, number, code);
}
void poblano_silence(Simulation* s, uint64_t home, uint32_t channels, uint64_t cycles) {
    s->memories.silence(home, channels, cycles);
}

#ifdef FLIPS
uint64_t poblano_state(Simulation* s, const poblano::State** state) {
    *state = s->state.data();
    return s->state.size();
}
void poblano_flip_register(Simulation* s, uint64_t n, uint64_t word, uint64_t bit) { s->flip(n, word, bit); }
#endif

uint64_t poblano_events(Simulation* s, const Event** events) {
    *events = s->events.data();
    return s->events.size();
}

void poblano_clear_events(Simulation* s) { s->events.clear(); }

int poblano_write_register(Simulation* s, uint32_t address, uint32_t data) { return s->write_register(address, data); }

int poblano_read_register(Simulation* s, uint32_t address, uint32_t* data) { return s->read_register(address, data); }
}
