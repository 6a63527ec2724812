// SPDX-License-Identifier: Apache-2.0
// System instructions in random surroundings: a fault leaves the state as it was, and what succeeds leaves a
// state that a processor can be in. Then whatever was raised is delivered through random tables: the guest
// may die, we may not.
#include <memory>

#include "random.h"
#include "system_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;

struct Form {
    std::array<u8, 4> opcode;
    u8 size;
    bool modrm;
    i8 digit = -1;       ///< fixed ModRM.reg
    bool memory = false; ///< memory form only
    u8 immediate = 0;
};

constexpr Form forms[] = {
    {{0xEA}, 1, false, -1, false, 6},       {{0x9A}, 1, false, -1, false, 6},      {{0xFF}, 1, true, 5, true},
    {{0xFF}, 1, true, 3, true},             {{0xCB}, 1, false},                    {{0xCA},
    1, false, -1, false, 2},
    {{0xCF}, 1, false},                     {{0x48, 0xCF}, 2, false},              {{0xCD},
    1, false, -1, false, 1},
    {{0xCC}, 1, false},                     {{0xCE}, 1, false},                    {{0xF1}, 1, false},
    {{0x0F, 0x05}, 2, false},               {{0x0F, 0x07}, 2, false},              {{0x48, 0x0F, 0x07},
    3, false},
    {{0x0F, 0x34}, 2, false},               {{0x0F, 0x35}, 2, false},              {{0x8E}, 1, true},
    {{0x8C}, 1, true},                      {{0x07}, 1, false},                    {{0x17}, 1, false},
    {{0x1F}, 1, false},                     {{0x0F, 0xA1}, 2, false},              {{0x0F, 0xA9}, 2, false},
    {{0xC4}, 1, true, -1, true},            {{0xC5}, 1, true, -1, true},           {{0x0F, 0xB2},
    2, true, -1, true},
    {{0x0F, 0xB4}, 2, true, -1, true},      {{0x0F, 0x00}, 2, true},               {{0x0F, 0x01}, 2, true},
    {{0x0F, 0x02}, 2, true},                {{0x0F, 0x03}, 2, true},               {{0x63}, 1, true},
    {{0x0F, 0x20}, 2, true},                {{0x0F, 0x22}, 2, true},               {{0x0F, 0x21}, 2, true},
    {{0x0F, 0x23}, 2, true},                {{0x0F, 0x06}, 2, false},              {{0xFA}, 1, false},
    {{0xFB}, 1, false},                     {{0xF4}, 1, false},                    {{0x9C}, 1, false},
    {{0x9D}, 1, false},                     {{0xF3, 0x0F, 0xAE}, 3, true},         {{0x0F, 0xAE},
    2, true, -1, true},
    {{0x0F, 0xC7}, 2, true},                {{0x0F, 0x30}, 2, false},              {{0x0F, 0x32}, 2, false},
    {{0xE4}, 1, false, -1, false, 1},       {{0xEF}, 1, false},                    {{0x0F, 0xA2}, 2, false},
    {{0x66, 0x0F, 0x38, 0x82}, 4, true, -1, true}};

class Fuzz {
public:
    explicit Fuzz(u64 seed) : random_(seed) {}

    void run(unsigned machines, unsigned instructions) {
        for (unsigned i = 0; i < machines; ++i) {
            constexpr Mode modes[] = {Mode::real16, Mode::protected16, Mode::protected32, Mode::long64};
            const Mode mode = modes[below(4)];
            machine_ = std::make_unique<SystemMachine>(mode, mode != Mode::real16 && below(2) ? 3 : 0,
                                                       *make_cpu_model("max", {"+la57", "+monitor"}));
            fill_tables();
            for (unsigned k = 0; k < instructions && !::testing::Test::HasFailure(); ++k) one();
        }
    }
    u64 faults = 0, successes = 0, shutdowns = 0;

private:
    u64 below(u64 n) { return random_.below(n); }
    SystemMachine& m() { return *machine_; }

    u16 some_selector() { return static_cast<u16>((below(48) << 3) | (below(8) == 0 ? 4 : 0) | below(4)); }

