// A netlist of cells, flip-flops, clock gates and memories in simulation, without delays, and how often each net changes.

#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace poblano {

// What a file of arrays contains: each a count of elements of 4 bytes, and these.
class Arrays {
  public:
    explicit Arrays(const char* path) : file(path, std::ios::binary) {
        if (!file) throw std::runtime_error(std::string("no netlist ") + path);
    }

    std::vector<uint32_t> next() {
        uint32_t count = 0;
        file.read(reinterpret_cast<char*>(&count), sizeof count);
        std::vector<uint32_t> values(count);
        file.read(reinterpret_cast<char*>(values.data()), 4 * uint64_t(count));
        if (!file) throw std::runtime_error("a netlist's file is too short");
        return values;
    }

  private:
    std::ifstream file;
};

// Cells in an order in which each comes after what it reads. Only those of which an input has changed are evaluated.
class Netlist {
  public:
    explicit Netlist(const char* path) {
        Arrays arrays(path);
        const std::vector<uint32_t> sizes = arrays.next();
        value.assign(sizes[0], 0);
        value[1] = 1;
        change.assign(sizes[0], {});
        load_cells(arrays);
        load_clocks(arrays);
        for (uint32_t n = 0; n < sizes[1]; n++) load_memory(arrays);
        link(sizes[0]);
        current = this;
    }

    // Values of nets after what has been set: of all that depends on it.
    void settle() {
        for (uint64_t word = 0; word < cell_words; word++) {
            while (dirty[word]) {
                const uint64_t n = 64 * word + __builtin_ctzll(dirty[word]);
                dirty[word] &= dirty[word] - 1;
                const Cell& cell = cells[n];
                const uint32_t inputs = value[cell.in[0]] | value[cell.in[1]] << 1 | value[cell.in[2]] << 2 |
                                        value[cell.in[3]] << 3;
                set(cell.out, cell.function >> inputs & 1);
            }
        }
    }

    // The clock's rising edge: flip-flops and memories whose clocks tick take what is at their inputs.
    void edge() {
        cycle++;
        for (uint64_t n = 0; n < clocks.size(); n++) {
            Clock& clock = clocks[n];
            clock.runs = !n || (clocks[clock.parent].runs && value[clock.enable]);
            clock.ticks += clock.runs;
        }
        changed.clear();
        for (uint64_t word = cell_words; word < dirty.size(); word++) {
            for (uint64_t left = dirty[word]; left; left &= left - 1) {
                const uint64_t bit = __builtin_ctzll(left);
                const FlipFlop& flip_flop = flip_flops[64 * (word - cell_words) + bit];
                if (!clocks[flip_flop.clock].runs) continue;
                dirty[word] &= ~(uint64_t(1) << bit);
                if (value[flip_flop.d] != value[flip_flop.q]) changed.push_back(flip_flop.q);
            }
        }
        for (Memory& memory : memories)
            if (clocks[memory.clock].runs) access(memory);
        for (const uint32_t net : changed) set(net, !value[net]);
    }

    void set(uint32_t net, uint8_t to) {
        if (value[net] == to) return;
        value[net] = to;
        // A net that changes back in the same cycle has not changed.
        Change& c = change[net];
        if (c.cycle == cycle) {
            c.count--;
            c.cycle = 0;
        } else {
            c.count++;
            c.cycle = cycle;
        }
        for (uint32_t n = first[net]; n < first[net + 1]; n++) dirty[readers[n] / 64] |= uint64_t(1) << readers[n] % 64;
    }

    uint8_t operator[](uint32_t net) const { return value[net]; }

    void clear_counts() {
        for (Change& c : change) c = {};
        for (Clock& clock : clocks) clock.ticks = 0;
    }

    void copy_counts(uint64_t* changes, uint64_t* ticks) const {
        for (const Change& c : change) *changes++ = c.count;
        for (const Clock& clock : clocks) *ticks++ = clock.ticks;
    }

    static inline Netlist* current = nullptr;  // the last one made

  private:
    struct Cell {
        uint32_t in[4], out, function;
    };
    struct FlipFlop {
        uint32_t d, q, clock;
    };
    struct Clock {
        uint32_t parent, enable;
        bool runs;
        uint64_t ticks;
    };
    struct Change {
        uint32_t count, cycle;
    };
    struct Port {
        uint32_t enable;
        std::vector<uint32_t> address, data;
        bool fresh;  // gives what is written in the same cycle
    };
    struct Memory {
        uint32_t clock, width;
        std::vector<uint32_t> enable, address, data;  // of writes, an enable for each bit
        std::vector<Port> reads;
        std::vector<uint8_t> content;
    };

    std::vector<uint8_t> value;
    std::vector<Change> change;
    std::vector<Cell> cells;
    std::vector<FlipFlop> flip_flops;
    std::vector<Clock> clocks;
    std::vector<Memory> memories;
    std::vector<uint32_t> first, readers;  // of each net: cells, and flip-flops after them
    std::vector<uint64_t> dirty;
    std::vector<uint32_t> changed;
    uint64_t cell_words = 0;
    uint32_t cycle = 1;

