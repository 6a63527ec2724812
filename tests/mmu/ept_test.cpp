// SPDX-License-Identifier: Apache-2.0
// EPT: formats, violations and their qualification, misconfigurations, accessed and dirty flags, PML.
#include <gmock/gmock.h>

#include "ept_rig.h"

namespace droste::test {
namespace {

TEST_F(EptTest, TranslatesWithoutGuestPaging) {
    map_all();
    use_ept();
    ASSERT_TRUE(write(guest_page() + 8));
    EXPECT_EQ(t.machine_page, page);
    EXPECT_EQ(t.guest_page.value, guest_page());
    EXPECT_EQ(mmu.counters.ept_references, 4u);
    EXPECT_FALSE(read(0x1000));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
    EXPECT_EQ(f.guest_phys.value, 0x1000u);
    EXPECT_EQ(f.linear.value, 0x1000u);
    EXPECT_EQ(f.qualification, 0x181u);
}

TEST_F(EptTest, TwoDimensionalWalk) {
    map_all();
    use_guest();
    use_ept();
    ASSERT_TRUE(write(linear + 0x123));
    EXPECT_EQ(t.machine_page, page);
    EXPECT_EQ(t.guest_page.value, guest_page());
    EXPECT_EQ(mmu.counters.references, 4u);
    EXPECT_EQ(mmu.counters.ept_references, 20u);  // 4 for each guest entry, 4 for the page
    // The next page shares all tables: only its own translation is walked.
    guest->map(linear + 0x1000, guest_page() | 7);
    ASSERT_TRUE(read(linear + 0x1000));
    EXPECT_EQ(mmu.counters.references, 8u);
    EXPECT_EQ(mmu.counters.ept_references, 24u);
    // Guest flags are set through the translation.
    EXPECT_EQ(guest->get(guest->slot(linear, 1)) & (a | d), a | d);
    EXPECT_EQ(guest->get(guest->slot(linear, 4)) & (a | d), a);
    u64 machine = 0;
    ASSERT_TRUE(mmu.peek(Linear(linear + 5), machine));
    EXPECT_EQ(machine, page + 5);
}

TEST_F(EptTest, EveryPageSizeAndFiveLevels) {
    Tables ept5(memory, frames, Format::ept5);
    const u64 far = 0x0001'2345'4000'0000;  // beyond 48 bits
    for (Tables* tables : {&ept, &ept5}) {
        const bool five = tables == &ept5;
        const u64 base = five ? far : 0x45'4000'0000;
        tables->map(base, 0x4000'0000 | ept_rwx | ept_wb | ps, 3);
        tables->map(base + 0x4000'0000, 0x20'0000 | ept_rwx | ept_wb | ps, 2);
        tables->map(base + 0x4020'0000, 0x5000 | ept_rwx | ept_wb, 1);
        c = {};
        c.ept = c.ept_1gb = true;
        c.maxphyaddr = 52;
        c.eptp = tables->root | (five ? eptp_wb5 : eptp_wb4);
        apply();
        u64 m = 0;
        ASSERT_TRUE(mmu.translate_guest_physical(GuestPhys(base + 0x1234'5678), Access::write, m, f));
        EXPECT_EQ(m, 0x5234'5678u);
        ASSERT_TRUE(mmu.translate_guest_physical(GuestPhys(base + 0x4012'3456), Access::write, m, f));
        EXPECT_EQ(m, 0x32'3456u);
        ASSERT_TRUE(mmu.translate_guest_physical(GuestPhys(base + 0x4020'0456), Access::write, m, f));
        EXPECT_EQ(m, 0x5456u);
    }
    // Four levels do not reach that far: a violation, and nothing is permitted there.
    c.eptp = ept.root | eptp_wb4;
    apply();
    u64 m = 0;
    EXPECT_FALSE(mmu.translate_guest_physical(GuestPhys(far), Access::write, m, f));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
    EXPECT_EQ(f.qualification, 2u);  // no linear address: bits 7 and 8 are clear
}

// SDM Table "Exit Qualification for EPT Violations": bits 2:0 what was tried, 5:3 what all levels permit, 7
// and 8.
TEST_F(EptTest, QualificationForTheFinalAddress) {
    map_all();
    use_guest(p | w | u | a | d);
    set_upper_accessed();  // so that no flag needs a write to the tables
    use_ept();
    const u64 leaf = ept.slot(guest_page(), 1), upper = ept.slot(guest_page(), 3);
    const u64 upper_whole = ept.get(upper);
    for (unsigned outer = 0; outer < 8; ++outer)
        for (unsigned inner = 0; inner < 8; ++inner) {
            const auto legal = [](unsigned r) { return r != 2 && r != 6; };
            // The upper entry serves the guest's tables too, so it must let them be read.
            if (!legal(outer) || !legal(inner) || !(outer & 1)) continue;
            ept.put(leaf, page | inner | ept_wb);
            ept.put(upper, (upper_whole & ~7ull) | outer);
            const unsigned both = outer & inner;
            for (const unsigned kind : {1u, 2u, 4u}) {
                fresh();
                const bool ok = access(kind);
                ASSERT_EQ(ok, (both & kind) != 0) << outer << inner << kind;
                if (ok) continue;
                EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
                EXPECT_EQ(f.qualification, kind | (both << 3) | 0x180u);
                EXPECT_EQ(f.guest_phys.value, guest_page());
                EXPECT_EQ(f.linear.value, linear);
            }
        }
}

// Bits 11:9, where the capability has them.
TEST_F(EptTest, AdvancedExitInformation) {
    map_all();
    const u64 slot = use_guest(p | a | d);
    use_ept();
    ept.put(ept.slot(guest_page(), 1), 0);
    c.ept_advanced_exit_info = true;
    apply();
    for (unsigned i = 0; i < 8; ++i) {
        guest->put(slot, guest_page() | p | a | d | (i & 1 ? u : 0) | (i & 2 ? w : 0) | (i & 4 ? xd : 0));
        ASSERT_FALSE(read(linear));
        EXPECT_EQ(f.qualification, 0x181u | (i << 9));
    }
}

// SDM "EPT Violations": without EPT's own flags, guest entries are read; setting a guest flag is a read and a
// write.
TEST_F(EptTest, PagingStructuresWithoutEptFlags) {
    map_all();
    const u64 slot = use_guest();
    use_ept();
    const u64 table_gpa = (slot & ~0xFFFull) - offset, table_slot = ept.slot(table_gpa, 1);
    const u64 machine = slot & ~0xFFFull;
    struct Row {
        u64 ept_bits, guest_flags;
        unsigned kind;
        bool ok;
        u64 qualification;
    };
    const Row rows[] = {
        {0, a | d, 1, false, 0x81},     {0, a | d, 2, false, 0x81},         {0, a | d, 4, false, 0x81},
        {ept_r, 0, 1, false, 0x8B},     {ept_r, 0, 2, false, 0x8B},         {ept_r, 0, 4, false, 0x8B},
        {ept_r, a, 1, true, 0},         {ept_r, a, 2, false, 0x8B},         {ept_r, a, 4, true, 0},
        {ept_r, a | d, 2, true, 0},     {ept_r | ept_x, a, 2, false, 0xAB}, {ept_r | ept_w, 0, 1, true, 0},
        {ept_r | ept_w, 0, 2, true, 0}, {ept_x, a | d, 1, false, 0xA1},
    };
    for (const Row& r : rows) {
        // The levels above have their flags already, and lie in other pages.
        set_upper_accessed();
        guest->put(slot, guest_page() | 7 | r.guest_flags);
        ept.put(table_slot, machine | r.ept_bits | ept_wb);
        fresh();
        const bool ok = access(r.kind);
        EXPECT_EQ(ok, r.ok) << r.ept_bits << " " << r.guest_flags << " " << r.kind;
        if (ok) continue;
        EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
        EXPECT_EQ(f.qualification, r.qualification) << r.ept_bits << " " << r.guest_flags << " " << r.kind;
        EXPECT_EQ(f.guest_phys.value, slot - offset);
        EXPECT_EQ(f.linear.value, linear);
        EXPECT_EQ(guest->get(slot), guest_page() | 7 | r.guest_flags);  // nothing was set
    }
}

// With EPT's flags on, every access to a guest paging structure counts as a write, bits 0 and 1 both set.
TEST_F(EptTest, PagingStructuresWithEptFlags) {
    map_all();
    const u64 slot = use_guest(7 | a | d);
    use_ept(eptp_wb4 | eptp_ad);
    const u64 machine = slot & ~0xFFFull, table_slot = ept.slot(machine - offset, 1);
    for (const unsigned kind : {1u, 2u, 4u})
        for (const u64 bits : {u64(0), ept_r, ept_r | ept_x}) {
            ept.put(table_slot, machine | bits | ept_wb);
            fresh();
            EXPECT_FALSE(access(kind));
            EXPECT_EQ(f.qualification, 0x83u | (bits << 3));
            EXPECT_EQ(f.guest_phys.value, slot - offset);
        }
    ept.put(table_slot, machine | ept_rwx | ept_wb);
    fresh();
    EXPECT_TRUE(read(linear));
    EXPECT_EQ(ept.get(table_slot) & (ept_a | ept_d),
              ept_a | ept_d);  // a read of the guest dirties its tables
    EXPECT_EQ(ept.get(ept.slot(guest_page(), 1)) & (ept_a | ept_d), ept_a);
}

TEST_F(EptTest, AccessedAndDirtyFlags) {
    map_all();
    use_ept(eptp_wb4 | eptp_ad);
    const u64 leaf = ept.slot(guest_page(), 1);
    const auto flags = [&](unsigned level) {
        return ept.get(ept.slot(guest_page(), level)) & (ept_a | ept_d);
    };
    u64 machine;
    ASSERT_TRUE(mmu.peek(Linear(guest_page()), machine));
    EXPECT_EQ(flags(1), 0u);
    ASSERT_TRUE(read(guest_page()));
    for (unsigned level = 1; level <= 4; ++level) EXPECT_EQ(flags(level), ept_a) << level;
    EXPECT_FALSE(l1_write(DataClass::supervisor, guest_page()));
    ASSERT_TRUE(write(guest_page()));
    EXPECT_EQ(flags(1), ept_a | ept_d);
    EXPECT_EQ(flags(2), ept_a);
    EXPECT_TRUE(l1_write(DataClass::supervisor, guest_page()));
    // A violation sets nothing.
    ept.put(leaf, page | ept_r | ept_wb);
    for (unsigned level = 2; level <= 4; ++level) {
        const u64 s = ept.slot(guest_page(), level);
        ept.put(s, ept.get(s) & ~ept_a);
    }
    fresh();
    EXPECT_FALSE(write(guest_page()));
    for (unsigned level = 1; level <= 4; ++level) EXPECT_EQ(flags(level), 0u) << level;
    // Without bit 6 of the EPTP the flags are ignored.
    ept.put(leaf, page | ept_rwx | ept_wb);
    use_ept(eptp_wb4);
    ASSERT_TRUE(write(guest_page()));
    for (unsigned level = 1; level <= 4; ++level) EXPECT_EQ(flags(level), 0u) << level;
    EXPECT_TRUE(l1_write(DataClass::supervisor, guest_page()));
}

TEST_F(EptTest, LargePagesHaveOneDirtyFlag) {
    use_ept(eptp_wb4 | eptp_ad);
    const u64 s = ept.map(0x40'0000, 0x40'0000 | ept_rwx | ept_wb | ps, 2);
    ASSERT_TRUE(write(0x5F'F000));
    EXPECT_EQ(ept.get(s) & (ept_a | ept_d), ept_a | ept_d);
}

/// SDM "EPT Misconfigurations", written out once more.
bool misconfigured(u64 entry, unsigned level, bool execute_only, bool page1gb, unsigned maxphyaddr) {
    const u64 rights = entry & 7;
    if (rights == 0) return false;  // not present
    if (rights == 2 || rights == 6) return true;
    if (rights == 4 && !execute_only) return true;
    for (unsigned b = maxphyaddr; b < 52; ++b)
        if (entry >> b & 1) return true;
    const bool leaf = level == 1 || ((level == 2 || (level == 3 && page1gb)) && (entry & 0x80));
    if (leaf) {
        const u64 type = entry >> 3 & 7;
        if (type == 2 || type == 3 || type == 7) return true;
        if (level == 2 && (entry & 0x1F'F000)) return true;
        if (level == 3 && (entry & 0x3FFF'F000)) return true;
        return false;
    }
    return (entry & 0x78) != 0 || (level >= 3 && (entry & 0x80));
}

TEST_F(EptTest, Misconfigurations) {
    Tables ept5(memory, frames, Format::ept5);
    unsigned found = 0;
    for (const bool execute_only : {false, true})
        for (const unsigned maxphyaddr : {39u, 46u})  // the wider of them with 1-GByte pages
            for (unsigned size_level = 1; size_level <= 3; ++size_level) {
                const u64 where = 0x40'0000'0000ull * size_level;
                const u64 value = (size_level == 1   ? page
                                   : size_level == 2 ? 0x20'0000
                                                     : 0) |
                                  (size_level > 1 ? ps : 0) | ept_rwx | ept_wb;
                ept5.map(where, value, size_level);
                c = {};
                c.ept = true;
                c.ept_execute_only = execute_only;
                const bool page1gb = c.ept_1gb = maxphyaddr == 46;
                c.maxphyaddr = static_cast<u8>(maxphyaddr);
                c.eptp = ept5.root | eptp_wb5;
                apply();
                // Where the last entry is always wrong, those above it are not of interest.
                const unsigned top = size_level == 3 && !page1gb ? 3 : 5;
                for (unsigned level = size_level; level <= top; ++level) {
                    const u64 s = ept5.slot(where, level), whole = ept5.get(s);
                    const auto check = [&](u64 entry) {
                        ept5.put(s, entry);
                        mmu.flush_all();
                        u64 m = 0;
                        f = {};
                        const bool done =
                            mmu.translate_guest_physical(GuestPhys(where), Access::execute, m, f);
                        const bool bad = misconfigured(entry, level, execute_only, page1gb, maxphyaddr);
                        ASSERT_EQ(f.kind == WalkFault::Kind::ept_misconfiguration, bad)
                            << "level " << level << " entry " << std::hex << entry << " ok " << done;
                        if (!bad) return;
                        EXPECT_EQ(f.guest_phys.value, where);
                        EXPECT_EQ(f.qualification, 0u);
                        ++found;
                    };
                    for (u64 low = 0; low < 0x100; ++low) {
                        // PS would end the walk early and is tested at its own level; table bits lead
                        // elsewhere.
                        if (level > size_level && level <= 3 && (low & 0x80)) continue;
                        if (level == size_level && level > 1 && !(low & 0x80)) continue;
                        check((whole & ~0xFFull) | low);
                    }
                    for (unsigned b = 12; b < 64; ++b) {
                        if (level > size_level && b < maxphyaddr) continue;
                        check(whole | (1ull << b));
                    }
                    ept5.put(s, whole);
                }
            }
    EXPECT_GT(found, 1000u);
}

TEST_F(EptTest, ExecuteOnlyPages) {
    map_all();
    use_ept();
    ept.put(ept.slot(guest_page(), 1), page | ept_x | ept_wb);
    EXPECT_TRUE(fetch(guest_page()));
    EXPECT_FALSE(read(guest_page()));
    EXPECT_EQ(f.qualification, 0x1A1u);
    EXPECT_FALSE(write(guest_page()));
    EXPECT_EQ(f.qualification, 0x1A2u);
}

TEST_F(EptTest, MisconfigurationOfAGuestTablesPage) {
    map_all();
    const u64 slot = use_guest();
    use_ept();
    ept.put(ept.slot((slot & ~0xFFFull) - offset, 1), (slot & ~0xFFFull) | ept_w | ept_wb);
    EXPECT_FALSE(read(linear));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_misconfiguration);
    EXPECT_EQ(f.guest_phys.value, slot - offset);
}

// A guest's page fault comes before an EPT violation of the page itself, after those of its tables.
TEST_F(EptTest, PriorityOfPageFaults) {
    map_all();
    const u64 slot = use_guest(p);
    use_ept();
    ept.put(ept.slot(guest_page(), 1), 0);
    EXPECT_FALSE(data(linear, Access::read, Privilege::user));
    EXPECT_EQ(f.kind, WalkFault::Kind::page_fault);
    EXPECT_EQ(f.error_code, 5u);
    ept.put(ept.slot((slot & ~0xFFFull) - offset, 1), 0);
    fresh();
    EXPECT_FALSE(data(linear, Access::read, Privilege::user));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
}

TEST_F(EptTest, PageModificationLog) {
    map_all();
    Log log;
    mmu.set_dirty_log(&log);
    use_ept(eptp_wb4 | eptp_ad);
    ASSERT_TRUE(read(guest_page()));
    EXPECT_TRUE(log.pages.empty());
    ASSERT_TRUE(write(guest_page() + 0x123));
    ASSERT_TRUE(write(guest_page() + 0x456));
    fresh();
    ASSERT_TRUE(write(guest_page()));  // the flag is set already
    EXPECT_THAT(log.pages, testing::ElementsAre(guest_page()));
    const u64 other = guest_page() + 0x10'0000;
    log.room = 1;
    EXPECT_FALSE(write(other + 8));
    EXPECT_EQ(f.kind, WalkFault::Kind::pml_full);
    EXPECT_EQ(f.guest_phys.value, other + 8);
    EXPECT_EQ(ept.get(ept.slot(other, 1)) & (ept_a | ept_d), 0u);
    EXPECT_FALSE(read(other));  // an accessed flag would have to be set, too
    EXPECT_EQ(f.kind, WalkFault::Kind::pml_full);
    ASSERT_TRUE(write(guest_page()));
    log.room = 512;
    ASSERT_TRUE(write(other));
    EXPECT_THAT(log.pages, testing::ElementsAre(guest_page(), other));
}

// The guest's own tables are logged too: with EPT's flags on, walking them is writing them.
TEST_F(EptTest, PageModificationLogOfGuestTables) {
    map_all();
    Log log;
    const u64 slot = use_guest();
    mmu.set_dirty_log(&log);
    use_ept(eptp_wb4 | eptp_ad);
    ASSERT_TRUE(read(linear));
    EXPECT_EQ(log.pages.size(), 4u);
    EXPECT_THAT(log.pages, testing::Contains((slot & ~0xFFFull) - offset));
    EXPECT_THAT(log.pages, testing::Contains(guest->root));
}

TEST_F(EptTest, TheApicAccessPageIsNeverInTheFirstLevel) {
    map_all();
    use_ept();
    c.apic_access_page = page;
    apply();
    ASSERT_TRUE(read(guest_page()));
    EXPECT_TRUE(t.apic_access);
    EXPECT_FALSE(l1_read(DataClass::supervisor, guest_page()));
    ASSERT_TRUE(fetch(guest_page()));
    EXPECT_TRUE(t.apic_access);
    EXPECT_FALSE(l1_fetch(Privilege::supervisor, guest_page()));
    c.apic_access_page = ~0ull;
    apply();
    ASSERT_TRUE(read(guest_page()));
    EXPECT_FALSE(t.apic_access);
    EXPECT_TRUE(l1_read(DataClass::supervisor, guest_page()));
}

// An EPTP that no VM entry would have let pass must do no harm.
TEST_F(EptTest, OddEptPointers) {
    for (u64 i = 0; i < 64; ++i) {
        c.ept = true;
        c.eptp = i | (i % 3 == 0 ? 0xF'FFFF'F000'0000 : ept.root);
        apply();
        u64 m = 0;
        EXPECT_FALSE(mmu.translate_guest_physical(GuestPhys(i << 46), Access::read, m, f));
    }
}

}  // namespace
}  // namespace droste::test
