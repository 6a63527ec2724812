// SPDX-License-Identifier: Apache-2.0
// EVEX prefixes of every kind, legal or not, against the host's processor: which of them give #UD.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cpu/insns/tables.h"
#include "host_fuzz.h"

namespace droste::test {
namespace {

/// Rows whose features this host has; a random one, so that most opcodes are defined.
std::vector<const InsnRow*> evex_rows() {
    std::vector<const InsnRow*> all;
    for (RowSpan (*table)() : {avx512_move_rows, avx512_float_rows, avx512_integer_rows, avx512_fp16_rows})
        for (const InsnRow& row : table())
            if (row.encoding.evex) all.push_back(&row);
    return all;
}

struct Bytes {
    std::array<u8, max_insn_bytes> b{};
    unsigned n = 0;
    void put(unsigned v) { b[n++] = static_cast<u8>(v); }
};

/// The row's encoding with up to three bits of the prefix, and sometimes any byte, changed.
Bytes make(const InsnRow& row, Random& random, bool is64) {
    const Encoding& e = row.encoding;
    const unsigned pp = e.pp == Pp::p66 ? 1 : e.pp == Pp::f3 ? 2 : e.pp == Pp::f2 ? 3 : 0;
    const unsigned l = e.l == vector_length::from256 ? 1 : e.l >= 0 && e.l <= 2 ? static_cast<unsigned>(e.l) : 0;
    const unsigned aaa = row.operands.mask_bytes != 0 ? 1 : 0;
    u32 payload = 0xF0u | e.map | (((e.w > 0 ? 0x80u : 0u) | 0x7C | pp) << 8) | ((l << 5 | 8 | aaa) << 16);
    for (unsigned i = random.below(4); i > 0; --i) payload ^= 1u << random.below(24);
    if (!is64) payload |= 0xC0;  // else BOUND
    Bytes r;
    r.put(0x62);
    for (unsigned i = 0; i < 3; ++i) r.put(payload >> (8 * i));
    r.put(random.chance(97) ? e.opcode : static_cast<unsigned>(random.next()));
    // Memory operands at [rax], [rax + disp8] and, with a SIB byte, [rax + index * 1].
    u8 modrm = static_cast<u8>(random.next() & 0x3F);
    if (e.reg >= 0) modrm = static_cast<u8>((modrm & 7) | e.reg << 3);
    const bool mem = e.mod == Mod::mem || (e.mod == Mod::any && random.chance(50));
    modrm = static_cast<u8>(mem ? (modrm & 0x38) | (random.chance(30) ? 0x44 : random.chance(50) ? 0x40 : 0)
                                : modrm | 0xC0);
    r.put(modrm);
    if (mem && (modrm & 7) == 4) r.put(0x08);
    if (mem && (modrm & 0xC0) == 0x40) r.put(random.below(3));
    r.put(random.next() & 0xFF);  // an immediate, or INT3's neighbour
    return r;
}

void compare(CodeSize size, unsigned cases) {
    HostCpu host;
    if (!host.has(size)) GTEST_SKIP() << "this host does not run code of that size";
    if (!host_has(Feature::avx512fp16)) GTEST_SKIP() << "this host has not all of AVX-512";
    const auto tables = cpu_instruction_tables();
    const Isa isa(tables);
    const bool is64 = size == CodeSize::bits64;
    const u32 mode = (is64 ? mode_bits::code64 : mode_bits::code32) | mode_bits::stack32 | mode_bits::user;
    const auto rows = evex_rows();
    Random random(7);
    u64 undefined = 0;
    unsigned failures = 0;
    for (unsigned i = 0; i < cases && failures < 30; ++i) {
        const InsnRow& row = *rows[random.below(rows.size())];
        const Bytes b = make(row, random, is64);
        Decoded d;
        const DecodeStatus status = isa.decode(std::span(b.b), mode, d);
        const bool here = status == DecodeStatus::ok;
        if (here && !host_has(d.row->needs)) continue;
        UserState state;
        state.rflags |= rflags_bits::if_;
        for (u64& g : state.gpr) g = 0;
        state.gpr[0] = HostCpu::data + 0x800;
        state.gpr[4] = HostCpu::data + 0x1000;
        state.vector.mxcsr = 0x1F80;
        for (u64& k : state.vector.opmask) k = 1;
        std::memset(host.memory(), 0, HostCpu::data_size);
        const unsigned length = here ? d.len : b.n;
        const HostEvent event = host.execute(std::span(b.b).first(length), size, true, !is64, state);
        const bool there = event.vector != 6;
        undefined += !there;
        // A wrong length shows in the address of what follows.
        const bool same_end = !here || event.vector >= 0 || state.rip == HostCpu::insn + length;
        if (here == there && same_end) continue;
        ++failures;
        std::string hex;
        for (unsigned k = 0; k < b.n; ++k) hex += fmt::format(" {:02X}", b.b[k]);
        ADD_FAILURE() << fmt::format("{} |{} | here {} {} | host event {} rip {:x}", row.mnemonic, hex,
                                     here ? d.row->mnemonic : "#UD", here ? d.len : 0, event.vector, state.rip);
    }
    EXPECT_GT(undefined, cases / 10) << "the illegal ones must be there";
    EXPECT_LT(undefined, cases * 9 / 10);
}

TEST(Evex, UndefinedAsOnTheHost64) { compare(CodeSize::bits64, 200000); }
TEST(Evex, UndefinedAsOnTheHost32) { compare(CodeSize::bits32, 50000); }

}  // namespace
}  // namespace droste::test
