// SPDX-License-Identifier: Apache-2.0
// Control registers: every condition for #GP, and what a write changes; CLI, STI, SMAP, FSGSBASE, I/O
// permission.
#include "cpu/control_registers.h"
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;

Raised mov_cr(SystemMachine& m, unsigned cr, u64 value) {
    m.cpu.reg(Gpr::rax) = value;
    if (cr == 8) return m.fault_of({0x44, 0x0F, 0x22, 0xC0});
    return m.fault_of({0x0F, 0x22, static_cast<u8>(0xC0 | cr << 3)});
}
u64 read_cr(SystemMachine& m, unsigned cr) {
    EXPECT_EQ(m.fault_of({0x0F, 0x20, static_cast<u8>(0xC3 | cr << 3)}), none);
    return m.cpu.reg(Gpr::rbx);
}

TEST(ControlRegisters, WhichExist) {
    SystemMachine m(Mode::long64);
    for (const unsigned cr : {1u, 5u, 6u, 7u}) EXPECT_EQ(mov_cr(m, cr, 0), ud) << cr;
    SystemMachine p(Mode::protected32);
    EXPECT_EQ(mov_cr(p, 1, 0), ud);
    SystemMachine user(Mode::long64, 3);
    for (const unsigned cr : {0u, 2u, 3u, 4u, 8u}) EXPECT_EQ(mov_cr(user, cr, 0), gp0) << cr;
    EXPECT_EQ(mov_cr(user, 7, 0), ud) << "#UD comes before the check of CPL";
}

TEST(ControlRegisters, Cr0Combinations) {
    using namespace cr0_bits;
    SystemMachine m(Mode::long64);
    const u64 good = m.cpu.cr0;
    EXPECT_EQ(mov_cr(m, 0, good | 1ull << 32), gp0);
    EXPECT_EQ(mov_cr(m, 0, good & ~pg), gp0) << "paging off in 64-bit mode";
    EXPECT_EQ(mov_cr(m, 0, good & ~pe), gp0) << "PG without PE";
    EXPECT_EQ(mov_cr(m, 0, good | nw), gp0) << "NW without CD";
    EXPECT_EQ(mov_cr(m, 0, good | nw | cd), none);
    EXPECT_EQ(mov_cr(m, 0, (good & ~et) | 0xFFC0), none) << "reserved bits are ignored, ET is fixed";
    EXPECT_EQ(read_cr(m, 0), good);

    SystemMachine p(Mode::protected32);
    p.cpu.efer |= efer_bits::lme;
    p.cpu.cr4 &= ~cr4_bits::pae;
    EXPECT_EQ(mov_cr(p, 0, p.cpu.cr0 | pg), gp0) << "LME without PAE";
    p.cpu.cr4 |= cr4_bits::pae;
    p.cpu.segment(Seg::cs).access |= 0x2000;
    EXPECT_EQ(mov_cr(p, 0, p.cpu.cr0 | pg), gp0) << "CS.L";
    p.cpu.segment(Seg::cs).access &= ~0x2000u;
    p.cpu.segment(Seg::tr).access = 0x83;
    EXPECT_EQ(mov_cr(p, 0, p.cpu.cr0 | pg), gp0) << "16-bit TSS";
    p.cpu.segment(Seg::tr).access = 0x8B;
    p.cpu.cr3 = TestMachine::tables;
    EXPECT_EQ(mov_cr(p, 0, p.cpu.cr0 | pg), none);
    EXPECT_TRUE(p.cpu.efer & efer_bits::lma);
    EXPECT_EQ(mov_cr(p, 0, p.cpu.cr0 & ~pg), none) << "compatibility mode may leave";
    EXPECT_FALSE(p.cpu.efer & efer_bits::lma);
}

