// SPDX-License-Identifier: Apache-2.0
// x87 instructions: results, pointers, pending exceptions, suppressed stores, environments.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "cpu/thunk/x87_state.h"
#include "test_machine.h"

namespace droste {

namespace {

using test::TestMachine;

const Fault nm = Fault::of(Vector::nm), mf = Fault::of(Vector::mf);

class ThunkX87 : public ::testing::Test {
protected:
    TestMachine m;
    Cpu& cpu = m.cpu;
    FxArea& fx = m.cpu.fx;
    static constexpr u64 data = TestMachine::data;

    void SetUp() override { cpu.reg(Gpr::rbx) = data; }
    Outcome run(std::initializer_list<u8> bytes) { return m.execute(bytes); }
    void push(double v) {
        m.poke(data + 0x800, v);
        EXPECT_EQ(run({0xDD, 0x83, 0x00, 0x08, 0x00, 0x00}), Outcome::next);  // fld qword [rbx + 0x800]
    }
    double pop() {
        EXPECT_EQ(run({0xDD, 0x9B, 0x00, 0x08, 0x00, 0x00}), Outcome::next);  // fstp
        return m.peek<double>(data + 0x800);
    }
};

TEST_F(ThunkX87, Arithmetic) {
    push(1.5);
    push(2.25);
    EXPECT_EQ(x87_status_word(fx.fsw, fx.fcw) >> 11 & 7, 6);
    EXPECT_EQ(run({0xDE, 0xC1}), Outcome::next);  // faddp
    EXPECT_EQ(pop(), 3.75);
    EXPECT_EQ(fx.ftw, 0);
    push(7);
    push(2);
    EXPECT_EQ(run({0xDE, 0xE1}), Outcome::next);  // fsubrp: st1 = st0 - st1
    EXPECT_EQ(pop(), -5.0);
    push(2.0);
    EXPECT_EQ(run({0xD9, 0xFA}), Outcome::next);  // fsqrt
    EXPECT_DOUBLE_EQ(pop(), std::sqrt(2.0));
}

TEST_F(ThunkX87, FlagsAndConditionalMoves) {
    push(2);
    push(1);
    cpu.flags = flag_image::from_rflags(rflags_bits::arithmetic);
    EXPECT_EQ(run({0xDB, 0xF1}), Outcome::next);  // fcomi st0, st1: below
    EXPECT_EQ(flag_image::to_rflags(cpu.flags), rflags_bits::cf);
    EXPECT_EQ(run({0xDA, 0xC1}), Outcome::next);  // fcmovb
    EXPECT_EQ(flag_image::to_rflags(cpu.flags), rflags_bits::cf);
    EXPECT_EQ(pop(), 2.0);
    EXPECT_EQ(run({0xDF, 0xE0}), Outcome::next);  // fnstsw ax
    EXPECT_EQ(cpu.reg(Gpr::rax) & 0xFFFF, fx.fsw);
}

TEST_F(ThunkX87, PointersAreTheGuests) {
    cpu.rip = TestMachine::code;
    push(0);
    const u64 load_at = TestMachine::code;
    EXPECT_EQ(fx.fip, load_at);
    EXPECT_EQ(fx.fdp, 0u);  // fdp_excptn_only is enumerated
    const u64 fip = fx.fip;
    EXPECT_EQ(run({0xD9, 0x7B, 0x10}), Outcome::next);  // fnstcw leaves them
    EXPECT_EQ(fx.fip, fip);
    fx.fcw = 0x37F & ~4;  // divide by zero unmasked
    m.poke(data + 8, 1.0);
    EXPECT_EQ(run({0xDC, 0x7B, 0x08}), Outcome::next);  // fdivr qword [rbx + 8]
    EXPECT_TRUE(fx.fsw & 0x80);
    EXPECT_EQ(fx.fdp, data + 8);
    EXPECT_EQ(fx.fop, 0x47B);
    EXPECT_EQ(fx.fip, cpu.rip - 3);
}

TEST_F(ThunkX87, PointersWithoutTheException) {
    m.model.features.set(Feature::fdp_excptn_only, false);
    push(1);
    EXPECT_EQ(fx.fdp, data + 0x800);
}

TEST_F(ThunkX87, PendingExceptionStopsWaitingInstructions) {
    fx.fcw = 0x37E;  // invalid operation unmasked
    fx.fsw = 0x8081;
    EXPECT_EQ(run({0xD9, 0xE8}), Outcome::fault);  // fld1
    EXPECT_EQ(cpu.pending_fault, mf);
    EXPECT_EQ(run({0x9B}), Outcome::fault);
    EXPECT_EQ(cpu.pending_fault, mf);
    EXPECT_EQ(run({0xDF, 0xE0}), Outcome::next);        // fnstsw ax
    EXPECT_EQ(run({0xDD, 0x3B}), Outcome::next);        // fnstsw [rbx]
    EXPECT_EQ(m.peek<u16>(data), 0x8081);
    EXPECT_EQ(run({0xDB, 0xE2}), Outcome::next);        // fnclex
    EXPECT_EQ(fx.fsw, 0);
    EXPECT_EQ(run({0xD9, 0xE8}), Outcome::next);
    fx.fsw = 0x8081;
    EXPECT_EQ(run({0xDB, 0xE3}), Outcome::next);        // fninit
    EXPECT_EQ(fx.fsw, 0);
    EXPECT_EQ(fx.fcw, 0x37F);
}

TEST_F(ThunkX87, UnmaskedExceptionsSuppressTheStore) {
    push(1e300);
    fx.fcw = 0x37F & ~8;  // overflow unmasked
    m.poke<u32>(data, 0x12345678);
    const u8 ftw = fx.ftw;
    EXPECT_EQ(run({0xD9, 0x1B}), Outcome::next);  // fstp dword [rbx]
    EXPECT_EQ(m.peek<u32>(data), 0x12345678u);
    EXPECT_EQ(fx.ftw, ftw);  // not popped
    EXPECT_TRUE(fx.fsw & 0x80);
    EXPECT_EQ(run({0xDB, 0xE2}), Outcome::next);  // fnclex
    fx.fcw = 0x37F & ~0x20;                       // inexact unmasked: the store happens
    EXPECT_EQ(run({0xDC, 0xF0}), Outcome::next);  // fdiv st0, st0: 1
    EXPECT_EQ(run({0xDB, 0xE2}), Outcome::next);
    push(0.1);
    EXPECT_EQ(run({0xD9, 0x1B}), Outcome::next);
    EXPECT_EQ(m.peek<u32>(data), std::bit_cast<u32>(0.1f));
    EXPECT_TRUE(fx.fsw & 0x80);
}

TEST_F(ThunkX87, StoreFaultLeavesTheStack) {
    push(3);
    m.map(1ull << 40, 0, 0);
    cpu.reg(Gpr::rcx) = 1ull << 40;
    const FxArea before = fx;
    EXPECT_EQ(run({0xDD, 0x19}), Outcome::fault);  // fstp qword [rcx]
    EXPECT_EQ(std::memcmp(&before, &fx, sizeof fx), 0);
    EXPECT_EQ(run({0xDD, 0x01}), Outcome::fault);  // fld qword [rcx]
    EXPECT_EQ(std::memcmp(&before, &fx, sizeof fx), 0);
}

TEST_F(ThunkX87, AvailabilityAndWait) {
    const u64 cr0 = cpu.cr0;
    for (const u64 bits : {cr0_bits::ts, cr0_bits::em}) {
        cpu.cr0 = cr0 | bits;
        cpu.context_changed();
        EXPECT_EQ(run({0xD9, 0xE8}), Outcome::fault);
        EXPECT_EQ(cpu.pending_fault, nm);
        EXPECT_EQ(run({0xDB, 0xE3}), Outcome::fault);
        EXPECT_EQ(cpu.pending_fault, nm);
    }
    EXPECT_EQ(run({0x9B}), Outcome::next);  // EM alone
    cpu.cr0 = cr0 | cr0_bits::ts | cr0_bits::mp;
    EXPECT_EQ(run({0x9B}), Outcome::fault);
    cpu.cr0 = (cr0 & ~cr0_bits::mp) | cr0_bits::ts;
    EXPECT_EQ(run({0x9B}), Outcome::next);
}

/// The host's answer to an x87 instruction with a memory operand at `memory`.
enum class HostOp : u8 { fnstenv, fnstenv16, fnsave, fldenv, fldenv16, frstor };
void on_host(HostOp op, FxArea& image, u8* memory) {
    image.mxcsr = 0x1F80;
    const auto with = [&](auto f) {
        asm volatile("fxrstor64 %0" : : "m"(image));
        f();
        asm volatile("fxsave64 %0; fninit" : "=m"(image));
    };
    struct Bytes { u8 b[108]; };
    Bytes& mem = *reinterpret_cast<Bytes*>(memory);
    switch (op) {
    case HostOp::fnstenv: with([&] { asm volatile("fnstenv %0" : "+m"(mem)); }); break;
    case HostOp::fnstenv16: with([&] { asm volatile(".byte 0x66; fnstenv %0" : "+m"(mem)); }); break;
    case HostOp::fnsave: with([&] { asm volatile("fnsave %0" : "+m"(mem)); }); break;
    case HostOp::fldenv: with([&] { asm volatile("fldenv %0" : : "m"(mem)); }); break;
    case HostOp::fldenv16: with([&] { asm volatile(".byte 0x66; fldenv %0" : : "m"(mem)); }); break;
    case HostOp::frstor: with([&] { asm volatile("frstor %0" : : "m"(mem)); }); break;
    }
    image.mxcsr_mask = 0xFFFF;
}

TEST_F(ThunkX87, EnvironmentsAreTheHosts) {
    std::mt19937_64 random(7);
    const std::vector<u8> code[] = {{0xD9, 0x33}, {0x66, 0xD9, 0x33}, {0xDD, 0x33},
                                    {0xD9, 0x23}, {0x66, 0xD9, 0x23}, {0xDD, 0x23}};
    for (unsigned round = 0; round < 600; ++round) {
        const auto op = static_cast<HostOp>(round % 6);
        const bool loads = op >= HostOp::fldenv;
        FxArea image;
        image.fcw = x87_control_word(static_cast<u16>(random()));
        image.fsw = x87_status_word(static_cast<u16>(random()), image.fcw);
        if (loads) image.fsw &= 0x7F40;  // else the waiting instruction faults
        image.ftw = static_cast<u8>(random());
        image.fop = static_cast<u16>(random() & 0x7FF);
        image.fip = random() & 0x7FFF'FFFF'FFFF;
        image.fdp = random() & 0x7FFF'FFFF'FFFF;
        for (auto& st : image.st) {
            for (unsigned i = 0; i < 10; ++i) st[i] = static_cast<u8>(random());
            if (random() % 2) {
                st[9] = static_cast<u8>(0x7F * (random() % 2));
                st[8] = static_cast<u8>(0xFF * (random() % 2));
            }
            if (random() % 3 == 0) std::fill_n(st.begin(), 8, 0);
        }
        alignas(16) u8 memory[128];
        for (u8& b : memory) b = static_cast<u8>(random());
        fx = image;
        m.write(data, memory);
        EXPECT_EQ(m.execute(code[round % 6]), Outcome::next);
        on_host(op, image, memory);
        // Without a segment in the image the host's upper halves of the pointers are not the guest's to see.
        EXPECT_EQ(fx.fcw, image.fcw);
        EXPECT_EQ(fx.fsw, image.fsw);
        EXPECT_EQ(fx.ftw, image.ftw);
        EXPECT_EQ(fx.fop, image.fop);
        EXPECT_EQ(fx.fip, image.fip);
        EXPECT_EQ(fx.fdp, image.fdp);
        EXPECT_EQ(fx.st, image.st) << "round " << round;
        for (unsigned i = 0; i < 128; ++i)
            ASSERT_EQ(m.peek<u8>(data + i), memory[i]) << "byte " << i << " op " << round % 6;
    }
}

}  // namespace

}  // namespace droste
