// Commands of a DRAM at a controller's command interface, and the shape of what takes them.

#pragma once

#include <cstdint>

namespace poblano {

// As poblano.dram.signature numbers them.
enum RowOp : uint8_t { ROW_NOP, ACTIVATE, PRECHARGE, PRECHARGE_ALL, REFRESH_ALL, REFRESH_BANK };
enum ColumnOp : uint8_t { COLUMN_NOP, READ, WRITE };

// Kinds of commands that times are between. A precharge of all banks is one of each.
enum DramKind : uint32_t { ACT, PRE, REFAB, REFPB, RD, WR, DRAM_KINDS };

inline const char* kind_name(uint32_t kind) {
    static const char* const names[] = {"ACT", "PRE", "REFAB", "REFPB", "RD", "WR"};
    return names[kind];
}

// poblano_host.sim.dram_rules fills it in.
struct DramShape {
    int64_t groups, banks;            // bank groups, banks in each
    int64_t ways;                     // banks, in as many groups, that contiguous bursts go round
    int64_t rows, columns;            // of a bank, bursts in a row
    int64_t burst_bytes;              // of a column command
    int64_t burst_clocks;             // memory clocks of its data on the pins
    int64_t sideband_bits;            // of a burst
    int64_t ratio;                    // memory clocks in a cycle of the controller
    int64_t row_phase, column_phase;  // clock of the cycle in which the commands are
    int64_t shared_bus;               // row and column commands share pins
    int64_t burst_cycles;             // cycles of the controller for which a burst's data are on the pins
    int64_t read_latency, write_latency;  // and from a command to them

    int64_t all_banks() const { return groups * banks; }
    int64_t sets() const { return all_banks() / ways; }
    // By how much the sets of a row are turned.
    uint64_t turn(uint64_t row) const { return row - row / sets() + row / sets() / sets(); }
    int64_t row_clock(int64_t cycle) const { return cycle * ratio + row_phase; }
    int64_t column_clock(int64_t cycle) const { return cycle * ratio + column_phase; }
};

// Times in memory clocks, of the names in poblano.dram.timing, and how many refreshes may be put off.
struct DramTimes {
    int64_t cl, cwl, rcd_read, rcd_write, rp, ras, rc, ccd_s, ccd_l, rrd_s, rrd_l, faw, rtp, wr, wtr_s, wtr_l, rtw;
    int64_t rfc_all, rfc_bank, rrefd, refi, postponed;
};

// The commands of a cycle.
struct DramCommands {
    uint8_t row_op = ROW_NOP, column_op = COLUMN_NOP;
    uint8_t row_group = 0, row_bank = 0, column_group = 0, column_bank = 0;
    uint32_t row = 0, column = 0;
};

// What is on the pins for written data: `data` is read in the cycles of a write's data only.
struct DramWriteData {
    const uint8_t* data = nullptr;
    uint64_t strb = 0, sideband = 0;
};

}  // namespace poblano
