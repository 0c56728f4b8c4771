// Random commands, each at the earliest cycle in which it is legal.

#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "dram_limits.h"

namespace poblano {

struct TimedCommands {
    int64_t cycle;
    DramCommands commands;
};

// Banks are refreshed before they have to be, one by one and all at once, if the DRAM has both. Half of the commands go to
// the bank of the one before and a quarter to its group, so that all times between commands are met.
class RandomCommands {
  public:
    RandomCommands(const DramShape& shape, const DramTimes& times, bool bank_refresh, uint64_t seed)
        : shape(shape), times(times), limits(shape, times), bank_refresh(bank_refresh), random(seed), due(shape.all_banks()) {
        for (int64_t& each : due) each = below(times.refi) + 1;
    }

    // The next command, in the order of cycles.
    TimedCommands next() {
        const int64_t late = late_bank();
        if (closing || late >= 0) return refresh(late);
        if (below(20000) == 0) closing = true;  // before its time
        bank = near();
        const DramLimits::Bank& chosen = limits.banks[bank];
        if (chosen.row < 0) {
            if (bank_refresh && below(16) == 0) return issue(REFPB);
            return issue(ACT, below(shape.rows));
        }
        const uint64_t what = below(8);
        return issue(what == 0 ? PRE : what < 5 ? RD : WR, below(shape.columns));
    }

  private:
    DramShape shape;
    DramTimes times;
    DramLimits limits;
    bool bank_refresh, closing = false;  // all banks are being closed, for a refresh
    std::mt19937_64 random;
    std::vector<int64_t> due;  // clock of each bank's next refresh
    int64_t bank = 0, cycle = 0;
    bool row_used = false, column_used = false;  // in the cycle

    uint64_t below(uint64_t bound) { return random() % bound; }

    int64_t near() {
        const uint64_t what = below(4);
        if (what < 2) return bank;
        if (what == 2) return bank / shape.banks * shape.banks + below(shape.banks);
        return below(shape.all_banks());
    }

    int64_t late_bank() const {
        for (int64_t each = 0; each < shape.all_banks(); each++)
            if (cycle * shape.ratio > due[each]) return each;
        return -1;
    }

    TimedCommands refresh(int64_t late) {
        if (!bank_refresh || below(64) == 0) closing = true;
        if (closing) {
            for (bank = 0; bank < shape.all_banks() - 1 && limits.banks[bank].row < 0;) bank++;
            if (limits.banks[bank].row >= 0) return below(3) ? issue(PRE) : precharge_all();
            closing = false;
            return issue(REFAB);
        }
        bank = late;
        return issue(limits.banks[bank].row < 0 ? REFPB : PRE);
    }

    TimedCommands precharge_all() {
        int64_t at = cycle + row_used;
        for (int64_t each = 0; each < shape.all_banks(); each++) at = std::max(at, limits.earliest_cycle(PRE, each, at));
        DramCommands c;
        c.row_op = PRECHARGE_ALL;
        for (int64_t each = 0; each < shape.all_banks(); each++) limits.issue(PRE, each, -1, shape.row_clock(at));
        return timed(at, c);
    }

    TimedCommands issue(uint32_t kind, uint64_t place = 0) {
        const bool is_column = kind == RD || kind == WR;
        const bool one_a_cycle = shape.shared_bus && shape.row_phase == shape.column_phase;
        const bool used = (is_column ? column_used : row_used) || (one_a_cycle && (column_used || row_used));
        const int64_t at = limits.earliest_cycle(kind, bank, cycle + used);
        limits.issue(kind, bank, place, is_column ? shape.column_clock(at) : shape.row_clock(at));
        DramCommands c;
        const uint8_t group = bank / shape.banks, own = bank % shape.banks;
        if (is_column) {
            c.column_op = kind == RD ? READ : WRITE;
            c.column_group = group, c.column_bank = own, c.column = place;
        } else {
            const uint8_t ops[] = {ACTIVATE, PRECHARGE, REFRESH_ALL, REFRESH_BANK};
            c.row_op = ops[kind];
            c.row_group = group, c.row_bank = own, c.row = place;
        }
        for (int64_t each = 0; each < shape.all_banks(); each++)
            if (kind == REFAB || (kind == REFPB && each == bank)) due[each] = at * shape.ratio + below(times.refi) + 1;
        return timed(at, c);
    }

    TimedCommands timed(int64_t at, const DramCommands& c) {
        if (at > cycle) row_used = column_used = false;
        cycle = at;
        row_used |= c.row_op != ROW_NOP;
        column_used |= c.column_op != COLUMN_NOP;
        return {at, c};
    }
};

}  // namespace poblano
