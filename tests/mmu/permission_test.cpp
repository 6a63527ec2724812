// SPDX-License-Identifier: Apache-2.0
// Access rights against an oracle that transcribes the SDM's lists, over every combination of what they
// depend on.
#include "paging_rig.h"

namespace droste::test {
namespace {

struct Setting {
    bool wp, smep, smap, nxe, pke, pks, ac;
    u32 ru_ad, ru_wd, rs_ad, rs_wd;
};
struct PageBits {
    bool user, writable, xd;
};
struct Verdict {
    bool allowed;
    u32 code;
};

constexpr unsigned key = 5;

/// SDM "Determination of Access Rights", "Protection Keys" and "Page-Fault Exceptions", read top to bottom.
Verdict oracle(const Setting& s, const PageBits& page, Access access, Privilege who, Intent intent) {
    const bool user_access = who == Privilege::user;
    const bool is_write = access == Access::write, is_fetch = access == Access::execute;
    if (page.xd && !s.nxe)  // the bit is reserved
        return {false,
                1u | 8u | (is_write ? 2u : 0) | (user_access ? 4u : 0) | (is_fetch && s.smep ? 16u : 0)};
    bool ok;
    if (!user_access) {
        if (access == Access::read) {
            // "Data may be read (implicitly or explicitly) from any supervisor-mode address..."
            if (!page.user) ok = true;
            else if (!s.smap) ok = true;
            else ok = intent == Intent::explicit_access && s.ac;
        } else if (is_write) {
            if (!page.user) ok = !s.wp || page.writable;
            else if (!s.wp) ok = !s.smap || (intent == Intent::explicit_access && s.ac);
            else ok = page.writable && (!s.smap || (intent == Intent::explicit_access && s.ac));
        } else {
            if (!page.user) ok = !page.xd;
            else ok = !s.smep && !page.xd;
        }
    } else {
        if (!page.user) ok = false;
        else if (access == Access::read) ok = true;
        else if (is_write) ok = page.writable;
        else ok = !page.xd;
    }
    bool key_violation = false;
    if (!is_fetch) {
        if (page.user && s.pke) key_violation = s.ru_ad || (is_write && s.ru_wd && (user_access || s.wp));
        if (!page.user && s.pks) key_violation = s.rs_ad || (is_write && s.rs_wd && (user_access || s.wp));
    }
    if (ok && !key_violation) return {true, 0};
    u32 code = 1;
    if (is_write) code |= 2;
    if (user_access) code |= 4;
    if (is_fetch && (s.smep || s.nxe)) code |= 16;
    if (key_violation) code |= 32;
    return {false, code};
}

Setting setting_of(unsigned n) {
    const auto take = [&n] {
        const unsigned b = n & 1;
        n >>= 1;
        return b;
    };
    Setting s{};
    s.wp = take();
    s.smep = take();
    s.smap = take();
    s.nxe = take();
    s.pke = take();
    s.pks = take();
    s.ac = take();
    s.ru_ad = take();
    s.ru_wd = take();
    s.rs_ad = take();
    s.rs_wd = take();
    return s;
}
constexpr unsigned settings = 1u << 11;

struct PermissionTest : testing::Test, Rig {
    static constexpr u64 base = 0x4000'0000;
    static u64 linear_of(unsigned i) { return base + u64(i) * 0x1000; }
};

TEST_F(PermissionTest, EveryCombinationAgreesWithTheOracle) {
    Tables tables(memory, frames, Format::level4);
    const u64 page = frames.take();
    const auto bits_of = [](unsigned i) { return PageBits{(i & 1) != 0, (i & 2) != 0, (i & 4) != 0}; };
    for (unsigned i = 0; i < 8; ++i) {
        const PageBits b = bits_of(i);
        tables.map(linear_of(i), page | p | a | d | (b.user ? u : 0) | (b.writable ? w : 0) |
                                     (b.xd ? xd : 0) | (u64(key) << 59));
    }
    use(tables, PagingMode::level4);
    unsigned checked = 0;
    for (unsigned n = 0; n < settings; ++n) {
        const Setting s = setting_of(n);
        c.wp = s.wp, c.smep = s.smep, c.smap = s.smap, c.nxe = s.nxe, c.pke = s.pke, c.pks = s.pks,
        c.ac = s.ac;
        // The other keys forbid everything that this one permits.
        c.pkru = ~(3u << (2 * key)) | ((s.ru_ad | s.ru_wd << 1) << (2 * key));
        c.pkrs = ~(3u << (2 * key)) | ((s.rs_ad | s.rs_wd << 1) << (2 * key));
        mmu.flush_all();  // EFER.NXE changes what the cached translations mean
        apply();
        for (unsigned i = 0; i < 8; ++i) {
            const PageBits b = bits_of(i);
            for (const Access access : {Access::read, Access::write, Access::execute})
                for (const Privilege who : {Privilege::supervisor, Privilege::user})
                    for (const Intent intent : {Intent::explicit_access, Intent::implicit_access}) {
                        if (who == Privilege::user && intent == Intent::implicit_access) continue;
                        const Verdict v = oracle(s, b, access, who, intent);
                        // Twice: by a walk or an entry that another access left, and by what this one left.
                        for (int again = 0; again < 2; ++again) {
                            const bool ok = access == Access::execute
                                                ? fetch(linear_of(i), who)
                                                : data(linear_of(i), access, who, intent);
                            ++checked;
                            if (ok != v.allowed || f.error_code != v.code)
                                FAIL() << "setting " << n << " page " << i << " access " << int(access)
                                       << " who " << int(who) << " intent " << int(intent) << ": " << ok
                                       << " code " << f.error_code << ", expected " << v.allowed << " code "
                                       << v.code;
                        }
                    }
            // What the first level now grants without asking must be what the oracle grants.
            const auto may = [&](Access access, Privilege who, bool with_ac) {
                Setting t2 = s;
                t2.ac = with_ac;
                return oracle(t2, b, access, who, Intent::explicit_access).allowed;
            };
            const u64 l = linear_of(i);
            ASSERT_LE(l1_read(DataClass::user, l), may(Access::read, Privilege::user, s.ac));
            ASSERT_LE(l1_write(DataClass::user, l), may(Access::write, Privilege::user, s.ac));
            ASSERT_LE(l1_read(DataClass::supervisor, l), may(Access::read, Privilege::supervisor, false));
            ASSERT_LE(l1_write(DataClass::supervisor, l), may(Access::write, Privilege::supervisor, false));
            ASSERT_LE(l1_read(DataClass::supervisor_ac, l), may(Access::read, Privilege::supervisor, true));
            ASSERT_LE(l1_write(DataClass::supervisor_ac, l), may(Access::write, Privilege::supervisor, true));
            ASSERT_LE(l1_fetch(Privilege::user, l), may(Access::execute, Privilege::user, s.ac));
            ASSERT_LE(l1_fetch(Privilege::supervisor, l), may(Access::execute, Privilege::supervisor, s.ac));
            // And it grants what was just done.
            const DataClass mine = s.ac ? DataClass::supervisor_ac : DataClass::supervisor;
            data(l, Access::write);
            ASSERT_EQ(l1_write(mine, l), may(Access::write, Privilege::supervisor, s.ac));
            data(l, Access::read, Privilege::user);
            ASSERT_EQ(l1_read(DataClass::user, l), may(Access::read, Privilege::user, s.ac));
            fetch(l, Privilege::user);
            ASSERT_EQ(l1_fetch(Privilege::user, l), may(Access::execute, Privilege::user, s.ac));
        }
    }
    EXPECT_EQ(checked, settings * 8 * 3 * 3 * 2);
}

// The rights of a translation are those that every level grants; a fetch is forbidden when any level forbids
// it.
TEST_F(PermissionTest, LevelsCombine) {
    Tables tables(memory, frames, Format::level4);
    const u64 leaf = tables.map(base, frames.take() | 7);
    c.wp = true;
    use(tables, PagingMode::level4);
    std::array<u64, 5> slot{};
    for (unsigned level = 1; level <= 4; ++level) slot[level] = tables.slot(base, level);
    ASSERT_EQ(slot[1], leaf);
    for (unsigned level = 1; level <= 4; ++level) {
        const u64 whole = tables.get(slot[level]);
        const auto with = [&](u64 entry) {
            tables.put(slot[level], entry);
            mmu.flush_all();
        };
        with(whole & ~u);
        EXPECT_FALSE(data(base, Access::read, Privilege::user));
        EXPECT_EQ(f.error_code, 5u);
        EXPECT_TRUE(read(base));
        with(whole & ~w);
        EXPECT_FALSE(write(base));
        EXPECT_EQ(f.error_code, 3u);
        EXPECT_TRUE(data(base, Access::read, Privilege::user));
        with(whole | xd);
        EXPECT_FALSE(fetch(base, Privilege::user));
        EXPECT_EQ(f.error_code, 0x15u);
        EXPECT_TRUE(data(base, Access::write, Privilege::user));
        with(whole & ~p);
        EXPECT_FALSE(data(base, Access::write, Privilege::user));
        EXPECT_EQ(f.error_code, 6u);
        with(whole);
        EXPECT_TRUE(fetch(base, Privilege::user));
    }
}

// Without NXE and SMEP, and with 32-bit paging, a fetch is not told from a read.
TEST_F(PermissionTest, FetchBitOfTheErrorCode) {
    Tables tables32(memory, frames, Format::bits32);
    use(tables32, PagingMode::bits32);
    c.nxe = true;  // no meaning without PAE
    apply();
    EXPECT_FALSE(fetch(base));
    EXPECT_EQ(f.error_code, 0u);
    c.smep = true;
    apply();
    EXPECT_FALSE(fetch(base));
    EXPECT_EQ(f.error_code, 16u);

    Tables tables(memory, frames, Format::pae);
    c.smep = false;
    use(tables, PagingMode::pae);
    EXPECT_FALSE(fetch(base));
    EXPECT_EQ(f.error_code, 16u);
    c.nxe = false;
    apply();
    EXPECT_FALSE(fetch(base));
    EXPECT_EQ(f.error_code, 0u);
}

// Protection keys exist in 4-level and 5-level paging only.
TEST_F(PermissionTest, NoKeysInPaePaging) {
    Tables tables(memory, frames, Format::pae);
    tables.map(base, frames.take() | 7);
    c.pke = c.pks = true;
    c.pkru = c.pkrs = ~0u;
    use(tables, PagingMode::pae);
    EXPECT_TRUE(data(base, Access::write, Privilege::user));
}

}  // namespace
}  // namespace droste::test
