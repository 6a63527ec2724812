// SPDX-License-Identifier: Apache-2.0
// Operands and flag use of a row, in the codes of the SDM's opcode map (Appendix A), parsed at compile time.
#pragma once
#include <array>
#include <string_view>

#include "cpu/decode/encoding.h"

namespace droste {

/// Addressing codes of SDM Appendix A "Codes for Addressing Method".
enum class Where : u8 {
    none,
    modrm_rm_gpr,   ///< E: GPR or memory by ModRM.rm
    modrm_reg_gpr,  ///< G
    memory,         ///< M: memory only
    rm_gpr_only,    ///< R: ModRM.rm, register only
    vvvv_gpr,       ///< B
    opcode_gpr,     ///< Z: low opcode bits select a GPR
    immediate,      ///< I
    relative,       ///< J
    far_pointer,    ///< A
    moffs,          ///< O
    segment_reg,    ///< S: ModRM.reg selects a segment register
    control_reg,    ///< C
    debug_reg,      ///< D
    string_source,  ///< X: DS:rSI
    string_dest,    ///< Y: ES:rDI
    mmx_reg,        ///< P: ModRM.reg
    mmx_rm,         ///< Q: MMX register or memory
    mmx_rm_only,    ///< N
    vec_reg,        ///< V: ModRM.reg, XMM or YMM
    vec_rm,         ///< W
    vec_rm_only,    ///< U
    vec_vvvv,       ///< H
    vec_is4,        ///< L
    mask_reg,       ///< KG: ModRM.reg, an opmask register
    mask_rm,        ///< KE: opmask register or memory
    mask_rm_only,   ///< KU
    mask_vvvv,      ///< KH
    tile_reg,       ///< TG: ModRM.reg, a tile
    tile_rm_only,   ///< TU
    tile_vvvv,      ///< TH
    tile_memory,    ///< TM: rows of a tile, by a SIB byte
    vsib_index,     ///< the vector index register of a VSIB memory operand (written "VX")
    st0,            ///< ST(0)
    sti,            ///< ST(i) by ModRM.rm
    fixed_gpr,      ///< AL, rAX, CL, DX...: number in `fixed`
    fixed_one,      ///< the constant 1
    fixed_xmm0,
};

/// Operand types: the size of the datum.
enum class Type : u8 {
    none, b, w, d, q, v /* osz 16/32/64 */, z /* 16, or 32 for 32 and 64 */, y /* 32 or 64 by W */,
    dq /* 128 */, qq /* 256 */, x /* 128 or 256 by VEX.L */, s32 /* scalar single */, s64 /* scalar double */,
    s16 /* scalar half */, t80 /* x87 extended */, p /* far pointer m16:v */, a /* BOUND pair */, s /* pseudo-descriptor */,
    m16int, m32int, m64int, bcd80, env /* FLDENV */, fstate /* FSAVE */, fx /* FXSAVE */, xs /* XSAVE area */,
    half /* half of x: 64 or 128 */, quarter /* of x */, eighth /* of x */,
};

struct Operand {
    Where where = Where::none;
    Type type = Type::none;
    u8 fixed = 0;
    bool read = false, written = false;
};

/// What EVEX.b means in the register form.
enum class Rounding : u8 { none, sae, er };

/// The operands, and what EVEX adds to them.
struct Operands {
    std::array<Operand, 4> op{};
    u8 count = 0;
    u8 mask_bytes = 0;      ///< bytes of the vector length for each bit of the opmask; 0: no opmask allowed
    bool zeroing = false;   ///< EVEX.z allowed (with a register destination)
    u8 broadcast = 0;       ///< EVEX.b in the memory form: bytes of the element; 0: not allowed
    bool suppresses = true; ///< elements that the opmask leaves out cause no fault
    Rounding rounding = Rounding::none;
};

/// Flags that an instruction reads, writes (all defined or set by rule) and leaves undefined.
/// Bits: O 1, S 2, Z 4, A 8, P 16, C 32, D 64, I 128.
struct FlagUse {
    u8 read = 0, written = 0, undefined = 0;
};

namespace operand_detail {
using encoding_detail::bad_notation;

constexpr Type type_of(std::string_view t) {
    struct Name { std::string_view name; Type type; };
    constexpr Name names[] = {
        {"b", Type::b}, {"w", Type::w}, {"d", Type::d}, {"q", Type::q}, {"v", Type::v}, {"z", Type::z},
        {"y", Type::y}, {"dq", Type::dq}, {"qq", Type::qq}, {"x", Type::x}, {"ss", Type::s32}, {"sd", Type::s64}, {"sh", Type::s16},
        {"t", Type::t80}, {"p", Type::p}, {"a", Type::a}, {"s", Type::s}, {"i16", Type::m16int},
        {"i32", Type::m32int}, {"i64", Type::m64int}, {"bcd", Type::bcd80}, {"env", Type::env},
        {"fst", Type::fstate}, {"fx", Type::fx}, {"xs", Type::xs}, {"h", Type::half}, {"f", Type::quarter},
        {"e", Type::eighth}, {"", Type::none}};
    for (const Name& n : names)
        if (n.name == t) return n.type;
    bad_notation("operand type");
    return Type::none;
}

constexpr Operand parse_one(std::string_view t) {
    Operand o;
    if (t.empty()) bad_notation("empty operand");
    o.read = t[0] != '=';
    o.written = t[0] == '=' || t[0] == '+';
    if (o.written) t.remove_prefix(1);
    if (t.empty()) bad_notation("empty operand");
    const auto fixed = [&](u8 n, Type type) { o.where = Where::fixed_gpr; o.fixed = n; o.type = type; return o; };
    if (t == "AL") return fixed(0, Type::b);
    if (t == "CL") return fixed(1, Type::b);
    if (t == "AX") return fixed(0, Type::w);
    if (t == "EAX") return fixed(0, Type::d);
    if (t == "EDX") return fixed(2, Type::d);
    if (t == "RAX") return fixed(0, Type::q);
    if (t == "rAX") return fixed(0, Type::v);
    if (t == "rDX") return fixed(2, Type::v);
    if (t == "DX") return fixed(2, Type::w);
    if (t == "1") { o.where = Where::fixed_one; o.type = Type::b; return o; }
    if (t == "XMM0") { o.where = Where::fixed_xmm0; o.type = Type::dq; return o; }
    if (t == "ST0") { o.where = Where::st0; o.type = Type::t80; return o; }
    if (t == "STi") { o.where = Where::sti; o.type = Type::t80; return o; }
    if (t.size() >= 2 && (t[0] == 'K' || t[0] == 'T')) {
        struct Code { std::string_view name; Where where; };
        constexpr Code codes[] = {{"KG", Where::mask_reg}, {"KE", Where::mask_rm}, {"KU", Where::mask_rm_only},
                                  {"KH", Where::mask_vvvv}, {"TG", Where::tile_reg},
                                  {"TU", Where::tile_rm_only}, {"TH", Where::tile_vvvv},
                                  {"TM", Where::tile_memory}};
        for (const Code& c : codes)
            if (t.starts_with(c.name)) {
                o.where = c.where;
                o.type = type_of(t.substr(2));
                return o;
            }
        bad_notation("addressing code");
    }
    if (t.starts_with("VX")) { o.where = Where::vsib_index; o.type = type_of(t.substr(2)); return o; }
    switch (t[0]) {
    case 'E': o.where = Where::modrm_rm_gpr; break;
    case 'G': o.where = Where::modrm_reg_gpr; break;
    case 'M': o.where = Where::memory; break;
    case 'R': o.where = Where::rm_gpr_only; break;
    case 'B': o.where = Where::vvvv_gpr; break;
    case 'Z': o.where = Where::opcode_gpr; break;
    case 'I': o.where = Where::immediate; break;
    case 'J': o.where = Where::relative; break;
    case 'A': o.where = Where::far_pointer; break;
    case 'O': o.where = Where::moffs; break;
    case 'S': o.where = Where::segment_reg; break;
    case 'C': o.where = Where::control_reg; break;
    case 'D': o.where = Where::debug_reg; break;
    case 'X': o.where = Where::string_source; break;
    case 'Y': o.where = Where::string_dest; break;
    case 'P': o.where = Where::mmx_reg; break;
    case 'Q': o.where = Where::mmx_rm; break;
    case 'N': o.where = Where::mmx_rm_only; break;
    case 'V': o.where = Where::vec_reg; break;
    case 'W': o.where = Where::vec_rm; break;
    case 'U': o.where = Where::vec_rm_only; break;
    case 'H': o.where = Where::vec_vvvv; break;
    case 'L': o.where = Where::vec_is4; break;
    default: bad_notation("addressing code");
    }
    o.type = type_of(t.substr(1));
    return o;
}

constexpr u8 digit(std::string_view t, std::size_t at) {
    if (at >= t.size() || t[at] < '1' || t[at] > '8') bad_notation("element size");
    return static_cast<u8>(t[at] - '0');
}

/// "/4" behind an operand: broadcast of 4 bytes; "{...}": see operator""_operands.
constexpr std::string_view without_marks(std::string_view t, Operands& r) {
    while (t.ends_with('}')) {
        const auto open = t.rfind('{');
        if (open == std::string_view::npos) bad_notation("mark");
        const std::string_view mark = t.substr(open + 1, t.size() - open - 2);
        if (mark == "er") r.rounding = Rounding::er;
        else if (mark == "sae") r.rounding = Rounding::sae;
        else if (mark == "nf") r.suppresses = false;
        else if (mark.starts_with("kz")) { r.mask_bytes = digit(mark, 2); r.zeroing = true; }
        else if (mark.starts_with("k")) r.mask_bytes = digit(mark, 1);
        else bad_notation("mark");
        t = t.substr(0, open);
    }
    if (const auto slash = t.find('/'); slash != std::string_view::npos) {
        r.broadcast = digit(t, slash + 1);
        t = t.substr(0, slash);
    }
    return t;
}

consteval Operands parse(std::string_view text) {
    Operands result;
    while (!text.empty()) {
        const auto comma = text.find(", ");
        if (result.count == 4) bad_notation("more than four operands");
        result.op[result.count++] = parse_one(without_marks(text.substr(0, comma), result));
        text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 2);
    }
    return result;
}

consteval FlagUse parse_flags(std::string_view text) {
    FlagUse use;
    u8* to = nullptr;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == ' ') continue;
        if (i + 1 < text.size() && text[i + 1] == ':') {
            if (c == 'r') to = &use.read;
            else if (c == 'w') to = &use.written;
            else if (c == 'u') to = &use.undefined;
            else bad_notation("flag use is r:, w: or u:");
            ++i;
            continue;
        }
        constexpr std::string_view order = "OSZAPCDI";
        const auto at = order.find(c);
        if (at == std::string_view::npos || to == nullptr) bad_notation("flag letter");
        *to = static_cast<u8>(*to | (1u << at));
    }
    return use;
}

}  // namespace operand_detail

