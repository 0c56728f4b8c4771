// A DRAM controller compiled by Verilator between an AXI4 master and a DRAM, in one shared library, driven from Python by
// ctypes.

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "Vdram_controller.h"
#include "axi_host.h"
#include "dram.h"
#include "dram_checker.h"
#include "dram_trace.h"
#include "verilated.h"

using namespace poblano;

namespace {

constexpr int RESET_CYCLES = 4;
constexpr uint64_t QUIET = 1000000;  // cycles without any transfer after which the controller hangs

template <typename T>
uint64_t low_bits(const T& port) {
    uint64_t value = 0;
    std::memcpy(&value, &port, sizeof(port) < 8 ? sizeof(port) : 8);
    return value;
}

// Pins that not every DRAM has.
#define OPTIONAL(pin)                                                             \
    template <typename T>                                                         \
    auto pin(T& top, int)->decltype(low_bits(top.dram_##pin)) {                   \
        return low_bits(top.dram_##pin);                                          \
    }                                                                             \
    template <typename T>                                                         \
    uint64_t pin(T&, long) {                                                      \
        return 0;                                                                 \
    }
OPTIONAL(row_group)
OPTIONAL(column_group)
OPTIONAL(write_sideband)
#undef OPTIONAL

template <typename T>
auto set_read_sideband(T& top, uint64_t value, int) -> decltype(top.dram_read_sideband, void()) {
    top.dram_read_sideband = value;
}
template <typename T>
void set_read_sideband(T&, uint64_t, long) {}

// What a controller with ecc tells of a burst.
struct Found {
    uint64_t cycle, address;
    uint8_t corrected, failed, scrubbed;
};

template <typename T>
auto found(const T& top, int) -> decltype(top.corrected, Found()) {
    return {0, top.address, top.corrected, top.failed, top.scrubbed};
}
template <typename T>
Found found(const T&, long) {
    return {};
}

struct Controller {
    VerilatedContext context;
    Vdram_controller top;
    DramShape shape;
    Dram dram;
    DramChecker checker;
    std::unique_ptr<DramTrace> trace;
    std::unique_ptr<AxiHost> host;
    int64_t cycle = 0;
    uint64_t beat;
    std::vector<uint8_t> copy;  // of the memory, with all that was written
    std::set<uint64_t> unknown;  // words, by their addresses
    uint64_t word_bytes;
    std::vector<Found> all_found;
    std::mt19937_64 random;
    uint32_t flips = 0;
    std::vector<uint64_t> flipped;  // bursts in which bits may flip
    std::string text;

    Controller(const DramShape& shape, const DramCode& code, const DramTimes& times, const DramRule* rules, uint64_t count,
               uint64_t size, const char* path)
        : top(&context), shape(shape), dram(shape, code, size), checker(shape, times, rules, count),
          beat(shape.burst_bytes / shape.burst_cycles), copy(size),
          word_bytes(code.words ? code.bytes : shape.burst_bytes) {
        if (path) trace = std::make_unique<DramTrace>(shape, path);
        top.s_axi_arvalid = top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_rready = top.s_axi_bready = 0;
        top.rst = 1;
        for (int n = 0; n < RESET_CYCLES; n++) tick();
        top.rst = 0;
    }

    ~Controller() { top.final(); }

    void tick() {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    }

    // Inputs settle while the clock is low; what the controller drives then is what the rising edge sees.
    void step() {
        const DramReadData read = dram.read_data();
        std::memcpy(&top.dram_read_data, read.data, beat);
        set_read_sideband(top, read.sideband, 0);
        if (host) drive(host->drive());
        top.clk = 0;
        top.eval();
        const DramCommands c = commands();
        if (c.row_op || c.column_op) {
            checker.advance(cycle, c);
            if (trace) trace->advance(cycle, c);
        }
        const uint8_t* written = reinterpret_cast<const uint8_t*>(&top.dram_write_data);
        dram.advance(c, {written, low_bits(top.dram_write_strb), write_sideband(top, 0)});
        if (host) host->advance(seen());
        Found now = found(top, 0);
        if (now.corrected || now.failed || now.scrubbed) {
            now.cycle = cycle;
            all_found.push_back(now);
        }
        if (flips && (random() & 0xffff) < flips) flip();
        top.clk = 1;
        top.eval();
        cycle++;
    }

  private:
    // Flips a bit where none has flipped.
    void flip() {
        const uint64_t at = flipped[random() % flipped.size()];
        if (dram.intact(at)) dram.flip(at, random() % (8 * shape.burst_bytes + shape.sideband_bits));
    }

    void drive(const AxiDriven& d) {
        top.s_axi_arvalid = d.arvalid;
        if (d.arvalid) {
            top.s_axi_arid = d.ar->id;
            top.s_axi_araddr = d.ar->address;
            top.s_axi_arlen = d.ar->beats - 1;
        }
        top.s_axi_awvalid = d.awvalid;
        if (d.awvalid) {
            top.s_axi_awid = d.aw->id;
            top.s_axi_awaddr = d.aw->address;
            top.s_axi_awlen = d.aw->beats - 1;
        }
        top.s_axi_wvalid = d.wvalid;
        if (d.wvalid) {
            std::memcpy(&top.s_axi_wdata, d.wdata, shape.burst_bytes);
            std::memcpy(&top.s_axi_wstrb, &d.wstrb, std::min<size_t>(sizeof top.s_axi_wstrb, 8));
            top.s_axi_wlast = d.wlast;
        }
        top.s_axi_rready = d.rready;
        top.s_axi_bready = d.bready;
    }

    AxiSeen seen() {
        return {top.s_axi_arready != 0, top.s_axi_awready != 0, top.s_axi_wready != 0, top.s_axi_rvalid != 0,
                top.s_axi_rlast != 0,   top.s_axi_bvalid != 0,  top.s_axi_rid,         top.s_axi_bid,
                top.s_axi_rresp,        top.s_axi_bresp,        reinterpret_cast<const uint8_t*>(&top.s_axi_rdata)};
    }

    DramCommands commands() {
        DramCommands c;
        c.row_op = top.dram_row_op;
        if (c.row_op) {
            c.row_group = row_group(top, 0);
            c.row_bank = top.dram_row_bank;
            c.row = top.dram_row_row;
        }
        c.column_op = top.dram_column_op;
        if (c.column_op) {
            c.column_group = column_group(top, 0);
            c.column_bank = top.dram_column_bank;
            c.column = top.dram_column_column;
        }
        return c;
    }
};

}  // namespace

extern "C" {

Controller* controller_create(const DramShape* shape, const DramCode* code, const DramTimes* times, const DramRule* rules,
                              uint64_t count, uint64_t size, const char* path) {
    return new Controller(*shape, *code, *times, rules, count, size, path);
}

void controller_destroy(Controller* c) { delete c; }

uint8_t* controller_memory(Controller* c) { return c->dram.memory(); }
uint64_t controller_sideband(Controller* c, uint64_t address) { return c->dram.sideband(address); }
void controller_set_sideband(Controller* c, uint64_t address, uint64_t value) { c->dram.set_sideband(address, value); }
void controller_flip(Controller* c, uint64_t address, uint64_t bit) { c->dram.flip(address, bit); }
uint64_t controller_different(Controller* c, uint64_t* addresses, uint64_t most) {
    return c->dram.different(addresses, most);
}
// A word that reads are to fail for.
void controller_spoil(Controller* c, uint64_t address) { c->unknown.insert(address / c->word_bytes * c->word_bytes); }
uint64_t controller_found(Controller* c, const Found** found) {
    *found = c->all_found.data();
    return c->all_found.size();
}
void controller_forget(Controller* c) { c->all_found.clear(); }
uint64_t controller_beyond(Controller* c) { return c->dram.beyond; }
uint64_t controller_cycle(Controller* c) { return c->cycle; }

// The contents of the memory from its start on, known to the master.
void controller_load(Controller* c, const uint8_t* bytes, uint64_t count) {
    std::memcpy(c->dram.memory(), bytes, count);
    std::memcpy(c->copy.data(), bytes, count);
}

// Cycles without bursts.
void controller_idle(Controller* c, uint64_t cycles) {
    while (cycles--) c->step();
}

// Until all bursts are answered, or `most` cycles have passed. The text is empty, or says what went wrong.
const char* controller_run(Controller* c, const Burst* bursts, uint64_t count, const AxiTraffic* traffic, uint64_t most,
                           AxiCounts* counts) {
    c->host = std::make_unique<AxiHost>(c->shape.burst_bytes, c->copy, c->unknown, c->word_bytes, bursts, count, *traffic);
    AxiHost& host = *c->host;
    c->random.seed(traffic->seed);
    c->flips = traffic->flips;
    c->flipped.clear();
    for (uint64_t n = 0; n < count; n++)
        for (uint64_t k = 0; k < bursts[n].beats; k++) c->flipped.push_back(bursts[n].address + k * c->shape.burst_bytes);
    while (!host.done() && host.error.empty() && host.counts.cycles < most && host.quiet() < QUIET) c->step();
    c->text = host.error;
    if (c->text.empty() && !host.done())
        c->text = "no end after " + std::to_string(host.counts.cycles) + " cycles";
    *counts = host.counts;
    c->flips = 0;
    return c->text.c_str();
}

// Whether the memory holds what was written; data may be on their way for some cycles after the last response. Unknown
// words may be anything.
int controller_matches(Controller* c) {
    const uint8_t* memory = c->dram.memory();
    uint64_t from = 0;
    for (uint64_t word : c->unknown) {
        if (std::memcmp(memory + from, c->copy.data() + from, word - from)) return 0;
        from = word + c->word_bytes;
    }
    return !std::memcmp(memory + from, c->copy.data() + from, c->copy.size() - from);
}

void controller_counts(Controller* c, uint64_t* counts) { std::memcpy(counts, c->dram.counts, sizeof c->dram.counts); }
void controller_finish(Controller* c) { c->checker.finish(c->cycle); }

const char* controller_report(Controller* c) {
    c->text = c->checker.report();
    return c->text.c_str();
}
}
