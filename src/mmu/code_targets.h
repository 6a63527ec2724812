// SPDX-License-Identifier: Apache-2.0
// CodeTargets: where an engine's translation of the code at a linear address begins.
#pragma once
#include <array>
#include <bit>
#include <cstdlib>
#include <memory>

#include "base/assert.h"
#include "base/types.h"

namespace droste {

/// Belongs to one table of fetch translations and follows it: what leaves that table takes the targets of its page
/// along. So a hit here proves that the page is still translated, and to which memory, without another look.
class CodeTargets {
public:
    static constexpr unsigned pages = 512, per_page = 512;
    struct Entry {
        u64 negative_linear;  ///< linear + this = 0 on a hit
        const u8* code;
    };
    /// Bits of a linear address that select the entry; gathered by PEXT they are the index.
    static constexpr u64 index_bits = u64{per_page - 1} << 1 | u64{pages - 1} << 12;

    static std::unique_ptr<CodeTargets> make() { return std::unique_ptr<CodeTargets>(new CodeTargets); }
    Entry* entries() { return entries_.get(); }

    static const u8* find(const Entry* entries, u64 linear) {
        const Entry& e = entries[index(linear)];
        return e.negative_linear + linear == 0 ? e.code : nullptr;
    }
    void set(u64 linear, const u8* code) {
        const unsigned i = index(linear);
        used_[i / per_page][i % per_page / per_word / per_line] |= 1ull << (i / per_line % per_word);
        entries_[i] = {0 - linear, code};
    }
    /// Forgets the targets in the pages of one slot.
    void forget(u64 linear) { clear((linear >> 12) % pages); }
    void forget_all() {
        for (unsigned page = 0; page < pages; ++page) clear(page);
    }

private:
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };
    // Pages of the host are taken when they are first written.
    CodeTargets() : entries_(static_cast<Entry*>(std::calloc(std::size_t{pages} * per_page, sizeof(Entry)))) {
        ASSERT(entries_ != nullptr);
        clear(0);
    }
    static unsigned index(u64 linear) {
        return static_cast<unsigned>((linear >> 12) % pages * per_page + (linear >> 1) % per_page);
    }
    void clear(unsigned page) {
        for (unsigned w = 0; w < words; ++w)
            for (u64& m = used_[page][w]; m != 0; m &= m - 1) {
                const unsigned line = w * per_word + static_cast<unsigned>(std::countr_zero(m));
                for (unsigned i = 0; i < per_line; ++i) entries_[page * per_page + line * per_line + i] = {};
            }
        // Linear address 0 selects the first entry; an empty one must not match it.
        if (page == 0) entries_[0].negative_linear = 1;
    }
    // What was filled, by lines of the host.
    static constexpr unsigned per_line = 64 / sizeof(Entry), per_word = 64, words = per_page / per_line / per_word;
    static_assert(words * per_line * per_word == per_page);
    std::unique_ptr<Entry[], Free> entries_;
    std::array<std::array<u64, words>, pages> used_{};
};

}  // namespace droste
