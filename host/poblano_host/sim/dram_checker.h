// What a DRAM demands of its commands, checked: a monitor that knows a table of times and nothing of a controller.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "dram_command.h"

namespace poblano {

// Whose first command a rule is about, seen from the second: bits.
enum DramScope : uint32_t { SAME_BANK = 1, SAME_GROUP = 2, OTHER_GROUP = 4, ANY_BANK = 7 };

// `second` comes at least `clocks` memory clocks after the last `first` within `scope` (SAME_GROUP is another bank of the
// group), or with a `window` above 1 after the last but so many less one. poblano_host.sim.dram_rules makes the table.
struct DramRule {
    char name[16];
    uint32_t first, second, scope, window;
    int64_t clocks;
};

// Beside the table: banks are in the right state, data do not meet on their pins, nor commands on shared ones, and a bank's
// next refresh comes at most (1 + postponed) * refi clocks after the one before, or after the start; nor are refreshes that
// much behind their average, of which those ahead of time count up to `postponed`.
//
// Every command is compared with the last one of each kind in each bank, as a bank's last command only would hide, for
// example, an activation behind a read. Violations are counted by the rule's name; of the first ones there is a text:
//
//     ras: ACT 0 1 at clock 100, PRE 0 1 at clock 140: 40 clocks, 45 needed, 5 short
class DramChecker {
  public:
    DramChecker(const DramShape& shape, const DramTimes& times, const DramRule* rules, size_t count)
        : shape(shape), times(times), banks(shape.all_banks()), open(banks, false), refreshed(banks, 0), paid(banks, 0) {
        for (size_t n = 0; n < count; n++) by_second[rules[n].second].push_back(rules[n]);
        for (auto& each : last) each.assign(banks, NEVER);
        latest.fill(NEVER);
        recent.fill(NEVER);
    }

    uint64_t violations = 0, commands = 0;
    std::map<std::string, uint64_t> by_name;
    std::vector<std::string> texts;

    // The commands of a cycle.
    void advance(int64_t cycle, const DramCommands& c) {
        const int64_t row_clock = shape.row_clock(cycle), column_clock = shape.column_clock(cycle);
        if (c.row_op) row(row_clock, c);
        if (!c.column_op) return;
        if (c.column_op > WRITE) violation("command", "unknown column command at clock " + std::to_string(column_clock));
        if (c.row_op && shape.shared_bus && row_clock == column_clock)
            violation("command bus", "a row and a column command at clock " + std::to_string(column_clock));
        column(column_clock, c.column_op == READ ? RD : WR, c.column_group * shape.banks + c.column_bank);
    }

    // At the end of a run: are refreshes late?
    void finish(int64_t cycle) {
        for (int64_t bank = 0; bank < banks; bank++) check_refresh(bank, cycle * shape.ratio);
    }

    // A line "count name" for each rule that was broken, an empty one, and the texts.
    std::string report() const {
        std::string lines;
        for (const auto& [name, count] : by_name) lines += std::to_string(count) + " " + name + "\n";
        lines += "\n";
        for (const std::string& text : texts) lines += text + "\n";
        return lines;
    }

  private:
    static constexpr int64_t NEVER = INT64_MIN / 2;
    static constexpr size_t TEXTS = 100;  // that are kept

    DramShape shape;
    DramTimes times;
    int64_t banks;
    std::array<std::vector<DramRule>, DRAM_KINDS> by_second;
    std::array<std::vector<int64_t>, DRAM_KINDS> last;  // clock of the last command of each kind by bank
    std::array<int64_t, DRAM_KINDS> latest;             // and of any bank
    std::array<int64_t, 4> recent;                      // of the last activations, round robin
    size_t oldest = 0;                                  // of recent
    std::vector<bool> open;
    std::vector<int64_t> refreshed;  // clock of the last refresh
    std::vector<int64_t> paid;       // clock up to which refreshes have been made
    int64_t read_end = NEVER, write_end = NEVER;  // of the last data on the pins

    void violation(const std::string& name, const std::string& text) {
        violations++;
        by_name[name]++;
        if (texts.size() < TEXTS) texts.push_back(name + ": " + text);
    }

    std::string told(uint32_t kind, int64_t bank, int64_t clock) const {
        std::string text = kind_name(kind);
        if (kind != REFAB) text += " " + std::to_string(bank / shape.banks) + " " + std::to_string(bank % shape.banks);
        return text + " at clock " + std::to_string(clock);
    }

    uint32_t relation(int64_t first, int64_t second) const {
        if (first == second) return SAME_BANK;
        return first / shape.banks == second / shape.banks ? SAME_GROUP : OTHER_GROUP;
    }

