// SPDX-License-Identifier: Apache-2.0
// Every paging mode, page size and reserved bit; accessed and dirty flags; counters.
#include "paging_rig.h"

namespace droste::test {
namespace {

struct WalkTest : testing::Test, Rig {};

struct ModeCase {
    const char* name;
    Format format;
    PagingMode mode;
    u64 linear;
    unsigned level;  ///< that maps the page
};

std::ostream& operator<<(std::ostream& out, const ModeCase& m) { return out << m.name; }

struct ModeTest : testing::TestWithParam<ModeCase>, Rig {
    Tables tables{memory, frames, GetParam().format};
    unsigned shift() const { return tables.shift(GetParam().level); }
    u64 size() const { return 1ull << shift(); }
    u64 leaf_bits() const { return GetParam().level > 1 ? ps : 0; }
};

TEST_P(ModeTest, TranslatesEveryPieceOfThePage) {
    const ModeCase& m = GetParam();
    const u64 physical = m.level == 1 ? frames.take() : (0x4000'0000ull & ~(size() - 1));
    const u64 first = m.linear & ~(size() - 1);
    tables.map(first, physical | 7 | leaf_bits(), m.level);
    use(tables, m.mode);
    for (u64 offset = 0; offset < size(); offset += size() / 4 | 0x234) {
        ASSERT_TRUE(read(first + offset)) << offset;
        EXPECT_EQ(t.machine_page, (physical + offset) & ~0xFFFull);
        EXPECT_EQ(t.guest_page.value, t.machine_page);
        EXPECT_EQ(t.host, memory.host(t.machine_page));
        u64 machine = 0;
        ASSERT_TRUE(mmu.peek(Linear(first + offset), machine));
        EXPECT_EQ(machine, physical + offset);
    }
    EXPECT_FALSE(read(first + size()));
    EXPECT_EQ(f.error_code, 0u);
    EXPECT_EQ(f.linear.value, first + size());
}

TEST_P(ModeTest, SetsAccessedOnEveryEntryAndDirtyOnTheLast) {
    const ModeCase& m = GetParam();
    const u64 first = m.linear & ~(size() - 1);
    const u64 slot = tables.map(first, (m.level == 1 ? frames.take() : 0) | 7 | leaf_bits(), m.level);
    use(tables, m.mode);
    const u64 before = tables.get(slot);
    u64 machine = 0;
    EXPECT_TRUE(mmu.peek(Linear(first), machine));
    EXPECT_EQ(tables.get(slot), before);
    ASSERT_TRUE(read(first));
    EXPECT_EQ(tables.get(slot), before | a);
    for (unsigned level = m.level + 1; level <= tables.levels(); ++level) {
        const u64 e = tables.get(tables.slot(first, level));
        EXPECT_EQ(e & (a | d), a) << level;
    }
    EXPECT_FALSE(l1_write(DataClass::supervisor, first));
    ASSERT_TRUE(write(first));
    EXPECT_EQ(tables.get(slot), before | a | d);
    for (unsigned level = m.level + 1; level <= tables.levels(); ++level)
        EXPECT_EQ(tables.get(tables.slot(first, level)) & (a | d), a) << level;
    EXPECT_TRUE(m.level != 1 || l1_write(DataClass::supervisor, first));
}

TEST_P(ModeTest, AFaultSetsNoFlags) {
    const ModeCase& m = GetParam();
    const u64 first = m.linear & ~(size() - 1);
    const u64 slot = tables.map(first, (m.level == 1 ? frames.take() : 0) | p | u | leaf_bits(), m.level);
    c.wp = true;
    use(tables, m.mode);
    const u64 before = tables.get(slot);
    EXPECT_FALSE(write(first));
    EXPECT_EQ(f.error_code, 3u);
    EXPECT_EQ(tables.get(slot), before);
}

/// SDM's figures "Formats of ... Paging-Structure Entries": the reserved bits of an entry, written out once
/// more.
u64 reserved_bits(const ModeCase& m, unsigned level, bool leaf, bool nxe, unsigned maxphyaddr) {
    u64 r = 0;
    const auto range = [&r](unsigned high, unsigned low) {
        for (unsigned i = low; i <= high; ++i) r |= 1ull << i;
    };
    switch (m.format) {
    case Format::bits32:
        if (leaf && level == 2) {
            range(21, 21);
            if (maxphyaddr < 40) range(20, 13 + maxphyaddr - 32);
        }
        return r;
    case Format::pae:
        range(62, maxphyaddr);
        if (!nxe) range(63, 63);
        if (leaf && level == 2) range(20, 13);
        return r;
    default:
        range(51, maxphyaddr);
        if (!nxe) range(63, 63);
        if (level == 2 && leaf) range(20, 13);
        if (level == 3 && leaf) range(29, 13);
        if (level >= 4) range(7, 7);
        return r;
    }
}

TEST_P(ModeTest, ReservedBitsFault) {
    const ModeCase& m = GetParam();
    const u64 first = m.linear & ~(size() - 1);
    tables.map(first, (m.level == 1 ? frames.take() : 0) | 7 | leaf_bits(), m.level);
    use(tables, m.mode);
    unsigned checked = 0;
    for (const u8 maxphyaddr : {36, 39, 46, 52})
        for (const bool nxe : {false, true}) {
            c.maxphyaddr = maxphyaddr;
            c.nxe = nxe;
            apply();
            for (unsigned level = m.level; level <= tables.levels(); ++level) {
                const u64 slot = tables.slot(first, level);
                const u64 whole = tables.get(slot) & ~(a | d);
                const u64 reserved = reserved_bits(m, level, level == m.level, nxe, maxphyaddr);
                for (unsigned b = 1; b < 8 * tables.entry_size(); ++b) {
                    const u64 one = 1ull << b;
                    if (whole & one) continue;
                    // Address bits lead elsewhere, and PS ends the walk early: only what is reserved is of
                    // interest.
                    const bool address_bit = b >= 12 && b < maxphyaddr && !(reserved & one);
                    if (address_bit || (b == 7 && !(reserved & one))) continue;
                    tables.put(slot, whole | one);
                    mmu.flush_all();
                    const bool ok = read(first);
                    ASSERT_EQ(ok, !(reserved & one)) << "level " << level << " bit " << b << " nxe " << nxe;
                    if (!ok) {
                        ASSERT_EQ(f.error_code, 9u);
                        ASSERT_EQ(tables.get(slot), whole | one);
                    }
                    ++checked;
                }
                tables.put(slot, whole);
            }
        }
    EXPECT_GT(checked, 50u);
}

INSTANTIATE_TEST_SUITE_P(
    All, ModeTest,
    testing::Values(ModeCase{"page4k_bits32", Format::bits32, PagingMode::bits32, 0xC012'3000, 1},
                    ModeCase{"page4m_bits32", Format::bits32, PagingMode::bits32, 0xC040'0000, 2},
                    ModeCase{"page4k_pae", Format::pae, PagingMode::pae, 0xBFFF'E000, 1},
                    ModeCase{"page2m_pae", Format::pae, PagingMode::pae, 0x7FE0'0000, 2},
                    ModeCase{"page4k_level4", Format::level4, PagingMode::level4, 0xFFFF'8880'0123'4000, 1},
                    ModeCase{"page2m_level4", Format::level4, PagingMode::level4, 0x0000'7F12'3460'0000, 2},
                    ModeCase{"page1g_level4", Format::level4, PagingMode::level4, 0xFFFF'FFFF'0000'0000, 3},
                    ModeCase{"page4k_level5", Format::level5, PagingMode::level5, 0xFF12'3456'789A'B000, 1},
                    ModeCase{"page2m_level5", Format::level5, PagingMode::level5, 0x00F0'0000'0060'0000, 2},
                    ModeCase{"page1g_level5", Format::level5, PagingMode::level5, 0x00F0'0000'4000'0000, 3}),
    testing::PrintToStringParamName());

TEST_F(WalkTest, WithoutPagingAddressesStay) {
    apply();
    ASSERT_TRUE(write(0x12345));
    EXPECT_EQ(t.machine_page, 0x12000u);
    EXPECT_EQ(t.host, memory.host(0x12000));
    EXPECT_TRUE(l1_write(DataClass::supervisor, 0x12345));
    EXPECT_TRUE(fetch(0x12345));
    EXPECT_TRUE(l1_fetch(Privilege::supervisor, 0x12345));
    ASSERT_TRUE(read(0xFEE0'0000));  // a device: translated, never in the first level
    EXPECT_EQ(t.host, nullptr);
    EXPECT_FALSE(l1_read(DataClass::supervisor, 0xFEE0'0000));
    EXPECT_EQ(mmu.counters.walks, 0u);
}

// Page sizes that are switched off: PSE is ignored in a PDE without CR4.PSE; PS is reserved where 1-GByte
// pages are not.
TEST_F(WalkTest, PageSizesThatAreOff) {
    Tables t32(memory, frames, Format::bits32);
    const u64 page = frames.take();
    t32.map(0x40'1000, page | 7);
    t32.put(t32.slot(0x40'1000, 2), t32.get(t32.slot(0x40'1000, 2)) | ps);
    use(t32, PagingMode::bits32);
    c.pse = false;
    apply();
    ASSERT_TRUE(read(0x40'1000));
    EXPECT_EQ(t.machine_page, page);

    Tables t64(memory, frames, Format::level4);
    t64.map(0, 7 | ps, 3);
    use(t64, PagingMode::level4);
    EXPECT_TRUE(read(0));
    c.page1gb = false;
    mmu.flush_all();
    apply();
    EXPECT_FALSE(read(0));
    EXPECT_EQ(f.error_code, 9u);
}

TEST_F(WalkTest, Pse36GivesAddressBits39To32) {
    Tables t32(memory, frames, Format::bits32);
    c.maxphyaddr = 40;
    t32.map(0, 7 | ps | (0xA5u << 13) | 0x40'0000, 2);
    use(t32, PagingMode::bits32);
    ASSERT_TRUE(read(0x12'3456));
    EXPECT_EQ(t.machine_page, 0xA5'0052'3000u);
}

TEST_F(WalkTest, PaeUsesThePdpteRegisters) {
    Tables tables(memory, frames, Format::pae);
    const u64 page = frames.take();
    tables.map(0x8000'0000, page | 7);
    use(tables, PagingMode::pae);
    c.cr3 = 0;  // plays no part
    apply();
    ASSERT_TRUE(read(0x8000'0000));
    EXPECT_EQ(t.machine_page, page);
    mmu.flush_all();
    c.pdpte[2] &= ~p;
    apply();
    EXPECT_FALSE(read(0x8000'0000));
    EXPECT_EQ(f.error_code, 0u);
}

TEST_F(WalkTest, NonCanonicalAddresses) {
    Tables t4(memory, frames, Format::level4), t5(memory, frames, Format::level5);
    use(t4, PagingMode::level4);
    for (const u64 x : {0x0000'8000'0000'0000ull, 0xFFFF'7FFF'FFFF'F000ull, 0x0100'0000'0000'0000ull}) {
        EXPECT_FALSE(read(x));
        EXPECT_EQ(f.kind, WalkFault::Kind::non_canonical);
        EXPECT_FALSE(fetch(x));
        EXPECT_EQ(f.kind, WalkFault::Kind::non_canonical);
    }
    use(t5, PagingMode::level5);
    EXPECT_FALSE(read(0x0000'8000'0000'0000));
    EXPECT_EQ(f.kind, WalkFault::Kind::page_fault);
    EXPECT_FALSE(read(0x0100'0000'0000'0000));
    EXPECT_EQ(f.kind, WalkFault::Kind::non_canonical);
}

TEST_F(WalkTest, CountersTellTheReferences) {
    Tables tables(memory, frames, Format::level4);
    tables.map(0x1000, frames.take() | 7);
    use(tables, PagingMode::level4);
    ASSERT_TRUE(read(0x1000));
    EXPECT_EQ(mmu.counters.walks, 1u);
    EXPECT_EQ(mmu.counters.references, 4u);
    EXPECT_EQ(mmu.counters.ept_references, 0u);
    ASSERT_TRUE(read(0x1008));
    EXPECT_EQ(mmu.counters.walks, 1u);
    EXPECT_FALSE(read(0x4000'0000));  // ends at the PDPTE
    EXPECT_EQ(mmu.counters.references, 6u);
}

// Tables in a device's range are read over the bus: floating high, entries are reserved garbage. Nothing
// breaks.
TEST_F(WalkTest, TablesOutsideMemory) {
    Tables tables(memory, frames, Format::level4);
    use(tables, PagingMode::level4);
    c.cr3 = 0xF000'0000;
    apply();
    EXPECT_FALSE(read(0));
    EXPECT_EQ(f.kind, WalkFault::Kind::page_fault);
    EXPECT_EQ(f.error_code, 9u);
}

// Setting flags in a table that also holds decoded code is a code write like any other.
TEST_F(WalkTest, FlagUpdatesAreSeenByTheCodeWatcher) {
    struct Watcher : CodeWatcher {
        u64 frame = 0, granules = 0;
        void code_overwritten(u64 f2, u64 g2) override { frame = f2, granules = g2; }
    } watcher;
    memory.set_code_watcher(&watcher);
    Tables tables(memory, frames, Format::level4);
    const u64 slot = tables.map(0x1000, frames.take() | 7);
    memory.add_code(slot, ~0ull);
    use(tables, PagingMode::level4);
    ASSERT_TRUE(read(0x1000));
    EXPECT_EQ(watcher.frame, slot >> 12);
    EXPECT_EQ(watcher.granules, 1ull << ((slot & 0xFFF) / 64));
}

}  // namespace
}  // namespace droste::test