    u64 some_descriptor() {
        // Mostly flat and present, so that much succeeds.
        u32 access = static_cast<u32>(below(32)) | static_cast<u32>(below(4)) << 5 | 0x80u;
        if (below(8) == 0) access &= ~0x80u;
        if (below(4) != 0) access |= 0x10;
        access |= static_cast<u32>(below(4)) << 13 | (below(3) ? 0x8000u : 0u);
        if (!(access & 0x10) && below(2))
            return gate(some_selector(), static_cast<u32>(below(0x10000)), access & 0xFF, 3);
        return descriptor(below(4) ? 0 : static_cast<u32>(below(0x40000)), below(3) ? 0xFFFFF : 0xFFFF,
                          access);
    }

    void fill_tables() {
        for (unsigned i = 5; i < 48; ++i) m().put(i, some_descriptor());
        m().put(8, descriptor(SystemMachine::tss, 0x2067, 0x8B));
        m().cpu.idtr = {TestMachine::idt, 0xFFF};
        const bool wide = m().cpu.long_mode();
        for (unsigned v = 0; v < 256; ++v) {
            constexpr u8 types[] = {0x8E, 0x8F, 0xEE, 0x86, 0x85, 0x0E, 0xEF};
            const u16 target = below(4) ? TestMachine::code_selector : some_selector();
            const u64 g = gate(target, static_cast<u32>(0x2000 + below(0x1000)), types[below(7)]);
            m().poke<u64>(TestMachine::idt + (wide ? 16 : 8) * v, g);
            if (wide) m().poke<u64>(TestMachine::idt + 16 * v + 8, 0);
        }
        for (u64 a = 0x30000; a < 0x30100; a += 8) m().poke<u64>(a, some_descriptor());
        m().cpu.segment(Seg::ldtr) = {0x88, 0xFF, 0x82, 0x30000};
        for (const u64 base : {0x4000ull, 0x6000ull, 0x7000ull})
            for (u64 a = 0; a < 0x400; a += 4)
                m().poke<u32>(base + a, static_cast<u32>(below(2) ? some_selector() : below(0x8000)));
        m().cpu.sysenter_cs = 0x08;
        m().cpu.star = 0x0013000800000000;
    }

    void disturb() {
        Cpu& c = m().cpu;
        for (unsigned i = 0; i < 16; ++i) {
            switch (below(4)) {
            case 0: c.gpr[i] = some_selector(); break;
            case 1: c.gpr[i] = 0x4000 + (below(0x300) & ~7ull); break;
            case 2: c.gpr[i] = random_.next(); break;
            default: c.gpr[i] = below(2) ? c.cr0 : c.cr4; break;
            }
        }
        c.reg(Gpr::rsp) = 0x7000 + (below(0x300) & ~3ull);
        c.reg(Gpr::rbx) = 0x4000 + (below(0x40) & ~7ull) * 8;
        c.reg(Gpr::rsi) = 0x4000;
        c.reg(Gpr::rdi) = 0x40;
        if (below(2)) c.reg(Gpr::rcx) = below(2) ? 0xC0000080 + below(8) : below(0x400);
        // VM is left to IRET and task switches: no instruction sets it alone.
        if (below(8) == 0) c.write_rflags(c.read_rflags() ^ ((1ull << below(22)) & ~rflags_bits::vm));
        c.rip = TestMachine::code;
    }

    std::vector<u8> instruction() {
        const Form& f = forms[below(std::size(forms))];
        std::vector<u8> b;
        if (below(6) == 0) b.push_back(0x66);
        if (m().cpu.code64() && f.opcode[0] == 0x0F && below(4) == 0) b.push_back(0x48);
        b.insert(b.end(), f.opcode.begin(), f.opcode.begin() + f.size);
        if (f.modrm) {
            const u8 reg = static_cast<u8>(f.digit >= 0 ? f.digit : below(8));
            const bool memory = f.memory || below(2);
            b.push_back(static_cast<u8>((memory ? 0x03 : 0xC0 | below(8)) | reg << 3));
        }
        for (unsigned i = 0; i < f.immediate; ++i) b.push_back(static_cast<u8>(below(256)));
        if (f.immediate == 6) {
            const u16 s = some_selector();
            const bool wide = ((m().cpu.mode & mode_bits::code_mask) == mode_bits::code32) != (b[0] == 0x66);
            const std::size_t at = b.size() - (wide ? 2 : 4);
            b[at] = static_cast<u8>(s);
            b[at + 1] = static_cast<u8>(s >> 8);
            if (wide) b[at - 1] = b[at - 2] = 0;
        }
        return b;
    }

