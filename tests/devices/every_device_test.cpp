// SPDX-License-Identifier: Apache-2.0
// What holds for every device: reset repeats, saving is complete, and nothing that a guest does can hurt.
#include <gtest/gtest.h>

#include <chrono>

#include "rigs.h"

namespace droste::test {
namespace {

constexpr Width widths[] = {Width::byte, Width::word, Width::dword, Width::qword};

template <class D> class EveryDevice : public ::testing::Test {
protected:
    using TheRig = Rig<D>;

    static u64 offset(Random& random) {
        // Mostly within the range and aligned; sometimes not.
        const u64 r = random() % (random() % 16 == 0 ? TheRig::range + 16 : TheRig::range);
        return random() % 8 == 0 ? r : TheRig::near(r);
    }
    /// One random thing that guest, time or the outside does. Returns what a guest would see of it.
    static u64 step(TheRig& rig, Random& random) {
        const Width w = random() % 4 ? Width::dword : widths[random() % 4];
        switch (random() % 8) {
        case 0:
        case 1: return rig.device.read(offset(random), w) & width_mask(w);
        case 2:
        case 3:
        case 4:
        case 5: rig.device.write(offset(random), w, random() >> (random() % 64)); return 0;
        case 6: rig.stimulate(random); return 0;
        default:
            if (random() % 16 == 0) {  // time passes without anybody looking: events come late
                rig.clock.set(rig.clock.now() + random() % 4'000'000'000);
                rig.clock.queue.run(rig.clock.now());
            } else {
                rig.clock.run_for(random() % 20'000);
            }
            return 0;
        }
    }
    static void steps(TheRig& rig, u64 seed, unsigned count) {
        Random random(seed);
        for (unsigned i = 0; i < count; ++i) step(rig, random);
    }
    static u64 hash(TheRig& rig) {
        HashArchive archive;
        rig.device.visit(archive);
        return archive.value();
    }
    static bool load(TheRig& rig, const std::vector<u8>& data) {
        LoadArchive archive(data);
        rig.device.visit(archive);
        return archive.good() && archive.at_end();
    }
};

using Devices =
    ::testing::Types<LocalApic, IoApic, Pic, Pit, Hpet, Rtc, Serial, TimedSerial, AcpiPm, SmiCommandPort,
                     ResetControl, SystemControlA, I8042, FwCfg, DebugExit, DebugConsole, PostCodes, PciBoard,
                     PciEcam, TestInterruptPorts, TestEchoPort, TestMemoryErrors, TestMemoryRegion, ShutdownPort>;
struct Names {
    template <class D> static std::string GetName(int i) {
        return std::is_same_v<D, TimedSerial> ? "serial_timed"
                                              : std::string(Rig<D>().device.name()) + "_" + std::to_string(i);
    }
};
TYPED_TEST_SUITE(EveryDevice, Devices, Names);

TYPED_TEST(EveryDevice, ResetRepeats) {
    Rig<TypeParam> rig;
    rig.device.reset();
    const auto first = save(rig.device);
    rig.device.reset();
    EXPECT_EQ(save(rig.device), first);
    if (!Rig<TypeParam>::reset_forgets) return;
    Random random(1);
    for (int i = 0; i < 2000; ++i) {
        rig.device.write(this->offset(random), widths[random() % 4], random());
        rig.stimulate(random);
    }
    rig.device.reset();
    EXPECT_EQ(save(rig.device), first);
    EXPECT_EQ(rig.clock.queue.next(), never) << "reset leaves an event behind";
}

TYPED_TEST(EveryDevice, SavedStateChangesWithTheState) {
    if (!Rig<TypeParam>::has_state) return;
    Rig<TypeParam> rig;
    rig.device.reset();
    const auto before = save(rig.device);
    bool changed = false;
    Random random(2);
    for (int i = 0; i < 5000 && !changed; ++i) {
        this->step(rig, random);
        changed = save(rig.device) != before;
    }
    EXPECT_TRUE(changed);
}

TYPED_TEST(EveryDevice, RestoresExactly) {
    Rig<TypeParam> rig;
    rig.device.reset();
    this->steps(rig, 3, 3000);
    const auto saved = save(rig.device);
    const Time at = rig.clock.now();
    this->steps(rig, 4, 3000);
    rig.clock.set(at);
    ASSERT_TRUE(this->load(rig, saved));
    EXPECT_EQ(save(rig.device), saved);
}

// A twin that is loaded from the saved state answers every later read as the original does.
TYPED_TEST(EveryDevice, RestoredTwinBehavesAlike) {
    if (!Rig<TypeParam>::has_state) return;
    for (u64 seed = 0; seed < 300; ++seed) {
        Rig<TypeParam> one, two;
        one.device.reset();
        two.device.reset();
        this->steps(one, seed, 300);
        two.clock.set(one.clock.now());
        two.a20 = one.a20;
        two.memory = one.memory;
        two.wires.levels = one.wires.levels;
        ASSERT_TRUE(this->load(two, save(one.device)));
        Random a(seed + 100), b(seed + 100);
        for (int i = 0; i < 300; ++i) {
            ASSERT_EQ(this->step(one, a), this->step(two, b)) << "seed " << seed << " step " << i;
            ASSERT_EQ(one.wires.levels, two.wires.levels) << "seed " << seed << " step " << i;
            ASSERT_EQ(one.clock.queue.next(), two.clock.queue.next()) << "seed " << seed << " step " << i;
        }
        ASSERT_EQ(this->hash(one), this->hash(two)) << "seed " << seed;
        EXPECT_EQ(one.text.text.substr(one.text.text.size() - two.text.text.size()), two.text.text);
    }
}

TYPED_TEST(EveryDevice, OddAccessesAreSurvived) {
    Rig<TypeParam> rig;
    rig.device.reset();
    const u64 range = std::min<u64>(Rig<TypeParam>::range, 0x1000);
    for (Width w : widths) {
        for (u64 at = 0; at < range + 64; ++at) {
            rig.device.read(at, w);
            rig.device.write(at, w, ~0ull);
            rig.device.write(at, w, 0);
        }
        for (u64 at : {0x7FFF'FFFFull, 0xFFFF'FFFFull, ~0ull, ~0ull - 7, 1ull << 63}) {
            rig.device.read(at, w);
            rig.device.write(at, w, ~0ull);
        }
    }
    rig.clock.run_for(1'000);
    SUCCEED();
}

TYPED_TEST(EveryDevice, RandomUseIsSurvived) {
    Rig<TypeParam> rig;
    rig.device.reset();
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
    Random random(5);
    for (int i = 0; i < 1'000'000; ++i) {
        this->step(rig, random);
        if (i % 1000 == 999) {
            rig.device.reset();
            if (std::chrono::steady_clock::now() > until) break;
        }
    }
    SUCCEED();
}

// A file that was damaged may hold any value in any field.
TYPED_TEST(EveryDevice, DamagedStateIsSurvived) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
    for (u64 seed = 0; seed < 200 && std::chrono::steady_clock::now() < until; ++seed) {
        Rig<TypeParam> rig;
        rig.device.reset();
        this->steps(rig, seed, 50);
        auto data = save(rig.device);
        Random random(seed);
        for (int i = 0; i < 8; ++i)
            data[random() % data.size()] = random() & 1 ? 0xFF : static_cast<u8>(random());
        this->load(rig, data);
        // Deadlines far in the past are fine as well.
        rig.clock.queue.run(rig.clock.now());
        this->steps(rig, seed + 1000, 200);
    }
    SUCCEED();
}

}  // namespace
}  // namespace droste::test