    // All rules whose second command is this one.
    void check(uint32_t kind, int64_t bank, int64_t clock) {
        for (const DramRule& rule : by_second[kind]) {
            if (clock - latest[rule.first] >= rule.clocks) continue;
            if (rule.window > 1) {
                const int64_t past = recent[(oldest + recent.size() - rule.window) % recent.size()];
                if (clock - past < rule.clocks) too_early(rule, -1, past, kind, bank, clock);
                continue;
            }
            int64_t from = -1;
            for (int64_t other = 0; other < banks; other++) {
                const bool within = kind == REFAB || rule.scope & relation(other, bank);
                if (within && (from < 0 || last[rule.first][other] > last[rule.first][from])) from = other;
            }
            if (from >= 0 && clock - last[rule.first][from] < rule.clocks)
                too_early(rule, from, last[rule.first][from], kind, bank, clock);
        }
    }

    void too_early(const DramRule& rule, int64_t from, int64_t past, uint32_t kind, int64_t bank, int64_t clock) {
        const std::string first =
            from < 0 ? "the fourth ACT before at clock " + std::to_string(past) : told(rule.first, from, past);
        const int64_t had = clock - past;
        violation(rule.name, first + ", " + told(kind, bank, clock) + ": " + std::to_string(had) + " clocks, " +
                                 std::to_string(rule.clocks) + " needed, " +
                                 std::to_string(rule.clocks - had) + " short");
    }

    void note(uint32_t kind, int64_t bank, int64_t clock) {
        last[kind][bank] = clock;
        latest[kind] = clock;
    }

    void state(const char* what, uint32_t kind, int64_t bank, int64_t clock) {
        violation("state", told(kind, bank, clock) + ": " + what);
    }

    void row(int64_t clock, const DramCommands& c) {
        const int64_t bank = c.row_group * shape.banks + c.row_bank;
        commands++;
        switch (c.row_op) {
            case ACTIVATE:
                check(ACT, bank, clock);
                if (open[bank]) state("the bank has an open row", ACT, bank, clock);
                open[bank] = true;
                note(ACT, bank, clock);
                recent[oldest] = clock;
                oldest = (oldest + 1) % recent.size();
                break;
            case PRECHARGE:
                precharge(bank, clock);
                break;
            case PRECHARGE_ALL:
                for (int64_t each = 0; each < banks; each++) precharge(each, clock);
                break;
            case REFRESH_ALL:
                check(REFAB, 0, clock);
                for (int64_t each = 0; each < banks; each++) {
                    if (open[each]) state("a bank has an open row", REFAB, each, clock);
                    refresh_of(each, clock);
                    note(REFAB, each, clock);
                }
                break;
            case REFRESH_BANK:
                check(REFPB, bank, clock);
                if (open[bank]) state("the bank has an open row", REFPB, bank, clock);
                refresh_of(bank, clock);
                note(REFPB, bank, clock);
                break;
            default:
                violation("command", "unknown row command at clock " + std::to_string(clock));
        }
    }

    void precharge(int64_t bank, int64_t clock) {
        check(PRE, bank, clock);
        open[bank] = false;
        note(PRE, bank, clock);
    }

    void column(int64_t clock, uint32_t kind, int64_t bank) {
        commands++;
        check(kind, bank, clock);
        if (!open[bank]) state("the bank has no open row", kind, bank, clock);
        note(kind, bank, clock);
        int64_t& own_end = kind == RD ? read_end : write_end;
        const int64_t other_end = kind == RD ? write_end : read_end;
        const int64_t start = clock + (kind == RD ? times.cl : times.cwl), end = start + shape.burst_clocks;
        if (start < own_end || (start < other_end && end > other_end - shape.burst_clocks))
            violation("data bus", told(kind, bank, clock) + ": its data, from clock " + std::to_string(start) +
                                      " on, meet others'");
        own_end = end;
    }

    void refresh_of(int64_t bank, int64_t clock) {
        check_refresh(bank, clock);
        refreshed[bank] = clock;
        paid[bank] = std::min(paid[bank] + times.refi, clock + times.postponed * times.refi);
    }

    void check_refresh(int64_t bank, int64_t clock) {
        const int64_t most = (1 + times.postponed) * times.refi;
        const int64_t since = clock - refreshed[bank], due = clock - paid[bank];
        if (since <= most && due <= most) return;
        const std::string text = "bank " + std::to_string(bank / shape.banks) + " " + std::to_string(bank % shape.banks) +
                                 " at clock " + std::to_string(clock);
        violation("refi", text + (since > most ? ": the last refresh was " + std::to_string(since) + " clocks before, "
                                               : ": the average is " + std::to_string(due) + " clocks behind, ") +
                              std::to_string(most) + " allowed");
    }
};

}  // namespace poblano
