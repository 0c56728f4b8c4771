// A DRAM behind a controller's command interface: one pseudo-channel of HBM, or a device.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dram_code.h"
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
// sideband_bits, is written with any byte.
//
// `memory` has the bytes that a host means: a burst that the host has changed has the sideband that `code` gives. Where
// bits have flipped, or a sideband is another one, the difference is kept beside the memory, until the controller or the
// host writes the burst. Without a code a bit of the data flips in the memory itself.
//
// A column command to a bank without an open row moves nothing and is counted. Whether commands are legal otherwise is
// DramChecker's.
class Dram {
  public:
    uint64_t beyond = 0;    // bursts beyond the memory: they read 0
    uint64_t misplaced = 0;  // column commands to closed banks
    uint64_t counts[DRAM_KINDS] = {};

    // Without `bytes` the memory of `size` bytes is the DRAM's own, and 0.
    Dram(const DramShape& shape, const DramCode& code, uint64_t size, uint8_t* bytes = nullptr)
        : shape(shape),
          encode(code),
          size(size),
          own(bytes ? nullptr : static_cast<uint8_t*>(std::calloc(size ? size : 1, 1)), &std::free),
          bytes(bytes ? bytes : own.get()),
          beat(shape.burst_bytes / shape.burst_cycles),
          sideband_part(shape.sideband_bits / shape.burst_cycles),
          open(shape.all_banks(), CLOSED),
          slots(shape.read_latency + shape.burst_cycles) {
        if (!this->bytes) throw std::bad_alloc();
        if (shape.read_latency < 1 || shape.burst_bytes > MOST_BYTES || shape.sideband_bits > 64)
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

    // The sideband of a burst, as it is stored.
    uint64_t sideband(uint64_t address) {
        const uint64_t at = start_of(address);
        if (at + shape.burst_bytes > size) return 0;
        const Difference* found = difference(at);
        return encoded(at) ^ (found ? found->sideband : 0);
    }
    void set_sideband(uint64_t address, uint64_t value) {
        const uint64_t at = start_of(address);
        if (at + shape.burst_bytes > size) return;
        Difference kept = taken(at);
        kept.sideband = value ^ encoded(at);
        keep(at, std::move(kept));
    }

    // Flips a stored bit of a burst: of its data, or, after them, of its sideband.
    void flip(uint64_t address, uint64_t bit) {
        const uint64_t at = start_of(address), bits = 8 * shape.burst_bytes;
        if (at + shape.burst_bytes > size) return;
        if (bit < bits && !encode) {
            bytes[at + bit / 8] ^= 1 << bit % 8;
            return;
        }
        Difference kept = taken(at);
        if (bit < bits)
            kept.data[bit / 8] ^= 1 << bit % 8;
        else
            kept.sideband ^= 1ull << (bit - bits);
        keep(at, std::move(kept));
    }

    // Whether a burst is stored as the code gives it.
    bool intact(uint64_t address) { return !difference(start_of(address)); }

    // Of the bursts that are not as the code gives them, the addresses, at most `most`; their number.
    uint64_t different(uint64_t* addresses, uint64_t most) {
        std::vector<uint64_t> all;
        for (const auto& each : differences) all.push_back(each.first);
        uint64_t count = 0;
        for (uint64_t at : all) {
            if (!difference(at)) continue;
            if (count < most) addresses[count] = at;
            count++;
        }
        return count;
    }

    // Whether there are data of a read on the pins in this cycle.
    bool reading() const { return slots[place].cycle == cycle; }

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
        const uint64_t number = group + shape.groups * bank, sets = shape.sets();
        const uint64_t set = (number / shape.ways + sets - shape.turn(row) % sets) % sets;
        return (((row * sets + set) * shape.columns + column) * shape.ways + number % shape.ways) * shape.burst_bytes;
    }

  private:
    static constexpr int64_t CLOSED = -1;
    static constexpr int64_t MOST_BYTES = 64;  // of a burst

    struct Slot {
        int64_t cycle = -1;
        uint64_t sideband = 0;
        uint8_t data[MOST_BYTES];
    };
    // What is stored is the memory's bytes, and the sideband that the code gives for them, exclusive or these.
    struct Difference {
        uint8_t data[MOST_BYTES] = {}, of[MOST_BYTES];  // `of`: the bytes
        uint64_t sideband = 0;
    };
    struct Write {
        int64_t cycle;  // of the next part of its data
        uint64_t address;
        int64_t part;
        bool known;  // false: there is no such address
    };

