// An AXI4 memory with a latency and a bandwidth, for a compiled model: no ports of Verilator, only values of a cycle.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace poblano {

enum Response : int { OKAY = 0, SLVERR = 2, DECERR = 3 };
enum Channel : uint32_t { AR = 1, R = 2, AW = 4, W = 8, B = 16 };

struct Address {
    uint64_t id = 0, address = 0, length = 0, size = 0, burst = 1;
    bool operator==(const Address& other) const {
        return id == other.id && address == other.address && length == other.length && size == other.size &&
               burst == other.burst;
    }
};

// What the memory drives in a cycle; it depends on earlier cycles only.
struct MemoryOutputs {
    bool arready, awready, wready, rvalid, rlast, bvalid;
    uint64_t rid, bid;
    int rresp, bresp;
    const uint8_t* rdata;  // a beat, while rvalid
};

// What the chip drives in that cycle.
struct MemoryInputs {
    bool arvalid, awvalid, wvalid, wlast, rready, bready;
    Address ar, aw;
    const uint8_t* wdata;
    uint64_t wstrb;
};

// Each cycle: outputs(), then advance(inputs).
//
// The first beat of a read comes `latency` cycles after its address, later beats back to back; reads are answered in the
// order of their addresses. Reads and writes share a token bucket of `bandwidth / denominator` bytes a cycle and take
// turns; it holds two beats. The response to a write comes `latency` cycles after its last beat. Beats beyond the memory are
// answered with DECERR, beats of the faulty range with SLVERR; neither is written. A beat of read data, or a response, can
// be made an error, and channels silent: they take and offer nothing, but what is offered stays. The first breach of AXI's rules by the
// master is kept in `error`. The memory has the addresses from `low` to `high` - 1 of `bytes`, which are its owner's.
class Memory {
  public:
    uint64_t beats_read = 0, beats_written = 0, responded = 0;
    std::string error;

    Memory(uint8_t* bytes, uint64_t low, uint64_t high, uint64_t beat, uint64_t latency, uint64_t bandwidth,
           uint64_t denominator)
        : bytes(bytes), low(low), high(high), beat(beat), latency(latency), bandwidth(bandwidth), cost(beat * denominator),
          zeros(beat) {
        while (1ull << beat_log2 < beat) beat_log2++;
    }

    void fault(uint64_t low, uint64_t high) {
        fault_low = low;
        fault_high = high;
    }

    // Beat `number` of the read data from now on, or of the responses to writes, has the error `code`.
    void fail_beat(bool write, uint64_t number, int code) {
        (write ? fail_write : fail_read) = (write ? responded : beats_read) + number;
        fail_code = code;
    }

    // The channels, bits of Channel, are silent for so many cycles from now on.
    void silence(uint32_t channels, uint64_t cycles) {
        silent = channels;
        silent_until = cycles > ~cycle ? ~0ull : cycle + cycles;
    }

    // Flips a bit of the beat at an address from the memory's start on.
    void flip(uint64_t address, uint64_t bit) {
        const uint64_t at = low + address / beat * beat + bit / 8;
        if (at < high) bytes[at] ^= 1 << bit % 8;
    }

    // After a reset of the chip: transactions in flight are forgotten, the contents are kept.
    void reset() {
        reads.clear();
        writes.clear();
        responses.clear();
        offered = false;
        held_ar = held_aw = held_w = held_b = false;
    }

    MemoryOutputs outputs() {
        MemoryOutputs o{};
        const uint32_t quiet = cycle < silent_until ? silent : 0;
        o.arready = !(quiet & AR) && reads.size() < BURSTS;
        o.awready = !(quiet & AW) && writes.size() < BURSTS;
        const bool read_due = !offered && !(quiet & R) && !reads.empty() && reads.front().ready_at <= cycle;
        const bool write_due = held_w && !(quiet & W) && !writes.empty();
        if (read_due && credit >= cost && (credit >= 2 * cost || !write_due || !write_turn)) {
            credit -= cost;
            offered = true;
            if (write_due) write_turn = true;
        }
        o.wready = !(quiet & W) && !writes.empty() && credit >= cost;
        if (offered) {
            const Burst& burst = reads.front();
            o.rvalid = true;
            o.rid = burst.id;
            o.rlast = burst.beats == 1;
            o.rresp = beats_read == fail_read ? fail_code : response(burst.address);
            o.rdata = o.rresp == DECERR || beats_read == fail_read ? zeros.data() : &bytes[burst.address];
        }
        if (!responses.empty() && responses.front().ready_at <= cycle && (held_b || !(quiet & B))) {
            o.bvalid = true;
            o.bid = responses.front().id;
            o.bresp = responded == fail_write ? fail_code : responses.front().code;
        }
        driven = o;
        return o;
    }