/// Bytes of a datum of vectors, opmasks and x87; 0: none or another kind. `w`: REX.W and its like.
constexpr unsigned datum_bytes(Type t, bool w, unsigned vector_bytes) {
    switch (t) {
    case Type::b: return 1;
    case Type::w: case Type::m16int: case Type::s16: return 2;
    case Type::d: case Type::s32: case Type::m32int: return 4;
    case Type::q: case Type::s64: case Type::m64int: return 8;
    case Type::y: return w ? 8 : 4;
    case Type::t80: case Type::bcd80: return 10;
    case Type::dq: return 16;
    case Type::qq: return 32;
    case Type::x: return vector_bytes;
    case Type::half: return vector_bytes / 2;
    case Type::quarter: return vector_bytes / 4;
    case Type::eighth: return vector_bytes / 8;
    default: return 0;
    }
}

/// "+Ev, Gv"_operands. Without a mark an operand is read, = written, + both. EVEX: "=Vx{kz4}, Hx, Wx/4{er}": an
/// opmask with a bit for each 4 bytes of the vector length, zeroing or merging ({k4}: merging only); a broadcast of
/// 4 bytes; embedded rounding ({sae}: only that exceptions are suppressed). {nf}: a memory operand faults as a whole.
consteval Operands operator""_operands(const char* text, std::size_t size) {
    return operand_detail::parse({text, size});
}
/// "w:OSZAPC u:A r:C"_flags. An undefined flag is listed under u only.
consteval FlagUse operator""_flags(const char* text, std::size_t size) {
    return operand_detail::parse_flags({text, size});
}

}  // namespace droste