    DramShape shape;
    DramEncoder encode;
    uint64_t size;
    std::unique_ptr<uint8_t, decltype(&std::free)> own;
    uint8_t* bytes;
    int64_t beat, sideband_part;
    std::vector<int64_t> open;  // the row of each bank
    std::vector<Slot> slots;    // what will be on the pins, by cycle modulo their number
    std::deque<Write> writes;
    std::unordered_map<uint64_t, Difference> differences;  // by the bursts' addresses
    int64_t cycle = 0;
    size_t place = 0;  // of this cycle in slots
    uint8_t nothing[MOST_BYTES], zeros[MOST_BYTES] = {};

    uint64_t start_of(uint64_t address) const { return address / shape.burst_bytes * shape.burst_bytes; }

    // The parity of a burst's place: bank's number, column and row.
    bool parity(uint64_t at) const {
        const uint64_t sets = shape.sets();
        uint64_t left = at / shape.burst_bytes;
        const uint64_t way = left % shape.ways;
        left /= shape.ways;
        const uint64_t column = left % shape.columns;
        left /= shape.columns;
        const uint64_t row = left / sets, set = (left + shape.turn(row)) % sets;
        return __builtin_parityll(way) ^ __builtin_parityll(column) ^ __builtin_parityll(set) ^ __builtin_parityll(row);
    }

    uint64_t encoded(uint64_t at) const { return encode ? encode(bytes + at, parity(at)) : 0; }

    // Of the burst that begins at an address, or null.
    const Difference* difference(uint64_t at) {
        if (differences.empty()) return nullptr;
        const auto found = differences.find(at);
        if (found == differences.end()) return nullptr;
        if (!std::memcmp(found->second.of, bytes + at, shape.burst_bytes)) return &found->second;
        differences.erase(found);  // the host has written it
        return nullptr;
    }
    Difference taken(uint64_t at) {
        const Difference* found = difference(at);
        return found ? *found : Difference();
    }
    void keep(uint64_t at, Difference&& kept) {
        bool any = kept.sideband != 0;
        for (int64_t n = 0; n < shape.burst_bytes; n++) any |= kept.data[n] != 0;
        if (!any) {
            differences.erase(at);
            return;
        }
        std::memcpy(kept.of, bytes + at, shape.burst_bytes);
        differences[at] = std::move(kept);
    }

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
        const uint64_t bits = !sideband_part ? 0 : known ? sideband(at) : encode ? encode(zeros, parity(at)) : 0;
        const Difference* flips = known ? difference(at) : nullptr;
        for (int64_t n = 0; n < shape.burst_cycles; n++) {
            Slot& slot = slots[(place + shape.read_latency + n) % slots.size()];
            slot.cycle = cycle + shape.read_latency + n;
            slot.sideband = part_of(bits, n);
            if (!known) {
                std::memset(slot.data, 0, beat);
                continue;
            }
            std::memcpy(slot.data, bytes + at + n * beat, beat);
            if (flips)
                for (int64_t k = 0; k < beat; k++) slot.data[k] ^= flips->data[n * beat + k];
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
        if (front.known && w.strb) write(front.address, front.part, w);
        front.cycle++;
        if (++front.part == shape.burst_cycles) writes.pop_front();
    }
    void write(uint64_t at, int64_t part, const DramWriteData& w) {
        const int64_t from = part * beat;
        const uint64_t all = beat >= 64 ? ~0ull : (1ull << beat) - 1;
        const uint64_t before = sideband_part ? sideband(at) : 0;
        Difference kept = taken(at);
        if ((w.strb & all) == all) {
            std::memcpy(bytes + at + from, w.data, beat);
            std::memset(kept.data + from, 0, beat);
        } else {
            for (int64_t n = 0; n < beat; n++)
                if (w.strb >> n & 1) bytes[at + from + n] = w.data[n], kept.data[from + n] = 0;
        }
        if (sideband_part) {
            const int shift = part * sideband_part;
            const uint64_t others = before & ~(part_mask() << shift);
            kept.sideband = (others | (w.sideband & part_mask()) << shift) ^ encoded(at);
        }
        if (sideband_part || !differences.empty()) keep(at, std::move(kept));
    }
};

}  // namespace poblano
