// SPDX-License-Identifier: Apache-2.0
// The fixture of the tests of EPT: an EPT with 4-KByte pages, and a guest's tables under it.
#pragma once
#include <memory>
#include <vector>

#include "paging_rig.h"

namespace droste::test {

/// Guest-physical addresses lie this far below machine addresses in these tests.
inline constexpr u64 offset = 0x80'0000;

struct Log : DirtyLog {
    std::vector<u64> pages;
    std::size_t room = 512;
    bool log(GuestPhys page) override {
        if (full()) return false;
        pages.push_back(page.value);
        return true;
    }
    bool full() const override { return pages.size() >= room; }
};

struct EptTest : testing::Test, Rig {
    Tables ept{memory, frames, Format::ept4};
    u64 page = frames.take();  // machine address of the guest's page
    u64 guest_page() const { return page - offset; }
    static constexpr u64 linear = 0x40'0000;

    void use_ept(u64 eptp_bits = eptp_wb4) {
        c.ept = true;
        c.ept_execute_only = true;
        c.eptp = ept.root | eptp_bits;
        apply();
    }
    void map_all(u64 bits = ept_rwx | ept_wb) {
        for (u64 m = 0x100'0000; m < 0x180'0000; m += 0x1000) ept.map(m - offset, m | bits);
    }
    /// A guest with 4-level paging that maps `linear` to the page.
    std::unique_ptr<Tables> guest;
    u64 use_guest(u64 bits = p | w | u) {
        guest = std::make_unique<Tables>(memory, frames, Format::level4, offset);
        const u64 slot = guest->map(linear, guest_page() | bits);
        use(*guest, PagingMode::level4);
        return slot;
    }
    void set_upper_accessed() {
        for (unsigned level = 2; level <= 4; ++level) {
            const u64 s = guest->slot(linear, level);
            guest->put(s, guest->get(s) | a);
        }
    }
    bool access(unsigned kind) {
        switch (kind) {
        case 1: return read(linear);
        case 2: return write(linear);
        default: return fetch(linear);
        }
    }
    void fresh() { mmu.invept_all(); }
};

}  // namespace droste::test