TEST(ControlRegisters, Cr3) {
    SystemMachine m(Mode::long64);
    EXPECT_EQ(mov_cr(m, 3, 1ull << 46), gp0) << "beyond MAXPHYADDR";
    EXPECT_EQ(mov_cr(m, 3, TestMachine::tables | 1ull << 63), gp0) << "bit 63 needs PCIDE";
    m.cpu.cr4 |= cr4_bits::pcide;
    m.cpu.context_changed();
    EXPECT_EQ(mov_cr(m, 3, TestMachine::tables | 5 | 1ull << 63), none);
    EXPECT_EQ(read_cr(m, 3), TestMachine::tables | 5) << "bit 63 is not kept";
}

TEST(ControlRegisters, Cr4) {
    using namespace cr4_bits;
    const CpuModel model = *make_cpu_model("skylake-sp");
    SystemMachine m(Mode::long64, 0, model);
    const u64 good = m.cpu.cr4;
    EXPECT_EQ(mov_cr(m, 4, good & ~pae), gp0) << "PAE off in IA-32e mode";
    EXPECT_EQ(mov_cr(m, 4, good | 1 << 15), gp0);
    EXPECT_EQ(mov_cr(m, 4, good | 1ull << 32), gp0);
    EXPECT_EQ(mov_cr(m, 4, good | la57), gp0);
    EXPECT_EQ(mov_cr(m, 4, good | umip), gp0) << "not enumerated";
    EXPECT_EQ(mov_cr(m, 4, good | smep | smap | pge | fsgsbase | pke | vmxe), none);
    m.cpu.cr3 |= 1;
    EXPECT_EQ(mov_cr(m, 4, good | pcide), gp0) << "CR3[11:0]";
    m.cpu.cr3 &= ~0xFFFull;
    EXPECT_EQ(mov_cr(m, 4, good | pcide), none);
    SystemMachine p(Mode::protected32, 0, model);
    EXPECT_EQ(mov_cr(p, 4, p.cpu.cr4 | pcide), gp0) << "PCIDE needs IA-32e mode";
}

TEST(ControlRegisters, FixedBitsOfVmxOperation) {
    SystemMachine m(Mode::long64);
    m.cpu.cr0_fixed0 = cr0_bits::ne | cr0_bits::pe | cr0_bits::pg;
    m.cpu.cr4_fixed0 = cr4_bits::vmxe;
    m.cpu.cr4 |= cr4_bits::vmxe;
    EXPECT_EQ(mov_cr(m, 0, m.cpu.cr0 & ~cr0_bits::ne), gp0);
    EXPECT_EQ(mov_cr(m, 4, m.cpu.cr4 & ~cr4_bits::vmxe), gp0);
    EXPECT_EQ(mov_cr(m, 4, m.cpu.cr4), none);
}

TEST(ControlRegisters, PdptesAreCheckedOnLoad) {
    SystemMachine p(Mode::protected32);
    p.cpu.cr3 = 0x50000;
    for (unsigned i = 0; i < 4; ++i) p.poke<u64>(0x50000 + 8 * i, 0);
    p.poke<u64>(0x50008, 1 | 1 << 1);  // reserved
    EXPECT_EQ(mov_cr(p, 0, p.cpu.cr0 | cr0_bits::pg), gp0);
    p.poke<u64>(0x50008, 1ull << 46 | 2);  // not present: not checked
    p.poke<u64>(0x50000, 0x51001);
    EXPECT_EQ(mov_cr(p, 0, p.cpu.cr0 | cr0_bits::pg), none);
    EXPECT_EQ(p.cpu.pdpte[0], 0x51001u);
    p.poke<u64>(0x52000, 1ull << 46 | 1);
    EXPECT_EQ(p.cpu.cr3, 0x50000u);
    p.cpu.cr0 &= ~cr0_bits::pg;  // the test's code is not mapped: go on without translation
    p.cpu.context_changed();
    p.cpu.cr0 |= cr0_bits::pg;
    EXPECT_FALSE(set_cr3(p.cpu, 0x52000));
    EXPECT_EQ(p.cpu.pdpte[0], 0x51001u) << "nothing changed";
}