    u64 hash() {
        HashArchive a;
        m().cpu.CpuState::visit(a);
        return a.value();
    }

    void one() {
        disturb();
        Cpu& c = m().cpu;
        const std::vector<u8> bytes = instruction();
        const u32 interruptibility = c.interruptibility;
        const u64 pending_debug = c.pending_debug;
        c.gpr[slot_rip] = c.rip;
        const u64 before = hash();
        const Outcome o = m().execute(bytes);
        std::string text;
        for (const u8 b : bytes)
            text += "0123456789ABCDEF"[b >> 4], text += "0123456789ABCDEF"[b & 15], text += ' ';
        SCOPED_TRACE(text);
        if (o == Outcome::fault) {
            ++faults;
            c.interruptibility = interruptibility;  // IRET unblocks NMIs even when it faults
            c.pending_debug = pending_debug;         // the step loop drops breakpoints of what is restarted
            c.gpr[slot_rip] = c.rip;
            EXPECT_EQ(hash(), before) << "a fault changed the state";
            EXPECT_TRUE(bool(c.pending_fault));
            c.handle_failed_access();
        } else {
            ++successes;
        }
        c.activity = Activity::active;
        check_consistency();
        if (c.shut_down || below(64) == 0) recover();
    }

    void recover() {
        shutdowns += m().cpu.shut_down;
        const Mode mode = m().cpu.long_mode() ? Mode::long64 : Mode::protected32;
        machine_ = std::make_unique<SystemMachine>(mode, 0, *make_cpu_model("max"));
        fill_tables();
    }

    void check_consistency() {
        const Cpu& c = m().cpu;
        EXPECT_TRUE(c.rflags & rflags_bits::fixed1);
        EXPECT_FALSE(c.rflags & rflags_bits::arithmetic);
        if (c.cr0 & cr0_bits::pg) {
            EXPECT_TRUE(c.cr0 & cr0_bits::pe);
        }
        EXPECT_EQ(c.long_mode(), (c.efer & efer_bits::lme) && (c.cr0 & cr0_bits::pg));
        if (c.v86()) {
            EXPECT_EQ(c.cpl, 3);
            EXPECT_TRUE(c.protected_mode());
            EXPECT_FALSE(c.long_mode());
        }
        if (!c.protected_mode()) {
            real_mode_cs_ = c.segment(Seg::cs).selector;
            EXPECT_EQ(c.cpl, 0);
        }
        if (!c.real_or_v86() && !c.shut_down) {
            const Segment& cs = c.segment(Seg::cs);
            const Segment& ss = c.segment(Seg::ss);
            if (!cs.unusable()) {
                EXPECT_TRUE((cs.type() & 4) ? cs.dpl() <= c.cpl : cs.dpl() == c.cpl) << "CS.DPL " << cs.dpl();
                // CS of real mode stays until the first far transfer.
                if (cs.selector != real_mode_cs_) {
                    EXPECT_EQ(rpl(cs.selector), c.cpl);
                }
            }
            if (!ss.unusable()) {
                EXPECT_EQ(ss.dpl(), c.cpl);
            }
        }
        EXPECT_EQ(c.gpr[slot_zero], 0u);
    }

    Random random_;
    u16 real_mode_cs_ = 0xFFFF;
    std::unique_ptr<SystemMachine> machine_;
};

TEST(SystemFuzz, FaultsChangeNothingAndSuccessIsConsistent) {
    Fuzz f(20240229);
    f.run(60, 400);
    EXPECT_GT(f.faults, 1000u);
    EXPECT_GT(f.successes, 1000u);
}

}  // namespace
}  // namespace droste::test