    void load_cells(Arrays& arrays) {
        const auto numbers = arrays.next();
        cells.resize(numbers.size() / 6);
        std::memcpy(cells.data(), numbers.data(), 4 * numbers.size());
        const auto registers = arrays.next();
        flip_flops.resize(registers.size() / 3);
        std::memcpy(flip_flops.data(), registers.data(), 4 * registers.size());
    }

    void load_clocks(Arrays& arrays) {
        const auto numbers = arrays.next();
        for (uint64_t n = 0; n < numbers.size(); n += 2) clocks.push_back({numbers[n], numbers[n + 1], false, 0});
    }

    void load_memory(Arrays& arrays) {
        const auto sizes = arrays.next();  // clock, width, read ports
        Memory memory{sizes[0], sizes[1], arrays.next(), arrays.next(), arrays.next(), {}, {}};
        for (uint32_t n = 0; n < sizes[2]; n++) {
            const auto port = arrays.next();  // enable, fresh
            memory.reads.push_back({port[0], arrays.next(), arrays.next(), port[1] != 0});
        }
        memory.content.assign(uint64_t(sizes[1]) << memory.address.size(), 0);
        memories.push_back(std::move(memory));
    }

    void link(uint32_t nets) {
        cell_words = (cells.size() + 63) / 64;
        dirty.assign(cell_words + (flip_flops.size() + 63) / 64, 0);
        first.assign(nets + 1, 0);
        each_reader([&](uint32_t net, uint32_t) { first[net + 1]++; });
        for (uint32_t n = 0; n < nets; n++) first[n + 1] += first[n];
        readers.resize(first[nets]);
        std::vector<uint32_t> next(first.begin(), first.end() - 1);
        each_reader([&](uint32_t net, uint32_t reader) {
            readers[next[net]++] = reader;
            dirty[reader / 64] |= uint64_t(1) << reader % 64;
        });
    }

    template <typename F>
    void each_reader(F f) {
        for (uint32_t n = 0; n < cells.size(); n++) {
            for (const uint32_t net : cells[n].in) f(net, n);
        }
        for (uint32_t n = 0; n < flip_flops.size(); n++) f(flip_flops[n].d, 64 * cell_words + n);
    }

    uint64_t number(const std::vector<uint32_t>& nets) const {
        uint64_t result = 0;
        for (uint64_t n = 0; n < nets.size(); n++) result |= uint64_t(value[nets[n]]) << n;
        return result;
    }

    void access(Memory& memory) {
        bool writes = false;
        for (uint32_t n = 0; n < memory.width && !writes; n++) writes = value[memory.enable[n]];
        const uint64_t to = writes ? number(memory.address) : 0;
        for (const Port& port : memory.reads) {
            if (!value[port.enable]) continue;
            const uint64_t from = number(port.address);
            const bool forward = port.fresh && writes && from == to;
            for (uint32_t n = 0; n < memory.width; n++) {
                const bool taken = forward && value[memory.enable[n]];
                const uint8_t bit = taken ? value[memory.data[n]] : memory.content[from * memory.width + n];
                if (bit != value[port.data[n]]) changed.push_back(port.data[n]);
            }
        }
        if (!writes) return;
        for (uint32_t n = 0; n < memory.width; n++)
            if (value[memory.enable[n]]) memory.content[to * memory.width + n] = value[memory.data[n]];
    }
};

// Ports as members of a class that is used as Verilator's are.
class NetlistPorts {
  public:
    explicit NetlistPorts(const char* path) : netlist(path) {}

    void final() {}

  protected:
    Netlist netlist;

    void input(void* data, uint32_t width, uint32_t net) { inputs.push_back({(uint8_t*)data, width, net, {}}); }
    void output(void* data, uint32_t width, uint32_t net) { outputs.push_back({(uint8_t*)data, width, net, {}}); }

    // Registers take what the inputs were before the rising edge.
    void evaluate(uint8_t clock) {
        if (clock && !last) netlist.edge();
        last = clock;
        for (Pins& pins : inputs) {
            const uint32_t bytes = (pins.width + 7) / 8;
            pins.before.resize(bytes);
            if (!std::memcmp(pins.before.data(), pins.data, bytes)) continue;
            std::memcpy(pins.before.data(), pins.data, bytes);
            for (uint32_t n = 0; n < pins.width; n++) netlist.set(pins.net + n, pins.data[n / 8] >> n % 8 & 1);
        }
        netlist.settle();
        for (const Pins& pins : outputs) {
            for (uint32_t n = 0; n < pins.width; n += 8) {
                uint8_t byte = 0;
                for (uint32_t k = n; k < pins.width && k < n + 8; k++) byte |= netlist[pins.net + k] << (k - n);
                pins.data[n / 8] = byte;
            }
        }
    }

  private:
    struct Pins {
        uint8_t* data;
        uint32_t width, net;
        std::vector<uint8_t> before;
    };
    std::vector<Pins> inputs, outputs;
    uint8_t last = 1;
};

}  // namespace poblano
