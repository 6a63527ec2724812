// SPDX-License-Identifier: Apache-2.0
// FRED event delivery.
#include "cpu/fred.h"

#include "cpu/cet.h"
#include "cpu/segmentation.h"

namespace droste {

namespace {

namespace type {
constexpr u8 external = 0, nmi = 2, software_interrupt = 4, privileged_software_exception = 5,
             software_exception = 6;
}

/// Stack level that the event asks for.
unsigned event_level(const Cpu& cpu, const FredEvent& e) {
    const bool double_fault = e.v.vector == static_cast<u8>(Vector::df) && e.v.type == 3;
    if (cpu.cpl == 3 && !e.nested && !double_fault)
        return 0;
    switch (e.v.type) {
    case type::external:
        return fred_config_bits::interrupt_level(cpu.fred.config);
    case type::software_interrupt:
    case fred_other::type:
        return 0;
    default:
        return (cpu.fred.stack_levels >> (2 * (e.v.vector & 31))) & 3;
    }
}

bool has_length(u8 t) {
    return t == type::software_interrupt || t == type::privileged_software_exception ||
           t == type::software_exception || t == fred_other::type;
}

/// SS with what the specification adds to it: blocking, the kind of event, vector, type, mode, length.
u64 augmented_ss(const Cpu& cpu, const FredEvent& e) {
    u64 q = cpu.segment(Seg::ss).selector;
    if (e.after_sti)
        q |= 1 << 16;
    if (e.v.type == type::software_interrupt || e.v.type == fred_other::type)
        q |= 1 << 17;
    if (e.v.type == type::nmi)
        q |= 1 << 18;
    q |= u64(e.v.vector) << 32 | u64(e.v.type & 0xF) << 48;
    if (cpu.code64())
        q |= 1ull << 57;
    if (e.nested)
        q |= 1ull << 58;
    if (has_length(e.v.type))
        q |= u64(e.v.instruction_length & 0xF) << 60;
    return q;
}

u64& shadow_stack_of(Cpu& cpu, unsigned level) {
    return level == 0 ? cpu.cet.pl_ssp[0] : cpu.fred.ssp[level];
}

/// The supervisor shadow stack of the handler, with a frame when supervisor code was interrupted.
bool shadow_frame(Cpu& cpu, const FredEvent& e, bool new_stack, unsigned level, u64 cs, u64& ssp) {
    ssp = cpu.cet.ssp;
    if (!(cet_at_level(cpu, 0) & cet_bits::sh_stk_en))
        return true;
    const u64 old = ssp;
    if (new_stack) {
        ssp = shadow_stack_of(cpu, level);
        if (ssp & 4)
            return refuse(cpu, Vector::gp, 0);
    } else {
        ssp -= cpu.fred.config & fred_config_bits::shadow_decrement;
    }
    if (cpu.cpl == 3)
        return true;
    if (!shadow_store(cpu, ssp - 4, 4, 0, false))
        return false;
    ssp &= ~7ull;
    for (const u64 v : {cs, e.rip, old}) {
        if (!shadow_store(cpu, ssp - 8, 8, v, false))
            return false;
        ssp -= 8;
    }
    return true;
}

void enter_ring0(Cpu& cpu) {
    const u16 selector = static_cast<u16>((cpu.star >> 32) & 0xFFFC);
    cpu.segment(Seg::cs) = {selector, 0xFFFFFFFF, access_rights::code64, 0};
    cpu.segment(Seg::ss) = {static_cast<u16>(selector + 8), 0xFFFFFFFF, access_rights::data32, 0};
    std::swap(cpu.segment(Seg::gs).base, cpu.kernel_gs_base);
    cpu.cpl = 0;
}

}  // namespace

bool fred_deliver(Cpu& cpu, const FredEvent& e) {
    using namespace fred_config_bits;
    const bool from_user = cpu.cpl == 3;
    const u64 handler = (cpu.fred.config & handlers) + (from_user ? 0 : 256);
    if (!canonical(cpu, handler))
        return refuse(cpu, Vector::gp, 0);
    const unsigned old_level = from_user ? 0 : static_cast<unsigned>(cpu.fred.config & stack_level);
    const unsigned level = std::max(old_level, event_level(cpu, e));
    const bool new_stack = from_user || level > old_level;
    u64 sp = new_stack ? cpu.fred.rsp[level] : (cpu.reg(Gpr::rsp) - (cpu.fred.config & decrement)) & ~0x3Full;
    u64 cs = cpu.segment(Seg::cs).selector | u64(old_level) << 16;
    if (!from_user && endbranch_enabled(cpu, 0) && (cpu.cet.s_cet & cet_bits::tracker))
        cs |= 1 << 18;

    const u64 error = e.v.has_code ? e.v.code : 0;
    for (const u64 v : {u64{0}, e.data, augmented_ss(cpu, e), cpu.reg(Gpr::rsp), e.flags, cs, e.rip, error}) {
        sp -= 8;
        if (!canonical(cpu, sp))
            return refuse(cpu, Vector::ss, 0);
        if (!cpu.store_system(sp, v))
            return false;
    }
    u64 ssp = 0;
    if (!shadow_frame(cpu, e, new_stack, level, cs, ssp))
        return false;

    if (from_user && shadow_stack_enabled(cpu, 3))
        cpu.cet.pl_ssp[3] = cpu.cet.ssp;
    if (cet_at_level(cpu, 0) & cet_bits::sh_stk_en)
        cpu.cet.ssp = ssp;
    if (cet_at_level(cpu, 0) & cet_bits::endbr_en)
        cpu.cet.s_cet &= ~(cet_bits::tracker | cet_bits::suppress);
    if (from_user)
        enter_ring0(cpu);
    cpu.reg(Gpr::rsp) = sp;
    cpu.rip = handler;
    cpu.fred.config = (cpu.fred.config & ~stack_level) | level;
    cpu.write_rflags(rflags_bits::fixed1);
    cpu.segments_changed();
    return true;
}

Outcome fred_system_call(Cpu& cpu, const Insn& in, u8 which) {
    cpu.rip = cpu.insn_rip(in);
    cpu.deliver_event({.active = true,
                       .vector = which,
                       .type = fred_other::type,
                       .has_code = false,
                       .code = 0,
                       .instruction_length = in.len});
    return Outcome::branch;
}

}  // namespace droste
