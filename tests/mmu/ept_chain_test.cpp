// SPDX-License-Identifier: Apache-2.0
// Chains of EPTs: random ones against a model of them, accessed and dirty flags, whose violation it is, and the
// invalidations of every level.
#include <random>

#include "mmu/ept_chain.h"
#include "paging_rig.h"

namespace droste::test {
namespace {

constexpr u64 flag_accessed = 0x100, flag_dirty = 0x200;

/// Layers whose guests' data pages are `first` and the following; each layer permutes them. Tables lie at the same
/// place in every space, but for what a layer adds.
struct ChainRig : Rig {
    static constexpr unsigned pages = 48, depth = 3;
    static constexpr u64 first = 0x4000'0000;

    struct Page {
        unsigned target;
        u64 rights;
        u64 flags = 0;
        u64 slot = 0;
    };
    std::mt19937_64 random;
    EptChain chain;
    std::vector<Tables> ept;
    std::array<std::array<Page, pages>, depth> model;
    std::array<u64, pages> frame;
    u32 whole = 0;

    u64 pick(u64 n) { return random() % n; }
    /// Tables of layer k stand at machine address - shift(k).
    static u64 shift(unsigned layer) { return layer * 0x20'0000; }

    explicit ChainRig(unsigned seed) : random(seed) {
        for (u64& page : frame) page = frames.take();
        for (unsigned k = 0; k < depth; ++k) {
            ept.emplace_back(memory, frames, Format::ept4, shift(k));
            for (u64 m = 0x80'0000; m < ram - 0x40'0000; m += 0x20'0000)
                ept[k].map(m + 0x40'0000 - shift(k + 1), (m + 0x40'0000 - shift(k)) | ept_rwx | ept_wb | 0x80, 2);
            for (unsigned i = 0; i < pages; ++i) set(k, i);
            chain.layer[k] = {.ept = true,
                              .vpid = static_cast<u16>(k + 5),
                              .eptp = ept[k].root | eptp_wb4 | eptp_ad};
        }
        chain.depth = depth;
        whole = mmu.number_chain(chain);
        c.mode = PagingMode::none;
        c.ept = c.ept_execute_only = true;
        c.chain = &chain;
        c.eptp = chain.layer[depth - 1].eptp;
        c.vpid = chain.layer[depth - 1].vpid;
        c.beneath = chain.layer[depth - 1].beneath;
        apply();
    }
    void set(unsigned k, unsigned i) {
        Page& page = model[k][i];
        page.target = static_cast<unsigned>(pick(pages));
        constexpr u64 rights[] = {0, 1, 3, 5, 7, 7, 7, 7, 4};
        page.rights = rights[pick(9)];
        page.flags = 0;
        const u64 to = k == 0 ? frame[page.target] : first + page.target * 0x1000;
        page.slot = ept[k].map(first + i * 0x1000, to | page.rights | ept_wb);
    }
    void expect(unsigned i, Access kind) {
        const u64 need = kind == Access::read ? 1 : kind == Access::write ? 2 : 4;
        const u64 linear = first + i * 0x1000 + 0x123;
        const bool ok = kind == Access::execute ? fetch(linear) : data(linear, kind);
        unsigned at = i;
        for (unsigned k = depth; k-- > 0;) {
            Page& page = model[k][at];
            if (!(page.rights & need)) {
                ASSERT_FALSE(ok);
                EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
                EXPECT_EQ(f.layer, k);
                EXPECT_EQ(f.guest_phys.value, first + at * 0x1000 + 0x123);
                EXPECT_EQ(f.qualification & 0x3F, need | page.rights << 3);
                return;
            }
            page.flags |= flag_accessed | (kind == Access::write ? flag_dirty : 0);
            EXPECT_EQ(memory.read64(page.slot) & (flag_accessed | flag_dirty), page.flags) << "layer " << k;
            at = page.target;
        }
        ASSERT_TRUE(ok);
        EXPECT_EQ(t.machine_page, frame[at]);
    }
};

struct ChainTest : testing::TestWithParam<unsigned>, ChainRig {
    ChainTest() : ChainRig(GetParam()) {}
};

TEST_P(ChainTest, RandomChainsTranslateLikeTheirModel) {
    for (unsigned step = 0; step < 6000; ++step) {
        if (pick(8) == 0) {
            const unsigned k = static_cast<unsigned>(pick(depth));
            set(k, static_cast<unsigned>(pick(pages)));
            if (pick(2)) mmu.invept_single(chain.layer[k].eptp, chain.layer[k].beneath);
            else mmu.invept_all(chain.layer[k].beneath);
        }
        expect(static_cast<unsigned>(pick(pages)),
               std::array{Access::read, Access::write, Access::execute}[pick(3)]);
        if (HasFatalFailure()) return;
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ChainTest, testing::Range(1u, 7u));

/// One page, mapped all the way.
struct ChainFlushTest : testing::Test, ChainRig {
    ChainFlushTest() : ChainRig(1) {}
    u64 other = frames.take();
    void SetUp() override {
        for (unsigned k = 0; k < depth; ++k) {
            ept[k].put(model[k][0].slot, (k == 0 ? frame[0] : first) | ept_rwx | ept_wb);
            mmu.invept_all(chain.layer[k].beneath);
        }
        ASSERT_TRUE(read(first));
        ept[0].put(model[0][0].slot, other | ept_rwx | ept_wb);
        ASSERT_TRUE(read(first));
        ASSERT_EQ(t.machine_page, frame[0]) << "the translation is cached";
    }
    bool dropped() {
        EXPECT_TRUE(read(first));
        return t.machine_page == other;
    }
};

TEST_F(ChainFlushTest, InveptOfEachLevel) {
    for (unsigned k = 0; k < depth; ++k) {
        mmu.invept_single(chain.layer[k].eptp, chain.layer[(k + 1) % depth].beneath);
        EXPECT_FALSE(dropped()) << "by a level that does not own layer " << k;
        mmu.invept_single(chain.layer[(k + 1) % depth].eptp, chain.layer[k].beneath);
        EXPECT_FALSE(dropped()) << "another EPTP than that of layer " << k;
        mmu.invept_single(chain.layer[k].eptp, chain.layer[k].beneath);
        EXPECT_TRUE(dropped()) << "layer " << k;
        SetUp();
    }
    mmu.invept_all(whole);
    EXPECT_FALSE(dropped());
}

TEST_F(ChainFlushTest, InvvpidOfEachLevel) {
    for (unsigned k = 0; k < depth; ++k) {
        const u16 vpid = chain.layer[k].vpid;
        const u32 beneath = chain.layer[k].beneath;
        // A combined mapping goes; the guest-physical ones that it was made from stay.
        const auto gone = [&] {
            mmu.invept_single(chain.layer[0].eptp, 77);  // of nobody
            return dropped();
        };
        mmu.invvpid_single(static_cast<u16>(vpid + 20), false, beneath);
        EXPECT_FALSE(gone());
        mmu.invvpid_single(vpid, false, beneath + 100);
        EXPECT_FALSE(gone());
        mmu.invvpid_all(beneath + 100);
        EXPECT_FALSE(gone());
        mmu.invvpid_single(vpid, false, beneath);
        EXPECT_TRUE(gone()) << k;
        SetUp();
        mmu.invvpid_single(vpid, true, beneath);
        EXPECT_TRUE(gone()) << k;
        SetUp();
        mmu.invvpid_all(beneath);
        EXPECT_TRUE(gone()) << k;
        SetUp();
        mmu.invvpid_address(vpid, Linear(first), beneath + 100);
        EXPECT_FALSE(gone()) << k;
        mmu.invvpid_address(vpid, Linear(first), beneath);
        EXPECT_TRUE(gone()) << k;
        SetUp();
    }
}

TEST_F(ChainFlushTest, ChainsThatDifferBelowShareNothing) {
    EptChain second = chain;
    second.layer[0].vpid = 9;
    EXPECT_NE(mmu.number_chain(second), whole);
    c.chain = &second;
    c.beneath = second.layer[depth - 1].beneath;
    apply();
    EXPECT_TRUE(dropped()) << "nothing was cached for this chain";
    c.chain = &chain;
    c.beneath = chain.layer[depth - 1].beneath;
    apply();
    EXPECT_FALSE(dropped());
    EptChain again = chain;
    EXPECT_EQ(mmu.number_chain(again), whole);
}

TEST_F(ChainFlushTest, NumbersRunOut) {
    for (unsigned i = 0; i < 2000; ++i) {
        EptChain many = chain;
        many.layer[1].vpid = static_cast<u16>(100 + i);
        mmu.number_chain(many);
    }
    EXPECT_TRUE(dropped()) << "everything was forgotten";
}

TEST_F(ChainFlushTest, ALayerWithoutEptAddsNothing) {
    chain.layer[1].ept = false;
    chain.layer[2].ept = false;
    mmu.number_chain(chain);
    c.eptp = 0;
    c.beneath = chain.layer[2].beneath;
    apply();
    ASSERT_TRUE(read(first));
    EXPECT_EQ(t.machine_page, other);
}

TEST_F(ChainFlushTest, WritesOfTheWalkerAreViolationsOfTheLayerBeneath) {
    // Layer 0 makes the table that maps the page in layer 1 read-only; setting its accessed flag writes it.
    const u64 slot = model[1][0].slot;
    const u64 large = slot & ~0x1F'FFFFull;
    const u64 in_guest = large - shift(1);
    ept[0].put(ept[0].slot(in_guest, 2), large | 0x5 | ept_wb | 0x80);
    ept[1].put(slot, first | ept_rwx | ept_wb);
    mmu.invept_all(0);
    mmu.number_chain(chain);
    EXPECT_FALSE(read(first));
    EXPECT_EQ(f.kind, WalkFault::Kind::ept_violation);
    EXPECT_EQ(f.layer, 0);
    EXPECT_EQ(f.qualification & 3, 3u);
    EXPECT_EQ(f.guest_phys.value, slot - shift(1));
}

TEST_F(ChainFlushTest, StructuresOfEachLevel) {
    u64 machine = 0;
    for (unsigned layers = 0; layers <= depth; ++layers) {
        ASSERT_TRUE(mmu.translate_structure(chain, layers, first + 0x10, Access::read, machine, f));
        EXPECT_EQ(machine, layers == 0 ? first + 0x10 : other + 0x10);
        mmu.invept_all(0);
        mmu.number_chain(chain);
    }
    ept[0].put(model[0][0].slot, other | 1 | ept_wb);
    mmu.invept_all(0);
    mmu.number_chain(chain);
    EXPECT_TRUE(mmu.translate_structure(chain, 2, first, Access::read, machine, f));
    EXPECT_FALSE(mmu.translate_structure(chain, 2, first, Access::write, machine, f));
    EXPECT_EQ(f.layer, 0);
    EXPECT_EQ(f.guest_phys.value, first);
}

}  // namespace
}  // namespace droste::test
