// SPDX-License-Identifier: Apache-2.0
// Random edits of paging structures, each followed by the invalidation that the SDM asks for, and random
// accesses: the cached answer must be the one of a walk without caches.
#include <random>

#include "paging_rig.h"

namespace droste::test {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr unsigned steps = 3000;
#else
constexpr unsigned steps = 25'000;
#endif

struct RandomTest : testing::TestWithParam<unsigned>, Rig {
    static constexpr unsigned spaces = 6, pages = 3000;
    Mmu bare{memory};  ///< forgets everything before each translation
    std::mt19937_64 random{GetParam()};
    std::vector<Tables> guest;
    std::vector<Tables> ept;
    unsigned space = 0;
    bool with_ept = GetParam() % 2;

    u64 pick(u64 n) { return random() % n; }
    /// Kernel addresses are shared by all address spaces of a VPID, user addresses are not.
    u64 linear_of(u64 i) { return (i % 3 == 0 ? 0xFFFF'8000'0000'0000 : 0x5500'0000'0000) + i * 0x1000; }
    bool kernel(u64 i) { return i % 3 == 0; }
    u16 vpid_of(unsigned s) { return static_cast<u16>(s / 3); }

    RandomTest() {
        for (unsigned s = 0; s < spaces; ++s) guest.emplace_back(memory, frames, Format::level4);
        for (unsigned i = 0; i < 2; ++i) {
            ept.emplace_back(memory, frames, Format::ept4);
            for (u64 m = 0; m < ram; m += 0x1000) ept[i].map(m, m | ept_rwx | ept_wb);
        }
        // Spaces of a VPID share the kernel half.
        const u64 shared[2] = {frames.take() | 7, frames.take() | 7};
        for (unsigned s = 0; s < spaces; ++s)
            guest[s].put(guest[s].slot(0xFFFF'8000'0000'0000, 4), shared[vpid_of(s)]);
        go(0);
    }
    void go(unsigned s) {
        space = s;
        c.vpid = vpid_of(s);
        c.pcid = static_cast<u16>(s % 3);
        c.ept = with_ept;
        c.eptp = with_ept ? ept[vpid_of(s)].root | eptp_wb4 | eptp_ad : 0;
        use(guest[s], PagingMode::level4);
    }
    u64 random_leaf(u64 i) {
        const u64 r = random();
        if (r % 8 == 0) return 0;
        return (pick(ram / 0x1000) * 0x1000) | p | (r & 8 ? w : 0) | (r & 16 ? u : 0) | (r & 32 ? xd : 0) |
               (r & 64 ? d | a : 0) | (kernel(i) && (r & 128) ? g : 0);
    }
    /// Writes one entry and does what the SDM asks for.
    void edit() {
        const u64 i = pick(pages), linear = linear_of(i);
        const u64 pde = guest[space].slot(linear, 2);
        const u64 r = pick(100);
        if (r < 6) {  // a large page comes or goes
            const u64 e = guest[space].get(pde);
            if (e & ps) guest[space].put(pde, 0);
            else guest[space].put(pde, (pick(ram / 0x20'0000) * 0x20'0000) | 7 | ps | (kernel(i) ? g : 0));
            // Global pieces go with the page that maps them, all others by PCID.
            if (e & ps) drop_page(i, linear);
            else
                for (u64 n = 0; n < 512; ++n) drop_page(i, (linear & ~0x1F'FFFFull) + n * 0x1000);
        } else {
            if (guest[space].get(pde) & ps) return;
            guest[space].map(linear, random_leaf(i));
            drop_page(i, linear);
        }
    }
    /// Kernel pages live in all PCIDs of the VPID.
    void drop_page(u64 i, u64 linear) {
        if (!kernel(i)) {
            switch (pick(3)) {
            case 0: return mmu.invlpg(Linear(linear));
            case 1: return mmu.invpcid_address(c.pcid, Linear(linear));
            default: return mmu.invvpid_address(c.vpid, Linear(linear));
            }
        }
        if (pick(2)) return mmu.invvpid_address(c.vpid, Linear(linear));
        mmu.invlpg(Linear(linear));
        for (const u16 pcid : {0, 1, 2}) mmu.invpcid_address(pcid, Linear(linear));
    }
    void flush() {
        switch (pick(9)) {
        case 0: return mmu.flush_all();
        case 1: return mmu.flush_current(true);
        case 2: return mmu.flush_current(false);
        case 3: return mmu.flush_pcid(static_cast<u16>(pick(3)));
        case 4: return mmu.invvpid_single(static_cast<u16>(pick(3)), pick(2));
        case 5: return mmu.invvpid_all();
        case 6: return mmu.invept_single(ept[pick(2)].root);
        case 7: return mmu.invept_all();
        default: break;
        }
    }
    void edit_ept() {
        if (!with_ept) return;
        const unsigned which = static_cast<unsigned>(pick(2));
        const u64 gpa = pick(ram / 0x1000) * 0x1000;
        if (gpa >= 0x100'0000) return;  // below lie no tables
        static constexpr u64 rights[] = {0, 1, 3, 5, 7, 7, 7};
        ept[which].map(gpa, (pick(ram / 0x1000) * 0x1000) | rights[pick(7)] | ept_wb);
        mmu.invept_single(ept[which].root);
    }
    void control() {
        const u64 r = random();
        c.wp = r & 1, c.smap = r & 2, c.smep = r & 4, c.ac = r & 8;
        apply();
    }
    void access() {
        const u64 linear = linear_of(pick(pages)) + pick(0x1000);
        const Privilege who = pick(2) ? Privilege::user : Privilege::supervisor;
        const u64 kind = pick(3);
        bare.set_controls(c);
        bare.set_ac(c.ac);
        bare.flush_all();
        Translation x;
        WalkFault y;
        bool ok, expected;
        if (kind == 2) {
            const FetchTlb::Entry& e = mmu.fetch(who).entry[FetchTlb::slot(linear)];
            const bool hit = l1_fetch(who, linear);
            const FetchTlb::Entry copy = e;
            ok = hit || fetch(linear, who);
            if (hit) t.machine_page = copy.machine_page, t.host = copy.host;
            expected = bare.translate_fetch(Linear(linear), who, x, y);
        } else {
            const Access what = kind ? Access::write : Access::read;
            const DataClass cls = who == Privilege::user ? DataClass::user
                                  : c.ac                 ? DataClass::supervisor_ac
                                                         : DataClass::supervisor;
            const bool hit = kind ? l1_write(cls, linear) : l1_read(cls, linear);
            if (hit) {
                ok = true;
                t.host = reinterpret_cast<u8*>(linear + mmu.data(cls).addend[TlbClass::slot(linear)]) -
                         (linear & 0xFFF);
                t.machine_page = static_cast<u64>(t.host - memory.host(0));
            } else {
                ok = data(linear, what, who);
            }
            expected = bare.translate_data(Linear(linear), what, who, Intent::explicit_access, x, y);
        }
        ASSERT_EQ(ok, expected) << std::hex << linear << " kind " << kind;
        if (!ok) {
            ASSERT_EQ(f.kind, y.kind);
            ASSERT_EQ(f.error_code, y.error_code);
            ASSERT_EQ(f.qualification, y.qualification);
            ASSERT_EQ(f.guest_phys, y.guest_phys);
            return;
        }
        ASSERT_EQ(t.machine_page, x.machine_page) << std::hex << linear;
        ASSERT_EQ(t.host, x.host);
    }
};

TEST_P(RandomTest, CachedAnswersAreThoseOfAWalk) {
    for (unsigned step = 0; step < steps; ++step) {
        const u64 r = pick(1000);
        if (r < 2) flush();
        else if (r < 6) control();
        else if (r < 30) go(static_cast<unsigned>(pick(spaces)));
        else if (r < 40) edit_ept();
        else if (r < 200) edit();
        else access();
        if (HasFatalFailure()) FAIL() << "step " << step;
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTest, testing::Range(1u, 7u));

}  // namespace
}  // namespace droste::test
