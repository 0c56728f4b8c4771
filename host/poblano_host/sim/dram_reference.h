// Schedulers that a controller is compared with: what they issue is legal, and no hardware is described.

#pragma once

#include <cstdint>
#include <deque>

#include "axi_burst.h"
#include "dram_checker.h"
#include "dram_limits.h"

namespace poblano {

// First ready, first come, first served among the `window` oldest bursts: in a cycle the oldest burst whose next beat's row
// is open and whose column command is legal gets it, and the oldest whose row is not open a precharge or an activation,
// for its next beats, as many as there are ways. A row that a burst of the window still needs stays open. With a window of 1
// bursts are served in order. Refreshes come when they are due: of all banks, for which everything stops, or, with
// `bank_refresh`, of one bank after the other.
class ReferenceController {
  public:
    ReferenceController(const DramShape& shape, const DramTimes& times, DramChecker& checker, size_t window,
                        bool bank_refresh)
        : shape(shape), times(times), limits(shape, times), checker(checker), window(window), bank_refresh(bank_refresh) {
        next_refresh = interval();
    }

    // The cycles until the last beat's data.
    int64_t run(const Burst* bursts, size_t count) {
        size_t taken = 0;
        int64_t last_read = 0;
        while (taken < count || !pending.empty()) {
            while (pending.size() < window && taken < count && bursts[taken].earliest <= cycle) {
                const Burst& b = bursts[taken++];
                pending.push_back({b.address / uint64_t(shape.burst_bytes), b.beats, b.write != 0});
            }
            DramCommands c;
            const bool one_a_cycle = shape.shared_bus && shape.row_phase == shape.column_phase;
            refresh(c);
            if (!(one_a_cycle && c.row_op)) column(c);
            if (!c.row_op && !(one_a_cycle && c.column_op)) row(c);
            checker.advance(cycle, c);
            if (c.column_op) last_read = cycle + (c.column_op == READ ? shape.read_latency : shape.write_latency);
            cycle++;
        }
        checker.finish(cycle);
        return last_read + shape.burst_cycles;
    }

  private:
    struct Pending {
        uint64_t beat;  // address of the next one in bursts of the DRAM
        uint32_t left;
        bool write;
    };
    struct Place {
        int64_t bank, row, column;
    };

    DramShape shape;
    DramTimes times;
    DramLimits limits;
    DramChecker& checker;
    size_t window;
    bool bank_refresh;
    std::deque<Pending> pending;
    int64_t cycle = 0, next_refresh = 0, refresh_bank = 0;

    int64_t interval() const { return bank_refresh ? times.refi / shape.all_banks() : times.refi; }
    bool refreshing() const { return shape.row_clock(cycle) >= next_refresh; }
    bool stopped(int64_t bank) const { return refreshing() && (!bank_refresh || bank == refresh_bank); }

    Place place(uint64_t beat) const {
        const uint64_t sets = shape.sets();
        const uint64_t way = beat % shape.ways, column = beat / shape.ways % shape.columns;
        const uint64_t rest = beat / shape.ways / shape.columns, row = rest / sets % shape.rows;
        const uint64_t number = way + shape.ways * ((rest + shape.turn(row)) % sets);
        return {int64_t(number % shape.groups * shape.banks + number / shape.groups), int64_t(row), int64_t(column)};
    }

    bool legal(uint32_t kind, int64_t bank) const { return limits.earliest_cycle(kind, bank, cycle) == cycle; }

    void issue(DramCommands& c, uint32_t kind, int64_t bank, int64_t where) {
        const bool is_column = kind == RD || kind == WR;
        limits.issue(kind, bank, where, is_column ? shape.column_clock(cycle) : shape.row_clock(cycle));
        const uint8_t group = bank / shape.banks, own = bank % shape.banks;
        if (is_column) {
            c.column_op = kind == RD ? READ : WRITE;
            c.column_group = group, c.column_bank = own, c.column = where;
        } else {
            const uint8_t ops[] = {ACTIVATE, PRECHARGE, REFRESH_ALL, REFRESH_BANK};
            c.row_op = ops[kind];
            c.row_group = group, c.row_bank = own, c.row = where;
        }
    }

    void refresh(DramCommands& c) {
        if (!refreshing()) return;
        const int64_t first = bank_refresh ? refresh_bank : 0, end = bank_refresh ? refresh_bank + 1 : shape.all_banks();
        bool closed = true;
        for (int64_t bank = first; bank < end; bank++) {
            if (limits.banks[bank].row < 0) continue;
            closed = false;
            if (!c.row_op && legal(PRE, bank)) issue(c, PRE, bank, 0);
        }
        const uint32_t kind = bank_refresh ? REFPB : REFAB;
        if (!closed || !legal(kind, refresh_bank)) return;
        issue(c, kind, refresh_bank, 0);
        next_refresh += interval();
        if (bank_refresh) refresh_bank = (refresh_bank + 1) % shape.all_banks();
    }

    void column(DramCommands& c) {
        for (size_t n = 0; n < pending.size(); n++) {
            Pending& each = pending[n];
            const Place at = place(each.beat);
            const uint32_t kind = each.write ? WR : RD;
            if (limits.banks[at.bank].row != at.row || stopped(at.bank) || !legal(kind, at.bank)) continue;
            issue(c, kind, at.bank, at.column);
            each.beat++;
            if (--each.left == 0) pending.erase(pending.begin() + n);
            return;
        }
    }

    uint32_t ahead(const Pending& each) const { return std::min<uint32_t>(each.left, shape.ways); }

    bool needed(int64_t bank, int64_t row) const {
        for (const Pending& each : pending)
            for (uint32_t n = 0; n < ahead(each); n++) {
                const Place at = place(each.beat + n);
                if (at.bank == bank && at.row == row) return true;
            }
        return false;
    }

    void row(DramCommands& c) {
        for (const Pending& each : pending)
            for (uint32_t n = 0; n < ahead(each); n++) {
                const Place at = place(each.beat + n);
                const int64_t open = limits.banks[at.bank].row;
                if (open == at.row || stopped(at.bank)) continue;
                if (!legal(open < 0 ? ACT : PRE, at.bank) || (open >= 0 && needed(at.bank, open))) continue;
                issue(c, open < 0 ? ACT : PRE, at.bank, at.row);
                return;
            }
    }
};

}  // namespace poblano
