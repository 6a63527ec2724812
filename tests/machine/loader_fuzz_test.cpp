// SPDX-License-Identifier: Apache-2.0
// Valid images with random damage: each is loaded within RAM or refused with a sentence. Fixed seed, bounded
// time.
#include <gtest/gtest.h>

#include <random>

#include "machine/loader_fixture.h"

namespace droste {
namespace {

class Damage {
public:
    explicit Damage(u64 seed) : random_(seed) {}
    u64 below(u64 n) { return random_() % n; }

    void apply(std::vector<u8>& b, u64 header_size) {
        const unsigned changes = 1 + static_cast<unsigned>(below(4));
        for (unsigned i = 0; i < changes && !b.empty(); ++i) {
            const u64 at = below(below(3) != 0 ? std::min<u64>(header_size, b.size()) : b.size());
            switch (below(6)) {
            case 0:
                b[at] = static_cast<u8>(random_());
                break;
            case 1:
                b[at] = static_cast<u8>(b[at] ^ 1u << below(8));
                break;
            case 2:
                place<u32>(b, at);
                break;
            case 3:
                place<u64>(b, at);
                break;
            case 4:
                place<u16>(b, at);
                break;
            case 5:
                if (below(4) == 0)
                    b.resize(at);
                break;
            }
        }
    }

private:
    template <class T> void place(std::vector<u8>& b, u64 at) {
        static constexpr u64 edges[] = {0,
                                        1,
                                        0x7F,
                                        0x80,
                                        0xFF,
                                        0x1000,
                                        0x7FFF'FFFF,
                                        0x8000'0000,
                                        0xFFFF'FFFF,
                                        0x100'0000,
                                        0xFFFF'F000,
                                        0x1'0000'0000,
                                        0x7FFF'FFFF'FFFF'FFFF,
                                        ~0ull,
                                        ~0ull - 0xFFF};
        T v = static_cast<T>(below(3) == 0 ? random_() : edges[below(std::size(edges))]);
        if (at + sizeof v <= b.size())
            std::memcpy(b.data() + at, &v, sizeof v);
    }
    std::mt19937_64 random_;
};

struct Seed {
    const char* name;
    std::vector<u8> (*make)();
    u64 header_size;
    Decompress decompress;
};

class LoaderFuzz : public ::testing::TestWithParam<Seed> {};

TEST_P(LoaderFuzz, EveryDamageIsLoadedOrRefused) {
    const Seed& seed = GetParam();
    const std::vector<u8> good = seed.make();
    TestMemory memory(32u << 20);
    Damage damage(0xD0057E);
    unsigned loaded = 0, refused = 0;
    for (unsigned round = 0; round < 3000; ++round) {
        BootRequest request = request_of(good);
        request.decompress = seed.decompress;
        request.modules.push_back({{"module", std::vector<u8>(damage.below(9000), 0x11)}, "arguments"});
        damage.apply(request.kernel.bytes, seed.header_size);
        const Result<EntryState> e = load_kernel(request, memory);  // TestMemory throws on a stray access
        if (e) {
            ++loaded;
            EXPECT_TRUE(is_ram(memory_map(memory.size()), e->rip, 1)) << "round " << round;
        } else {
            ++refused;
            EXPECT_GT(e.error().text.size(), 20u) << "round " << round;
        }
    }
    EXPECT_GT(loaded, 0u);
    EXPECT_GT(refused, 0u);
}

std::vector<u8> bzimage_lz4() {
    return make_bzimage(pack_lz4(make_vmlinux()));
}
std::vector<u8> bzimage_xz() {
    return make_bzimage(pack_xz(make_vmlinux()));
}
std::vector<u8> multiboot_elf() {
    return make_multiboot_elf(0);
}

INSTANTIATE_TEST_SUITE_P(Images, LoaderFuzz,
                         ::testing::Values(Seed{"bzimage", bzimage_lz4, 0x300, Decompress::guest},
                                           Seed{"bzimage_lz4", bzimage_lz4, 0x300, Decompress::host},
                                           Seed{"bzimage_xz", bzimage_xz, 0x300, Decompress::host},
                                           Seed{"pvh", make_pvh, 64 + 2 * 56, Decompress::guest},
                                           Seed{"multiboot_elf", multiboot_elf, 52 + 32, Decompress::guest},
                                           Seed{"multiboot_flat", make_multiboot_flat, 0x80,
                                                Decompress::guest}),
                         [](const auto& seed) { return seed.param.name; });

}  // namespace
}  // namespace droste
