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

// Every form of every row but EVEX: about 90,000 with all immediates, at most 128 bytes each. What a guest can make
// of EVEX forms, immediates and register numbers fits nowhere: see full().
constexpr std::size_t code_space = 32u << 20, code_reserve = 1u << 20;
constexpr std::size_t max_calls = 200'000, calls_reserve = 1000;

constexpr RegisterFile vec_file{offsetof(CpuState, vec), 31, 6};
constexpr RegisterFile opmask_file{offsetof(CpuState, opmask), 7, 3};
constexpr RegisterFile gpr_file{offsetof(CpuState, gpr), 15, 3};
// MMn is ST(n) of the FXSAVE image once the transition has set TOP to 0. REX.R and REX.B do not extend the
// number.
constexpr RegisterFile mmx_file{offsetof(CpuState, fx) + offsetof(FxArea, st), 7, 4};

unsigned bytes_of(Type t, const ThunkForm& f) { return datum_bytes(t, f.w, f.vector_bytes); }

u64 form_key(u16 op, const ThunkForm& f) {
    return u64(op) | u64(f.w) << 16 | u64(f.l) << 17 | u64(f.mem) << 19 | u64(f.b) << 20 | u64(f.z) << 21 |
           u64(f.masked) << 22 | u64(f.imm) << 24 | u64(f.modrm) << 32;
}

void describe_operand(const Operand& o, const ThunkForm& f, ThunkCall& c) {
    switch (o.where) {
    case Where::vec_reg: c.reg = vec_file; break;
    case Where::mmx_reg: c.reg = mmx_file; break;
    case Where::modrm_reg_gpr: c.reg = gpr_file; break;
    case Where::mask_reg: c.reg = opmask_file; break;
    default: break;
    }
    switch (o.where) {
    case Where::vec_rm: case Where::vec_rm_only: c.rm = vec_file; break;
    case Where::mmx_rm: case Where::mmx_rm_only: c.rm = mmx_file; break;
    case Where::modrm_rm_gpr: case Where::rm_gpr_only: c.rm = gpr_file; break;
    case Where::mask_rm: case Where::mask_rm_only: c.rm = opmask_file; break;
    default: break;
    }
    const bool may_be_memory = o.where == Where::vec_rm || o.where == Where::mmx_rm ||
                               o.where == Where::memory || o.where == Where::modrm_rm_gpr ||
                               o.where == Where::mask_rm;
    if (f.mem && may_be_memory) {
        c.mem_size = f.b ? f.row->operands.broadcast : static_cast<u8>(bytes_of(o.type, f));
        c.mem_read = o.read;
        c.mem_written = o.written;
    }
    const bool mmx_rm = o.where == Where::mmx_rm_only || (o.where == Where::mmx_rm && !f.mem);
    if (o.where == Where::mmx_reg || mmx_rm) {
        c.mmx_transition = true;
        if (o.written) c.mmx_written = mmx_rm ? 2 : 1;
    }
}

/// What EVEX says beside the operands.
void describe_evex(const Decoded& d, const ThunkForm& f, ThunkCall& c) {
    const Operands& o = d.row->operands;
    c.mask_number = d.evex_aaa;
    c.is4 = static_cast<u32>(opmask_file.at(d.evex_aaa));
    c.vector_bytes = f.vector_bytes;
    c.zeroing = f.z;
    c.broadcast = f.b && f.mem;
    c.suppresses = o.suppresses;
    const bool scalar = d.row->encoding.l == vector_length::ignored;
    // A part of a vector has an opmask of its own length: VEXTRACTF32X4.
    const Operand& to = o.op[0];
    const bool part = to.where == Where::vec_rm && (to.type == Type::dq || to.type == Type::qq);
    const unsigned masked_bytes = part ? bytes_of(to.type, f) : f.vector_bytes;
    if (o.mask_bytes != 0) c.mask_bits = static_cast<u8>(scalar ? 1 : masked_bytes / o.mask_bytes);
    if (c.mask_bits == 0) return;
    // A memory operand of fixed size is broadcast as a whole: beyond its last element the opmask's bits count its
    // elements again.
    const bool broadcasts = !scalar && !part && std::any_of(o.op.begin(), o.op.end(), [](const Operand& p) {
        const bool fixed = p.type != Type::x && p.type != Type::half && p.type != Type::quarter &&
                           p.type != Type::eighth;
        return fixed && (p.where == Where::vec_rm || p.where == Where::memory);
    });
    c.element = broadcasts ? std::min(o.mask_bytes, c.mem_size) : static_cast<u8>(c.mem_size / c.mask_bits);
}

}  // namespace

ThunkCache::ThunkCache() : buffer_(std::move(CodeBuffer::make(code_space).value())) {
    install_fp_fault_handler();
}

Status ThunkCache::host_allows() {
    const auto buffer = CodeBuffer::make(code_space);
    return buffer ? Status{} : Status{buffer.error()};
}

bool ThunkCache::full() const {
    return buffer_.used() + code_reserve > buffer_.size() || calls_.size() + calls_reserve > max_calls;
}

void ThunkCache::reset() {
    calls_.clear();
    entries_.clear();
    buffer_.clear();
}

const ThunkCall* ThunkCache::call_for(const Decoded& d, u32 mode) {
    const ThunkForm form = thunk_form(d);
    const u64 code_key = form_key(d.op, form);
    const bool is4 = d.row->encoding.imm == Imm::is4;
    const bool code64 = (mode & mode_bits::code_mask) == mode_bits::code64;
    const u64 is4_mask = code64 ? 15 : 7;  // SDM "is4": bit 7 of the immediate is ignored outside 64-bit mode
    const u8 is4_number = is4 ? static_cast<u8>((d.imm >> 4) & is4_mask) : u8{0};
    const u64 call_key =
        code_key | u64(d.vex_vvvv) << 40 | u64(is4_number) << 45 | u64(d.evex_aaa) << 49;
    std::unique_ptr<ThunkCall>& slot = calls_[call_key];
    if (slot) return slot.get();

    slot = std::make_unique<ThunkCall>();
    ThunkCall& c = *slot;
    c.row = d.row;
    c.domain = d.row->domain;
    c.imm = static_cast<u8>(d.imm);
    c.modrm = form.modrm;
    c.vvvv_number = d.vex_vvvv;
    const bool mask_vvvv = std::any_of(d.row->operands.op.begin(), d.row->operands.op.end(),
                                       [](const Operand& o) { return o.where == Where::mask_vvvv; });
    c.vvvv = static_cast<u32>((mask_vvvv ? opmask_file : vec_file).at(d.vex_vvvv));
    c.is4 = static_cast<u32>(vec_file.at(is4_number));
    for (unsigned i = 0; i < d.row->operands.count; ++i) describe_operand(d.row->operands.op[i], form, c);
    if (d.evex) describe_evex(d, form, c);
    if (form.mem && (d.row->traits & traits::aligned)) c.align_mask = static_cast<u8>(c.mem_size - 1);

    // EVEX rows have bodies by vector length, for what goes without opmask and EVEX.b.
    const bool plain = !d.evex_aaa && !d.evex_b;
    const Code own = !d.evex ? d.row->run.by[form.mem][d.osz]
                     : plain || (d.row->traits & traits::own_masking) ? d.row->run.by[form.mem][d.vex_l & 3]
                                                                      : Code{};
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