TEST(ControlRegisters, Cr8) {
    SystemMachine m(Mode::long64);
    EXPECT_EQ(mov_cr(m, 8, 16), gp0);
    EXPECT_EQ(mov_cr(m, 8, 9), none);
    EXPECT_EQ(m.interrupts.tpr, 9);
}

TEST(ControlRegisters, LmswAndSmswAndClts) {
    SystemMachine m(Mode::protected32);
    m.cpu.reg(Gpr::rax) = 0xFFFE;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xF0}), none);
    EXPECT_EQ(m.cpu.cr0 & 0xF, 0xFu) << "PE is never cleared";
    EXPECT_EQ(m.fault_of({0x0F, 0x06}), none);
    EXPECT_FALSE(m.cpu.cr0 & cr0_bits::ts);
    EXPECT_EQ(m.fault_of({0x66, 0x0F, 0x01, 0xE3}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rbx) & 0xFFFF, m.cpu.cr0 & 0xFFFF);
}

TEST(ControlRegisters, RealModeToProtectedMode) {
    SystemMachine m(Mode::real16);
    m.cpu.reg(Gpr::rax) = m.cpu.cr0 | 1;
    EXPECT_EQ(m.fault_of({0x0F, 0x22, 0xC0}), none);
    EXPECT_TRUE(m.cpu.protected_mode());
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.fault_of({0xEA, 0x00, 0x30, 0x08, 0x00}), gp(8)) << "the GDT of real mode's table is empty";
}

// ---- interrupt flag

TEST(InterruptFlag, ProtectedModeVirtualInterrupts) {
    using namespace rflags_bits;
    SystemMachine m(Mode::protected32, 3);
    EXPECT_EQ(m.fault_of({0xFA}), gp0);
    EXPECT_EQ(m.fault_of({0xFB}), gp0);
    m.cpu.cr4 |= cr4_bits::pvi;
    EXPECT_EQ(m.fault_of({0xFB}), none);
    EXPECT_TRUE(m.cpu.rflags & vif);
    EXPECT_FALSE(m.cpu.rflags & if_);
    m.cpu.rflags |= vip;
    EXPECT_EQ(m.fault_of({0xFB}), gp0);
    m.cpu.rflags = (m.cpu.rflags & ~vip) | iopl;
    EXPECT_EQ(m.fault_of({0xFB}), none);
    EXPECT_TRUE(m.cpu.rflags & if_);
    EXPECT_EQ(m.cpu.interruptibility, interruptibility_bits::sti);
}

// ---- SMAP, FS and GS bases

TEST(SystemInstructions, ClacAndStac) {
    SystemMachine m(Mode::long64);
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xCB}), none);
    EXPECT_TRUE(m.cpu.rflags & rflags_bits::ac);
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xCA}), none);
    EXPECT_FALSE(m.cpu.rflags & rflags_bits::ac);
    SystemMachine user(Mode::long64, 3);
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0xCB}), ud);
}

TEST(SystemInstructions, SwapgsAndBases) {
    SystemMachine m(Mode::long64);
    m.cpu.kernel_gs_base = 0xFFFF800000001000;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xF8}), none);
    EXPECT_EQ(m.cpu.segment(Seg::gs).base, 0xFFFF800000001000u);
    EXPECT_EQ(m.cpu.ea_base[5], 0xFFFF800000001000u);
    EXPECT_EQ(m.cpu.kernel_gs_base, 0u);
    EXPECT_EQ(m.fault_of({0xF3, 0x48, 0x0F, 0xAE, 0xC0}), ud) << "rdfsbase without CR4.FSGSBASE";
    m.cpu.cr4 |= cr4_bits::fsgsbase;
    m.cpu.reg(Gpr::rax) = 0x7FFF00001234;
    EXPECT_EQ(m.fault_of({0xF3, 0x48, 0x0F, 0xAE, 0xD0}), none) << "wrfsbase rax";
    EXPECT_EQ(m.cpu.ea_base[4], 0x7FFF00001234u);
    EXPECT_EQ(m.fault_of({0xF3, 0x48, 0x0F, 0xAE, 0xC3}), none) << "rdfsbase rbx";
    EXPECT_EQ(m.cpu.reg(Gpr::rbx), 0x7FFF00001234u);
    m.cpu.reg(Gpr::rax) = 0x900000000000;
    EXPECT_EQ(m.fault_of({0xF3, 0x48, 0x0F, 0xAE, 0xD0}), gp0);
    SystemMachine user(Mode::long64, 3);
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0xF8}), gp0);
}

