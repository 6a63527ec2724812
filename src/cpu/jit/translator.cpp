// SPDX-License-Identifier: Apache-2.0
// Emission: blocks, memory probes, branches, calls of bodies.
#include "cpu/jit/translator.h"

#include "cpu/block/block_cache.h"

namespace droste::jit {

namespace {

constexpr u8 all_flags = 63;

unsigned bytes_of(Type t, unsigned osz) {
    switch (t) {
    case Type::b: return 1;
    case Type::w: return 2;
    case Type::d: return 4;
    case Type::q: return 8;
    case Type::z: return osz == 1 ? 2 : 4;
    default: return 1u << osz;
    }
}

/// Overwrites every arithmetic flag, reads none, touches no memory.
bool overwrites_flags(const Decoded& d, Form f) {
    if (f != Form::reencode || d.mem()) return false;
    const unsigned o = d.bytes[d.opcode_offset];
    if (d.row->encoding.map != 0) return false;
    const unsigned digit = (d.modrm >> 3) & 7;
    const auto alu = [](unsigned n) { return n != 2 && n != 3; };  // not ADC, SBB
    if (o < 0x40) return alu(o >> 3);
    if (o == 0x80 || o == 0x81 || o == 0x83) return alu(digit);
    if (o == 0x84 || o == 0x85 || o == 0xA8 || o == 0xA9) return true;
    if (o == 0xF6 || o == 0xF7) return digit == 0 || digit == 1 || digit == 3;
    return false;
}

bool pushes_something(Form f) { return f == Form::push || f == Form::push_immediate; }

}  // namespace

Translator::Translator(Jit& jit, Block& block, Translated& out)
    : jit_(jit), block_(block), out_(out), layout_(jit.layout_), mode_(block.mode),
      page_offset_(block.phys & 0xFFF), a_(jit.at_, jit.cold_begin_), cold_code_(jit.cold_at_, jit.end_) {}

bool Translator::decode() {
    const u8* const page = jit_.memory_.host(block_.phys & ~0xFFFull);
    if (page == nullptr) return false;
    decoded_.resize(block_.n);
    forms_.resize(block_.n, Form::body);
    for (u32 k = 0; k < block_.n; ++k) {
        const Insn& in = block_.insn[k];
        if (in.op >= pseudo_op::missing_endbranch) continue;
        const unsigned at = page_offset_ + in.offset;
        const std::span<const u8> bytes(page + at, std::min<std::size_t>(4096 - at, max_insn_bytes));
        if (jit_.isa_.decode(bytes, mode_, decoded_[k]) != DecodeStatus::ok) return false;
        forms_[k] = form_of(decoded_[k], mode_, jit_.lock_is_free_);
        if (forms_[k] == Form::body && code64() && plain_vector(decoded_[k], in)) forms_[k] = Form::vector;
    }
    return true;
}

bool Translator::run() {
    if (block_.phys == ~0ull || !translatable(mode_) || !decode()) return false;
    cold_.reserve(block_.n + 4);
    cold_code_.bind(tail_);
    cold_code_.mov_imm64(r10, reinterpret_cast<u64>(&block_));
    cold_code_.jmp(jit_.body_stub_);
    u8* const start = a_.here();
    check_at_ = place_of_check();
    for (u32 k = 0; k < block_.n && !a_.full(); ++k) {
        if (k == check_at_) entry_check();
        share_probe(k);
        const u32 together = stack_run(k);
        if (together == 0) {
            instruction(k);
            continue;
        }
        if (pushes_something(forms_[k])) pushes(k, together);
        else pops(k, together);
        jit_.statistics_.natively += together;
        k += together - 1;
    }
    const bool ended = forms_[block_.n - 1] >= Form::jcc;
    if (!ended) go(page_offset_ + block_.insn[block_.n].offset, -1);
    emit_cold();
    if (a_.full() || cold_code_.full()) return false;
    out_.code = jit_.executable(start);
    out_.size = static_cast<u32>(a_.here() - start);
    jit_.statistics_.instructions += block_.n;
    jit_.at_ = start + ((out_.size + 15) & ~15u);
    jit_.cold_at_ = cold_code_.here();
    return true;
}

/// The check of the budget destroys the flags, so it stands before an instruction that overwrites them. What
/// comes before may miss: emit_cold() then takes the block off the budget while bodies run.
u32 Translator::place_of_check() const {
    if (block_.n == max_block_insns) return 0;
    for (u32 k = 0; k < block_.n && k <= late_check; ++k) {
        if (overwrites_flags(decoded_[k], forms_[k])) return k;
        if (forms_[k] == Form::body || forms_[k] >= Form::jcc) break;
        if (forms_[k] != Form::lea && forms_[k] != Form::load_immediate && !jit_.misses_are_free_) break;
    }
    return 0;
}

void Translator::entry_check() {
    const u32 n = block_.n;
    if (overwrites_flags(decoded_[check_at_], forms_[check_at_])) {
        a_.op_reg({.w = true, .opcode = 0x83}, 5, budget_reg);  // sub
        a_.byte(n);
        a_.jcc(8, over_budget_);
        return;
    }
    a_.lea(budget_reg, {budget_reg, -static_cast<i32>(n)});
    a_.pext(rcx, budget_reg, jit_.masks_ + sign_mask);
    a_.unless_rcx_zero(over_budget_);
}

Translator::Cold& Translator::cold(u32 k) {
    cold_.push_back({});
    cold_.back().k = cold_.back().last = k;
    return cold_.back();
}

void Translator::call_body(Assembler& a, u32 k, bool missed) {
    a.mov_imm32(rcx, k | (missed ? called_for_miss : 0) | (k < check_at_ ? called_unchecked : 0));
    a.mov_imm64(r11, reinterpret_cast<u64>(jit_.blocks_.body_of(block_.insn[k])));
    a.call(tail_);
}

void Translator::count_block(Assembler& a, int sign) {
    a.lea(budget_reg, {budget_reg, sign * static_cast<i32>(block_.n)});
}

void Translator::emit_cold() {
    Assembler& a = cold_code_;
    for (Cold& c : cold_) {
        a.bind(c.miss);
        if (c.k < check_at_) count_block(a, -1);
        for (u32 k = c.k; k <= c.last; ++k) call_body(a, k, true);
        if (c.last < check_at_) count_block(a, 1);
        if (c.resume != nullptr) {
            a.jmp(c.resume);
        } else {  // the body of a branch does not come back
            a.byte(0x0F);
            a.byte(0x0B);
        }
    }
    for (const SiteStub& s : direct_) {
        const u32 number = static_cast<u32>(jit_.sites_.size());
        const u8* const stub = a.here();
        Assembler::patch32(s.field, stub);
        page_plus(a, r10, s.target);
        a.mov_imm32(rcx, number);
        a.jmp(jit_.exit_link_w_);
        jit_.sites_.push_back(
            {.field = s.field, .stub = stub, .target = s.target, .mode = mode_, .frame = block_.phys >> 12});
    }
    a.bind(over_budget_);
    a.lea(budget_reg, {budget_reg, static_cast<i32>(block_.n - check_at_)});
    if (check_at_ != 0) {
        page_plus(a, r10, page_offset_ + block_.insn[check_at_].offset);
        a.jmp(jit_.exit_dispatch_w_);
    }
    out_.leave = jit_.executable(a.here());
    page_plus(a, r10, page_offset_);
    a.jmp(jit_.exit_dispatch_w_);
}

void Translator::instruction(u32 k) {
    const Decoded& d = decoded_[k];
    switch (forms_[k]) {
    case Form::body: break;
    case Form::nop: ++jit_.statistics_.natively; return;
    case Form::reencode:
        if (!reencode(k, d)) break;
        ++jit_.statistics_.natively;
        return;
    case Form::vector: vector(k, d); ++jit_.statistics_.natively; return;
    case Form::lea: lea(k, d); ++jit_.statistics_.natively; return;
    case Form::load_immediate: load_immediate(d); ++jit_.statistics_.natively; return;
    default: end(k, d); ++jit_.statistics_.natively; return;
    }
    if (k < check_at_) count_block(a_, -1);
    call_body(a_, k, false);
    if (k < check_at_) count_block(a_, 1);
}

Reg Translator::read_guest(unsigned guest, Reg scratch) {
    if (host_of(guest) != no_reg) return host_of(guest);
    a_.load64(scratch, layout_.gpr(guest));
    return scratch;
}

void Translator::write_guest(unsigned guest, Reg from) {
    if (host_of(guest) == no_reg) a_.store64(layout_.gpr(guest), from);
    else if (host_of(guest) != from) a_.mov(host_of(guest), from);
}

void Translator::page_plus(Assembler& a, Reg r, i64 offset) {
    a.load64(r, layout_.at(layout_.page));
    a.lea(r, {r, static_cast<i32>(offset)}, code64());
}

Mem Translator::effective(const Decoded& d, u32 offset, bool segment) {
    Mem m;
    m.disp = d.disp;
    if (d.rip_relative) {
        a_.load64(r10, layout_.at(layout_.page));
        m.base = r10;
        m.disp = static_cast<i32>(static_cast<u32>(d.disp) + page_offset_ + offset + d.len);
    } else if (d.base >= 0) {
        m.base = read_guest(static_cast<unsigned>(d.base), r10);
    }
    if (d.index >= 0) {
        m.index = read_guest(static_cast<unsigned>(d.index), r11);
        m.scale = d.scale;
    }
    if (segment && code64() && (d.seg == static_cast<u8>(Seg::fs) || d.seg == static_cast<u8>(Seg::gs))) {
        a_.lea(r10, m, d.asz == 2);
        a_.load64(r11, layout_.at(layout_.ea_base + 8 * d.seg));
        return {r10, 0, r11, 0};
    }
    return m;
}

Reg Translator::linear(const Decoded& d, u32 offset) {
    const bool with_segment = code64() && (d.seg == static_cast<u8>(Seg::fs) || d.seg == static_cast<u8>(Seg::gs));
    const Mem m = effective(d, offset, true);
    const bool wide = with_segment || d.asz == 2;
    if (wide && m.index == no_reg && m.disp == 0 && m.base != no_reg) return m.base;
    a_.lea(r10, m, wide);
    return r10;
}

void Translator::probe(Reg at, unsigned size, bool write, Label& miss) {
    if (size > 1) a_.lea(rcx, {at, static_cast<i32>(size) - 1});
    a_.pext(r11, at, jit_.masks_ + data_mask);
    a_.load64(r13, layout_.at(layout_.tlb));
    a_.shrx(rcx, size > 1 ? rcx : at, cpu_reg);
    a_.lea(r11, {r13, 0, r11, 3});
    a_.load64(r13, {r11, static_cast<i32>(write ? offsetof(TlbClass, write_tag) : offsetof(TlbClass, read_tag))});
    a_.lea(rcx, {rcx, 0, r13, 0});
    a_.unless_rcx_zero(miss);
    a_.load64(r11, {r11, static_cast<i32>(offsetof(TlbClass, addend))});
}

void Translator::lea(u32 k, const Decoded& d) {
    const Mem m = effective(d, block_.insn[k].offset, false);
    const bool wide = d.osz == 3 && d.asz == 2;
    const Reg to = host_of(d.reg) == no_reg ? r13 : host_of(d.reg);
    a_.lea(to, m, wide);
    if (to == r13) write_guest(d.reg, r13);
}

void Translator::load_immediate(const Decoded& d) {
    const Reg to = host_of(d.rm) == no_reg ? r13 : host_of(d.rm);
    const u64 v = d.osz == 3 ? d.imm : static_cast<u32>(d.imm);
    if (v >> 32 == 0) {
        a_.mov_imm32(to, static_cast<u32>(v));
    } else if (static_cast<u64>(static_cast<i64>(static_cast<i32>(v))) == v) {
        a_.op_reg({.w = true, .opcode = 0xC7}, 0, to);
        a_.word32(static_cast<u32>(v));
    } else {
        a_.mov_imm64(to, v);
    }
    if (to == r13) write_guest(d.rm, r13);
}

Translator::Sharing Translator::sharing(u32 k) const {
    const Decoded& d = decoded_[k];
    Sharing s;
    if (forms_[k] == Form::load_immediate) {
        s.writes = 1u << d.rm;
        s.between = true;
        return s;
    }
    if (forms_[k] == Form::nop) {
        s.between = true;
        return s;
    }
    if (forms_[k] != Form::reencode || atomic(d)) return s;
    const bool memory = d.mem();
    bool free = true;  // leaves r10 and r11 alone
    for (unsigned i = 0; i < d.row->operands.count; ++i) {
        const droste::Operand& o = d.row->operands.op[i];
        unsigned guest = 0;
        switch (o.where) {
        case Where::modrm_reg_gpr: guest = d.reg; break;
        case Where::opcode_gpr: guest = d.rm; free &= host_of(guest) != no_reg; break;
        case Where::modrm_rm_gpr: case Where::rm_gpr_only: case Where::memory:
            if (memory) {
                s.size = bytes_of(o.type, d.osz);
                s.written = o.written;
                continue;
            }
            guest = d.rm;
            free &= host_of(guest) != no_reg;
            break;
        case Where::fixed_gpr: guest = o.fixed; break;
        case Where::immediate: case Where::fixed_one: continue;
        default: return Sharing{};
        }
        if (o.type == Type::b && !d.rex && guest >= 4 && guest < 8 && o.where != Where::fixed_gpr) return Sharing{};
        if (o.written) s.writes |= 1u << guest;
    }
    // What is not named as an operand: rAX and rDX of MUL, CWD, CMPXCHG and the like.
    const unsigned opcode = d.bytes[d.opcode_offset];
    const bool exchanges = d.row->encoding.map == 1 && (opcode == 0xB0 || opcode == 0xB1);
    if (d.row->operands.count < 2 || exchanges) s.writes |= 1u << 0 | 1u << 2;
    const bool segment = code64() && (d.seg == static_cast<u8>(Seg::fs) || d.seg == static_cast<u8>(Seg::gs));
    if (!memory) {
        s.between = free;
    } else if (d.base >= 0 && d.index < 0 && !d.rip_relative && !segment && s.size != 0) {
        s.member = true;
        s.base = static_cast<unsigned>(d.base) | (d.asz == 2 ? 16u : 0u);
    }
    return s;
}

/// Loads and stores near each other, with the same base, need one probe for the first of them; on a miss all of them
/// are executed by their bodies, with what stands between.
void Translator::share_probe(u32 k) {
    constexpr i32 widest = 256;
    if (k <= shared_.last && shared_.last != 0) return;
    const Sharing first = sharing(k);
    if (!first.member) return;
    i32 low = decoded_[k].disp, high = low + static_cast<i32>(first.size);
    bool written = first.written;
    u32 last = k;
    u32 writes = first.writes;
    for (u32 i = k + 1; i < block_.n && !(writes >> (first.base & 15) & 1); ++i) {
        const Sharing s = sharing(i);
        if (s.member && s.base == first.base) {
            const i64 l = std::min<i64>(low, decoded_[i].disp);
            const i64 h = std::max<i64>(high, i64{decoded_[i].disp} + s.size);
            if (h - l > widest) break;
            if (s.written && !first.written) break;  // what is only read need not be writable
            low = static_cast<i32>(l);
            high = static_cast<i32>(h);
            last = i;
        } else if (!s.between) {
            break;
        }
        writes |= s.writes;
    }
    if (last == k) return;
    Cold& c = cold(k);
    c.last = last;
    shared_ = {.first = k, .last = last, .disp = low, .cold = cold_.size() - 1};
    Decoded d = decoded_[k];
    d.disp = low;
    const Mem m = effective(d, block_.insn[k].offset, true);
    a_.lea(r10, m, d.asz == 2);
    probe(r10, static_cast<unsigned>(high - low), written, c.miss);
}

u32 Translator::stack_run(u32 k) const {
    constexpr u32 most = 16;
    const bool pushing = k < block_.n && pushes_something(forms_[k]);
    u32 n = 0;
    while (n < most && k + n < block_.n &&
           (pushing ? pushes_something(forms_[k + n]) && (n == 0 || decoded_[k + n].rm != 4)
                    : forms_[k + n] == Form::pop)) {
        ++n;
        if (pushing && decoded_[k].rm == 4 && forms_[k] == Form::push) break;  // rSP itself: the value before
    }
    if (!pushing && k + n < block_.n && forms_[k + n] == Form::ret) ++n;
    return n;
}

void Translator::pushes(u32 k, u32 count) {
    const i32 size = code64() ? 8 : 4;
    const i32 all = size * static_cast<i32>(count);
    Cold& c = cold(k);
    c.last = k + count - 1;
    a_.lea(r10, {guest_sp, -all}, code64());
    probe(r10, static_cast<unsigned>(all), true, c.miss);
    for (u32 i = 0; i < count; ++i) {
        const Mem to{r10, all - size * static_cast<i32>(i + 1), r11, 0};
        const Decoded& d = decoded_[k + i];
        if (forms_[k + i] == Form::push_immediate) {
            a_.op_mem({.w = code64(), .opcode = 0xC7}, 0, to);
            a_.word32(static_cast<u32>(d.imm));
            continue;
        }
        const Reg from = read_guest(d.rm, r13);
        if (code64()) a_.store64(to, from);
        else a_.store32(to, from);
    }
    a_.lea(guest_sp, {guest_sp, -all}, code64());
    c.resume = a_.here();
}

void Translator::pops(u32 k, u32 count) {
    const i32 size = code64() ? 8 : 4;
    const bool returns = forms_[k + count - 1] == Form::ret;
    const u32 registers = count - (returns ? 1 : 0);
    Cold& c = cold(k);
    c.last = k + count - 1;
    Reg at = guest_sp;
    if (!code64()) a_.lea(at = r10, {guest_sp, 0}, false);
    probe(at, static_cast<unsigned>(size) * count, false, c.miss);
    const auto load = [&](Reg to, u32 number) {
        const Mem from{at, size * static_cast<i32>(number), r11, 0};
        if (code64()) a_.load64(to, from);
        else a_.load32(to, from);
    };
    for (u32 i = 0; i < registers; ++i) {
        const unsigned guest = decoded_[k + i].rm;
        const Reg to = host_of(guest) == no_reg ? r13 : host_of(guest);
        load(to, i);
        if (to == r13) write_guest(guest, r13);
    }
    if (!returns) {
        a_.lea(guest_sp, {guest_sp, size * static_cast<i32>(registers)}, code64());
        c.resume = a_.here();
        return;
    }
    const Decoded& d = decoded_[k + registers];
    load(r10, registers);
    if (registers != 0) a_.lea(guest_sp, {guest_sp, size * static_cast<i32>(registers)}, code64());
    const i32 extra = d.row->encoding.imm == Imm::iw ? static_cast<i32>(d.imm & 0xFFFF) : 0;
    look_up(cold(k + registers).miss);
    a_.lea(guest_sp, {guest_sp, size + extra}, code64());
    jump_to_entry();
}

bool Translator::reencode(u32 k, const Decoded& d) {
    const InsnRow& row = *d.row;
    const Encoding& e = row.encoding;
    const unsigned opcode = d.bytes[d.opcode_offset];
    struct Use { bool there = false, read = false, written = false; unsigned size = 0, guest = 0; };
    Use reg, rm, low;
    bool wants_cl = false;
    for (unsigned i = 0; i < row.operands.count; ++i) {
        const droste::Operand& o = row.operands.op[i];
        const Use u{true, o.read, o.written, bytes_of(o.type, d.osz), 0};
        switch (o.where) {
        case Where::modrm_reg_gpr: reg = u; reg.guest = d.reg; break;
        case Where::modrm_rm_gpr: case Where::rm_gpr_only: case Where::memory: rm = u; rm.guest = d.rm; break;
        case Where::opcode_gpr: low = u; low.guest = d.rm; break;
        case Where::fixed_gpr: wants_cl |= o.fixed == 1; break;
        case Where::immediate: case Where::fixed_one: break;
        default: return false;
        }
    }
    // INC and DEC of the one-byte form are REX prefixes for the host.
    const bool one_byte_inc = e.map == 0 && (opcode & 0xF0) == 0x40;
    if (one_byte_inc) {
        rm = low;
        low = {};
    }
    const bool memory = d.mem();
    Assembler::Opcode o{.prefix = static_cast<u8>(e.pp == Pp::f3 ? 0xF3 : 0),
                        .osz16 = d.osz == 1,
                        .w = d.osz == 3,
                        .map = e.map,
                        .opcode = static_cast<u8>(opcode)};

    const auto byte_number = [&](unsigned guest, unsigned size, bool& high) {
        high = size == 1 && !d.rex && guest >= 4 && guest < 8;
        return high ? guest - 4 : guest;
    };
    bool reg_high = false, rm_high = false, low_high = false;
    if (reg.there) reg.guest = byte_number(reg.guest, reg.size, reg_high);
    if (rm.there && !memory) rm.guest = byte_number(rm.guest, rm.size, rm_high);
    if (low.there) low.guest = byte_number(low.guest, low.size, low_high);
    const bool high = reg_high || rm_high || low_high;
    const auto legacy = [](unsigned guest) { return guest == 0 || guest == 2 || guest == 3; };
    if (high) {
        // AH to BH exist only without REX: every other register must be a low one, too.
        if (memory || o.w) return false;
        if (reg.there && !legacy(reg.guest) && !(reg.size > 1 && reg.guest >= 5 && reg.guest <= 7)) return false;
        if (rm.there && !legacy(rm.guest)) return false;
        if (low.there && !legacy(low.guest)) return false;
    }

    // With memory, BT takes the register for an offset beyond the operand.
    const bool bit_test = e.map == 1 && opcode == 0xA3;
    Cold* c = nullptr;
    Reg at = r10;
    i32 shared_disp = 0;
    if (memory) {
        if (k >= shared_.first && k <= shared_.last) c = &cold_[shared_.cold];
        else c = &cold(k);
        if (atomic(d)) {  // bus locks are looked for by the body
            a_.op_mem({.map = 1, .opcode = 0xB6}, rcx, layout_.at(layout_.watch_bus_locks));
            a_.unless_rcx_zero(c->miss);
        }
        if (k >= shared_.first && k <= shared_.last) {
            shared_disp = d.disp - shared_.disp;
        } else {
            at = linear(d, block_.insn[k].offset);
            probe(at, rm.size, rm.written, c->miss);
        }
    }
    if (wants_cl) a_.mov32(rcx, guest_cx);

    const auto take = [&](const Use& u, Reg scratch) {
        if (host_of(u.guest) != no_reg) return host_of(u.guest);
        if (u.read || u.size < 4) a_.load64(scratch, layout_.gpr(u.guest));
        return scratch;
    };
    const auto needs_rex = [](const Use& u, Reg r, bool is_high) {
        return u.there && u.size == 1 && !is_high && r >= rsp && r <= rdi;
    };
    const auto put_back = [&](const Use& u, Reg r) {
        if (u.written && host_of(u.guest) == no_reg) a_.store64(layout_.gpr(u.guest), r);
    };

    Reg reg_host = no_reg, rm_host = no_reg, low_host = no_reg;
    unsigned reg_code = (d.modrm >> 3) & 7;
    if (reg.there) {
        reg_host = take(reg, r13);
        reg_code = reg_host + (reg_high ? 4u : 0u);
        o.rex |= needs_rex(reg, reg_host, reg_high);
    }
    const Assembler::Opcode final_opcode = [&] {
        Assembler::Opcode f = o;
        if (one_byte_inc) {
            f.opcode = 0xFF;
            f.map = 0;
        }
        return f;
    }();
    if (one_byte_inc) reg_code = opcode >= 0x48 ? 1 : 0;

    const auto immediate = [&] {
        switch (e.imm) {
        case Imm::ib: a_.byte(static_cast<u8>(d.imm)); break;
        case Imm::iz:
            if (d.osz == 1) {
                a_.byte(static_cast<u8>(d.imm));
                a_.byte(static_cast<u8>(d.imm >> 8));
            } else {
                a_.word32(static_cast<u32>(d.imm));
            }
            break;
        default: break;
        }
    };

    if (low.there) {
        low_host = take(low, r10);
        Assembler::Opcode f = final_opcode;
        f.rex |= needs_rex(low, low_host, low_high);
        f.opcode = static_cast<u8>(opcode & 0xF8);
        if (low_high) {
            a_.byte(f.opcode | (low_host + 4u));
        } else {
            a_.op_plus(f, low_host);
        }
        immediate();
        put_back(low, low_host);
    } else if (memory) {
        a_.op_mem(final_opcode, reg_code, {at, shared_disp, r11, 0});
        immediate();
    } else if (rm.there && host_of(rm.guest) == no_reg && !rm.written && !bit_test) {
        Assembler::Opcode f = final_opcode;
        a_.op_mem(f, reg_code, layout_.gpr(rm.guest));
        immediate();
    } else if (rm.there) {
        rm_host = take(rm, r10);
        Assembler::Opcode f = final_opcode;
        f.rex |= needs_rex(rm, rm_host, rm_high);
        a_.op_reg(f, reg_code, static_cast<Reg>(rm_host + (rm_high ? 4 : 0)));
        immediate();
        put_back(rm, rm_host);
    } else {  // registers are implied
        if (o.osz16) a_.byte(0x66);
        if (o.w) a_.byte(0x48);
        if (e.map == 1) a_.byte(0x0F);
        a_.byte(opcode);
        immediate();
    }
    if (reg.there) put_back(reg, reg_host);
    if (c != nullptr && (k < shared_.first || k >= shared_.last)) c->resume = a_.here();
    return true;
}

void Translator::look_up(Label& miss) {
    a_.pext(r11, r10, jit_.masks_ + target_mask);
    a_.load64(r13, layout_.at(layout_.targets));
    a_.lea(r11, {r11, 0, r11, 0});
    a_.lea(r13, {r13, 0, r11, 3});
    a_.load64(rcx, {r13, offsetof(CodeTargets::Entry, negative_linear)});
    a_.lea(rcx, {rcx, 0, r10, 0});
    a_.unless_rcx_zero(miss);
}

void Translator::jump_to_entry() {
    a_.shrx(r10, r10, cpu_reg);
    a_.shlx(r10, r10, cpu_reg);
    a_.store64(layout_.at(layout_.page), r10);
    a_.jmp_mem({r13, offsetof(CodeTargets::Entry, code)});
}

void Translator::go(i64 target, i64 k) {
    if (target >= 0 && target < 4096) {
        a_.byte(0xE9);
        direct_.push_back({a_.here(), static_cast<u16>(target)});
        a_.word32(0);
        return;
    }
    if (k >= 0) {
        page_plus(a_, r10, target);
        Cold& c = cold(static_cast<u32>(k));
        look_up(c.miss);
        jump_to_entry();
        return;
    }
    Label miss;
    page_plus(a_, r10, target);
    look_up(miss);
    jump_to_entry();
    a_.bind(miss);
    page_plus(a_, r10, target);
    a_.jmp(jit_.exit_dispatch_w_);
}

void Translator::end(u32 k, const Decoded& d) {
    const i64 next = page_offset_ + block_.insn[k].offset + d.len;
    const i64 target = next + static_cast<i64>(d.imm);
    const i32 size = code64() ? 8 : 4;
    const Mem slot{r10, 0, r11, 0};
    const auto store_return = [&] {
        page_plus(a_, r13, next);
        if (code64()) a_.store64(slot, r13);
        else a_.store32(slot, r13);
        a_.lea(guest_sp, {guest_sp, -size}, code64());
    };
    switch (forms_[k]) {
    case Form::jcc: {
        const unsigned cc = d.bytes[d.opcode_offset] & 15;
        if (target >= 0 && target < 4096) {
            a_.byte(0x0F);
            a_.byte(0x80 + cc);
            direct_.push_back({a_.here(), static_cast<u16>(target)});
            a_.word32(0);
        } else {
            Label not_taken;
            a_.jcc(cc ^ 1, not_taken);
            go(target, k);
            a_.bind(not_taken);
        }
        go(next, k);
        break;
    }
    case Form::jump: go(target, k); break;
    case Form::call: {
        Cold& c = cold(k);
        const bool near_by = target >= 0 && target < 4096;
        if (!near_by) {
            page_plus(a_, r10, target);
            look_up(c.miss);
            a_.store64(layout_.at(layout_.target), r13);
        }
        a_.lea(r10, {guest_sp, -size}, code64());
        probe(r10, static_cast<unsigned>(size), true, c.miss);
        store_return();
        if (near_by) {
            go(target, k);
        } else {
            page_plus(a_, r10, target);
            a_.load64(r13, layout_.at(layout_.target));
            jump_to_entry();
        }
        break;
    }
    case Form::jump_indirect: case Form::call_indirect: {
        Cold& c = cold(k);
        if (d.mem()) {
            const Reg at = linear(d, block_.insn[k].offset);
            probe(at, static_cast<unsigned>(size), false, c.miss);
            const Mem from{at, 0, r11, 0};
            if (code64()) a_.load64(r10, from);
            else a_.load32(r10, from);
        } else {
            const Reg from = read_guest(d.rm, r10);
            if (!code64()) a_.mov32(r10, from);
            else if (from != r10) a_.mov(r10, from);
        }
        look_up(c.miss);
        if (forms_[k] == Form::call_indirect) {
            a_.store64(layout_.at(layout_.target), r13);
            a_.store64(layout_.at(layout_.branch), r10);
            a_.lea(r10, {guest_sp, -size}, code64());
            probe(r10, static_cast<unsigned>(size), true, c.miss);
            store_return();
            a_.load64(r13, layout_.at(layout_.target));
            a_.load64(r10, layout_.at(layout_.branch));
        }
        jump_to_entry();
        break;
    }
    default: ASSERT(false);
    }
}

}  // namespace droste::jit
