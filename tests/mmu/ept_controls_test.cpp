// SPDX-License-Identifier: Apache-2.0
// The VM-execution controls that change EPT: execution by mode, sub-pages, paging writes, guest-paging
// verification, and what decides whether a violation can become an exception.
#include "ept_rig.h"
#include "mmu/permissions.h"

namespace droste::test {
namespace {

constexpr u64 ept_xu = 1ull << 10, ept_vgp = 1ull << 57, ept_pw = 1ull << 58, ept_spp = 1ull << 61,
              ept_sve = 1ull << 63;

using EptControlsTest = EptTest;

// ---- mode-based execute control

TEST_F(EptControlsTest, ExecutionByModeOfTheLinearAddress) {
    ept.upper = ept_rwx | ept_xu;  // each level grants both kinds of execution
    map_all(ept_rwx | ept_xu | ept_wb);
    const u64 slot = use_guest(p | w | u | a | d);
    set_upper_accessed();
    use_ept();
    const u64 leaf = ept.slot(guest_page(), 1), upper = ept.slot(guest_page(), 2);
    const u64 upper_whole = ept.get(upper);
    for (const bool mbec : {false, true})
        for (const bool user_page : {false, true})
            for (unsigned i = 0; i < 16; ++i) {
                c.guest.mode_based_execute = mbec;
                apply();
                guest->put(slot, guest_page() | p | w | a | d | (user_page ? u : 0));
                const u64 leaf_bits = (i & 1 ? ept_x : 0) | (i & 2 ? ept_xu : 0);
                const u64 upper_bits = (i & 4 ? ept_x : 0) | (i & 8 ? ept_xu : 0);
                ept.put(leaf, page | ept_r | ept_wb | leaf_bits);
                ept.put(upper, (upper_whole & ~(ept_x | ept_xu)) | upper_bits);
                fresh();
                mmu.flush_all();
                const u64 both = leaf_bits & upper_bits;
                const bool allowed = both & (mbec && user_page ? ept_xu : ept_x);
                ASSERT_EQ(fetch(linear), allowed) << mbec << user_page << i;
                if (allowed) continue;
                const u64 qualification = 0x184 | 0x08 | (both & ept_x ? 0x20 : 0) |
                                          (mbec && (both & ept_xu) ? 0x40 : 0);
                EXPECT_EQ(f.qualification, qualification) << mbec << user_page << i;
                EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
            }
    ept.put(upper, upper_whole);
}

TEST_F(EptControlsTest, WithoutPagingEveryLinearAddressIsAUserModeAddress) {
    map_all(ept_rwx | ept_wb);
    use_ept();
    c.guest.mode_based_execute = true;
    apply();
    for (unsigned level = 1; level <= 4; ++level) {
        const u64 s = ept.slot(guest_page(), level);
        ept.put(s, (ept.get(s) & ~ept_x) | ept_xu);
    }
    EXPECT_TRUE(fetch(guest_page()));
    EXPECT_TRUE(fetch(guest_page(), Privilege::user));
    ept.put(ept.slot(guest_page(), 1), page | ept_rwx | ept_wb);
    fresh();
    EXPECT_FALSE(fetch(guest_page()));
    EXPECT_EQ(f.qualification, 0x19Cu);
}

TEST_F(EptControlsTest, UserExecutionAloneMakesAnEntryPresent) {
    map_all();
    for (unsigned level = 2; level <= 4; ++level) {
        const u64 s = ept.slot(guest_page(), level);
        ept.put(s, ept.get(s) | ept_xu);
    }
    for (const bool mbec : {false, true})
        for (const bool execute_only : {false, true}) {
            use_ept();
            c.guest.mode_based_execute = mbec;
            c.ept_execute_only = execute_only;
            apply();
            mmu.flush_all();
            ept.put(ept.slot(guest_page(), 1), page | ept_xu | ept_wb);
            const bool ok = fetch(guest_page());
            EXPECT_EQ(ok, mbec && execute_only);
            if (ok) continue;
            EXPECT_EQ(f.kind, mbec ? WalkFault::Kind::ept_misconfiguration : WalkFault::Kind::ept_violation);
        }
}

// Translations made under one setting of a control are not used under another.
TEST_F(EptControlsTest, ControlsKeepTheirTranslationsApart) {
    map_all(ept_r | ept_w | ept_xu | ept_wb);
    for (unsigned level = 2; level <= 4; ++level) {
        const u64 s = ept.slot(guest_page(), level);
        ept.put(s, ept.get(s) | ept_xu);
    }
    use_ept();
    c.guest.mode_based_execute = true;
    apply();
    EXPECT_TRUE(fetch(guest_page()));
    c.guest.mode_based_execute = false;
    apply();
    EXPECT_FALSE(fetch(guest_page()));
    c.guest.mode_based_execute = true;
    apply();
    EXPECT_TRUE(l1_fetch(Privilege::supervisor, guest_page()));
}

// ---- sub-page write permissions

struct SubPageTest : EptTest {
    u64 root = frames.take(), l3 = frames.take(), l2 = frames.take(), vectors = frames.take();
    u64 leaf = 0;
    void SetUp() override {
        map_all();
        use_ept();
        c.guest.sub_page_write = true;
        c.guest.sppt = root;
        apply();
        leaf = ept.slot(guest_page(), 1);
        ept.put(leaf, page | ept_r | ept_wb | ept_spp);
        memory.write64(at(root, 39), l3 | 1);
        memory.write64(at(l3, 30), l2 | 1);
        memory.write64(at(l2, 21), vectors | 1);
    }
    u64 at(u64 table, unsigned shift) const { return table + 8 * ((guest_page() >> shift) & 511); }
    u64 vector_at() const { return at(vectors, 12); }
};

TEST_F(SubPageTest, EachSubPageHasItsBit) {
    for (unsigned s = 0; s < 32; ++s) {
        memory.write64(vector_at(), 1ull << (2 * s));
        for (unsigned other = 0; other < 32; ++other) {
            EXPECT_EQ(write(guest_page() + 128 * other + 100), other == s);
            if (other == s) {
                EXPECT_TRUE(t.sub_page);
                EXPECT_EQ(t.machine_page, page);
            } else {
                EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
                EXPECT_EQ(f.qualification, 0x18Au);
            }
            EXPECT_FALSE(l1_write(DataClass::supervisor, guest_page()));
        }
    }
    ASSERT_TRUE(read(guest_page()));
    EXPECT_FALSE(t.sub_page);
}

TEST_F(SubPageTest, NotEligible) {
    memory.write64(vector_at(), 0x5555'5555'5555'5555);
    ASSERT_TRUE(write(guest_page()));
    const auto refused = [&] {
        fresh();
        const bool ok = write(guest_page());
        return !ok && f.kind == WalkFault::Kind::ept_violation;
    };
    ept.put(leaf, page | ept_r | ept_wb);  // without bit 61
    EXPECT_TRUE(refused());
    ept.put(leaf, page | ept_wb | ept_spp);  // not present
    EXPECT_TRUE(refused());
    ept.put(leaf, page | ept_x | ept_wb | ept_spp);  // reading is forbidden, writing lacks the write bit alone
    EXPECT_FALSE(refused());
    ept.put(leaf, page | ept_r | ept_wb | ept_spp);
    c.guest.sub_page_write = false;
    apply();
    EXPECT_TRUE(refused());
    c.guest.sub_page_write = true;
    apply();
    // A larger page.
    const u64 s = ept.map(0x4000'0000, 0x20'0000 | ept_r | ept_wb | ps | ept_spp, 2);
    EXPECT_FALSE(write(0x4000'0000));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
    ept.put(s, 0);
    // A writable page needs no vector.
    ept.put(leaf, page | ept_rwx | ept_wb | ept_spp);
    memory.write64(vector_at(), 0);
    fresh();
    EXPECT_TRUE(write(guest_page()));
    EXPECT_FALSE(t.sub_page);
    // The write bit may be missing in any level.
    ept.put(leaf, page | ept_r | ept_wb | ept_spp);
    memory.write64(vector_at(), 1);
    const u64 upper = ept.slot(guest_page(), 2);
    ept.put(upper, ept.get(upper) & ~ept_w);
    fresh();
    EXPECT_TRUE(write(guest_page()));
}

TEST_F(SubPageTest, MissesAndMisconfigurations) {
    memory.write64(vector_at(), 0x5555'5555'5555'5555);
    for (const u64 entry : {at(root, 39), at(l3, 30), at(l2, 21)}) {
        const u64 whole = memory.read64(entry);
        memory.write64(entry, whole & ~1ull);
        EXPECT_FALSE(write(guest_page() + 8));
        EXPECT_EQ(f.kind, WalkFault::Kind::spp_miss);
        EXPECT_EQ(f.qualification, 0x800u);
        EXPECT_EQ(f.guest_phys.value, guest_page() + 8);
        EXPECT_EQ(f.linear.value, guest_page() + 8);
        for (unsigned b = 0; b < 64; ++b) {
            const bool reserved = (b >= 1 && b <= 11) || b >= c.maxphyaddr;
            if (!reserved) continue;
            memory.write64(entry, whole | 1ull << b);
            EXPECT_FALSE(write(guest_page()));
            EXPECT_EQ(f.kind, WalkFault::Kind::spp_misconfiguration) << b;
            EXPECT_EQ(f.qualification, 0u);
            memory.write64(entry, (whole | 1ull << b) & ~1ull);  // not valid: nothing else is looked at
            EXPECT_FALSE(write(guest_page()));
            EXPECT_EQ(f.kind, WalkFault::Kind::spp_miss) << b;
        }
        memory.write64(entry, whole);
    }
    for (unsigned b = 1; b < 64; b += 2) {
        memory.write64(vector_at(), 1ull << b | 1);
        EXPECT_FALSE(write(guest_page()));
        EXPECT_EQ(f.kind, WalkFault::Kind::spp_misconfiguration) << b;
    }
}

// A guest's paging structures are never written by grace of a sub-page.
TEST_F(SubPageTest, NotForPagingStructures) {
    const u64 slot = use_guest();
    const u64 table = (slot & ~0xFFFull) - offset;
    ept.put(ept.slot(table, 1), (slot & ~0xFFFull) | ept_r | ept_wb | ept_spp);
    memory.write64(vectors + 8 * ((table >> 12) & 511), ~0ull / 3);
    ept.put(leaf, page | ept_rwx | ept_wb);
    c.guest.sub_page_write = true;
    apply();
    EXPECT_FALSE(read(linear));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
    EXPECT_EQ(f.qualification, 0x8Bu);
}

TEST_F(SubPageTest, DirtyFlagAndLog) {
    Log log;
    mmu.set_dirty_log(&log);
    use_ept(eptp_wb4 | eptp_ad);
    memory.write64(vector_at(), 4);
    EXPECT_FALSE(write(guest_page()));
    EXPECT_EQ(ept.get(leaf) & ept_d, 0u);
    ASSERT_TRUE(write(guest_page() + 0x80));
    EXPECT_EQ(ept.get(leaf) & ept_d, ept_d);
    EXPECT_EQ(log.pages, std::vector<u64>{guest_page()});
}

// ---- EPT paging-write control

TEST_F(EptControlsTest, PagingWrites) {
    map_all();
    const u64 slot = use_guest();
    const u64 table = slot & ~0xFFFull, table_slot = ept.slot(table - offset, 1),
              above = ept.slot(table - offset, 2);
    const u64 above_whole = ept.get(above);
    for (const bool control : {false, true})
        for (const bool flag : {false, true})
            for (const bool upper_writable : {false, true})
                for (const bool flags_of_ept : {false, true}) {
                    use_ept(eptp_wb4 | (flags_of_ept ? eptp_ad : 0));
                    c.guest.paging_write = control;
                    apply();
                    guest->put(slot, guest_page() | 7);
                    set_upper_accessed();
                    ept.put(table_slot, table | ept_r | ept_wb | (flag ? ept_pw : 0));
                    // The tables of the upper levels lie in the same 2 MBytes: their flags are set already.
                    ept.put(above, upper_writable ? above_whole : above_whole & ~ept_w);
                    mmu.flush_all();
                    const bool ok = write(linear);
                    EXPECT_EQ(ok, control && flag && upper_writable) << control << flag << upper_writable;
                    const u64 flags_wanted = ok ? a | d : 0, ept_wanted = ok && flags_of_ept ? ept_a | ept_d : 0;
                    EXPECT_EQ(guest->get(slot) & (a | d), flags_wanted);
                    EXPECT_EQ(ept.get(table_slot) & (ept_a | ept_d), ept_wanted);
                    // Software's own write stays forbidden.
                    guest->put(guest->slot(linear + 0x1000, 1), (table - offset) | 7 | a | d);
                    if (!ok) continue;
                    EXPECT_FALSE(write(linear + 0x1000));
                    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
                    EXPECT_EQ(f.qualification, 0x18Au);
                }
}

TEST_F(EptControlsTest, PagingWriteBitNeedsTheReadBit) {
    map_all();
    const u64 s = ept.slot(guest_page(), 1);
    ept.put(s, page | ept_x | ept_wb | ept_pw);
    use_ept();
    EXPECT_TRUE(fetch(guest_page()));
    c.guest.paging_write = true;
    apply();
    EXPECT_FALSE(fetch(guest_page()));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_misconfiguration);
    // In entries that refer to tables the bit is ignored.
    const u64 upper = ept.slot(guest_page(), 2);
    ept.put(s, page | ept_x | ept_wb);
    ept.put(upper, (ept.get(upper) & ~ept_rwx) | ept_x | ept_pw);
    fresh();
    EXPECT_TRUE(fetch(guest_page()));
}

// ---- guest-paging verification

TEST_F(EptControlsTest, GuestPagingVerification) {
    map_all();
    const u64 slot = use_guest(p | w | u | a | d);
    set_upper_accessed();
    std::array<u64, 4> tables{};
    for (unsigned level = 1; level <= 4; ++level)
        tables[level - 1] = guest->slot(linear, level) & ~0xFFFull;
    const u64 leaf = ept.slot(guest_page(), 1);
    for (const bool verify : {false, true})
        for (const bool paging_write : {false, true})
            for (const bool flag : {false, true})
                for (unsigned lacking = 0; lacking <= 4; ++lacking) {
                    use_ept();
                    c.guest.verify_paging = verify;
                    c.guest.paging_write = paging_write;
                    apply();
                    for (unsigned level = 1; level <= 4; ++level)
                        ept.put(ept.slot(tables[level - 1] - offset, 1),
                                tables[level - 1] | ept_rwx | ept_wb | (level == lacking ? 0 : ept_pw));
                    ept.put(leaf, page | ept_r | ept_x | ept_wb | (flag ? ept_vgp : 0));
                    mmu.flush_all();
                    const bool bad = verify && paging_write && flag && lacking != 0;
                    for (unsigned round = 0; round < 2; ++round) {  // the second finds the tables cached
                        EXPECT_EQ(read(linear + 4), !bad) << lacking;
                        if (bad) {
                            EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
                            EXPECT_EQ(f.qualification, 0x81A9u);
                            EXPECT_EQ(f.guest_phys.value, guest_page() + 4);
                        }
                    }
                    EXPECT_EQ(ept.get(slot) & 1, 1u);
                }
    // What is not permitted anyway is an ordinary violation.
    ept.put(leaf, page | ept_r | ept_wb | ept_vgp);
    mmu.flush_all();
    EXPECT_FALSE(write(linear));
    EXPECT_EQ(f.qualification, 0x18Au);
}

TEST_F(EptControlsTest, WithoutPagingThereIsNothingToVerify) {
    map_all(ept_rwx | ept_wb | ept_vgp);
    use_ept();
    c.guest.verify_paging = c.guest.paging_write = true;
    apply();
    EXPECT_TRUE(write(guest_page()));
}

// ---- convertible EPT violations

TEST_F(EptControlsTest, TheLastEntryDecidesWhetherAViolationIsConvertible) {
    map_all();
    use_ept();
    const u64 leaf = ept.slot(guest_page(), 1), upper = ept.slot(guest_page(), 2);
    const u64 upper_whole = ept.get(upper);
    for (const bool suppress : {false, true}) {
        const u64 bit63 = suppress ? ept_sve : 0;
        ept.put(leaf, page | ept_r | ept_wb | bit63);
        EXPECT_FALSE(write(guest_page()));
        EXPECT_EQ(f.convertible, !suppress);
        ept.put(leaf, bit63);  // not present
        EXPECT_FALSE(write(guest_page()));
        EXPECT_EQ(f.convertible, !suppress);
        // An entry that refers to a table has no say.
        ept.put(leaf, page | ept_r | ept_wb);
        ept.put(upper, upper_whole | bit63);
        EXPECT_FALSE(write(guest_page()));
        EXPECT_TRUE(f.convertible);
        ept.put(upper, bit63 | 0x1000);
        EXPECT_FALSE(write(guest_page()));
        EXPECT_EQ(f.convertible, !suppress);
        ept.put(upper, upper_whole);
    }
    EXPECT_FALSE(read(0x8000'0000'0000'0000));
    c.mode = PagingMode::none;
    u64 m = 0;
    EXPECT_FALSE(mmu.translate_guest_physical(GuestPhys(1ull << 48), Access::read, m, f));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
    EXPECT_FALSE(f.convertible);
}

// ---- guest-physical accesses to the APIC-access page

TEST_F(EptControlsTest, GuestPhysicalAccessesToTheApicAccessPage) {
    map_all();
    const u64 slot = use_guest();
    use_ept();
    c.apic_access_page = slot & ~0xFFFull;
    apply();
    for (unsigned round = 0; round < 2; ++round) {
        EXPECT_FALSE(read(linear));
        EXPECT_EQ(f.kind, WalkFault::Kind::apic_access);
        EXPECT_EQ(f.guest_phys.value, slot - offset);
        EXPECT_EQ(f.linear.value, linear);
    }
    // EPT violations come first.
    ept.put(ept.slot((slot & ~0xFFFull) - offset, 1), (slot & ~0xFFFull) | ept_x | ept_wb);
    fresh();
    EXPECT_FALSE(read(linear));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
    c.apic_access_page = page;
    apply();
    u64 m = 0;
    EXPECT_FALSE(mmu.translate_guest_physical(GuestPhys(guest_page() + 0x20), Access::read, m, f));
    EXPECT_EQ(f.kind, WalkFault::Kind::apic_access);
    EXPECT_TRUE(mmu.translate_guest_physical(GuestPhys(guest_page() + 0x1000), Access::read, m, f));
}

// ---- shadow stacks

TEST_F(EptControlsTest, SupervisorShadowStacksAreControlledByBit60) {
    constexpr u64 sss = 1ull << 60, control = 0x80;
    map_all();
    const u64 slot = use_guest(p | a | d);  // a shadow-stack page: dirty, not writable
    set_upper_accessed();
    use_ept(eptp_wb4);
    const u64 leaf = ept.slot(guest_page(), 1), upper = ept.slot(guest_page(), 2), upper_whole = ept.get(upper);
    for (const bool on : {false, true})
        for (const bool user_page : {false, true})
            for (const bool store : {false, true})
                for (unsigned i = 0; i < 16; ++i) {
                    c.eptp = ept.root | eptp_wb4 | (on ? control : 0);
                    apply();
                    guest->put(slot, guest_page() | p | a | d | (user_page ? u : 0));
                    const bool r = i & 1, wr = i & 2, bit60 = i & 4, upper_w = i & 8;
                    if (wr && !r) continue;  // misconfigured
                    ept.put(leaf, page | ept_wb | ept_x | (r ? ept_r : 0) | (wr ? ept_w : 0) | (bit60 ? sss : 0));
                    ept.put(upper, upper_w ? upper_whole : upper_whole & ~u64{ept_w});
                    fresh();
                    mmu.flush_all();
                    const u16 needed = static_cast<u16>((store ? shadow_right::write : shadow_right::read) |
                                                        (user_page ? shadow_right::user : 0));
                    const bool plain = store ? r && wr && upper_w : r;
                    const bool allowed = on && !user_page ? r && upper_w && bit60 : plain;
                    SCOPED_TRACE(testing::Message() << on << user_page << store << " " << i);
                    for (unsigned again = 0; again < 2; ++again) {  // walked, and from the TLB
                        f = {};
                        ASSERT_EQ(mmu.translate_shadow_stack(Linear(linear), needed, t, f), allowed);
                    }
                    // What one kind of access has cached gives the others nothing.
                    EXPECT_EQ(read(linear), r);
                    f = {};
                    ASSERT_EQ(mmu.translate_shadow_stack(Linear(linear), needed, t, f), allowed);
                    if (allowed) continue;
                    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
                    EXPECT_EQ(f.qualification & 0x6003, 0x2000u | (store ? 2 : 1) | (on && bit60 ? 0x4000 : 0));
                }
    ept.put(upper, upper_whole);
}

}  // namespace
}  // namespace droste::test