TEST(SystemInstructions, Invpcid) {
    SystemMachine m(Mode::long64);
    m.cpu.reg(Gpr::rbx) = 0x4000;
    const auto invpcid = [&](u64 type, u64 low, u64 address) {
        m.cpu.reg(Gpr::rax) = type;
        m.poke<u64>(0x4000, low);
        m.poke<u64>(0x4008, address);
        return m.fault_of({0x66, 0x0F, 0x38, 0x82, 0x03});
    };
    EXPECT_EQ(invpcid(0, 0, 0x1000), none);
    EXPECT_EQ(invpcid(0, 1, 0x1000), gp0) << "a PCID without CR4.PCIDE";
    EXPECT_EQ(invpcid(0, 1 << 12, 0x1000), gp0);
    EXPECT_EQ(invpcid(0, 0, 0x900000000000), gp0);
    EXPECT_EQ(invpcid(1, 0, 0x900000000000), none) << "the address is not used";
    EXPECT_EQ(invpcid(2, ~0ull, ~0ull), none);
    EXPECT_EQ(invpcid(3, 0, 0), none);
    EXPECT_EQ(invpcid(4, 0, 0), gp0);
    m.cpu.cr4 |= cr4_bits::pcide;
    EXPECT_EQ(invpcid(1, 1, 0), none);
}

TEST(SystemInstructions, InvlpgForgetsAMapping) {
    SystemMachine m(Mode::long64);
    m.map(0x40000000, 0x9000);
    m.poke<u64>(0x9000, 0x1111);
    m.poke<u64>(0xB000, 0x2222);
    m.cpu.reg(Gpr::rbx) = 0x40000000;
    EXPECT_EQ(m.fault_of({0x48, 0x8B, 0x03}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x1111u);
    // Another frame behind the back of the TLB.
    const u64 entry = [&] {
        u64 table = TestMachine::tables;
        for (unsigned level = 3; level > 0; --level)
            table = m.peek<u64>(table + 8 * (0x40000000ull >> (12 + 9 * level) & 511)) & 0xFFFFFFFFFF000;
        return table + 8 * (0x40000000ull >> 12 & 511);
    }();
    m.poke<u64>(entry, 0xB007);
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0x3B}), none);
    EXPECT_EQ(m.fault_of({0x48, 0x8B, 0x03}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x2222u);
}

TEST(SystemInstructions, MonitorAndMwait) {
    SystemMachine m(Mode::long64);
    m.install_exception_stops();
    m.cpu.reg(Gpr::rax) = 0x4000;
    m.cpu.reg(Gpr::rcx) = 1;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xC8}), gp0) << "no extensions of MONITOR";
    m.cpu.reg(Gpr::rcx) = 0;
    EXPECT_EQ(m.execute({0x0F, 0x01, 0xC9}), Outcome::branch) << "MWAIT without MONITOR falls through";
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xC8}), none);
    m.cpu.reg(Gpr::rcx) = 2;
    EXPECT_EQ(m.fault_of({0x0F, 0x01, 0xC9}), gp0);
    m.cpu.reg(Gpr::rcx) = 1;
    EXPECT_EQ(m.execute({0x0F, 0x01, 0xC9}), Outcome::halt);
    EXPECT_EQ(m.cpu.activity, Activity::mwait);
    const u64 next = m.cpu.rip;
    m.write(next, {0xF4});
    m.run_for(10);
    EXPECT_EQ(m.cpu.activity, Activity::mwait);
    m.interrupts.raise(0x40);
    m.cpu.set_attention();
    m.run_for(10);
    EXPECT_EQ(m.cpu.rip, next + 1) << "a masked interrupt ends the wait and is not taken";
    SystemMachine user(Mode::long64, 3);
    EXPECT_EQ(user.fault_of({0x0F, 0x01, 0xC8}), ud);
}

