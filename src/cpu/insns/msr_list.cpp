// SPDX-License-Identifier: Apache-2.0
// RDMSRLIST and WRMSRLIST: up to 64 MSRs at once.
#include "cpu/insns/system_operands.h"
#include "cpu/insns/tables.h"
#include "cpu/interp/handlers.h"
#include "cpu/msr.h"

namespace droste {
namespace {

enum class List : u8 { read, write };

/// One MSR of the list, at place `i` of the tables. Outcome::next: done.
template <List kind> Outcome one(Cpu& cpu, const Insn& in, unsigned i) {
    constexpr unsigned ds = static_cast<unsigned>(Seg::ds);
    u64 index = 0, value = 0;
    if (!cpu.load(ds, cpu.reg(Gpr::rsi) + 8 * i, index))
        return cpu.failed();
    if (index >> 32)
        return cpu.gp0();
    const u64 at = cpu.reg(Gpr::rdi) + 8 * i;
    if (kind == List::write && !cpu.load(ds, at, value))
        return cpu.failed();
    if (kind == List::read && !cpu.probe_write(ds, at, 8))
        return cpu.failed();
    const u32 msr = static_cast<u32>(index);
    Decision d{};
    if (cpu.gates.closed(Gate::msr)) {
        cpu.rip = cpu.insn_rip(in);
        d = cpu.hooks->msr_list(kind == List::write, msr, value, in);
    }
    if (d.kind == Decision::Kind::exited)
        return Outcome::vm_exit;
    if (d.kind == Decision::Kind::fault || cpu.msrs == nullptr)
        return cpu.gp0();
    if (kind == List::write) {
        if (d.kind != Decision::Kind::done && !cpu.msrs->write(cpu, msr, value))
            return cpu.gp0();
        cpu.charge(CostEvent::wrmsr);
        return Outcome::next;
    }
    const std::optional<u64> read = d.kind == Decision::Kind::done ? d.value : cpu.msrs->read(cpu, msr);
    if (!read)
        return cpu.gp0();
    if (!cpu.store(ds, at, *read))
        return cpu.failed();
    cpu.charge(CostEvent::rdmsr);
    return Outcome::next;
}

/// RCX has a bit for each MSR still to do, so that a fault or exit in the middle can be resumed.
template <List kind> Outcome list(Cpu& cpu, const Insn& in) {
    if (cpu.gates.closed(Gate::msrlist_disabled))
        return cpu.ud();
    if (cpu.cpl != 0)
        return cpu.gp0();
    constexpr Gate exits = kind == List::read ? Gate::rdmsrlist : Gate::wrmsrlist;
    if (cpu.gates.closed(exits))  // without MSR bitmaps, before any operand
        return cpu.vm_exit(exits, in);
    if ((cpu.reg(Gpr::rsi) | cpu.reg(Gpr::rdi)) & 7)
        return cpu.gp0();
    const u64 next = cpu.next_rip(in);
    cpu.running = &in;
    u64& left = cpu.reg(Gpr::rcx);
    while (left != 0) {
        const Outcome o = one<kind>(cpu, in, static_cast<unsigned>(std::countr_zero(left)));
        if (o != Outcome::next)
            return o;
        left &= left - 1;
    }
    return done_at(cpu, next);
}

constexpr u32 listing = traits::not_user_fuzzed | traits::ends_block | traits::only64;

constexpr InsnRow rows[] = {
    {"RDMSRLIST", "F2 0F 01 C6"_op, ""_operands, code<list<List::read>>(), Feature::msrlist, listing},
    {"WRMSRLIST", "F3 0F 01 C6"_op, ""_operands, code<list<List::write>>(), Feature::msrlist, listing},
};

}  // namespace

RowSpan msr_list_rows() {
    return rows;
}

}  // namespace droste
