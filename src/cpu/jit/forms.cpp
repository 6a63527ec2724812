// SPDX-License-Identifier: Apache-2.0
// Which instructions are translated, and how.
#include "cpu/jit/translator.h"

namespace droste::jit {

namespace {

bool in(unsigned opcode, std::initializer_list<unsigned> list) {
    for (const unsigned o : list)
        if (o == opcode) return true;
    return false;
}

/// One-byte opcodes that can be emitted again with other registers.
bool one_byte(unsigned opcode, unsigned digit, const Decoded& d) {
    if (opcode < 0x40) return (opcode & 7) < 6;
    if (opcode < 0x50) return true;  // INC, DEC: only outside 64-bit mode
    if (opcode >= 0xF6) {
        if (opcode == 0xF8 || opcode == 0xF9) return true;
        if (opcode == 0xF6 || opcode == 0xF7) return digit <= 5;
        return (opcode == 0xFE || opcode == 0xFF) && digit <= 1;
    }
    if (opcode == 0xF5) return true;
    if (in(opcode, {0x86, 0x87})) return true;
    if (opcode >= 0xD0 && opcode <= 0xD3) return true;
    if (opcode > 0x90 && opcode < 0x98) return true;
    if (opcode == 0x90) return d.rm == 8;
    if (opcode == 0x63) return (d.row->traits & traits::only64) != 0;  // MOVSXD; outside 64-bit mode ARPL
    return in(opcode, {0x69, 0x6B, 0x80, 0x81, 0x83, 0x84, 0x85, 0x88, 0x89, 0x8A, 0x8B, 0x98, 0x99, 0xA8, 0xA9,
                       0xC0, 0xC1, 0xC6, 0xC7});
}

bool two_byte(unsigned opcode, const Decoded& d) {
    if ((opcode & 0xF0) == 0x40 || (opcode & 0xF0) == 0x90) return true;
    if (opcode >= 0xC8 && opcode <= 0xCF) return d.osz >= 2;
    if (in(opcode, {0xA4, 0xA5, 0xAC, 0xAD})) return d.osz >= 2;
    if (in(opcode, {0xA3, 0xAB, 0xB3, 0xBB})) return !d.mem();
    if (in(opcode, {0xB0, 0xB1, 0xC0, 0xC1})) return d.mem();
    return in(opcode, {0xAF, 0xB6, 0xB7, 0xBA, 0xBE, 0xBF});
}

}  // namespace

bool atomic(const Decoded& d) {
    const unsigned opcode = d.bytes[d.opcode_offset];
    return d.lock || (d.row->encoding.map == 0 && (opcode == 0x86 || opcode == 0x87) && d.mem());
}

Form form_of(const Decoded& d, u32 mode, bool lock_is_free) {
    const InsnRow& row = *d.row;
    const Encoding& e = row.encoding;
    const bool is64 = (mode & mode_bits::code_mask) == mode_bits::code64;
    if (e.vex || d.vex || row.domain != Domain::general || (row.traits & (traits::host_thunk | traits::privileged)))
        return Form::body;
    if (d.mem()) {
        if (d.asz == 0) return Form::body;
        const auto s = static_cast<Seg>(d.seg);
        if (!is64 && (s == Seg::fs || s == Seg::gs || s == Seg::cs)) return Form::body;
    }
    const unsigned opcode = d.bytes[d.opcode_offset];
    if (atomic(d) && !lock_is_free) return Form::body;
    const unsigned digit = (d.modrm >> 3) & 7;

    // Near branches ignore F2 and F3.
    const unsigned near_size = is64 ? 3 : 2;
    if (row.traits & traits::ends_block) {
        if (d.osz != near_size || d.p67) return Form::body;
        if (e.map == 0) {
            if (opcode >= 0x70 && opcode <= 0x7F) return Form::jcc;
            if (opcode == 0xEB || opcode == 0xE9) return Form::jump;
            if (opcode == 0xE8) return Form::call;
            if (opcode == 0xC3 || opcode == 0xC2) return Form::ret;
            if (opcode == 0xFF && digit == 2) return Form::call_indirect;
            if (opcode == 0xFF && digit == 4) return Form::jump_indirect;
        }
        if (e.map == 1 && opcode >= 0x80 && opcode <= 0x8F) return Form::jcc;
        return Form::body;
    }

    if (e.map == 1 && d.rep == Rep::rep && (opcode == 0xB8 || opcode == 0xBC || opcode == 0xBD) &&
        e.pp == Pp::f3)
        return Form::reencode;
    if (d.rep != Rep::none || (e.pp != Pp::any && e.pp != Pp::np)) return Form::body;
    if (e.map == 0) {
        if (opcode == 0x8D) return d.osz >= 2 ? Form::lea : Form::body;
        if ((opcode & 0xF8) == 0xB8) return d.osz >= 2 ? Form::load_immediate : Form::body;
        if ((opcode & 0xF8) == 0xB0) return Form::reencode;
        if (opcode == 0x90 && !d.rex_b) return Form::nop;
        if ((mode & mode_bits::stack32) && d.osz == near_size) {
            if ((opcode & 0xF8) == 0x50) return Form::push;
            if ((opcode & 0xF8) == 0x58) return d.rm == 4 ? Form::body : Form::pop;
            if (opcode == 0x68 || opcode == 0x6A) return Form::push_immediate;
        }
        return one_byte(opcode, digit, d) ? Form::reencode : Form::body;
    }
    if (e.map == 1) {
        if (opcode == 0x1F) return Form::nop;
        return two_byte(opcode, d) ? Form::reencode : Form::body;
    }
    return Form::body;
}

}  // namespace droste::jit
