// A design with a UART, compiled by Verilator as module "pins", with a serial port at its pins, driven from Python by ctypes.

#include <cstdint>
#include <deque>

#include "Vpins.h"
#include "verilated.h"

namespace {

constexpr int RESET_CYCLES = 16;
constexpr int DATA_BITS = 8;

// What the models around the design have told, of pins that have any.
template <typename Top>
auto errors_of(Top& top, int) -> decltype(uint64_t(top.errors)) {
    return top.errors;
}
template <typename Top>
uint64_t errors_of(Top&, long) {
    return 0;
}

// A sender and a receiver of bytes, each of `divider` cycles a bit.
struct Pins {
    VerilatedContext context;
    Vpins top;
    uint64_t cycle = 0;
    uint32_t divider;
    std::deque<uint8_t> to_send, received;
    uint64_t bad = 0;  // bytes without a stop bit

    explicit Pins(uint32_t divider) : top(&context), divider(divider) {
        top.rx = 1;
        top.clk = 0;
        top.rst = 1;
        top.eval();
        for (int n = 0; n < RESET_CYCLES; n++) step();
        top.rst = 0;
    }

    ~Pins() { top.final(); }

    void step() {
        top.rx = low ? 0 : send();
        receive(top.tx);
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
        if (low) low--;
        cycle++;
    }

    bool sending() const { return bits_left || !to_send.empty(); }

    uint64_t low = 0;  // cycles of a break that are left

  private:
    uint32_t bits_left = 0, bit_time = 0, shift = 0;
    uint32_t rx_left = 0, rx_time = 0, rx_byte = 0;

    bool send() {
        if (!bits_left) {
            if (to_send.empty()) return true;
            shift = to_send.front() << 1 | 1u << (DATA_BITS + 1);
            to_send.pop_front();
            bits_left = DATA_BITS + 2;
            bit_time = divider;
        }
        const bool level = shift & 1;
        if (!--bit_time) {
            shift >>= 1;
            bits_left--;
            bit_time = divider;
        }
        return level;
    }

    void receive(bool level) {
        if (!rx_left) {
            if (!level) {
                rx_left = DATA_BITS + 1;
                rx_time = divider + divider / 2;
                rx_byte = 0;
            }
        } else if (!--rx_time) {
            rx_time = divider;
            if (--rx_left) {
                rx_byte |= static_cast<uint32_t>(level) << (DATA_BITS - rx_left);
            } else if (level) {
                received.push_back(static_cast<uint8_t>(rx_byte));
            } else {
                bad++;
            }
        }
    }
};

}  // namespace

extern "C" {

Pins* pins_create(uint32_t divider) { return new Pins(divider); }
void pins_destroy(Pins* p) { delete p; }
void pins_divider(Pins* p, uint32_t divider) { p->divider = divider; }
void pins_send(Pins* p, const uint8_t* data, uint64_t size) { p->to_send.insert(p->to_send.end(), data, data + size); }
void pins_break(Pins* p, uint64_t cycles) { p->low = cycles; }
uint64_t pins_cycle(Pins* p) { return p->cycle; }
uint64_t pins_errors(Pins* p) { return errors_of(p->top, 0); }
uint64_t pins_bad(Pins* p) { return p->bad; }
uint64_t pins_waiting(Pins* p) { return p->received.size(); }

// Runs until `size` bytes have been received, at most `max_cycles` beyond what it takes to send what is to be sent.
void pins_run(Pins* p, uint64_t size, uint64_t max_cycles) {
    while (p->received.size() < size && max_cycles) {
        if (!p->sending()) max_cycles--;
        p->step();
    }
}

// Takes up to `size` received bytes; how many.
uint64_t pins_receive(Pins* p, uint8_t* data, uint64_t size) {
    uint64_t n = 0;
    for (; n < size && !p->received.empty(); n++) {
        data[n] = p->received.front();
        p->received.pop_front();
    }
    return n;
}

}  // extern "C"
