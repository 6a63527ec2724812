// SPDX-License-Identifier: Apache-2.0
// Each invalidation removes exactly what it must: observed by translations that stay stale, over all address
// spaces.
#include <functional>

#include "paging_rig.h"

namespace droste::test {
namespace {

enum class Second : u8 { none, a, b };
enum class Kind : u8 { local, global, large };

/// An address space and one of its pages.
struct Place {
    u16 vpid, pcid;
    Second second;
    Kind kind;
};

struct InvalidationTest : testing::Test, Rig {
    static constexpr u64 local_page = 0x40'0000, global_page = 0xFFFF'8000'0000'1000,
                         large_page = 0x4000'0000, large_piece = large_page + 0x3000;
    Tables guest{memory, frames, Format::level4};
    std::array<Tables, 2> ept{Tables{memory, frames, Format::ept4}, Tables{memory, frames, Format::ept4}};
    u64 old_page = frames.take(), new_page = frames.take();

    InvalidationTest() {
        for (Tables& e : ept)
            for (u64 m = 0; m < ram; m += 0x20'0000) e.map(m, m | ept_rwx | ept_wb | ps, 2);
    }
    void point_to(bool fresh) {
        const u64 page = fresh ? new_page : old_page;
        guest.map(local_page, page | 7 | a | d);
        guest.map(global_page, page | 7 | a | d | g);
        guest.map(large_page, (fresh ? 0x40'0000 : 0x20'0000) | 7 | a | d | ps, 2);
    }
    void go(u16 vpid, u16 pcid, Second second) {
        c.vpid = vpid;
        c.pcid = pcid;
        c.ept = second != Second::none;
        c.eptp = c.ept ? ept[second == Second::b].root | eptp_wb4 : 0;
        use(guest, PagingMode::level4);
    }
    static u64 linear_of(Kind k) {
        return k == Kind::local ? local_page : k == Kind::global ? global_page : large_piece;
    }
    /// As an engine does it: the first level, then the Mmu.
    u64 machine_of(u64 linear) {
        const TlbClass& t2 = mmu.data(DataClass::supervisor);
        if (l1_read(DataClass::supervisor, linear)) {
            const u64 host = linear + t2.addend[TlbClass::slot(linear)];
            return host - reinterpret_cast<u64>(memory.host(0));
        }
        EXPECT_TRUE(read(linear));
        return t.machine_page;
    }
    bool stale(const Place& x) {
        go(x.vpid, x.pcid, x.second);
        const u64 m = machine_of(linear_of(x.kind));
        return x.kind == Kind::large ? m < 0x40'0000 : m == old_page;
    }
    static std::vector<Place> places() {
        std::vector<Place> all;
        for (const u16 vpid : {0, 1, 2})
            for (const u16 pcid : {0, 1, 2})
                for (const Second s : {Second::none, Second::a, Second::b})
                    for (const Kind k : {Kind::local, Kind::global, Kind::large})
                        all.push_back({vpid, pcid, s, k});
        return all;
    }
    /// Fills everything, edits the tables, runs `op` at {VPID 1, PCID 1, EPT a}, and looks what is still old.
    void expect(const char* name, const std::function<void()>& op,
                const std::function<bool(const Place&)>& removed) {
        point_to(false);
        mmu.flush_all();
        for (const Place& x : places()) ASSERT_TRUE(stale(x)) << name;
        point_to(true);
        for (const Place& x : places())
            ASSERT_TRUE(stale(x)) << name << ": the caches are too small for this test";
        go(1, 1, Second::a);
        op();
        for (const Place& x : places())
            EXPECT_EQ(stale(x), !removed(x)) << name << ": VPID " << x.vpid << " PCID " << x.pcid << " EPT "
                                             << int(x.second) << " page " << int(x.kind);
    }
};

TEST_F(InvalidationTest, EachRemovesWhatItMust) {
    const auto global = [](const Place& x) { return x.kind == Kind::global; };
    expect(
        "flush_all", [&] { mmu.flush_all(); }, [](const Place&) { return true; });
    expect(
        "MOV CR3", [&] { mmu.flush_current(true); },
        [&](const Place& x) { return x.vpid == 1 && x.pcid == 1 && !global(x); });
    expect(
        "CR4.PGE", [&] { mmu.flush_current(false); }, [&](const Place& x) { return x.vpid == 1; });
    expect(
        "INVPCID 1", [&] { mmu.flush_pcid(2); },
        [&](const Place& x) { return x.vpid == 1 && x.pcid == 2 && !global(x); });
    for (const Kind k : {Kind::local, Kind::global, Kind::large}) {
        const Linear at(linear_of(k) + 0x123);
        expect(
            "INVLPG", [&] { mmu.invlpg(at); },
            [&](const Place& x) { return x.vpid == 1 && x.kind == k && (x.pcid == 1 || global(x)); });
        expect(
            "INVPCID 0", [&] { mmu.invpcid_address(2, at); },
            [&](const Place& x) { return x.vpid == 1 && x.kind == k && x.pcid == 2 && !global(x); });
        expect(
            "INVVPID 0", [&] { mmu.invvpid_address(2, at); },
            [&](const Place& x) { return x.vpid == 2 && x.kind == k; });
    }
    expect(
        "INVVPID 1", [&] { mmu.invvpid_single(2, false); }, [&](const Place& x) { return x.vpid == 2; });
    expect(
        "INVVPID 3", [&] { mmu.invvpid_single(2, true); },
        [&](const Place& x) { return x.vpid == 2 && !global(x); });
    expect(
        "INVVPID 2", [&] { mmu.invvpid_all(); }, [&](const Place& x) { return x.vpid != 0; });
    expect(
        "INVEPT 1", [&] { mmu.invept_single(ept[0].root | eptp_wb4); },
        [&](const Place& x) { return x.second == Second::a; });
    // Bits beside the address of the table do not tell EPTPs apart.
    expect(
        "INVEPT 1, other bits", [&] { mmu.invept_single(ept[1].root | eptp_ad); },
        [&](const Place& x) { return x.second == Second::b; });
    expect(
        "INVEPT 2", [&] { mmu.invept_all(); }, [&](const Place& x) { return x.second != Second::none; });
}

// An address anywhere in a large page removes every piece of it, and no piece of its neighbour.
TEST_F(InvalidationTest, LargePagesGoAsAWhole) {
    go(0, 0, Second::none);
    for (const unsigned level : {2u, 3u}) {
        const u64 size = 1ull << guest.shift(level), first = 0x40'0000'0000;
        guest.map(first, 7 | ps | a | d, level);
        guest.map(first + size, 7 | ps | a | d, level);
        const std::array<u64, 4> pieces{first + 0x10'0000, first + size - 0x1000, first + size,
                                        first + size + 0x5000};
        for (const u64 x : pieces) ASSERT_TRUE(read(x));
        guest.map(first, 0, level);
        guest.map(first + size, 0, level);
        mmu.invlpg(Linear(first + 0x4567));
        EXPECT_FALSE(read(pieces[0]));
        EXPECT_FALSE(read(pieces[1]));
        EXPECT_TRUE(read(pieces[2]));
        EXPECT_TRUE(read(pieces[3]));
        mmu.invlpg(Linear(first + size));
        EXPECT_FALSE(read(pieces[2]));
        EXPECT_FALSE(read(pieces[3]));
    }
}

// SDM "Operations that Invalidate TLBs": a page fault removes what is cached for its address, in every class.
TEST_F(InvalidationTest, PageFaultsInvalidate) {
    go(0, 0, Second::none);
    const u64 slot = guest.map(local_page, old_page | p | u | a | d);
    c.wp = true;
    apply();
    ASSERT_TRUE(read(local_page));
    guest.put(slot, new_page | p | u | a | d);
    EXPECT_FALSE(write(local_page));
    EXPECT_EQ(machine_of(local_page), new_page);
}

// Permissions may be raised without an invalidation; a write that needs the dirty flag looks at the tables
// again.
TEST_F(InvalidationTest, CachedDenialsAreWalkedAgain) {
    go(0, 0, Second::none);
    const u64 slot = guest.map(local_page, old_page | p | a);
    c.wp = true;
    apply();
    ASSERT_TRUE(read(local_page));
    guest.put(slot, old_page | p | w | a);
    EXPECT_TRUE(write(local_page));
    EXPECT_EQ(guest.get(slot) & d, d);
    // The dirty flag was cleared without an invalidation: the cached one lets writes pass.
    guest.put(slot, old_page | p | w | a);
    EXPECT_TRUE(write(local_page));
    EXPECT_EQ(guest.get(slot) & d, 0u);
    mmu.invlpg(Linear(local_page));
    EXPECT_TRUE(write(local_page));
    EXPECT_EQ(guest.get(slot) & d, d);
}

// Guest-physical mappings of paging structures: stale until INVEPT; INVVPID and MOV CR3 leave them.
TEST_F(InvalidationTest, GuestPhysicalMappingsNeedInvept) {
    const u64 slot = guest.map(local_page, old_page | 7 | a | d);
    Tables small(memory, frames, Format::ept4);
    for (u64 m = 0x100'0000; m < 0x180'0000; m += 0x1000) small.map(m, m | ept_rwx | ept_wb);
    const u64 table = slot & ~0xFFFull, copy = frames.take();
    go(1, 0, Second::none);
    c.ept = true;
    c.eptp = small.root | eptp_wb4;
    apply();
    ASSERT_TRUE(read(local_page));
    // The table moves in machine memory.
    for (u64 i = 0; i < 0x1000; i += 8) memory.write64(copy + i, memory.read64(table + i));
    memory.write64(copy + (slot & 0xFFF), new_page | 7 | a | d);
    small.map(table, copy | ept_rwx | ept_wb);
    mmu.invvpid_single(1, false);
    mmu.flush_current(false);
    EXPECT_EQ(machine_of(local_page), old_page);
    mmu.invept_single(small.root);
    EXPECT_EQ(machine_of(local_page), new_page);
    small.map(table, table | ept_rwx | ept_wb);
    mmu.invept_all();
    EXPECT_EQ(machine_of(local_page), old_page);
}

// Global pages need CR4.PGE.
TEST_F(InvalidationTest, GlobalOnlyWithPge) {
    go(0, 0, Second::none);
    c.pge = false;
    apply();
    point_to(false);
    ASSERT_EQ(machine_of(global_page), old_page);
    point_to(true);
    mmu.flush_current(true);
    EXPECT_EQ(machine_of(global_page), new_page);
}

// More address spaces than there are rows: what was pushed out may be forgotten, but never mistaken.
TEST_F(InvalidationTest, ManySpaces) {
    for (unsigned round = 0; round < 3; ++round)
        for (u16 i = 0; i < 200; ++i) {
            const u64 page = round * 0x40'0000 + i * 0x1000 + 0x10'0000;
            go(static_cast<u16>(i / 8), static_cast<u16>(i % 8), Second::none);
            guest.map(local_page, page | 7 | a | d);
            guest.map(global_page, page | 7 | a | d | g);
            mmu.flush_current(false);
            ASSERT_EQ(machine_of(local_page), page);
            ASSERT_EQ(machine_of(global_page), page);
            // A new PCID of the same VPID sees the global page only.
            go(static_cast<u16>(i / 8), 100, Second::none);
            guest.map(local_page, old_page | 7 | a | d);
            mmu.flush_pcid(100);
            ASSERT_EQ(machine_of(local_page), old_page);
            ASSERT_EQ(machine_of(global_page), page);
            guest.map(local_page, page | 7 | a | d);
            go(static_cast<u16>(i / 8), static_cast<u16>(i % 8), Second::none);
            ASSERT_EQ(machine_of(local_page), page);
            ASSERT_TRUE(read(local_page));  // and the second level agrees
            ASSERT_EQ(t.machine_page, page);
        }
}

// What the second level had to give up is gone from the first level, too: INVLPG finds nothing to remove, and
// nothing stale may be left.
TEST_F(InvalidationTest, TheFirstLevelFollowsReplacement) {
    go(0, 0, Second::none);
    guest.map(local_page, old_page | 7 | a | d);
    ASSERT_EQ(machine_of(local_page), old_page);
    ASSERT_TRUE(fetch(local_page));
    for (const u16 pcid : {1, 2, 3, 4, 5}) {
        go(0, pcid, Second::none);
        ASSERT_EQ(machine_of(local_page), old_page);
    }
    go(0, 0, Second::none);
    guest.map(local_page, new_page | 7 | a | d);
    mmu.invlpg(Linear(local_page));
    EXPECT_FALSE(l1_fetch(Privilege::supervisor, local_page));
    EXPECT_EQ(machine_of(local_page), new_page);
}

// The numbers of address spaces run out after half a million flushes. Translations that were cached under a
// number must not come back when it is given out again. Each page is used once in each round, so that what
// the first round left is not pushed out meanwhile; `slack` covers the numbers that other rows take.
TEST_F(InvalidationTest, NumbersRunOut) {
    constexpr unsigned numbers = 1u << 19, flushes = 30, slack = 12;
    go(0, 0, Second::none);
    const auto page_of = [](unsigned flush, unsigned shift) {
        return local_page + u64(flush * (2 * slack + 1) + shift) * 0x1000;
    };
    for (unsigned f2 = 0; f2 < flushes + 2 * slack; ++f2)
        for (unsigned i = 0; i <= 2 * slack; ++i) guest.map(page_of(f2, i), old_page | 7 | a | d);
    // At flush n the pages (n + shift, shift) are cached; later, at a flush that is `shift` away, all (n,
    // shift) meet the number that they were cached under.
    for (unsigned n = 0; n < flushes; ++n) {
        mmu.flush_current(true);
        for (unsigned i = 0; i <= 2 * slack; ++i) ASSERT_EQ(machine_of(page_of(n + i, i)), old_page);
    }
    for (unsigned f2 = 0; f2 < flushes + 2 * slack; ++f2)
        for (unsigned i = 0; i <= 2 * slack; ++i) guest.map(page_of(f2, i), new_page | 7 | a | d);
    for (unsigned n = flushes; n < numbers - slack; ++n) mmu.flush_current(true);
    for (unsigned n = 0; n < flushes + 2 * slack; ++n) {
        mmu.flush_current(true);
        for (unsigned i = 0; i <= 2 * slack; ++i)
            ASSERT_EQ(machine_of(page_of(n, i)), new_page) << n << " " << i;
    }
}

// SDM "Information That May Be Cached": changes of permission controls act on cached translations at once.
TEST_F(InvalidationTest, ControlsActOnCachedTranslations) {
    go(0, 0, Second::none);
    guest.map(local_page, old_page | p | u | a | d);
    ASSERT_TRUE(write(local_page));
    EXPECT_TRUE(l1_write(DataClass::supervisor, local_page));
    c.wp = true;
    apply();
    EXPECT_FALSE(l1_write(DataClass::supervisor, local_page));
    EXPECT_FALSE(write(local_page));
    c.wp = false;
    apply();
    EXPECT_TRUE(write(local_page));
    c.smap = true;
    apply();
    EXPECT_FALSE(l1_read(DataClass::supervisor, local_page));
    EXPECT_FALSE(read(local_page));
    c.smap = false;
    apply();
    EXPECT_TRUE(fetch(local_page));
    c.smep = true;
    apply();
    EXPECT_FALSE(l1_fetch(Privilege::supervisor, local_page));
    EXPECT_FALSE(fetch(local_page));
}

struct CodeFrameTest : InvalidationTest {};

// A frame with decoded code has no write tag in any context, class or alias; reads stay fast; tags come back.
TEST_F(CodeFrameTest, WriteTagsOfCodeFramesAreDropped) {
    const u64 alias = 0x12'3000;
    guest.map(local_page, old_page | 7 | a | d);
    guest.map(alias, old_page | 7 | a | d);
    const auto each = [&](auto&& f2) {
        for (const u16 pcid : {0, 1, 2})
            for (const u64 x : {local_page, alias}) {
                go(0, pcid, Second::none);
                f2(x);
            }
    };
    each([&](u64 x) {
        ASSERT_TRUE(write(x));
        ASSERT_TRUE(data(x, Access::write, Privilege::user));
        EXPECT_TRUE(l1_write(DataClass::supervisor, x) && l1_write(DataClass::user, x));
    });
    memory.add_code(old_page, 1);
    mmu.drop_write_tags(old_page);
    each([&](u64 x) {
        EXPECT_FALSE(l1_write(DataClass::supervisor, x) || l1_write(DataClass::user, x));
        EXPECT_TRUE(l1_read(DataClass::supervisor, x) && l1_read(DataClass::user, x));
        ASSERT_TRUE(write(x));
        EXPECT_FALSE(l1_write(DataClass::supervisor, x));
    });
    memory.clear_code(old_page);
    each([&](u64 x) {
        ASSERT_TRUE(write(x));
        EXPECT_TRUE(l1_write(DataClass::supervisor, x));
    });
    mmu.drop_write_tags(0xFEE0'0000);  // no RAM: nothing to do
}

}  // namespace
}  // namespace droste::test
