// SPDX-License-Identifier: Apache-2.0
// ThunkCache: generated code by form, calls by form and register numbers that the Insn cannot hold.
#include "cpu/thunk/thunk.h"

#include <algorithm>
#include <cstddef>

#include "cpu/thunk/bodies.h"
#include "cpu/thunk/build.h"
#include "cpu/thunk/fp_fault.h"
#include "cpu/thunk/x87_fast.h"

namespace droste {

namespace {

// Every form of every row: about 90,000 with all immediates, at most 128 bytes each.
constexpr std::size_t code_space = 32u << 20;

constexpr RegisterFile vec_file{offsetof(CpuState, vec), 15, 6};
constexpr RegisterFile gpr_file{offsetof(CpuState, gpr), 15, 3};
// MMn is ST(n) of the FXSAVE image once the transition has set TOP to 0. REX.R and REX.B do not extend the
// number.
constexpr RegisterFile mmx_file{offsetof(CpuState, fx) + offsetof(FxArea, st), 7, 4};

unsigned bytes_of(Type t, const ThunkForm& f) {
    const unsigned vector_bytes = f.l ? 32 : 16;
    switch (t) {
    case Type::b: return 1;
    case Type::w: case Type::m16int: return 2;
    case Type::d: case Type::s32: case Type::m32int: return 4;
    case Type::q: case Type::s64: case Type::m64int: return 8;
    case Type::y: return f.w ? 8 : 4;
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

u64 form_key(u16 op, const ThunkForm& f) {
    return u64(op) | u64(f.w) << 16 | u64(f.l) << 17 | u64(f.mem) << 18 | u64(f.imm) << 24 |
           u64(f.modrm) << 32;
}

void describe_operand(const Operand& o, const ThunkForm& f, ThunkCall& c) {
    switch (o.where) {
    case Where::vec_reg: c.reg = vec_file; break;
    case Where::mmx_reg: c.reg = mmx_file; break;
    case Where::modrm_reg_gpr: c.reg = gpr_file; break;
    default: break;
    }
    switch (o.where) {
    case Where::vec_rm: case Where::vec_rm_only: c.rm = vec_file; break;
    case Where::mmx_rm: case Where::mmx_rm_only: c.rm = mmx_file; break;
    case Where::modrm_rm_gpr: case Where::rm_gpr_only: c.rm = gpr_file; break;
    default: break;
    }
    const bool may_be_memory = o.where == Where::vec_rm || o.where == Where::mmx_rm ||
                               o.where == Where::memory || o.where == Where::modrm_rm_gpr;
    if (f.mem && may_be_memory) {
        c.mem_size = static_cast<u8>(bytes_of(o.type, f));
        c.mem_read = o.read;
        c.mem_written = o.written;
    }
    const bool mmx_rm = o.where == Where::mmx_rm_only || (o.where == Where::mmx_rm && !f.mem);
    if (o.where == Where::mmx_reg || mmx_rm) {
        c.mmx_transition = true;
        if (o.written) c.mmx_written = mmx_rm ? 2 : 1;
    }
}

}  // namespace

ThunkCache::ThunkCache() : buffer_(std::move(CodeBuffer::make(code_space).value())) {
    install_fp_fault_handler();
}

Status ThunkCache::host_allows() {
    const auto buffer = CodeBuffer::make(code_space);
    return buffer ? Status{} : Status{buffer.error()};
}

const ThunkCall* ThunkCache::call_for(const Decoded& d, u32 mode) {
    const ThunkForm form = thunk_form(d);
    const u64 code_key = form_key(d.op, form);
    const bool is4 = d.row->encoding.imm == Imm::is4;
    const bool code64 = (mode & mode_bits::code_mask) == mode_bits::code64;
    const u64 is4_mask = code64 ? 15 : 7;  // SDM "is4": bit 7 of the immediate is ignored outside 64-bit mode
    const u8 is4_number = is4 ? static_cast<u8>((d.imm >> 4) & is4_mask) : u8{0};
    const u64 call_key = code_key | u64(d.vex_vvvv) << 40 | u64(is4_number) << 44;
    std::unique_ptr<ThunkCall>& slot = calls_[call_key];
    if (slot) return slot.get();

    slot = std::make_unique<ThunkCall>();
    ThunkCall& c = *slot;
    c.row = d.row;
    c.domain = d.row->domain;
    c.imm = static_cast<u8>(d.imm);
    c.modrm = form.modrm;
    c.vvvv_number = d.vex_vvvv;
    c.vvvv = static_cast<u32>(vec_file.at(d.vex_vvvv));
    c.is4 = static_cast<u32>(vec_file.at(is4_number));
    for (unsigned i = 0; i < d.row->operands.count; ++i) describe_operand(d.row->operands.op[i], form, c);
    if (form.mem && (d.row->traits & traits::aligned)) c.align_mask = static_cast<u8>(c.mem_size - 1);

    const Code own = d.row->run.by[form.mem][d.osz];
    if (own.body) {
        c.code = own;
        return &c;
    }
    ThunkEntry& entry = entries_[code_key];
    if (!entry) {
        Emitter e;
        if (d.row->domain == Domain::x87) build_x87_thunk(form, e);
        else build_vector_thunk(form, e);
        entry = place(e);
    }
    c.entry = entry;
    if (d.row->domain == Domain::x87) {
        Emitter e;
        if (const auto fast = build_x87_fast(form, e)) {
            c.fast = *fast;
            c.fast_entry = place(e);
        }
    }
    c.code = thunk_code(c);
    return &c;
}

}  // namespace droste
