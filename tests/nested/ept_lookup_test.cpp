// SPDX-License-Identifier: Apache-2.0
// Looks at EPT without effects against the processor's own walks, and compositions of two tables.
#include "vmx/ept_lookup.h"

#include <gtest/gtest.h>

#include "vmx/vmx_machine.h"

namespace droste::test {
namespace {

class EptLookups : public ::testing::Test {
protected:
    static constexpr u64 root = 0x30'0000, tables = 0x30'1000;
    /// A table for guest-physical 0 to 2 MBytes: 4-KByte pages.
    u64 entry(u64 page) const { return tables + 0x2000 + 8 * page; }
    EptLookups() {
        m.poke<u64>(root, tables | 7);
        m.poke<u64>(tables, (tables + 0x1000) | 7);
        m.poke<u64>(tables + 0x1000, (tables + 0x2000) | 7);
    }
    EptLookup look(u64 address, bool write = false, u64 eptp = root | 0x1E) {
        return look_up_ept(m.memory, m.vmx.capabilities(), eptp, address, write);
    }
    VmxMachine m;
};

TEST_F(EptLookups, RightsAndAddresses) {
    for (u64 rights = 0; rights < 8; ++rights) {
        m.poke<u64>(entry(5), 0x123000 | 0x30 | rights);
        const bool malformed = (rights & 3) == 2;  // writable, not readable
        for (const bool write : {false, true}) {
            const EptLookup found = look(0x5678, write);
            const bool may = rights & (write ? 2 : 1);
            if (malformed) EXPECT_EQ(found.end, WalkEnd::malformed) << rights;
            else EXPECT_EQ(found.end == WalkEnd::mapped, may) << rights << write;
            if (found.end == WalkEnd::mapped) {
                EXPECT_EQ(found.address, 0x123678u);
                EXPECT_EQ(found.rights, rights);
            }
        }
    }
    EXPECT_EQ(look(1ull << 48).end, WalkEnd::not_present) << "beyond four levels";
    m.poke<u64>(tables + 0x1000 + 8, (3ull << 21) | 0xB7);
    EXPECT_EQ(look(0x23'4567).address, (3ull << 21) | 0x3'4567) << "2 MBytes";
}

TEST_F(EptLookups, FlagsThatAreSet) {
    for (unsigned bits = 0; bits < 16; ++bits) {
        const u64 upper = bits & 1 ? 0x100 : 0, accessed = bits & 2 ? 0x100 : 0, dirty = bits & 4 ? 0x200 : 0;
        m.poke<u64>(root, tables | 7 | upper);
        m.poke<u64>(tables, (tables + 0x1000) | 7 | 0x100);
        m.poke<u64>(tables + 0x1000, (tables + 0x2000) | 7 | 0x100);
        m.poke<u64>(entry(5), 0x123037 | accessed | dirty);
        const bool write = bits & 8;
        EXPECT_EQ(look(0x5000, write, root | 0x5E).flagged, upper && accessed && (!write || dirty)) << bits;
        EXPECT_TRUE(look(0x5000, write).flagged) << "without flags in the EPTP";
        EXPECT_EQ(m.peek<u64>(entry(5)), 0x123037 | accessed | dirty) << "sets none";
    }
}

/// The composition of random tables equals a look in one and then the other.
TEST_F(EptLookups, Composition) {
    u64 seed = 3;
    const auto random = [&] { return seed = seed * 6364136223846793005ull + 1442695040888963407ull, seed >> 30; };
    constexpr u64 inner_root = 0x31'0000, inner = 0x31'1000;  // at inner guest-physical 0x1000... by the outer table
    for (u64 page = 0; page < 16; ++page) m.poke<u64>(entry(page), (inner_root + (page << 12)) | 0x37);
    m.poke<u64>(inner_root, 0x1000 | 7);  // guest-physical addresses
    m.poke<u64>(inner, 0x2000 | 7);
    m.poke<u64>(inner + 0x1000, 0x3000 | 7);
    for (u64 page = 0; page < 512; ++page)
        m.poke<u64>(inner + 0x2000 + 8 * page, random() % 8 == 0 ? 0 : ((random() % 32) << 12) | 0x37);
    unsigned mapped = 0;
    for (u64 page = 0; page < 512; ++page) {
        const auto composed = look_up_ept(m.memory, m.vmx.capabilities(), 0 | 0x1E, page << 12, false, [&](u64 at, u64& machine) {
            const EptLookup table = look(at);
            machine = table.address;
            return table.end == WalkEnd::mapped;
        });
        const u64 leaf = m.peek<u64>(inner + 0x2000 + 8 * page);
        EXPECT_EQ(composed.end == WalkEnd::mapped, leaf != 0);
        if (leaf == 0) continue;
        EXPECT_EQ(composed.address, leaf & 0xF'FFFF'FFFF'F000);
        EXPECT_EQ(look(composed.address).end == WalkEnd::mapped, composed.address < 16ull << 12);
        mapped += look(composed.address).end == WalkEnd::mapped;
    }
    EXPECT_GT(mapped, 100u);
    const auto refused = look_up_ept(m.memory, m.vmx.capabilities(), 0x1E, 0, false, [](u64, u64&) { return false; });
    EXPECT_EQ(refused.end, WalkEnd::unreachable);
}

}  // namespace
}  // namespace droste::test
