// The model of a DRAM, its checker and schedulers as a shared library, driven from Python by ctypes.

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "dram.h"
#include "dram_checker.h"
#include "dram_random.h"
#include "dram_reference.h"
#include "dram_trace.h"

using namespace poblano;

namespace {

struct Device {
    DramShape shape;
    DramTimes times;
    Dram dram;
    DramChecker checker;
    std::unique_ptr<DramTrace> trace;
    int64_t cycle = 0;
    std::string text;

    Device(const DramShape& shape, const DramCode& code, const DramTimes& times, const DramRule* rules, uint64_t count,
           uint64_t size, const char* path)
        : shape(shape), times(times), dram(shape, code, size), checker(shape, times, rules, count) {
        if (path) trace = std::make_unique<DramTrace>(shape, path);
    }

    void watch(const DramCommands& c) {
        checker.advance(cycle, c);
        if (trace) trace->advance(cycle, c);
    }
};

}  // namespace

extern "C" {

Device* dram_create(const DramShape* shape, const DramCode* code, const DramTimes* times, const DramRule* rules,
                    uint64_t count, uint64_t size, const char* path) {
    return new Device(*shape, *code, *times, rules, count, size, path);
}

void dram_destroy(Device* d) { delete d; }

uint8_t* dram_memory(Device* d) { return d->dram.memory(); }
uint64_t dram_sideband(Device* d, uint64_t address) { return d->dram.sideband(address); }
void dram_set_sideband(Device* d, uint64_t address, uint64_t value) { d->dram.set_sideband(address, value); }
void dram_flip(Device* d, uint64_t address, uint64_t bit) { d->dram.flip(address, bit); }
uint64_t dram_different(Device* d, uint64_t* addresses, uint64_t most) { return d->dram.different(addresses, most); }
uint64_t dram_beyond(Device* d) { return d->dram.beyond; }
uint64_t dram_misplaced(Device* d) { return d->dram.misplaced; }
void dram_reset(Device* d) { d->dram.reset(); }

// Cycles: the commands and data of each, and what the DRAM drives in each.
void dram_run(Device* d, uint64_t cycles, const DramCommands* commands, const uint8_t* data, const uint64_t* strb,
              const uint64_t* sideband, uint8_t* read, uint64_t* read_sideband) {
    const int64_t beat = d->shape.burst_bytes / d->shape.burst_cycles;
    for (uint64_t n = 0; n < cycles; n++) {
        const DramReadData out = d->dram.read_data();
        std::memcpy(read + n * beat, out.data, beat);
        read_sideband[n] = out.sideband;
        d->watch(commands[n]);
        d->dram.advance(commands[n], {data + n * beat, strb[n], sideband[n]});
        d->cycle++;
    }
}

// `count` random commands; `limits` are the times that they keep.
void dram_random(Device* d, uint64_t count, const DramTimes* limits, int bank_refresh, uint64_t seed) {
    RandomCommands random(d->shape, *limits, bank_refresh, seed);
    DramCommands commands;
    int64_t cycle = 0;
    for (uint64_t n = 0; n < count; n++) {
        const TimedCommands next = random.next();
        if (next.cycle != cycle) {
            d->cycle = cycle;
            d->watch(commands);
            commands = next.commands;
            cycle = next.cycle;
        } else if (next.commands.column_op) {
            const DramCommands row = commands;
            commands = next.commands;
            commands.row_op = row.row_op, commands.row_group = row.row_group, commands.row_bank = row.row_bank;
            commands.row = row.row;
        } else {
            commands.row_op = next.commands.row_op, commands.row_group = next.commands.row_group;
            commands.row_bank = next.commands.row_bank, commands.row = next.commands.row;
        }
    }
    d->checker.finish(cycle);
}

int64_t dram_reference(Device* d, const Burst* bursts, uint64_t count, uint64_t window, int bank_refresh) {
    return ReferenceController(d->shape, d->times, d->checker, window, bank_refresh).run(bursts, count);
}

void dram_finish(Device* d) { d->checker.finish(d->cycle); }
uint64_t dram_commands(Device* d) { return d->checker.commands; }
uint64_t dram_violations(Device* d) { return d->checker.violations; }

const char* dram_report(Device* d) {
    d->text = d->checker.report();
    return d->text.c_str();
}
}
