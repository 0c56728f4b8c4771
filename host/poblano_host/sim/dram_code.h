// The check bits that are stored beside the bursts of a DRAM.

#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace poblano {

// As poblano.dram.code describes it: a burst has `words` words of `bytes` bytes, and each has `sideband_bits` of the
// sideband, from low to high the check bits, poison and the parity of the address. `columns` are those of a word's bits, of
// poison and of the parity, in this order. No words: no code, and every sideband is 0.
struct DramCode {
    int64_t words, bytes, sideband_bits, checks;
    const uint64_t* columns;
};

// What the sideband of data would be, byte by byte from tables.
class DramEncoder {
  public:
    explicit DramEncoder(const DramCode& code) : words(code.words), bytes(code.bytes), sideband_bits(code.sideband_bits) {
        if (!words) return;
        tables.resize(bytes);
        for (int64_t n = 0; n < bytes; n++)
            for (int value = 0; value < 256; value++) {
                uint64_t sum = 0;
                for (int bit = 0; bit < 8; bit++)
                    if (value >> bit & 1) sum ^= code.columns[8 * n + bit];
                tables[n][value] = sum;
            }
        odd = code.columns[8 * bytes + 1] | 1ull << (code.checks + 1);
    }

    explicit operator bool() const { return words != 0; }

    // Of a burst's data that are not poisoned, at an address with this parity.
    uint64_t operator()(const uint8_t* data, bool parity) const {
        uint64_t sideband = 0;
        for (int64_t word = 0; word < words; word++) {
            uint64_t sum = parity ? odd : 0;
            for (int64_t n = 0; n < bytes; n++) sum ^= tables[n][data[word * bytes + n]];
            sideband |= sum << (word * sideband_bits);
        }
        return sideband;
    }

  private:
    int64_t words, bytes, sideband_bits;
    uint64_t odd = 0;  // what the address's parity adds
    std::vector<std::array<uint64_t, 256>> tables;
};

}  // namespace poblano
