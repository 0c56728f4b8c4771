// A DRAM behind a controller's command interface: one pseudo-channel of HBM, or a device.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <stdexcept>
#include <vector>

#include "dram_command.h"

namespace poblano {

// What the DRAM drives in a cycle.
struct DramReadData {
    const uint8_t* data;  // as many bytes as the pins have
    uint64_t sideband;
};

// Each cycle: read_data(), then advance() with what the controller drives in that cycle.
//
// Data of a read command of cycle t are on the pins in cycle t + read_latency, those of a write in t + write_latency; a
// cycle without data has a pattern on the pins. A read has what was on the pins for written data before the cycle of its
// command.
//
// The bytes lie in the order of the controller's addresses (from low to high the byte of a burst, the group, column, bank
// and row, to whose bank the row has been added, see poblano.dram.address), so that a host can access them without
// knowing of banks. A byte that is not written with its strobe stays; the sideband, of which a column command moves
// sideband_bits, is written with any byte and lies in an array of its own, which is there once a bit has been written.
//
// A column command to a bank without an open row moves nothing and is counted. Whether commands are legal otherwise is
// DramChecker's.
class Dram {
  public:
    uint64_t beyond = 0;    // bursts beyond the memory: they read 0
    uint64_t misplaced = 0;  // column commands to closed banks
    uint64_t counts[DRAM_KINDS] = {};

    // Without `bytes` the memory of `size` bytes is the DRAM's own, and 0.
    Dram(const DramShape& shape, uint64_t size, uint8_t* bytes = nullptr)
        : shape(shape),
          size(size),
          own(bytes ? nullptr : static_cast<uint8_t*>(std::calloc(size ? size : 1, 1)), &std::free),
          bytes(bytes ? bytes : own.get()),
          beat(shape.burst_bytes / shape.burst_cycles),
          sideband_part(shape.sideband_bits / shape.burst_cycles),
          open(shape.all_banks(), CLOSED),
          slots(shape.read_latency + shape.burst_cycles) {
        if (!this->bytes) throw std::bad_alloc();
        if (shape.read_latency < 1 || beat > MOST_BYTES || shape.sideband_bits > 64)
            throw std::invalid_argument("a DRAM of this shape has no model");
        std::memset(nothing, 0xa5, sizeof nothing);
    }

    uint8_t* memory() { return bytes; }
    uint64_t memory_size() const { return size; }
    int64_t cycles() const { return cycle; }

    // Closes all banks and forgets what is on its way; contents stay.
    void reset() {
        open.assign(open.size(), CLOSED);
        writes.clear();
        for (Slot& slot : slots) slot.cycle = -1;
    }

    // The sideband of a burst; changing it, to make an error, is up to the caller.
    uint64_t sideband(uint64_t address) const {
        const uint64_t burst = address / shape.burst_bytes;
        return burst < sidebands.size() ? sidebands[burst] : 0;
    }
    void set_sideband(uint64_t address, uint64_t value) {
        if (sidebands.empty() && value) sidebands.resize(size / shape.burst_bytes);
        const uint64_t burst = address / shape.burst_bytes;
        if (burst < sidebands.size()) sidebands[burst] = value;
    }

    DramReadData read_data() const {
        const Slot& slot = slots[place];
        if (slot.cycle != cycle) return {nothing, 0};
        return {slot.data, slot.sideband};
    }

    void advance(const DramCommands& c, const DramWriteData& w) {
        if (c.row_op) row_command(c);
        if (c.column_op) column_command(c);
        if (!writes.empty()) write(w);
        cycle++;
        if (++place == slots.size()) place = 0;
    }

    // The address of a burst.
    uint64_t address(int64_t group, int64_t bank, uint64_t row, uint64_t column) const {
        const uint64_t banks = shape.banks, own_bank = (bank + banks - row % banks) % banks;
        return (((row * banks + own_bank) * shape.columns + column) * shape.groups + group) * shape.burst_bytes;
    }

