// DRAMs at the ports of a compiled model.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dram.h"
#include "dram_checker.h"
#include "dram_trace.h"
#include "sizes.h"

namespace poblano {

// Pins that not every DRAM has.
#define OPTIONAL_PIN(n, p, pin)                                  \
    template <typename Top>                                      \
    auto pin##_##n(Top& top, int)->decltype(low_bits(top.p##_##pin)) { \
        return low_bits(top.p##_##pin);                          \
    }                                                            \
    template <typename Top>                                      \
    uint64_t pin##_##n(Top&, long) {                             \
        return 0;                                                \
    }
#define OPTIONAL_PINS(n, p)                                                                   \
    OPTIONAL_PIN(n, p, row_group)                                                             \
    OPTIONAL_PIN(n, p, column_group)                                                          \
    OPTIONAL_PIN(n, p, write_sideband)                                                        \
    template <typename Top>                                                                   \
    auto set_sideband_##n(Top& top, uint64_t value, int)->decltype(top.p##_read_sideband, void()) { \
        top.p##_read_sideband = value;                                                        \
    }                                                                                         \
    template <typename Top>                                                                   \
    void set_sideband_##n(Top&, uint64_t, long) {}
PORTS(OPTIONAL_PINS)

// Each cycle: drive(), then sample().
class Ports {
  public:
    Ports(uint8_t* bytes, const Sizes& sizes) : beat(sizes.shape.burst_bytes / sizes.shape.burst_cycles) {
#define ADD(n, p) add(bytes, sizes, n);
        PORTS(ADD)
#undef ADD
    }

    // The controllers know of no open row.
    void reset() {
        for (Port& port : ports) port.dram->reset();
        text.clear();
    }

    template <typename Top>
    void drive(Top& top) {
#define DRIVE(n, p)                                                     \
    {                                                                   \
        const DramReadData read = ports[n].dram->read_data();           \
        if (ports[n].dram->reading()) {                                 \
            std::memcpy(&top.p##_read_data, read.data, beat);           \
            set_sideband_##n(top, read.sideband, 0);                    \
        }                                                               \
    }
        PORTS(DRIVE)
#undef DRIVE
    }

    template <typename Top>
    void sample(Top& top) {
#define SAMPLE(n, p)                                                                                      \
    {                                                                                                     \
        DramCommands c;                                                                                   \
        if ((c.row_op = top.p##_row_op)) {                                                                \
            c.row_group = row_group_##n(top, 0);                                                          \
            c.row_bank = top.p##_row_bank;                                                                \
            c.row = top.p##_row_row;                                                                      \
        }                                                                                                 \
        if ((c.column_op = top.p##_column_op)) {                                                          \
            c.column_group = column_group_##n(top, 0);                                                    \
            c.column_bank = top.p##_column_bank;                                                          \
            c.column = top.p##_column_column;                                                             \
        }                                                                                                 \
        const uint8_t* written = reinterpret_cast<const uint8_t*>(&top.p##_write_data);                   \
        advance(ports[n], c, {written, low_bits(top.p##_write_strb), write_sideband_##n(top, 0)});        \
    }
        PORTS(SAMPLE)
#undef SAMPLE
    }

    // The first time of the DRAM that was not kept, if it is checked; empty if there is none.
    const std::string& error() const { return text; }

    uint64_t beats_read() const { return sum(RD); }
    uint64_t beats_written() const { return sum(WR); }
    uint64_t responded() const { return 0; }
    uint64_t commands(uint32_t kind) const { return sum(kind); }

    // A DRAM answers always, and without a response: what goes wrong is a flipped bit.
    void fault(uint64_t, uint64_t) {}
    void fail_beat(uint64_t, bool, uint64_t, int) {}
    void silence(uint64_t, uint32_t, uint64_t) {}

    // As Dram's, of a home.
    void flip(uint64_t home, uint64_t address, uint64_t bit) { ports[home].dram->flip(address, bit); }
    uint64_t different(uint64_t home, uint64_t* addresses, uint64_t most) {
        return ports[home].dram->different(addresses, most);
    }

  private:
    struct Port {
        std::unique_ptr<Dram> dram;
        std::unique_ptr<DramChecker> checker;
        std::unique_ptr<DramTrace> trace;
    };
    std::vector<Port> ports;
    int64_t beat;
    std::string text;

    void add(uint8_t* bytes, const Sizes& sizes, uint64_t n) {
        const uint64_t from = std::min(n * sizes.home, sizes.memory), to = std::min(from + sizes.home, sizes.memory);
        Port port;
        port.dram = std::make_unique<Dram>(sizes.shape, sizes.code, to - from, bytes + from);
        if (sizes.rules)
            port.checker = std::make_unique<DramChecker>(sizes.shape, sizes.times, sizes.rules, sizes.rule_count);
        if (sizes.trace)
            port.trace = std::make_unique<DramTrace>(sizes.shape, (sizes.trace + std::to_string(n)).c_str());
        ports.push_back(std::move(port));
    }

    void advance(Port& port, const DramCommands& c, const DramWriteData& w) {
        if ((c.row_op || c.column_op) && (port.checker || port.trace)) {
            if (port.trace) port.trace->advance(port.dram->cycles(), c);
            if (port.checker) {
                port.checker->advance(port.dram->cycles(), c);
                if (port.checker->violations && text.empty()) text = port.checker->texts.front();
            }
        }
        port.dram->advance(c, w);
    }

    uint64_t sum(uint32_t kind) const {
        uint64_t all = 0;
        for (const Port& port : ports) all += port.dram->counts[kind];
        return all;
    }
};

}  // namespace poblano