// ---- ports

struct EchoPort final : Device {
    const char* name() const override { return "echo"; }
    void reset() override {}
    u64 read(u64 offset, Width) override { return stored + offset; }
    void write(u64, Width w, u64 value) override {
        stored = value;
        width = w;
    }
    void visit(Archive&) override {}
    u64 stored = 0;
    Width width{};
};

TEST(Ports, InAndOut) {
    SystemMachine m(Mode::long64);
    EchoPort echo;
    ASSERT_EQ(m.ports.attach({Port(0xE0), 8}, echo), std::nullopt);
    m.cpu.reg(Gpr::rax) = 0x1122334455667788;
    m.cpu.reg(Gpr::rdx) = 0xE0;
    EXPECT_EQ(m.fault_of({0xEF}), none);
    EXPECT_EQ(echo.stored, 0x55667788u);
    EXPECT_EQ(echo.width, Width::dword);
    EXPECT_EQ(m.fault_of({0x66, 0xE7, 0xE0}), none);
    EXPECT_EQ(echo.stored, 0x7788u);
    EXPECT_EQ(m.fault_of({0xE4, 0xE1}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x1122334455667789u) << "AL alone";
    EXPECT_EQ(m.fault_of({0xED}), none);
    EXPECT_EQ(m.cpu.reg(Gpr::rax), 0x7788u) << "EAX clears the upper half";
}

TEST(Ports, PermissionBitMap) {
    SystemMachine m(Mode::long64, 3);
    m.cpu.reg(Gpr::rdx) = 0x101;
    EXPECT_EQ(m.fault_of({0xEC}), none) << "all bits clear";
    m.poke<u8>(SystemMachine::tss + 0x68 + 0x20, 0x04);  // port 102h
    EXPECT_EQ(m.fault_of({0xEC}), none);
    EXPECT_EQ(m.fault_of({0x66, 0xED}), gp0) << "a word touches 102h";
    m.poke<u8>(SystemMachine::tss + 0x68 + 0x20, 0x80);  // port 107h
    m.cpu.reg(Gpr::rdx) = 0x107;
    EXPECT_EQ(m.fault_of({0xEC}), gp0);
    m.poke<u8>(SystemMachine::tss + 0x68 + 0x20, 0);
    m.poke<u8>(SystemMachine::tss + 0x68 + 0x21, 1);
    EXPECT_EQ(m.fault_of({0xED}), gp0) << "bits of the following byte";
    m.cpu.segment(Seg::tr).limit = 0x68 + 0x20;
    EXPECT_EQ(m.fault_of({0xEC}), gp0) << "two bytes are read: beyond the limit";
    m.cpu.segment(Seg::tr).limit = 0x68 + 0x21;
    EXPECT_EQ(m.fault_of({0xEC}), none);
    m.cpu.rflags |= rflags_bits::iopl;
    m.cpu.segment(Seg::tr).limit = 0x67;
    EXPECT_EQ(m.fault_of({0xEC}), none) << "IOPL 3 needs no map";
}

TEST(Random, IsDeterministic) {
    SystemMachine a(Mode::long64), b(Mode::long64);
    std::array<u64, 3> first{};
    for (u64& v : first) {
        EXPECT_EQ(a.fault_of({0x48, 0x0F, 0xC7, 0xF0}), none);
        EXPECT_EQ(a.cpu.read_rflags() & rflags_bits::arithmetic, rflags_bits::cf);
        v = a.cpu.reg(Gpr::rax);
    }
    for (const u64 v : first) {
        EXPECT_EQ(b.fault_of({0x48, 0x0F, 0xC7, 0xF8}), none) << "rdseed draws from the same stream";
        EXPECT_EQ(b.cpu.reg(Gpr::rax), v);
    }
    EXPECT_NE(first[0], first[1]);
}

}  // namespace
}  // namespace droste::test
