// SPDX-License-Identifier: Apache-2.0
// Encoding: the opcode column of the SDM, parsed at compile time; a wrong notation does not compile.
#pragma once
#include <string_view>

#include "base/types.h"

namespace droste {

/// Notation (SDM "Instruction Column in the Opcode Summary Table"), tokens separated by blanks:
///   [NP|66|F3|F2]     mandatory prefix; none given: 66/F2/F3 do not select the form (NP: they must be absent)
///   [REX.W|W0]        REX.W must be 1 / must be 0 (legacy encodings)
///   [NOB]             REX.B must be 0: NOP shares its opcode with XCHG of R8 (PAUSE wins with any REX)
///   [VEX.{128|256|LIG|LZ}.{NP|66|F3|F2}.{0F|0F38|0F3A}.{W0|W1|WIG}]
///   [EVEX.{128|256|512|VL|VL256|LIG}.{NP|66|F3|F2}.{0F|0F38|0F3A|MAP5|MAP6}.{W0|W1|WIG}]
///                     VL: each of 128, 256, 512; VL256: 256 and 512
///   opcode bytes      "0F 01 C1": after 0F 01 a full ModRM byte may be given as the last byte
///   "+r"              appended to the last opcode byte: its low three bits are a register ("B8+r")
///   /r | /0../7       ModRM present; digit: extension in ModRM.reg
///   mem | reg         only the memory form / only the register form (mod = 3) matches
///   ib iw id iz iv    immediate: 8, 16, 32 bits; iz: 16 or 32 by operand size; iv: 16, 32 or 64
///   cb cz             relative displacement, 8 bits or 16/32 by operand size
///   mo                moffs, by address size
///   ap                far pointer 16:16 / 16:32
///   is4               register in imm8[7:4]
/// "iw ib" (ENTER) gives two immediates.
enum class Imm : u8 { none, ib, iw, id, iz, iv, cb, cz, moffs, far, iw_ib, is4 };
enum class Pp : u8 { any, np, p66, f3, f2 };
enum class Mod : u8 { any, mem, reg };

/// Values of Encoding::l beside VEX.L and EVEX.L'L themselves.
namespace vector_length {
inline constexpr i8 ignored = -1, any = 3, from256 = 4;
}

struct Encoding {
    bool vex = false;
    bool evex = false;
    u8 map = 0;           ///< 0 one-byte, 1 0F, 2 0F38, 3 0F3A, 5 MAP5, 6 MAP6
    u8 opcode = 0;
    bool plus_r = false;
    bool modrm = false;
    i8 reg = -1;          ///< /digit, or -1
    i8 rm = -1;           ///< fixed ModRM.rm (whole ModRM byte given), or -1
    Mod mod = Mod::any;
    Pp pp = Pp::any;
    i8 w = -1;            ///< REX.W / VEX.W: -1 any
    bool no_b = false;    ///< REX.B must be 0
    i8 l = -1;            ///< 0 128 or LZ, 1 256, 2 512, or one of vector_length
    Imm imm = Imm::none;
};

namespace encoding_detail {

// Not constexpr on purpose: calling it makes a consteval evaluation fail to compile with this message.
inline void bad_notation(const char*) {}

constexpr int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

constexpr bool take(std::string_view& s, std::string_view head) {
    if (!s.starts_with(head)) return false;
    s.remove_prefix(head.size());
    return true;
}

constexpr void parse_vex(std::string_view t, Encoding& e) {
    if (take(t, "128.") || (e.vex && take(t, "LZ."))) e.l = 0;
    else if (take(t, "256.")) e.l = 1;
    else if (e.evex && take(t, "512.")) e.l = 2;
    else if (e.evex && take(t, "VL.")) e.l = vector_length::any;
    else if (e.evex && take(t, "VL256.")) e.l = vector_length::from256;
    else if (!take(t, "LIG.")) bad_notation("VEX length");
    if (take(t, "NP.")) e.pp = Pp::np;
    else if (take(t, "66.")) e.pp = Pp::p66;
    else if (take(t, "F3.")) e.pp = Pp::f3;
    else if (take(t, "F2.")) e.pp = Pp::f2;
    else bad_notation("VEX pp");
    if (take(t, "0F38.")) e.map = 2;
    else if (take(t, "0F3A.")) e.map = 3;
    else if (take(t, "0F.")) e.map = 1;
    else if (e.evex && take(t, "MAP5.")) e.map = 5;
    else if (e.evex && take(t, "MAP6.")) e.map = 6;
    else bad_notation("VEX map");
    if (t == "W0") e.w = 0;
    else if (t == "W1") e.w = 1;
    else if (t != "WIG") bad_notation("VEX W");
}

constexpr void modrm_byte(Encoding& e, int value) {
    if (value < 0xC0) bad_notation("a fixed ModRM byte has mod = 3");
    e.modrm = true;
    e.mod = Mod::reg;
    e.reg = static_cast<i8>((value >> 3) & 7);
    e.rm = static_cast<i8>(value & 7);
}

consteval Encoding parse(std::string_view text) {
    Encoding e;
    int opcode_bytes = 0;  // after the map's escape bytes
    while (!text.empty()) {
        const auto blank = text.find(' ');
        std::string_view t = text.substr(0, blank);
        text.remove_prefix(blank == std::string_view::npos ? text.size() : blank + 1);
        if (t.empty()) bad_notation("two blanks");
        if (t == "NP") { e.pp = Pp::np; continue; }
        if (t == "REX.W") { e.w = 1; continue; }
        if (t == "W0") { e.w = 0; continue; }
        if (t == "NOB") { e.no_b = true; continue; }
        if (take(t, "VEX.")) { e.vex = true; parse_vex(t, e); continue; }
        if (take(t, "EVEX.")) { e.evex = true; parse_vex(t, e); continue; }
        if (t == "/r") { e.modrm = true; continue; }
        if (t.size() == 2 && t[0] == '/' && t[1] >= '0' && t[1] <= '7') {
            e.modrm = true;
            e.reg = static_cast<i8>(t[1] - '0');
            continue;
        }
        if (t == "mem") { e.mod = Mod::mem; continue; }
        if (t == "reg") { e.mod = Mod::reg; continue; }
        const Imm imms[] = {Imm::ib, Imm::iw, Imm::id, Imm::iz, Imm::iv, Imm::cb, Imm::cz, Imm::moffs, Imm::far,
                            Imm::is4};
        const std::string_view names[] = {"ib", "iw", "id", "iz", "iv", "cb", "cz", "mo", "ap", "is4"};
        bool was_imm = false;
        for (unsigned i = 0; i < 10; ++i)
            if (t == names[i]) {
                if (e.imm == Imm::none) e.imm = imms[i];
                else if (e.imm == Imm::iw && imms[i] == Imm::ib) e.imm = Imm::iw_ib;
                else bad_notation("two immediates");
                was_imm = true;
            }
        if (was_imm) continue;
        if (t.size() < 2 || hex(t[0]) < 0 || hex(t[1]) < 0) bad_notation("unknown token");
        const int byte = hex(t[0]) * 16 + hex(t[1]);
        const bool plus = t.size() == 4 && t[2] == '+' && t[3] == 'r';
        if (t.size() != 2 && !plus) bad_notation("opcode byte");
        if (opcode_bytes == 0 && !e.vex && !e.evex && e.map == 0 && e.pp == Pp::any && !plus && e.opcode == 0 &&
            (byte == 0x66 || byte == 0xF2 || byte == 0xF3) && (text.starts_with("0F") || text == "90")) {
            e.pp = byte == 0x66 ? Pp::p66 : byte == 0xF3 ? Pp::f3 : Pp::f2;
            continue;
        }
        if (opcode_bytes == 0 && !e.vex && !e.evex && e.map == 0 && byte == 0x0F && !plus) { e.map = 1; continue; }
        if (opcode_bytes == 0 && !e.vex && !e.evex && e.map == 1 && (byte == 0x38 || byte == 0x3A) && !plus) {
            e.map = byte == 0x38 ? 2 : 3;
            continue;
        }
        if (opcode_bytes == 1) { modrm_byte(e, byte); ++opcode_bytes; continue; }
        if (opcode_bytes > 1) bad_notation("too many opcode bytes");
        e.opcode = static_cast<u8>(byte);
        e.plus_r = plus;
        if (plus && (byte & 7) != 0) bad_notation("+r needs a multiple of 8");
        ++opcode_bytes;
    }
    if (opcode_bytes == 0) bad_notation("no opcode");
    return e;
}

}  // namespace encoding_detail

/// "REX.W 0F C7 /6 reg"_op
consteval Encoding operator""_op(const char* text, std::size_t size) {
    return encoding_detail::parse({text, size});
}

}  // namespace droste
