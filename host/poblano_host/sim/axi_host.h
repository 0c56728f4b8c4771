// An AXI4 master that offers bursts, checks what comes back, and knows no pins: only values of a cycle.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "axi_burst.h"

namespace poblano {

// How bursts are offered. Probabilities are of 65536.
struct AxiTraffic {
    uint64_t seed;
    uint32_t read_stall, write_stall, response_stall;  // R not taken, W not offered, B not taken
    uint32_t partial;      // beats of written data whose strobes are random
    uint64_t outstanding;  // reads that are not complete, and writes, at most; 0: as many as are taken
    uint64_t drift;        // a burst waits until all but so many of those before it were taken; 0: never
    uint32_t flips;        // how often a bit flips in the DRAM where none has
};

// What it counts, cycles of all channels: waits are from the cycle in which the address is taken to that of the last beat
// of data, or of the response.
struct AxiCounts {
    uint64_t cycles, beats_read, beats_written, bursts_read, bursts_written;
    uint64_t longest_read, longest_write, total_read, total_write;
};

// What the master drives in a cycle, and sees in it.
struct AxiDriven {
    bool arvalid, awvalid, wvalid, wlast, rready, bready;
    const Burst *ar, *aw;
    const uint8_t* wdata;
    uint64_t wstrb;
};
struct AxiSeen {
    bool arready, awready, wready, rvalid, rlast, bvalid;
    uint64_t rid, bid;
    int rresp, bresp;
    const uint8_t* rdata;
};

// Each cycle: drive(), then advance().
//
// Reads are offered in the order of their list, and so are writes; a burst whose bytes are on their way in the other
// direction, or in a write of another id, waits, so that what is read is known. Data are compared with `memory`, a
// copy of the DRAM's that gets all that is written; ids, LAST, responses, their order and that a payload stays until it is
// taken are checked. The words of `unknown`, of `word_bytes` bytes each, by their addresses, are to be answered with SLVERR
// until all of a word is written. The first thing that is wrong is kept in `error`.
class AxiHost {
  public:
    AxiCounts counts{};
    std::string error;

    AxiHost(uint64_t beat, std::vector<uint8_t>& memory, std::set<uint64_t>& unknown, uint64_t word_bytes,
            const Burst* bursts, uint64_t count, const AxiTraffic& traffic)
        : beat(beat), traffic(traffic), random(traffic.seed), memory(memory), unknown(unknown), word_bytes(word_bytes), bursts(bursts, bursts + count), count(count),
          word(beat), held(beat) {
        while (read_next < count && bursts[read_next].write) read_next++;
        while (write_next < count && !bursts[write_next].write) write_next++;
    }

    bool done() const { return read_next >= count && write_next >= count && !reading && !writing && data.empty(); }

    AxiDriven drive() {
        if (!ar && offers(read_next, reading)) ar = &bursts[read_next];
        if (!aw && offers(write_next, writing)) {
            aw = &bursts[write_next];
            data.push_back(aw);
            changing.push_back({aw, 0, 0, false, false});
        }
        if (!w && !data.empty() && !chance(traffic.write_stall)) new_word();
        driven = {ar != nullptr, aw != nullptr, w, w && written + 1 == data.front()->beats, !chance(traffic.read_stall),
                  !chance(traffic.response_stall), ar, aw, word.data(), strb};
        return driven;
    }

    void advance(const AxiSeen& s) {
        stable(s);
        if (s.rvalid && driven.rready) read_beat(s);
        if (s.bvalid && driven.bready) response(s);
        if (driven.wvalid && s.wready) write_beat();
        if (driven.arvalid && s.arready) {
            reads[ar->id].push_back({ar, 0, cycle, true, false});
            reading++;
            take(read_next, ar, 0);
        }
        if (driven.awvalid && s.awready) {
            for (InFlight& each : changing)
                if (each.burst == aw) each.taken = true, each.since = cycle;
            writing++;
            take(write_next, aw, 1);
        }
        counts.cycles = ++cycle;
    }

    // Cycles in which nothing was taken, up to now.
    uint64_t quiet() const { return cycle - last_taken; }

  private:
    struct InFlight {
        const Burst* burst;
        uint32_t beats;  // that are done
        uint64_t since;
        bool taken, complete;  // its address was, its data were
    };

    uint64_t beat;
    AxiTraffic traffic;
    std::mt19937_64 random;
    std::vector<uint8_t>& memory;
    std::set<uint64_t>& unknown;
    uint64_t word_bytes;
    std::vector<Burst> bursts;
    uint64_t count, read_next = 0, write_next = 0, reading = 0, writing = 0, cycle = 0, last_taken = 0;
    std::map<uint32_t, std::deque<InFlight>> reads;
    std::vector<InFlight> changing;  // writes that are offered and not answered, in their order
    std::deque<const Burst*> data;   // writes with data to be sent
    const Burst *ar = nullptr, *aw = nullptr;  // that are offered
    bool w = false;
    uint32_t written = 0;  // beats of data.front()
    std::vector<uint8_t> word;
    uint64_t strb = 0;
    AxiDriven driven{};
    bool r_waits = false, b_waits = false;
    AxiSeen last{};
    std::vector<uint8_t> held;

