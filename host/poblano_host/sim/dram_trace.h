// A DRAM's commands as a text file.

#pragma once

#include <cstdint>
#include <cstdio>

#include "dram_command.h"

namespace poblano {

// A line for each command: its memory clock from the start, its name, bank group, bank, and the row of ACT or the column of
// RD and WR, between spaces, numbers in decimal; PREA and REFAB, which go to all banks, have a clock and a name only.
//
//     1200 ACT 2 1 4711
//     1231 RD 2 1 0
//     1240 PRE 2 1
//     1266 REFPB 2 1
class DramTrace {
  public:
    DramTrace(const DramShape& shape, const char* path) : shape(shape), file(std::fopen(path, "w")) {}
    ~DramTrace() {
        if (file) std::fclose(file);
    }
    DramTrace(const DramTrace&) = delete;
    DramTrace& operator=(const DramTrace&) = delete;

    bool good() const { return file; }

    void advance(int64_t cycle, const DramCommands& c) {
        if (!file) return;
        if (c.row_op) row(shape.row_clock(cycle), c);
        if (c.column_op)
            std::fprintf(file, "%lld %s %d %d %u\n", (long long)shape.column_clock(cycle), c.column_op == READ ? "RD" : "WR",
                         c.column_group, c.column_bank, c.column);
    }

  private:
    DramShape shape;
    std::FILE* file;

    void row(int64_t clock, const DramCommands& c) {
        static const char* const names[] = {"", "ACT", "PRE", "PREA", "REFAB", "REFPB"};
        std::fprintf(file, "%lld %s", (long long)clock, names[c.row_op]);
        if (c.row_op != PRECHARGE_ALL && c.row_op != REFRESH_ALL) std::fprintf(file, " %d %d", c.row_group, c.row_bank);
        if (c.row_op == ACTIVATE) std::fprintf(file, " %u", c.row);
        std::fputc('\n', file);
    }
};

}  // namespace poblano
