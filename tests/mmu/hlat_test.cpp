// SPDX-License-Identifier: Apache-2.0
// HLAT paging: which addresses it translates, restarts, and the page faults that it causes.
#include "ept_rig.h"

namespace droste::test {
namespace {

constexpr u64 restart = 1ull << 11;
constexpr u64 high = 0xFFFF'8000'0040'0000, low = 0x40'0000;

struct HlatTest : EptTest {
    u64 other_page = frames.take();
    std::unique_ptr<Tables> hlat;
    u64 other() const { return other_page - offset; }
    void SetUp() override {
        map_all();
        use_guest();
        guest->map(high, guest_page() | 7);
        hlat = std::make_unique<Tables>(memory, frames, Format::level4, offset);
        for (const u64 linear_address : {high, low}) hlat->map(linear_address, other() | 7);
        use_ept();
        c.guest.hlat = true;
        c.guest.hlatp = hlat->root;
        apply();
    }
    u64 translated(u64 linear_address) {
        fresh();
        mmu.flush_all();
        return read(linear_address) ? t.guest_page.value : 0;
    }
};

TEST_F(HlatTest, PrefixSize) {
    EXPECT_EQ(translated(high), other());
    EXPECT_EQ(translated(low), other());
    c.guest.hlat_prefix = 1;
    apply();
    EXPECT_EQ(translated(high), other());
    EXPECT_EQ(translated(low), guest_page());
    c.guest.hlat = false;
    apply();
    EXPECT_EQ(translated(high), guest_page());
}

TEST_F(HlatTest, OnlyWithFourOrFiveLevels) {
    for (const PagingMode mode : {PagingMode::bits32, PagingMode::pae, PagingMode::level4, PagingMode::level5}) {
        Tables ordinary(memory, frames,
                        mode == PagingMode::bits32   ? Format::bits32
                        : mode == PagingMode::pae    ? Format::pae
                        : mode == PagingMode::level4 ? Format::level4
                                                     : Format::level5,
                        offset);
        Tables protected_(memory, frames, mode == PagingMode::level5 ? Format::level5 : Format::level4, offset);
        ordinary.map(low, guest_page() | 7);
        protected_.map(low, other() | 7);
        use(ordinary, mode);
        c.guest.hlatp = protected_.root;
        apply();
        const bool used = mode == PagingMode::level4 || mode == PagingMode::level5;
        EXPECT_EQ(translated(low), used ? other() : guest_page());
    }
}

TEST_F(HlatTest, RestartAtEveryLevel) {
    for (unsigned level = 1; level <= 4; ++level) {
        const u64 s = hlat->slot(high, level), whole = hlat->get(s);
        hlat->put(s, whole | restart);
        EXPECT_EQ(translated(high), guest_page()) << level;
        // A restart wants an entry that is present and well-formed.
        hlat->put(s, (whole | restart) & ~p);
        EXPECT_EQ(translated(high), 0u) << level;
        hlat->put(s, whole);
    }
    // In ordinary paging the bit is ignored.
    hlat->put(hlat->slot(high, 1), other() | 7 | restart);
    const u64 s = guest->slot(high, 1);
    guest->put(s, guest->get(s) | restart);
    EXPECT_EQ(translated(high), guest_page());
}

// SDM "Page-Fault Exceptions", bit 7: no translation, by HLAT paging that was not restarted.
TEST_F(HlatTest, ErrorCodeOfPageFaults) {
    const u64 s = hlat->slot(high, 1), whole = hlat->get(s);
    hlat->put(s, 0);
    EXPECT_EQ(translated(high), 0u);
    EXPECT_EQ(f.kind, WalkFault::Kind::page_fault);
    EXPECT_EQ(f.error_code, 0x80u);
    hlat->put(s, whole | 1ull << 51);
    EXPECT_EQ(translated(high), 0u);
    EXPECT_EQ(f.error_code, 0x89u);
    hlat->put(s, whole & ~u);  // an access right that is missing
    mmu.flush_all();
    EXPECT_FALSE(data(high, Access::read, Privilege::user));
    EXPECT_EQ(f.error_code, 5u);
    hlat->put(s, whole | restart);
    guest->put(guest->slot(high, 1), 0);
    EXPECT_EQ(translated(high), 0u);
    EXPECT_EQ(f.error_code, 0u);
    c.guest.hlat_prefix = 1;
    apply();
    guest->put(guest->slot(low, 1), 0);
    EXPECT_EQ(translated(low), 0u);
    EXPECT_EQ(f.error_code, 0u);
}

// Access rights are those of the walk that gave the translation.
TEST_F(HlatTest, RightsOfTheWalkThatTranslated) {
    c.wp = true;
    apply();
    hlat->put(hlat->slot(high, 1), other() | p);
    EXPECT_FALSE(write(high));
    const u64 upper = hlat->slot(high, 2);
    hlat->put(upper, (hlat->get(upper) & ~w) | restart);
    mmu.flush_all();
    EXPECT_TRUE(write(high));
    EXPECT_EQ(t.guest_page.value, guest_page());
    // The protection key comes from it, too.
    c.pks = true;
    c.pkrs = 1u << (2 * 3);
    apply();
    hlat->put(upper, hlat->get(upper) & ~restart);
    guest->put(guest->slot(high, 1), guest_page() | p | w | 3ull << 59);
    mmu.flush_all();
    EXPECT_TRUE(read(high));
    hlat->put(upper, hlat->get(upper) | restart);
    mmu.flush_all();
    EXPECT_FALSE(read(high));
    EXPECT_EQ(f.error_code, 0x21u);
}

// The page that is cached after a restart is no larger than what the restarting entry controls.
TEST_F(HlatTest, RestartLimitsThePageSize) {
    const u64 base = high & ~0x1F'FFFFull;
    guest->put(guest->slot(high, 2), (guest_page() & ~0x1F'FFFFull) | 7 | ps);
    hlat->map(base, other() | 7 | restart);
    hlat->map(base + 0x1000, other() | 7 | restart);
    ASSERT_TRUE(read(base));
    ASSERT_TRUE(read(base + 0x1000));
    mmu.invlpg(Linear(base));  // a piece of its own: the other stays
    EXPECT_TRUE(l1_read(DataClass::supervisor, base + 0x1000));
    EXPECT_FALSE(l1_read(DataClass::supervisor, base));
}

}  // namespace
}  // namespace droste::test
