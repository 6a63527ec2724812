// SPDX-License-Identifier: Apache-2.0
// From a row to bytes and registers: encoding, address operands aimed at the sandbox, values by the row's
// domain.
#include "insn_generator.h"

#include <algorithm>
#include <cstring>

#include "cpu/state.h"

namespace droste::test {

namespace {

constexpr unsigned rax = 0, rcx = 1, rdx = 2, rbx = 3, rsp = 4, rbp = 5, rsi = 6, rdi = 7;

bool is_any(std::string_view name, std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
}
bool uses_stack(const InsnRow& r) {
    return is_any(r.mnemonic,
                  {"PUSH", "POP", "PUSHA", "POPA", "PUSHF", "POPF", "CALL", "RET", "ENTER", "LEAVE"});
}
bool is_branch(const InsnRow& r) {
    return is_any(r.mnemonic, {"CALL", "RET", "JMP"}) || r.encoding.imm == Imm::cb ||
           r.encoding.imm == Imm::cz;
}
bool has(const InsnRow& r, Where w) {
    return std::any_of(r.operands.op.begin(), r.operands.op.end(),
                       [&](const Operand& o) { return o.where == w; });
}
bool has_type(const InsnRow& r, Type t) {
    return std::any_of(r.operands.op.begin(), r.operands.op.end(),
                       [&](const Operand& o) { return o.type == t; });
}
bool scalar_of_32(const InsnRow& r) {
    return has_type(r, Type::s32);
}

bool of_16(const InsnRow& r) { return r.needs == Feature::avx512fp16 || r.mnemonic == "VCVTPH2PS"; }
bool vector_rm(const InsnRow& r) { return has(r, Where::vec_rm) || has(r, Where::vec_rm_only); }
bool qword_indexes(const InsnRow& r) {
    return r.mnemonic.find("GATHERQ") != std::string_view::npos ||
           r.mnemonic.find("SCATTERQ") != std::string_view::npos;
}

}  // namespace

u32 InsnGenerator::mode() const {
    switch (size_) {
    case CodeSize::bits16: return mode_bits::code16 | mode_bits::segmented | mode_bits::user;
    case CodeSize::bits32: return mode_bits::code32 | mode_bits::stack32 | mode_bits::user;
    case CodeSize::bits64: return mode_bits::code64 | mode_bits::stack32 | mode_bits::user;
    }
    return 0;
}

bool InsnGenerator::decode(FuzzCase& out) const {
    return isa_.decode(std::span(out.bytes), mode(), out.decoded) == DecodeStatus::ok;
}

u64 InsnGenerator::segment_base(const Decoded& d) const {
    if (d.seg == static_cast<u8>(Seg::fs)) return size_ == CodeSize::bits64 ? bases_.fs : 0;
    if (d.seg == static_cast<u8>(Seg::gs)) return size_ == CodeSize::bits64 ? bases_.gs : 0;
    return size_ == CodeSize::bits16 ? HostCpu::data : 0;
}

u64 InsnGenerator::pick_address(const InsnRow& row, Random& random) const {
    constexpr u64 last = HostCpu::data_size;
    const u64 r = random.below(100);
    u64 at;
    if (r < (row.operands.mask_bytes != 0 ? 8 : 2)) at = last - random.below(64);                 // into the guard behind
    else if (r < 3) at = 0 - random.below(64);               // the guard before
    else if (r < 20) at = 0x1000 - random.below(64);         // around the page boundary
    else at = 128 + random.below(last - 1024);
    if ((row.traits & traits::aligned) && !random.chance(4)) at &= ~31ull;
    else if (random.chance(40)) at &= ~7ull;
    return HostCpu::data + at;
}

void InsnGenerator::fill_registers(const InsnRow& row, Random& random, FuzzCase& out) const {
    UserState& s = out.state;
    for (u64& g : s.gpr) {
        g = random.value();
        if (size_ != CodeSize::bits64) g &= 0xFFFFFFFF;
    }
    constexpr u64 changeable = rflags_bits::arithmetic;
    s.rflags = rflags_bits::fixed1 | rflags_bits::if_ | (random.next() & changeable);
    if ((row.flags.read & 64) && random.chance(40)) s.rflags |= rflags_bits::df;
    out.vector = row.domain != Domain::general || has_type(row, Type::fx);
    if (!out.vector) return;
    VectorImage& v = s.vector;
    v = VectorImage{};
    const bool fp = row.traits & traits::mxcsr;
    const bool single = random.chance(50) || scalar_of_32(row);
    const bool half = of_16(row) && random.chance(90);
    const auto quad = [&]() -> u64 {
        if (!fp) return random.value();
        if (half) return random.float16x4();
        return single ? (u64(random.float32()) << 32) | random.float32() : random.float64();
    };
    // What an instruction does not know it must leave or clear, so all registers hold something; those that it may
    // read (register 0 without being named) hold what is hard to compute with.
    const Decoded& d = out.decoded;
    const u32 named = 1u | 1u << (d.reg & 31) | 1u << (d.rm & 31) | 1u << (d.vex_vvvv & 31) |
                      1u << (static_cast<u8>(d.index) & 31) | 1u << (d.imm >> 4 & 15);
    const u64 filler = random.next();
    for (unsigned i = 0; i < 32; ++i)
        for (unsigned k = 0; k < 8; ++k)
            v.quad(i, k) = named >> i & 1 ? quad() : filler * (2 * (8 * i + k) + 1);
    for (u64& k : v.opmask) k = random.chance(20) ? ~0ull : random.chance(30) ? random.value() : random.next();
    v.mxcsr = 0x1F80;
    if (fp || row.encoding.evex) {
        const u64 r = random.next();
        v.mxcsr |= static_cast<u32>(r & 0x6000);                   // rounding
        if (random.chance(20)) v.mxcsr |= static_cast<u32>(r & 0x8040);  // FTZ, DAZ
        if (random.chance(20)) v.mxcsr |= static_cast<u32>(r >> 16 & 0x3F);  // sticky flags
        if (random.chance(4)) v.mxcsr &= ~static_cast<u32>(r >> 32 & 0x1F80);
    }
    const bool x87 = row.domain == Domain::x87;
    for (auto& st : v.st) {
        u16 top = 0xFFFF;
        const u64 low = x87 || random.chance(50) ? random.float80(top) : random.value();
        std::memcpy(st.data(), &low, 8);
        std::memcpy(st.data() + 8, &top, 2);
    }
    const u64 r = random.next();
    v.fcw = static_cast<u16>(0x7F | (r & 0xF00));
    if (x87 && random.chance(3)) v.fcw &= static_cast<u16>(~(r >> 16 & 0x3F));
    v.fsw = static_cast<u16>((r >> 24 & 7) << 11 | (r >> 27 & 0x4700));
    if (random.chance(20)) v.fsw |= static_cast<u16>(r >> 48 & 0x7F);
    // The error summary follows from flags and masks.
    if (v.fsw & ~v.fcw & 0x3F) v.fsw |= 0x8080;
    v.ftw = static_cast<u8>(random.chance(70) ? 0xFF : random.chance(50) ? random.next() : 0);
    v.fop = 0;
}

/// Shapes that fit each other most of the time, and now and then a configuration that is refused.
void InsnGenerator::fill_tiles(const InsnRow& row, Random& random, FuzzCase& out) const {
    out.tiles = std::make_shared<TileImage>();
    TileImage& t = *out.tiles;
    const auto configuration = [&](std::array<u8, 64>& c) {
        c = {};
        c[0] = 1;
        const u64 m = 1 + random.below(16), k = 1 + random.below(16), n = 1 + random.below(16);
        const bool square = random.chance(30);
        for (unsigned i = 0; i < 8; ++i) {
            const bool loose = random.chance(8);
            c[48 + i] = static_cast<u8>(loose ? random.below(17) : square ? m : i % 3 == 2 ? k : m);
            c[16 + 2 * i] =
                static_cast<u8>(c[48 + i] == 0 ? 0 : loose ? 1 + random.below(64) : 4 * (square ? m : i % 3 == 1 ? k : n));
        }
    };
    configuration(t.config);
    const bool moves = row.mnemonic.starts_with("TILELOAD") || row.mnemonic.starts_with("TILESTORE");
    if (random.chance(moves ? 30 : 5)) t.config[1] = static_cast<u8>(random.below(18));
    if (random.chance(4)) t.config = {};
    for (auto& tile : t.tile)
        for (unsigned i = 0; i < tile.size(); i += 8) {
            u64 v = row.mnemonic == "TDPBF16PS"
                        ? (random.chance(70) ? random.next() & 0xBFFFBFFFBFFFBFFF : u64(random.float32()) << 32 | random.float32())
                        : random.next();
            std::memcpy(&tile[i], &v, 8);
        }
    if (row.mnemonic == "LDTILECFG") {
        std::array<u8, 64> c;
        configuration(c);
        if (random.chance(40)) c[random.below(64)] = static_cast<u8>(random.value());
        if (random.chance(20)) c[0] = static_cast<u8>(random.below(4));
        std::memcpy(&out.memory[FuzzCase::before_operand], c.data(), c.size());
    }
    // A stride that stays in the sandbox, most of the time.
    const Decoded& d = out.decoded;
    if (moves && d.mem() && d.index >= 0)
        out.state.gpr[static_cast<unsigned>(d.index)] =
            static_cast<u64>(static_cast<i64>(random.below(random.chance(90) ? 256 : 4096)) - 64) >> d.scale;
}

void InsnGenerator::fill_memory(const InsnRow& row, Random& random, FuzzCase& out) const {
    const bool fp = row.traits & traits::mxcsr;
    const bool x87 = row.domain == Domain::x87;
    const bool single = random.chance(50) || scalar_of_32(row);
    const bool half = of_16(row) && random.chance(90);
    for (unsigned i = 0; i < out.memory.size(); i += 8) {
        u64 v = random.value();
        if (fp && half) v = random.float16x4();
        else if (fp) v = single ? (u64(random.float32()) << 32) | random.float32() : random.float64();
        if (x87) {
            bool is_single = false, is_double = false, is_bcd = false;
            for (const Operand& o : row.operands.op) {
                is_single |= o.type == Type::s32;
                is_double |= o.type == Type::s64;
                is_bcd |= o.type == Type::bcd80;
            }
            if (is_single) v = (u64(random.float32()) << 32) | random.float32();
            else if (is_double) v = random.float64();
            else if (is_bcd && random.chance(80)) {
                v = random.next() & random.next() & 0x7777777777777777ull;
                v &= 0x7777777777777777ull;
            }
        }
        std::memcpy(&out.memory[i], &v, 8);
    }
    u8* at = &out.memory[FuzzCase::before_operand];
    if (has_type(row, Type::fx) && random.chance(95)) {  // MXCSR without reserved bits
        const u32 mxcsr = static_cast<u32>(random.next()) & 0xFFFF;
        std::memcpy(at + 24, &mxcsr, 4);
    }
    if (!x87) return;
    for (const Operand& o : row.operands.op) {
        if (o.type == Type::t80) {
            u16 top;
            const u64 low = random.float80(top);
            std::memcpy(at, &low, 8);
            std::memcpy(at + 8, &top, 2);
        } else if (o.type == Type::env || o.type == Type::fstate || row.mnemonic == "FLDCW") {
            const u16 control =
                static_cast<u16>(0x40 | (random.chance(5) ? 0 : 0x3F) | (random.next() & 0xF00));
            std::memcpy(at, &control, 2);
        }
    }
}

struct InsnGenerator::Builder {
    std::array<u8, 32> bytes{};
    unsigned n = 0;
    void put(u64 v, unsigned size = 1) {
        for (unsigned i = 0; i < size; ++i) bytes[n++] = static_cast<u8>(v >> (8 * i));
    }
};

void InsnGenerator::put_evex(const InsnRow& row, Random& random, bool mem, Builder& b) const {
    const Encoding& e = row.encoding;
    const Operands& o = row.operands;
    const bool is64 = size_ == CodeSize::bits64;
    const bool vsib = has(row, Where::vsib_index);
    const unsigned numbers = is64 ? 32 : 8;
    // Registers beyond 15 by R', X, V'; what names no vector register has no fifth bit.
    unsigned reg = is64 ? static_cast<unsigned>(random.below(has(row, Where::vec_reg) ? 32 : 16)) & ~7u : 0;
    if (has(row, Where::mask_reg)) reg = 0;
    const unsigned rm = is64 ? static_cast<unsigned>(random.below(mem || vector_rm(row) ? 32 : 16)) & ~7u : 0;
    unsigned vvvv = has(row, Where::vec_vvvv) ? static_cast<unsigned>(random.below(numbers)) : 0;
    if (vsib && is64) vvvv = static_cast<unsigned>(random.below(2)) * 16;
    const bool round = !mem && o.rounding != Rounding::none && random.chance(35);
    const bool broadcast = mem && o.broadcast != 0 && random.chance(35);
    unsigned l = static_cast<unsigned>(e.l);
    if (e.l == vector_length::any || e.l == vector_length::ignored) l = static_cast<unsigned>(random.below(3));
    if (e.l == vector_length::from256) l = 1 + static_cast<unsigned>(random.below(2));
    if (round) l = static_cast<unsigned>(random.below(4));
    const bool masked = o.mask_bytes != 0 && (vsib || random.chance(65));
    const unsigned aaa = masked ? 1 + static_cast<unsigned>(random.below(7)) : 0;
    const bool memory_written = mem && o.op[0].where == Where::vec_rm;
    const bool z = masked && o.zeroing && !memory_written && random.chance(40);
    const bool w = e.w < 0 ? random.chance(30) : e.w == 1;
    const unsigned pp = e.pp == Pp::p66 ? 1 : e.pp == Pp::f3 ? 2 : e.pp == Pp::f2 ? 3 : 0;
    b.put(0x62);
    b.put((reg & 8 ? 0 : 0x80u) | (rm & 16 ? 0 : 0x40u) | (rm & 8 ? 0 : 0x20u) | (reg & 16 ? 0 : 0x10u) | e.map);
    b.put((w ? 0x80u : 0u) | (~vvvv & 15) << 3 | 4 | pp);
    b.put((z ? 0x80u : 0u) | l << 5 | (round || broadcast ? 0x10u : 0u) | (vvvv & 16 ? 0 : 8u) | aaa);
}

bool InsnGenerator::encode(const InsnRow& row, Random& random, FuzzCase& out) const {
    const Encoding& e = row.encoding;
    const bool is64 = size_ == CodeSize::bits64;
    Builder b;
    // ModRM first: it decides what else makes sense.
    u8 modrm = static_cast<u8>(random.next());
    u8 sib = static_cast<u8>(random.next());
    if (e.mod == Mod::reg || (e.mod == Mod::any && random.chance(45))) modrm |= 0xC0;
    else if ((modrm & 0xC0) == 0xC0) modrm = static_cast<u8>(modrm & (random.chance(50) ? 0x7F : 0x3F));
    if (e.reg >= 0) modrm = static_cast<u8>((modrm & 0xC7) | (e.reg << 3));
    if (e.rm >= 0) modrm = static_cast<u8>((modrm & 0xF8) | e.rm | 0xC0);
    const bool vsib = has(row, Where::vsib_index) || has(row, Where::tile_memory);
    if (row.mnemonic == "TILEZERO") modrm &= 0xF8;
    if (vsib) modrm = static_cast<u8>((modrm & 0xF8) | 4);
    const bool mem = e.modrm && (modrm & 0xC0) != 0xC0;

    // Legacy prefixes.
    const bool lock = mem && (row.traits & traits::lockable) && random.chance(20);
    bool p67 = random.chance(mem || (row.traits & traits::rep) ? 8 : 2);
    if (size_ == CodeSize::bits32 && mem && random.chance(90)) p67 = false;
    if (size_ == CodeSize::bits16 && mem && random.chance(30)) p67 = true;
    const bool segment =
        (mem || has(row, Where::string_source) || has(row, Where::moffs)) && random.chance(10);
    std::array<u8, 8> prefixes{};
    unsigned count = 0;
    if (lock) prefixes[count++] = 0xF0;
    if (p67) prefixes[count++] = 0x67;
    if (segment) {
        constexpr u8 overrides[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65};
        // Outside 64-bit mode FS and GS are null here, and CS has another base.
        prefixes[count++] =
            is64 ? overrides[random.below(6)] : overrides[random.below(2) ? 3 : (random.below(2) * 2)];
    }
    if (!e.vex && !e.evex) {
        if (e.pp == Pp::p66) prefixes[count++] = 0x66;
        if (e.pp == Pp::f3) prefixes[count++] = 0xF3;
        if (e.pp == Pp::f2) prefixes[count++] = 0xF2;
        const bool sized =
            e.pp == Pp::any || ((e.pp == Pp::f2 || e.pp == Pp::f3) && row.domain == Domain::general);
        if (sized && random.chance(row.domain == Domain::general ? 25 : 3)) prefixes[count++] = 0x66;
        if (row.traits & traits::rep) {
            if (random.chance(60)) prefixes[count++] = random.chance(50) ? 0xF2 : 0xF3;
        } else if (e.pp == Pp::any && random.chance(2)) {
            prefixes[count++] = random.chance(50) ? 0xF2 : 0xF3;
        }
    }
    for (unsigned i = count; i > 1; --i) std::swap(prefixes[i - 1], prefixes[random.below(i)]);
    for (unsigned i = 0; i < count; ++i) b.put(prefixes[i]);

    // REX or VEX, escapes, opcode.
    u8 rex = 0;
    if (is64) {
        rex = static_cast<u8>(random.next() & 7);
        if (e.w == 1) rex |= 8;
        else if (e.w != 0 && random.chance(40)) rex |= 8;
        if (random.chance(30)) rex &= 8;
    }
    if (e.evex) {
        put_evex(row, random, mem, b);
    } else if (e.vex) {
        const bool w = e.w < 0 ? random.chance(30) : e.w == 1;
        const bool l = e.l < 0 ? random.chance(30) : e.l == 1;
        const bool uses_vvvv = has(row, Where::vec_vvvv) || has(row, Where::vvvv_gpr);
        const bool masks = has(row, Where::mask_vvvv);
        u8 vvvv = static_cast<u8>(uses_vvvv || masks ? random.below(is64 && !masks ? 16 : 8) : 0);
        const bool tiles = has(row, Where::tile_reg);
        if (has(row, Where::mask_reg) || tiles) rex &= 0xB;
        if (tiles && !mem) rex &= 0xE;
        if (has(row, Where::tile_vvvv)) vvvv = static_cast<u8>(random.below(8));
        if (!uses_vvvv && random.chance(1)) vvvv = static_cast<u8>(1 + random.below(15));  // #UD
        const u8 pp = static_cast<u8>(e.pp == Pp::p66 ? 1 : e.pp == Pp::f3 ? 2 : e.pp == Pp::f2 ? 3 : 0);
        const u8 tail = static_cast<u8>(((~vvvv & 15) << 3) | (l << 2) | pp);
        if (!is64) rex = 0;
        if (e.map == 1 && !w && (rex & 3) == 0 && random.chance(60)) {
            b.put(0xC5);
            b.put(((rex & 4) ? 0 : 0x80u) | tail);
        } else {
            b.put(0xC4);
            b.put(static_cast<u8>(((~rex & 7) << 5) | e.map));
            b.put((w ? 0x80u : 0u) | tail);
        }
    } else {
        if (is64 && (rex != 0 || random.chance(10))) b.put(0x40u | rex);
        if (e.map >= 1) b.put(0x0F);
        if (e.map == 2) b.put(0x38);
        if (e.map == 3) b.put(0x3A);
    }
    b.put(e.opcode | (e.plus_r ? static_cast<u8>(random.below(8)) : 0u));
    if (e.modrm) {
        b.put(modrm);
        const bool asz16 = size_ == CodeSize::bits16 ? !p67 : size_ == CodeSize::bits32 && p67;
        const unsigned mod = modrm >> 6, rm = modrm & 7;
        if (mem && asz16) {
            if (mod == 1) b.put(random.value());
            else if (mod == 2 || rm == 6) b.put(random.value(), 2);
        } else if (mem) {
            if (rm == 4) b.put(sib);
            if (mod == 1) b.put(random.value());
            else if (mod == 2 || rm == 5 || (rm == 4 && (sib & 7) == 5)) b.put(random.value(), 4);
        }
    }
    b.put(random.value(), 8);  // immediates; the decoder knows how much of it
    std::copy_n(b.bytes.begin(), out.bytes.size(), out.bytes.begin());
    if (!decode(out) || out.decoded.row != &row) return false;
    out.len = out.decoded.len;
    return true;
}

/// Chooses registers and displacement so that the memory operand lies at out.operand.
bool InsnGenerator::aim(const InsnRow& row, Random& random, FuzzCase& out) const {
    Decoded& d = out.decoded;
    const u64 wanted = offset_in_segment(out.operand, d);
    const auto put_disp = [&](u64 disp, unsigned at, unsigned size) {
        std::memcpy(&out.bytes[at], &disp, size);
        return decode(out) && d.row == &row;
    };
    const unsigned disp_at = d.modrm_offset + 1u + d.has_sib;
    if (has(row, Where::moffs)) {
        const unsigned size = 2u << d.asz;
        return put_disp(wanted, d.len - size, size);
    }
    if (!d.mem()) return true;
    if (d.rip_relative) return put_disp(wanted - (HostCpu::insn + d.len), disp_at, 4);
    if (has(row, Where::vsib_index)) {
        const u64 middle = offset_in_segment(HostCpu::data + 0x1000, d);
        if (d.base < 0 && !put_disp(middle, disp_at, 4)) return false;
        aim_vsib(random, out);
        return true;
    }
    auto& g = out.state.gpr;
    const u64 disp = static_cast<u64>(static_cast<i64>(d.disp));
    if (d.base < 0 && d.index < 0) return put_disp(wanted, disp_at, d.asz == 0 ? 2 : 4);
    if (d.base < 0) {  // index and disp32
        const u64 small = random.below(512) - 256;
        g[static_cast<unsigned>(d.index)] = small;
        return put_disp(wanted - (small << d.scale), disp_at, 4);
    }
    if (d.index < 0) {
        g[static_cast<unsigned>(d.base)] = wanted - disp;
    } else if (d.base == d.index) {
        // base * (1 + scale) + disp: only a displacement of 32 bits reaches everything.
        if (d.mod != 2 || d.asz == 0) return false;
        const u64 small = random.below(512);
        g[static_cast<unsigned>(d.base)] = small;
        return put_disp(wanted - small - (small << d.scale), disp_at, 4);
    } else if (has(row, Where::tile_memory)) {  // the index is a stride
        g[static_cast<unsigned>(d.base)] = wanted - disp;
    } else {
        g[static_cast<unsigned>(d.base)] = wanted - disp - (g[static_cast<unsigned>(d.index)] << d.scale);
    }
    if (d.asz == 1 && size_ == CodeSize::bits64 && random.chance(50))
        g[static_cast<unsigned>(d.base)] ^= random.next() << 32;
    return true;
}

void InsnGenerator::aim_vsib(Random& random, FuzzCase& out) const {
    const Decoded& d = out.decoded;
    const bool qword_index = qword_indexes(*d.row);
    const u64 middle = HostCpu::data + 0x1000;
    const u64 disp = static_cast<u64>(static_cast<i64>(d.disp));
    if (d.base >= 0) out.state.gpr[static_cast<unsigned>(d.base)] = offset_in_segment(middle, d) - disp;
    const unsigned index = static_cast<unsigned>(d.index);
    const auto quad = [&]() -> u64 {
        if (qword_index) {
            const i64 v = static_cast<i64>(random.below(0x1F00)) - 0xF80;
            return static_cast<u64>(v >> d.scale);
        }
        const auto one = [&] {
            return static_cast<u32>((static_cast<i32>(random.below(0x1F00)) - 0xF80) >> d.scale);
        };
        return one() | (u64(one()) << 32);
    };
    for (unsigned k = 0; k < 8; ++k) out.state.vector.quad(index, k) = quad();
    if (random.chance(5))
        out.state.vector.quad(index, static_cast<unsigned>(random.below(2))) ^= 0x01000000u << random.below(3);  // unmapped
}

/// Registers that an instruction uses without naming them in ModRM.
void InsnGenerator::aim_implicit(const InsnRow& row, Random& random, FuzzCase& out) const {
    auto& g = out.state.gpr;
    const Decoded& d = out.decoded;
    const u64 data_offset = size_ == CodeSize::bits16 ? 0 : HostCpu::data;
    const auto on_stack = [&] {
        u64 at = random.chance(97) ? 0x200 + random.below(HostCpu::data_size - 0x400)
                                   : pick_address(row, random) - HostCpu::data;
        if (random.chance(70))
            at &= ~7ull;
        return data_offset + at;
    };
    if (uses_stack(row)) {
        const bool addressed = d.mem() && (d.base == 4 || d.index == 4);
        if (!addressed) g[rsp] = on_stack();
        if (row.mnemonic == "ENTER" || row.mnemonic == "LEAVE") g[rbp] = on_stack();
        if (row.mnemonic == "ENTER") out.bytes[d.len - 2u] &= 1;  // size below 512
        if (row.mnemonic == "POP" || row.mnemonic == "RET" || row.mnemonic == "POPF" ||
            row.mnemonic == "POPA")
            if (!d.mem()) out.operand = g[rsp] + (HostCpu::data - data_offset);
    }
    const bool source = has(row, Where::string_source), destination = has(row, Where::string_dest);
    if (source || destination || row.mnemonic == "MASKMOVQ" || row.mnemonic == "MASKMOVDQU" ||
        row.mnemonic == "VMASKMOVDQU") {
        const u64 high = size_ == CodeSize::bits64 && d.asz == 1 ? random.next() << 32 : 0;
        const bool plain = !source && !destination;
        const u64 base = segment_base(d);
        g[rsi] = on_stack() ^ high;
        if (source && d.segment_override >= 0 && size_ == CodeSize::bits64)
            g[rsi] = (on_stack() - base) ^ high;
        g[rdi] = on_stack() ^ high;
        if (plain && d.segment_override >= 0 && size_ == CodeSize::bits64)
            g[rdi] = (on_stack() - base) ^ high;
        if (random.chance(20)) g[rdi] = g[rsi] + random.below(32) - 16;
        g[rcx] = (random.chance(95) ? random.below(40) : random.below(2000)) | high;
        if (row.mnemonic == "CMPS" || row.mnemonic == "SCAS") {
            // Equal stretches: both point into the same run of bytes.
            if (random.chance(60)) {
                const u8 fill = static_cast<u8>(random.value());
                for (u8& m : out.memory) if (!random.chance(3)) m = fill;
                out.operand = (g[rdi] & 0xFFFFFFFF) + (HostCpu::data - data_offset) - 32;
                g[rsi] = g[rdi] + random.below(16);
                if (source && d.segment_override >= 0 && size_ == CodeSize::bits64) g[rsi] -= base;
                g[rax] = 0x0101010101010101ull * fill;
            }
        }
        if (size_ == CodeSize::bits32)
            for (unsigned r : {rsi, rdi, rcx}) g[r] &= 0xFFFFFFFF;
    }
    if (row.mnemonic == "POPF") out.memory[FuzzCase::before_operand + 1] &= 0xFE;  // TF would trap
    if (row.mnemonic == "XLAT") g[rbx] = offset_in_segment(out.operand, d) - (g[rax] & 0xFF);
    if (row.mnemonic.starts_with("BT") && row.mnemonic.size() <= 3 && d.mem() &&
        has(row, Where::modrm_reg_gpr)) {
        // The bit offset reaches all of the data, rarely beyond.
        const auto address_register = [&](i8 r) { return r >= 0 && static_cast<u8>(r) == d.reg; };
        if (!address_register(d.base) && !address_register(d.index)) {
            const i64 low = static_cast<i64>(HostCpu::data) - static_cast<i64>(out.operand);
            const u64 reach = random.chance(98) ? HostCpu::data_size : 0x40000;
            g[d.reg] = static_cast<u64>((low + static_cast<i64>(random.below(reach))) * 8 +
                                        static_cast<i64>(random.below(8)));
            if (d.osz == 1 || d.osz == 2) g[d.reg] ^= random.next() << (8u << d.osz);
        }
    }
    const auto addresses = [&](unsigned r) { return d.mem() && (d.base == i8(r) || d.index == i8(r)); };
    if ((row.mnemonic == "DIV" || row.mnemonic == "IDIV") && random.chance(60)) {
        if (d.osz == 0 && !addresses(rax)) g[rax] &= 0xFF;
        else if (d.osz != 0 && !addresses(rdx))
            g[rdx] = random.chance(50)
                         ? 0
                         : static_cast<u64>(static_cast<i64>(g[rax] << (64 - (8u << d.osz))) >> 63);
    }
    if (size_ != CodeSize::bits64)
        for (u64& r : g) r &= 0xFFFFFFFF;
}

/// Targets inside the page of INT3s; in 64-bit mode some non-canonical ones.
bool InsnGenerator::aim_branch(const InsnRow& row, Random& random, FuzzCase& out) const {
    Decoded& d = out.decoded;
    if (!is_branch(row)) return true;
    out.branch = true;
    const u64 base = size_ == CodeSize::bits16 ? HostCpu::code : 0;
    const u64 here = HostCpu::insn - base;
    const auto inside = [&](u64 a) { return a - here < d.len; };  // would execute its own bytes
    if (row.encoding.imm == Imm::cb) return !inside(here + d.len + d.imm);
    u64 target = HostCpu::code + random.below(HostCpu::code_size) - base;
    if (inside(target)) return false;
    if (row.encoding.imm == Imm::cz) {
        const unsigned size = d.osz == 1 ? 2 : 4;
        const u64 disp = target - (HostCpu::insn - base + d.len);
        std::memcpy(&out.bytes[d.len - size], &disp, size);
        return decode(out) && d.row == &row;
    }
    if (size_ == CodeSize::bits64 && random.chance(3)) target ^= 0x0000800000000000ull << random.below(16);
    if (size_ == CodeSize::bits16 && random.chance(3))
        target |= random.next() & 0xFFFF0000;  // beyond the limit
    const bool from_memory = d.mem() || row.mnemonic == "RET";
    if (from_memory) std::memcpy(&out.memory[FuzzCase::before_operand], &target, 8);
    else if (d.rm != rsp || row.mnemonic == "JMP") out.state.gpr[d.rm] = target;
    else return false;  // CALL rSP: the stack would lie in the code
    return true;
}

void InsnGenerator::make_comparisons_equal(const InsnRow& row, FuzzCase& out) const {
    auto& g = out.state.gpr;
    const Decoded& d = out.decoded;
    const auto from_memory = [&](unsigned at) {
        u64 v;
        std::memcpy(&v, &out.memory[FuzzCase::before_operand + at], 8);
        return v;
    };
    if (row.mnemonic == "CMPXCHG" && d.base != rax && d.index != rax) {
        g[rax] = d.mem() ? from_memory(0) : g[d.rm];
    } else if (row.mnemonic == "CMPXCHG8B" && d.base != rax && d.index != rax && d.base != rdx &&
               d.index != rdx) {
        g[rax] = from_memory(0);
        g[rdx] = from_memory(4);
    } else if (row.mnemonic == "CMPXCHG16B" && d.base != rax && d.index != rax && d.base != rdx &&
               d.index != rdx) {
        g[rax] = from_memory(0);
        g[rdx] = from_memory(8);
    }
    if (size_ != CodeSize::bits64)
        for (u64& r : g) r &= 0xFFFFFFFF;
}

bool InsnGenerator::make(const InsnRow& row, Random& random, FuzzCase& out) const {
    out = FuzzCase{};
    if (!encode(row, random, out)) return false;
    // The host's FS base is its thread's data, far away: only a 64-bit register reaches the sandbox from
    // there.
    const bool fs = size_ == CodeSize::bits64 && out.decoded.seg == static_cast<u8>(Seg::fs);
    if (fs && (out.decoded.asz == 1 ||
               (out.decoded.mem() && (out.decoded.base < 0 || out.decoded.base == out.decoded.index))))
        return false;
    fill_registers(row, random, out);
    out.operand = pick_address(row, random);
    fill_memory(row, random, out);
    if (row.domain == Domain::amx) fill_tiles(row, random, out);
    if (!aim(row, random, out)) return false;
    aim_implicit(row, random, out);
    // Where rSP or the bit offset is also an address register it may point anywhere, but not at what only one
    // side has.
    const Decoded& d = out.decoded;
    const auto addresses = [&](unsigned r) { return d.mem() && (d.base == i8(r) || d.index == i8(r)); };
    if (uses_stack(row) && addresses(rsp) && out.state.gpr[rsp] - HostCpu::data >= HostCpu::data_size)
        return false;
    if (row.mnemonic.starts_with("BT") && has(row, Where::modrm_reg_gpr) && addresses(d.reg) &&
        out.state.gpr[d.reg] >= 0x4000)
        return false;
    if (!aim_branch(row, random, out)) return false;
    if (random.chance(50)) make_comparisons_equal(row, out);
    if (!decode(out) || out.decoded.row != &row) return false;
    out.len = out.decoded.len;
    return true;
}

}  // namespace droste::test
