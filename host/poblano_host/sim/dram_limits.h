// When a command may come, kept forward from each command: an independent reading of the rules, for models of controllers.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "dram_command.h"

namespace poblano {

// Where DramChecker compares a command with earlier ones by a table, here each command that is issued moves the earliest
// clock of what may follow. Commands are issued in the order of their clocks.
class DramLimits {
  public:
    struct Bank {
        int64_t next[DRAM_KINDS] = {};  // earliest clock of each kind
        int64_t row = -1;               // open, or -1
    };
    std::vector<Bank> banks;

    DramLimits(const DramShape& shape, const DramTimes& times)
        : banks(shape.all_banks()), shape(shape), t(times), in_group(shape.banks) {}

    // Of a refresh of all banks the bank does not matter.
    int64_t earliest(uint32_t kind, int64_t bank) const {
        if (kind == ACT) return std::max(banks[bank].next[ACT], acts[oldest] + t.faw);
        if (kind != REFAB) return banks[bank].next[kind];
        int64_t clock = 0;
        for (const Bank& each : banks) clock = std::max(clock, each.next[REFAB]);
        return clock;
    }

    // The least cycle from `cycle` on.
    int64_t earliest_cycle(uint32_t kind, int64_t bank, int64_t cycle) const {
        const int64_t phase = kind == RD || kind == WR ? shape.column_phase : shape.row_phase;
        const int64_t clock = earliest(kind, bank) - phase;
        return std::max(cycle, clock <= 0 ? 0 : (clock + shape.ratio - 1) / shape.ratio);
    }

    bool all_closed() const {
        for (const Bank& bank : banks)
            if (bank.row >= 0) return false;
        return true;
    }

    void issue(uint32_t kind, int64_t bank, int64_t row, int64_t clock) {
        Bank& own = banks[bank];
        switch (kind) {
            case ACT:
                own.row = row;
                after(own, RD, clock + t.rcd_read);
                after(own, WR, clock + t.rcd_write);
                after(own, PRE, clock + t.ras);
                after(own, ACT, clock + t.rc);
                after(own, REFPB, clock + t.rc);
                after(own, REFAB, clock + t.rc);
                others(bank, {ACT, REFPB}, clock + t.rrd_l, clock + t.rrd_s);
                acts[oldest] = clock;
                oldest = (oldest + 1) % 4;
                break;
            case PRE:
                own.row = -1;
                for (uint32_t next : {ACT, REFPB, REFAB}) after(own, next, clock + t.rp);
                break;
            case RD:
                after(own, PRE, clock + t.rtp);
                all(RD, clock + shape.burst_clocks);
                columns(RD, bank, clock + t.ccd_l, clock + t.ccd_s);
                all(WR, clock + std::max(t.rtw, t.cl + shape.burst_clocks - t.cwl));
                break;
            case WR: {
                const int64_t written = clock + t.cwl + shape.burst_clocks;
                after(own, PRE, written + t.wr);
                all(WR, clock + shape.burst_clocks);
                columns(WR, bank, clock + t.ccd_l, clock + t.ccd_s);
                columns(RD, bank, written + t.wtr_l, written + t.wtr_s);
                break;
            }
            case REFPB:
                for (uint32_t next : {ACT, PRE, REFPB}) after(own, next, clock + t.rfc_bank);
                all(REFAB, clock + t.rfc_bank);
                others(bank, {ACT, REFPB}, clock + t.rrefd, clock + t.rrefd);
                break;
            case REFAB:
                for (uint32_t next : {ACT, PRE, REFPB, REFAB}) all(next, clock + t.rfc_all);
                break;
        }
    }

  private:
    DramShape shape;
    DramTimes t;
    int64_t in_group;
    static constexpr int64_t NEVER = INT64_MIN / 2;
    int64_t acts[4] = {NEVER, NEVER, NEVER, NEVER};
    size_t oldest = 0;

    static void after(Bank& bank, uint32_t kind, int64_t clock) { bank.next[kind] = std::max(bank.next[kind], clock); }

    void all(uint32_t kind, int64_t clock) {
        for (Bank& bank : banks) after(bank, kind, clock);
    }

    // Same group, the bank too, and other groups.
    void columns(uint32_t kind, int64_t bank, int64_t same, int64_t other) {
        for (size_t n = 0; n < banks.size(); n++)
            after(banks[n], kind, int64_t(n) / in_group == bank / in_group ? same : other);
    }

    // Other banks.
    void others(int64_t bank, std::initializer_list<uint32_t> kinds, int64_t same, int64_t other) {
        for (size_t n = 0; n < banks.size(); n++) {
            if (int64_t(n) == bank) continue;
            for (uint32_t kind : kinds) after(banks[n], kind, int64_t(n) / in_group == bank / in_group ? same : other);
        }
    }
};

}  // namespace poblano