  private:
    static constexpr int64_t CLOSED = -1;
    static constexpr int64_t MOST_BYTES = 64;  // on the pins in a cycle

    struct Slot {
        int64_t cycle = -1;
        uint64_t sideband = 0;
        uint8_t data[MOST_BYTES];
    };
    struct Write {
        int64_t cycle;  // of the next part of its data
        uint64_t address;
        int64_t part;
        bool known;  // false: there is no such address
    };

    DramShape shape;
    uint64_t size;
    std::unique_ptr<uint8_t, decltype(&std::free)> own;
    uint8_t* bytes;
    int64_t beat, sideband_part;
    std::vector<int64_t> open;  // the row of each bank
    std::vector<Slot> slots;    // what will be on the pins, by cycle modulo their number
    std::deque<Write> writes;
    std::vector<uint64_t> sidebands;
    int64_t cycle = 0;
    size_t place = 0;  // of this cycle in slots
    uint8_t nothing[MOST_BYTES];

    int64_t& row_of(int64_t group, int64_t bank) { return open[group * shape.banks + bank]; }

    void row_command(const DramCommands& c) {
        switch (c.row_op) {
            case ACTIVATE:
                counts[ACT]++;
                row_of(c.row_group, c.row_bank) = c.row;
                break;
            case PRECHARGE:
                counts[PRE]++;
                row_of(c.row_group, c.row_bank) = CLOSED;
                break;
            case PRECHARGE_ALL:
                counts[PRE]++;
                open.assign(open.size(), CLOSED);
                break;
            case REFRESH_ALL:
                counts[REFAB]++;
                break;
            case REFRESH_BANK:
                counts[REFPB]++;
                break;
        }
    }

    void column_command(const DramCommands& c) {
        const bool reads = c.column_op == READ;
        counts[reads ? RD : WR]++;
        const int64_t row = row_of(c.column_group, c.column_bank);
        misplaced += row == CLOSED;
        const uint64_t at = row == CLOSED ? size : address(c.column_group, c.column_bank, row, c.column);
        const bool known = at + shape.burst_bytes <= size;
        beyond += !known && row != CLOSED;
        if (!reads) {
            writes.push_back({cycle + shape.write_latency, at, 0, known});
            return;
        }
        const uint64_t bits = known ? sideband(at) : 0;
        for (int64_t n = 0; n < shape.burst_cycles; n++) {
            Slot& slot = slots[(place + shape.read_latency + n) % slots.size()];
            slot.cycle = cycle + shape.read_latency + n;
            slot.sideband = part_of(bits, n);
            if (known)
                std::memcpy(slot.data, bytes + at + n * beat, beat);
            else
                std::memset(slot.data, 0, beat);
        }
    }

    uint64_t part_mask() const { return sideband_part >= 64 ? ~0ull : (1ull << sideband_part) - 1; }
    uint64_t part_of(uint64_t bits, int64_t n) const {
        return sideband_part ? bits >> (n * sideband_part) & part_mask() : 0;
    }

    // The part of the oldest write's data whose cycle this is.
    void write(const DramWriteData& w) {
        Write& front = writes.front();
        if (front.cycle != cycle) return;
        if (front.known && w.strb) {
            uint8_t* target = bytes + front.address + front.part * beat;
            const uint64_t all = beat >= 64 ? ~0ull : (1ull << beat) - 1;
            if ((w.strb & all) == all) {
                std::memcpy(target, w.data, beat);
            } else {
                for (int64_t n = 0; n < beat; n++)
                    if (w.strb >> n & 1) target[n] = w.data[n];
            }
            if (sideband_part) {
                const int shift = front.part * sideband_part;
                const uint64_t before = sideband(front.address) & ~(part_mask() << shift);
                set_sideband(front.address, before | (w.sideband & part_mask()) << shift);
            }
        }
        front.cycle++;
        if (++front.part == shape.burst_cycles) writes.pop_front();
    }
};

}  // namespace poblano