    bool chance(uint32_t of) { return of && (random() & 0xffff) < of; }

    void fail(const std::string& text) {
        if (error.empty()) error = "cycle " + std::to_string(cycle) + ": " + text;
    }

    static std::string told(const Burst* b) {
        char text[96];
        std::snprintf(text, sizeof text, "%s of %u beats at 0x%llx, id %u", b->write ? "write" : "read", b->beats,
                      (unsigned long long)b->address, b->id);
        return text;
    }

    bool meets(const Burst& a, const Burst& b) const {
        return a.address < b.address + b.beats * beat && b.address < a.address + a.beats * beat;
    }

    bool offers(uint64_t next, uint64_t in_flight) const {
        if (next >= count) return false;
        const Burst& b = bursts[next];
        if (b.earliest > int64_t(cycle) || (traffic.outstanding && in_flight >= traffic.outstanding)) return false;
        const uint64_t first = std::min(read_next, write_next);  // that is not taken
        if (traffic.drift && next - first >= traffic.drift) return false;
        for (const InFlight& each : changing)
            if ((!b.write || each.burst->id != b.id) && meets(*each.burst, b)) return false;
        if (!b.write) return true;
        if (ar && meets(*ar, b)) return false;
        for (const auto& [id, queue] : reads)
            for (const InFlight& each : queue)
                if (meets(*each.burst, b)) return false;
        return true;
    }

    void take(uint64_t& next, const Burst*& offered, uint32_t write) {
        offered = nullptr;
        last_taken = cycle;
        do next++;
        while (next < count && bursts[next].write != write);
    }

    void new_word() {
        for (uint64_t n = 0; n < beat; n += 8) {
            const uint64_t value = random();
            std::memcpy(&word[n], &value, std::min<uint64_t>(8, beat - n));
        }
        strb = beat >= 64 ? ~0ull : (1ull << beat) - 1;
        if (chance(traffic.partial)) strb &= random();
        w = true;
    }

    void write_beat() {
        const uint64_t at = data.front()->address + written * beat;
        for (uint64_t n = 0; n < beat; n++)
            if (strb >> n & 1 && at + n < memory.size()) memory[at + n] = word[n];
        const uint64_t all = word_bytes >= 64 ? ~0ull : (1ull << word_bytes) - 1;
        for (uint64_t n = 0; n < beat && !unknown.empty(); n += word_bytes)
            if ((strb >> n & all) == all) unknown.erase(at + n);
        w = false;
        last_taken = cycle;
        counts.beats_written++;
        if (++written < data.front()->beats) return;
        for (InFlight& each : changing)
            if (each.burst == data.front()) each.complete = true;
        data.pop_front();
        written = 0;
    }

    void response(const AxiSeen& s) {
        last_taken = cycle;
        auto found = changing.begin();
        while (found != changing.end() && found->burst->id != s.bid) ++found;
        if (found == changing.end() || !found->taken || !found->complete)
            return fail("a response with id " + std::to_string(s.bid) + " for no complete write");
        if (s.bresp) fail(told(found->burst) + ": response " + std::to_string(s.bresp));
        const uint64_t wait = cycle - found->since;
        counts.longest_write = std::max(counts.longest_write, wait);
        counts.total_write += wait;
        counts.bursts_written++;
        writing--;
        changing.erase(found);
    }

    void read_beat(const AxiSeen& s) {
        last_taken = cycle;
        std::deque<InFlight>& queue = reads[s.rid];
        if (queue.empty()) return fail("read data with id " + std::to_string(s.rid) + " for no read");
        InFlight& front = queue.front();
        const uint64_t at = front.burst->address + front.beats * beat;
        const auto wrong = [&](const char* what) {
            fail(told(front.burst) + ", beat " + std::to_string(front.beats) + ": " + what);
        };
        const auto found = unknown.lower_bound(at);
        const bool fails = found != unknown.end() && *found < at + beat;
        if (s.rresp && !fails) wrong("an error response");
        if (fails && s.rresp != 2) wrong("no error response");
        if (!fails && at + beat <= memory.size() && std::memcmp(s.rdata, &memory[at], beat)) wrong("other data than were written");
        const bool ends = front.beats + 1 == front.burst->beats;
        if (s.rlast != ends) wrong("RLAST in the wrong beat");
        counts.beats_read++;
        front.beats++;
        if (!ends) return;
        const uint64_t wait = cycle - front.since;
        counts.longest_read = std::max(counts.longest_read, wait);
        counts.total_read += wait;
        counts.bursts_read++;
        reading--;
        queue.pop_front();
    }

    // What was not taken in the cycle before stays as it was.
    void stable(const AxiSeen& s) {
        if (r_waits && !(s.rvalid && s.rid == last.rid && s.rlast == last.rlast && s.rresp == last.rresp &&
                         !std::memcmp(s.rdata, held.data(), beat)))
            fail("R changed before it was taken");
        if (b_waits && !(s.bvalid && s.bid == last.bid && s.bresp == last.bresp)) fail("B changed before it was taken");
        r_waits = s.rvalid && !driven.rready;
        b_waits = s.bvalid && !driven.bready;
        last = s;
        if (r_waits) std::memcpy(held.data(), s.rdata, beat);
    }
};

}  // namespace poblano