    void advance(const MemoryInputs& i) {
        const MemoryOutputs& o = driven;
        check(i);
        if (o.rvalid && i.rready) {
            beats_read++;
            offered = false;
            Burst& burst = reads.front();
            burst.address += beat;
            if (--burst.beats == 0) reads.pop_front();
        }
        if (o.wready && i.wvalid) write(i);
        held_b = o.bvalid && !i.bready;
        if (o.bvalid && i.bready) {
            responses.pop_front();
            responded++;
        }
        if (o.arready && i.arvalid) reads.push_back(burst(i.ar));
        if (o.awready && i.awvalid) writes.push_back(burst(i.aw));
        credit += bandwidth;
        if (credit > 2 * cost) credit = 2 * cost;
        cycle++;
    }

  private:
    static constexpr uint64_t PAGE = 4096;
    static constexpr size_t BURSTS = 64;  // reads, and writes, that the memory takes before it stalls

    struct Burst {
        uint64_t id, address, beats, ready_at;
        int code;
    };
    struct WriteResponse {
        uint64_t id, ready_at;
        int code;
    };

    uint8_t* bytes;
    uint64_t low, high, beat, latency, bandwidth, cost, beat_log2 = 0;
    uint64_t cycle = 0, credit = 0, fault_low = 0, fault_high = 0;
    uint64_t fail_read = ~0ull, fail_write = ~0ull, silent_until = 0;
    uint32_t silent = 0;
    int fail_code = OKAY;
    std::vector<uint8_t> zeros;
    std::deque<Burst> reads, writes;
    std::deque<WriteResponse> responses;
    bool offered = false;     // the beat at the front of reads is on the bus
    bool write_turn = false;  // the bucket's next beat is a write's if both want it
    MemoryOutputs driven{};
    bool held_ar = false, held_aw = false, held_w = false, held_b = false;
    Address last_ar, last_aw;

    void fail(const char* what, uint64_t address) {
        if (!error.empty()) return;
        char text[128];
        std::snprintf(text, sizeof text, "cycle %llu: %s at 0x%llx", (unsigned long long)cycle, what,
                      (unsigned long long)address);
        error = text;
    }

    // A channel's payload stays until it is taken.
    void check(const MemoryInputs& i) {
        if (held_ar && !(i.arvalid && i.ar == last_ar)) fail("AR changed before it was taken", last_ar.address);
        if (held_aw && !(i.awvalid && i.aw == last_aw)) fail("AW changed before it was taken", last_aw.address);
        if (held_w && !i.wvalid) fail("W withdrawn before it was taken", 0);
        held_ar = i.arvalid && !driven.arready;
        held_aw = i.awvalid && !driven.awready;
        held_w = i.wvalid && !driven.wready;
        last_ar = i.ar;
        last_aw = i.aw;
    }

    int response(uint64_t address) const {
        if (address < low || address + beat > high) return DECERR;
        return address < fault_high && address + beat > fault_low ? SLVERR : OKAY;
    }

    Burst burst(const Address& a) {
        if (a.address % beat) fail("burst not aligned to the beat", a.address);
        if (a.size != beat_log2) fail("burst of narrow beats", a.address);
        if (a.burst != 1) fail("burst is not INCR", a.address);
        if (a.address / PAGE != (a.address + (a.length + 1) * beat - 1) / PAGE) fail("burst crosses 4 KiB", a.address);
        return {a.id, a.address / beat * beat, a.length + 1, cycle + latency, OKAY};
    }

    void write(const MemoryInputs& i) {
        credit -= cost;
        write_turn = false;
        beats_written++;
        Burst& burst = writes.front();
        const int code = response(burst.address);
        if (code == OKAY) {
            for (uint64_t n = 0; n < beat; n++)
                if (i.wstrb >> n & 1) bytes[burst.address + n] = i.wdata[n];
        } else if (burst.code == OKAY) {
            burst.code = code;
        }
        if (i.wlast != (burst.beats == 1)) fail("WLAST in the wrong beat", burst.address);
        burst.address += beat;
        if (--burst.beats == 0) {
            responses.push_back({burst.id, cycle + latency, burst.code});
            writes.pop_front();
        }
    }
};

}  // namespace poblano
