// SPDX-License-Identifier: Apache-2.0
// Translated code against the interpreter: random programs, run in slices of random length on two machines, must leave
// the same state after each slice.
#include <gtest/gtest.h>

#include <memory>

#include "cpu/jit/jit.h"
#include "random.h"
#include "test_machine.h"

namespace droste::test {
namespace {

using Mode = TestMachine::Mode;

/// Writes a loop of random instructions: arithmetic, moves, stack, branches, calls, string and system instructions
/// between them, stores into the program itself.
class Program {
public:
    Program(u64 seed, bool is64, u64 base, const Isa& isa)
        : random_(seed), is64_(is64), vectors_(is64 && random_.chance(50)), base_(base), isa_(isa) {
        const unsigned n = 5 + static_cast<unsigned>(random_.below(60));
        for (unsigned i = 0; i < n; ++i) {
            starts_.push_back(bytes_.size());
            instruction();
        }
        starts_.push_back(bytes_.size());
        for (const Jump& j : jumps_) {  // forward, seldom backward
            const std::size_t to = starts_[j.from + random_.below(starts_.size() - j.from)];
            const i32 rel = static_cast<i32>(to) - static_cast<i32>(j.at + 4);
            for (unsigned k = 0; k < 4; ++k) bytes_[j.at + k] = static_cast<u8>(rel >> (8 * k));
        }
        put({0xE9});
        number(static_cast<u64>(-static_cast<i64>(bytes_.size() + 4)), 4);
    }
    /// A loop of one vector instruction with different operands.
    Program(u64 seed, u64 base, const Isa& isa, const InsnRow& row)
        : random_(seed), is64_(true), vectors_(true), base_(base), isa_(isa) {
        for (unsigned i = 0; i < 3; ++i) vector(row);
        put({0xE9});
        number(static_cast<u64>(-static_cast<i64>(bytes_.size() + 4)), 4);
    }
    const std::vector<u8>& bytes() const { return bytes_; }

private:
    struct Jump { std::size_t at, from; };
    void put(std::initializer_list<unsigned> list) {
        for (const unsigned b : list) bytes_.push_back(static_cast<u8>(b));
    }
    void number(u64 v, unsigned n) {
        for (unsigned i = 0; i < n; ++i) bytes_.push_back(static_cast<u8>(v >> (8 * i)));
    }
    unsigned any() { return static_cast<unsigned>(random_.below(256)); }
    /// 66 and REX, now and then. Returns the operand size for iz immediates.
    unsigned prefixes(bool lockable = false) {
        unsigned size = 4;
        if (lockable) put({0xF0});
        if (random_.chance(15)) put({0x66}), size = 2;
        if (is64_ && random_.chance(60)) {
            const unsigned rex = 0x40 + static_cast<unsigned>(random_.below(16));
            put({rex});
            if (rex & 8) size = 4;
        }
        return size;
    }
    /// ModRM: a register that is not rSP, or memory near what rBX, rSI, rDI or RIP point to.
    void modrm(unsigned reg, bool memory_only = false) {
        reg = (reg & 7) << 3;
        if (!memory_only && random_.chance(50)) {
            unsigned rm = static_cast<unsigned>(random_.below(8));
            if (rm == 4) rm = 1;
            put({0xC0 | reg | rm});
            return;
        }
        constexpr unsigned bases[] = {3, 6, 7, 5};
        switch (random_.below(8)) {
        case 0:  // SIB: base rBX, index rBP (small)
            put({0x44 | reg, 0x2B | static_cast<unsigned>(random_.below(4)) << 6, any() & 0x7F});
            break;
        case 1:
            put({0x80 | reg | 6});
            number(random_.below(0x2000), 4);
            break;
        default: put({0x40 | reg | bases[random_.below(3)], any() & 0x7F}); break;
        }
    }
    unsigned safe_reg() {  // not a base register, not rSP
        constexpr unsigned regs[] = {0, 1, 2};
        return regs[random_.below(3)];
    }
    void immediate_group(unsigned opcode, unsigned digit) {
        const unsigned size = prefixes();
        put({opcode});
        modrm(digit);
        if (opcode == 0x81 || opcode == 0xC7 || opcode == 0xF7) number(random_.value(), size);
        else number(random_.value(), 1);
    }
    /// Any row of SSE, AVX and AVX-512, moves more often.
    void vector() {
        const InsnRow* row;
        do row = &isa_.row(static_cast<u16>(random_.below(isa_.size())));
        while ((row->domain != Domain::sse && row->domain != Domain::avx && row->domain != Domain::avx512) ||
               (row->traits & traits::ends_block) || !row->encoding.modrm ||
               (random_.chance(50) && !row->mnemonic.starts_with("MOV") && !row->mnemonic.starts_with("VMOV") &&
                !row->mnemonic.starts_with("KMOV")));
        vector(*row);
    }
    void vector(const InsnRow& row) {
        const Encoding& e = row.encoding;
        const unsigned pp = e.pp == Pp::p66 ? 1 : e.pp == Pp::f3 ? 2 : e.pp == Pp::f2 ? 3 : 0;
        const bool w = e.w >= 0 ? e.w : random_.chance(30);
        const unsigned length = e.l < 0 ? 0 : e.l < 3 ? static_cast<unsigned>(e.l) : e.l == vector_length::any
                                    ? static_cast<unsigned>(random_.below(3)) : 1 + static_cast<unsigned>(random_.below(2));
        const unsigned rxb = random_.chance(50) ? 7 : static_cast<unsigned>(random_.below(8));  // inverted
        const unsigned vvvv = random_.chance(50) ? 15 : static_cast<unsigned>(random_.below(16));  // inverted
        const bool memory = e.mod == Mod::mem || (e.mod == Mod::any && random_.chance(50));
        const unsigned bits = memory ? rxb | 3 : rxb;  // the addresses are in registers 0 to 7
        if (e.evex) {
            const unsigned more = random_.chance(50) ? 1 : 0;
            const unsigned mask = random_.chance(50) ? 0 : static_cast<unsigned>(random_.below(8));
            put({0x62, bits << 5 | more << 4 | e.map, (w ? 0x80u : 0u) | vvvv << 3 | 4 | pp,
                 (random_.chance(20) && mask ? 0x80u : 0u) | length << 5 | (random_.chance(8) ? 0x10u : 0u) |
                     (random_.chance(80) ? 8u : 0u) | mask});
        } else if (e.vex) {
            put({0xC4, bits << 5 | e.map, (w ? 0x80u : 0u) | vvvv << 3 | (length ? 4u : 0u) | pp});
        } else {
            constexpr unsigned prefix[] = {0, 0x66, 0xF3, 0xF2};
            if (pp) put({prefix[pp]});
            const unsigned rex = (w ? 8u : 0u) | (~bits & 7);
            if (rex) put({0x40 | rex});
            if (e.map >= 1) put({0x0F});
            if (e.map == 2) put({0x38});
            if (e.map == 3) put({0x3A});
        }
        put({e.opcode});
        const unsigned reg = e.reg >= 0 ? static_cast<unsigned>(e.reg) : static_cast<unsigned>(random_.below(3));
        if (memory && random_.chance(80)) {  // aligned, if the base is
            constexpr unsigned bases[] = {3, 6, 7};
            put({0x40 | reg << 3 | bases[random_.below(3)], random_.chance(50) ? 0x40u : 0u});
        } else if (memory) modrm(reg, true);
        else put({0xC0 | reg << 3 | static_cast<unsigned>(random_.below(3))});
        if (e.imm != Imm::none) number(any(), 1);
    }
    void instruction() {
        if (vectors_ && random_.chance(15)) return vector();
        switch (random_.below(28)) {
        case 0: case 1: case 2: {
            (void)prefixes();
            put({static_cast<unsigned>(random_.below(8) * 8 + random_.below(4))});
            modrm(safe_reg());
            break;
        }
        case 3: immediate_group(random_.chance(50) ? 0x81 : 0x83, static_cast<unsigned>(random_.below(8))); break;
        case 4: immediate_group(0x80, static_cast<unsigned>(random_.below(8))); break;
        case 5: case 6: (void)prefixes(); put({0x88 + static_cast<unsigned>(random_.below(4))}); modrm(safe_reg()); break;
        case 7: immediate_group(random_.chance(50) ? 0xC7 : 0xC6, 0); break;
        case 8: (void)prefixes(); put({0x8D}); modrm(safe_reg(), true); break;
        case 9: immediate_group(random_.chance(50) ? 0xC1 : 0xC0, static_cast<unsigned>(random_.below(8))); break;
        case 10:
            (void)prefixes();
            put({0xD0 + static_cast<unsigned>(random_.below(4))});
            modrm(static_cast<unsigned>(random_.below(8)));
            break;
        case 11: (void)prefixes(); put({0xFE + static_cast<unsigned>(random_.below(2))}); modrm(static_cast<unsigned>(random_.below(2))); break;
        case 12: {
            const unsigned digit = static_cast<unsigned>(random_.below(6));
            if (digit < 2) {
                immediate_group(random_.chance(50) ? 0xF7 : 0xF6, 0);
            } else {
                (void)prefixes();
                put({0xF6 + static_cast<unsigned>(random_.below(2))});
                modrm(digit);
            }
            break;
        }
        case 13: put({0x50 + safe_reg()}); put({0x58 + safe_reg()}); break;
        case 14: put({0x68}); number(random_.value(), 4); put({0x58 + safe_reg()}); break;
        case 15: case 16:
            put({0x0F, 0x80 + static_cast<unsigned>(random_.below(16))});
            jumps_.push_back({bytes_.size(), starts_.size() - (random_.chance(20) ? 1 : 0)});
            number(0, 4);
            break;
        case 17: (void)prefixes(); put({0x0F, 0x40 + static_cast<unsigned>(random_.below(16))}); modrm(safe_reg()); break;
        case 18: (void)prefixes(); put({0x0F, 0x90 + static_cast<unsigned>(random_.below(16))}); modrm(0); break;
        case 19: {
            constexpr unsigned opcodes[] = {0xAF, 0xB6, 0xB7, 0xBE, 0xBF, 0xA3, 0xAB, 0xB3, 0xBB, 0xA5, 0xAD, 0xBC, 0xBD};
            (void)prefixes();
            put({0x0F, opcodes[random_.below(std::size(opcodes))]});
            modrm(safe_reg());
            break;
        }
        case 20: {
            constexpr unsigned opcodes[] = {0xB0, 0xB1, 0xC0, 0xC1};
            (void)prefixes(true);
            put({0x0F, opcodes[random_.below(4)]});
            modrm(safe_reg(), true);
            break;
        }
        case 21: (void)prefixes(); put({0x86 + static_cast<unsigned>(random_.below(2))}); modrm(safe_reg()); break;
        case 22: {  // call over a jump to a tiny function: call f; jmp past; f: inc; ret; past:
            put({0xE8});
            number(2, 4);
            put({0xEB, 0x03, 0xFF, 0xC0, 0xC3});
            break;
        }
        case 23:  // through a register: lea rax,[rip+..] is 64-bit only
            if (is64_) put({0x48, 0x8D, 0x05, 2, 0, 0, 0, 0xFF, 0xE0});
            else number(0x90, 1);
            break;
        case 24: {
            constexpr unsigned singles[] = {0x90, 0x98, 0x99, 0xF5, 0xF8, 0xF9, 0x9C9D, 0x91, 0x92, 0xFC, 0x9E, 0x9F};
            const unsigned s = singles[random_.below(std::size(singles))];
            if (s > 0xFF) put({s >> 8});
            put({s & 0xFF});
            break;
        }
        case 25:  // SSE by thunk, RDTSC
            if (random_.chance(50)) put({0x66, 0x0F, 0xEF}), modrm(static_cast<unsigned>(random_.below(8)));
            else put({0x0F, 0x31});
            break;
        case 26:
            if (random_.chance(30)) {  // store into the program
                put({0xC6, 0x05});
                const u64 to = base_ + random_.below(64);
                number(is64_ ? to - (base_ + bytes_.size() + 5) : to, 4);
                put({random_.chance(50) ? 0x90u : any()});
            } else {
                put({0xB8 + safe_reg()});
                number(random_.value(), 4);
            }
            break;
        default:
            if (random_.chance(50)) put({0xF3, 0xA4});
            else put({0x0F, 0xC8 + safe_reg()});
            break;
        }
    }
    Random random_;
    bool is64_, vectors_;
    u64 base_;
    const Isa& isa_;
    std::vector<u8> bytes_;
    std::vector<std::size_t> starts_;
    std::vector<Jump> jumps_;
};

struct Machine {
    Machine(Mode mode, u8 cpl) : m(mode, cpl) { m.install_exception_stops(); }
    void prepare(const std::vector<u8>& program, u64 base, u64 seed) {
        Random random(seed);
        m.write(base, program);
        for (u64 a = TestMachine::data; a < TestMachine::data + 0x2400; a += 8)
            m.poke<u64>(a, random.value());
        for (unsigned i = 0; i < 16; ++i) m.cpu.gpr[i] = random.value();
        if (!m.cpu.long_mode())
            for (unsigned i = 0; i < 16; ++i) m.cpu.gpr[i] &= i < 8 ? 0xFFFFFFFF : 0;
        m.cpu.reg(Gpr::rsp) = TestMachine::stack_top;
        m.cpu.reg(Gpr::rbx) = TestMachine::data + 0xF80 + random.below(0x100);
        m.cpu.reg(Gpr::rsi) = TestMachine::data + random.below(0x40);
        m.cpu.reg(Gpr::rdi) = random.chance(20) ? base : TestMachine::data + 0x1000 + random.below(0x40);
        if (random.chance(60))
            for (const Gpr r : {Gpr::rbx, Gpr::rsi, Gpr::rdi}) m.cpu.reg(r) &= ~u64{63};
        m.cpu.reg(Gpr::rbp) = random.below(16);
        m.cpu.reg(Gpr::rcx) = random.below(64);
        for (auto& v : m.cpu.vec)
            for (u64& q : v.q) q = random.value();
        for (u64& k : m.cpu.opmask) k = random.value();
        if (m.cpu.long_mode()) m.cpu.xcr0 = 0xE7;
        m.cpu.context_changed();
        m.cpu.write_rflags((random.next() & rflags_bits::arithmetic) | 2);
        m.cpu.rip = base;
        m.cpu.activity = Activity::active;
        m.cpu.shut_down = false;
    }
    u64 hash() {
        HashArchive a;
        m.cpu.visit_all(a);
        std::array<u8, 0x8000 - TestMachine::code> low;  // programs reach nothing else
        m.memory.read_block(TestMachine::code, low.data(), low.size());
        a.bytes("low memory", low.data(), low.size());
        return a.value();
    }
    TestMachine m;
};

struct Pair {
    explicit Pair(Mode mode, const Jit::Config& config) : plain(mode, 0), translated(mode, 0) {
        auto made = Jit::make(translated.m.cpu, config);
        EXPECT_TRUE(made);
        jit = *made;
        translated.m.cpu.use_jit(jit);
    }
    /// Runs the program on both; true: to the end of the last slice.
    bool same(const Program& program, u64 base, u64 seed, Random& random) {
        std::string listing;
        for (const u8 b : program.bytes())
            listing += "0123456789ABCDEF"[b >> 4], listing += "0123456789ABCDEF"[b & 15], listing += ' ';
        SCOPED_TRACE(listing);
        plain.prepare(program.bytes(), base, seed);
        translated.prepare(program.bytes(), base, seed);
        for (unsigned slice = 0; slice < 12; ++slice) {
            const u64 ticks = 1 + random.below(random.chance(50) ? 40 : 3000);
            const Stop a = plain.m.run_for(ticks), b = translated.m.run_for(ticks);
            EXPECT_EQ(a, b) << "slice " << slice;
            EXPECT_EQ(plain.m.cpu.rip, translated.m.cpu.rip) << "slice " << slice;
            for (unsigned r = 0; r < 16; ++r)
                EXPECT_EQ(plain.m.cpu.gpr[r], translated.m.cpu.gpr[r])
                    << "register " << r << " slice " << slice << " RIP " << std::hex << plain.m.cpu.rip;
            EXPECT_EQ(plain.m.cpu.flags, translated.m.cpu.flags) << "slice " << slice;
            EXPECT_EQ(plain.hash(), translated.hash()) << "slice " << slice;
            if (a != Stop::deadline || ::testing::Test::HasFailure()) return false;
        }
        return true;
    }
    Machine plain, translated;
    std::shared_ptr<Jit> jit;
};

#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__)
constexpr bool translates = false;
#else
constexpr bool translates = true;
#endif

void compare(Mode mode, u64 seed, unsigned programs) {
    if (!translates) GTEST_SKIP() << "sanitized and unoptimised builds translate nothing";
    Random random(seed);
    std::unique_ptr<Pair> machines;
    u64 native = 0, lived = 0;
    for (unsigned p = 0; p < programs && !::testing::Test::HasFailure(); ++p) {
        const u64 program_seed = random.next();
        SCOPED_TRACE(program_seed);
        if (p % 64 == 0)
            machines = std::make_unique<Pair>(mode, Jit::Config{.cache_bytes = (1u << 20) >> random.below(3),
                                                                .threshold = static_cast<u32>(1 + random.below(3))});
        // Sometimes across the end of a page.
        const u64 base = TestMachine::code + (random.chance(30) ? 0x1000 - random.below(0x80) : 0);
        const Program program(program_seed, mode == Mode::long64, base, machines->plain.m.cpu.isa);
        lived += machines->same(program, base, program_seed, random);
        if (p % 64 == 63) native += machines->jit->statistics().natively;
    }
    EXPECT_GT(native, 100u);
    EXPECT_GT(lived, programs / 10) << "too many programs end with a fault at once";
}

TEST(Jit, RandomProgramsIn64BitModeLeaveTheInterpretersState) { compare(Mode::long64, 1, 512); }
TEST(Jit, RandomProgramsIn32BitModeLeaveTheInterpretersState) { compare(Mode::protected32, 2, 512); }

TEST(Jit, EachVectorInstructionLeavesTheInterpretersState) {
    if (!translates) GTEST_SKIP() << "sanitized and unoptimised builds translate nothing";
    Random random(3);
    std::unique_ptr<Pair> machines;
    unsigned rows = 0;
    const auto start = [&] { machines = std::make_unique<Pair>(Mode::long64, Jit::Config{.cache_bytes = 1u << 20, .threshold = 1}); };
    start();
    u64 native = 0;
    for (u16 op = 0; op < machines->plain.m.cpu.isa.size() && !::testing::Test::HasFailure(); ++op) {
        const InsnRow& row = machines->plain.m.cpu.isa.row(op);
        const bool vector = row.domain == Domain::sse || row.domain == Domain::avx || row.domain == Domain::avx512;
        if (!vector || !row.encoding.modrm || (row.traits & (traits::ends_block | traits::mxcsr))) continue;
        SCOPED_TRACE(row.mnemonic);
        ++rows;
        const u64 before = machines->jit->statistics().natively;
        for (unsigned i = 0; i < 3; ++i)
            (void)machines->same(Program(random.next(), TestMachine::code, machines->plain.m.cpu.isa, row),
                                 TestMachine::code, random.next(), random);
        native += machines->jit->statistics().natively > before + 4;  // more than the jumps
    }
    EXPECT_GT(native, rows / 2) << "of " << rows;
}

}  // namespace
}  // namespace droste::test
