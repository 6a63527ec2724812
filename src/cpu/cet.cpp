// SPDX-License-Identifier: Apache-2.0
// Shadow stacks and indirect-branch tracking (SDM "Control-flow Enforcement Technology (CET)").
#include "cpu/cet.h"

#include "cpu/linear_address.h"
#include "cpu/segmentation.h"
#include "mmu/permissions.h"

namespace droste {

namespace {

bool general_protection(Cpu& cpu, u32 code) {
    return refuse(cpu, Vector::gp, code);
}
bool control_protection(Cpu& cpu) {
    return refuse(cpu, Vector::cp, cp_code::far_ret_iret);
}

/// Translates [linear, +size), which lies in one page.
bool translate(Cpu& cpu, u64 linear, u16 needed, Translation& t) {
    WalkFault fault;
    if (cpu.mmu.translate_shadow_stack(Linear(linear), needed, t, fault))
        return true;
    if (fault.kind == WalkFault::Kind::non_canonical)
        return general_protection(cpu, 0);
    cpu.memory_fault = fault;
    if (fault.kind == WalkFault::Kind::page_fault)
        cpu.pending_fault = Fault::of(Vector::pf, fault.error_code);
    else
        cpu.pending_memory_exit = true;
    return false;
}

/// One access, in one or two pages; all faults come before a byte moves.
class ShadowAccess {
public:
    bool prepare(Cpu& cpu, u64 linear, unsigned size, bool write, bool user) {
        if (!cpu.long_mode())
            linear &= 0xFFFFFFFF;
        if (violates_lass(cpu, linear, user ? Privilege::user : Privilege::supervisor,
                          Intent::explicit_access))
            return general_protection(cpu, 0);
        u16 needed = write ? shadow_right::write : shadow_right::read;
        if (user)
            needed |= shadow_right::user;
        size_[0] = static_cast<unsigned>(std::min<u64>(size, 4096 - (linear & 0xFFF)));
        size_[1] = size - size_[0];
        offset_ = linear & 0xFFF;
        return translate(cpu, linear, needed, page_[0]) &&
               (size_[1] == 0 || translate(cpu, linear + size_[0], needed, page_[1]));
    }
    u64 load(Cpu& cpu) const {
        std::array<u8, 8> bytes{};
        cpu.memory.read_block(page_[0].machine_page + offset_, bytes.data(), size_[0]);
        if (size_[1] != 0)
            cpu.memory.read_block(page_[1].machine_page, bytes.data() + size_[0], size_[1]);
        u64 v;
        std::memcpy(&v, bytes.data(), 8);
        return v;
    }
    void store(Cpu& cpu, u64 v) const {
        std::array<u8, 8> bytes{};
        std::memcpy(bytes.data(), &v, 8);
        cpu.memory.write_block(page_[0].machine_page + offset_, bytes.data(), size_[0]);
        if (size_[1] != 0)
            cpu.memory.write_block(page_[1].machine_page, bytes.data() + size_[0], size_[1]);
    }

private:
    std::array<Translation, 2> page_{};
    std::array<unsigned, 2> size_{};
    u64 offset_ = 0;
};

bool push8(Cpu& cpu, u64& ssp, u64 value, bool user) {
    if (!shadow_store(cpu, ssp - 8, 8, value, user))
        return false;
    ssp -= 8;
    return true;
}

}  // namespace

bool shadow_load(Cpu& cpu, u64 linear, unsigned size, u64& value, bool user) {
    ShadowAccess a;
    if (!a.prepare(cpu, linear, size, false, user))
        return false;
    value = a.load(cpu);
    return true;
}

bool shadow_store(Cpu& cpu, u64 linear, unsigned size, u64 value, bool user) {
    ShadowAccess a;
    if (!a.prepare(cpu, linear, size, true, user))
        return false;
    a.store(cpu, value);
    return true;
}

bool shadow_exchange(Cpu& cpu, u64 linear, u64 expected, u64 desired, bool user, bool& found) {
    ShadowAccess a;
    if (!a.prepare(cpu, linear, 8, true, user))
        return false;
    found = a.load(cpu) == expected;
    if (found)
        a.store(cpu, desired);
    return true;
}

void track_far_transfer(Cpu& cpu) {
    if (!endbranch_enabled(cpu, cpu.cpl))
        return;
    u64& c = cet_control(cpu, cpu.cpl);
    c = (c | cet_bits::tracker) & ~cet_bits::suppress;
}

void track_near_branch(Cpu& cpu, const Insn& in) {
    const u64 c = cet_now(cpu, cpu.cpl);
    if (!(c & cet_bits::endbr_en) || (c & cet_bits::suppress))
        return;
    if (in.no_track() && (c & cet_bits::no_track_en))
        return;
    cet_control(cpu, cpu.cpl) |= cet_bits::tracker;
    cpu.mode |= mode_bits::endbranch;
}

bool enter_shadow_stack(Cpu& cpu, const ShadowEntry& e, u64& ssp) {
    ssp = cpu.cet.ssp;
    if (!(cet_at_level(cpu, e.level) & cet_bits::sh_stk_en))
        return true;
    const u64 old = ssp;
    const bool user = e.level == 3;
    if (e.new_stack) {
        if (e.ist == 0)
            ssp = cpu.cet.pl_ssp[e.level];
        else if (!cpu.load_system(cpu.cet.ssp_table + 8 * e.ist, ssp))
            return false;
        if ((ssp & 7) || (!e.to64 && (ssp >> 32)))
            return general_protection(cpu, e.error_code);
        // SDM "Supervisor Shadow Stack Token": the token holds its own address and is not busy.
        bool found = false;
        if (!shadow_exchange(cpu, ssp, ssp, ssp | shadow_token_busy, user, found))
            return false;
        if (!found)
            return general_protection(cpu, e.error_code);
        if (cpu.cpl == 3)
            return true;  // a user's stack pointer goes to IA32_PL3_SSP
        cpu.shadow_stack_prematurely_busy = true;
    } else {
        if (!e.to64 && (ssp >> 32))
            return general_protection(cpu, e.error_code);
        // Aligned to 8 bytes, with zeros in the hole.
        if (!shadow_store(cpu, ssp - 4, 4, 0, user))
            return false;
        ssp &= ~7ull;
    }
    if (!push8(cpu, ssp, e.cs, user) || !push8(cpu, ssp, e.lip, user) || !push8(cpu, ssp, old, user)) return false;
    cpu.shadow_stack_prematurely_busy = false;
    return true;
}

void commit_shadow_entry(Cpu& cpu, unsigned level, u64 ssp) {
    if (cpu.cpl == 3 && level != 3 && shadow_stack_enabled(cpu, 3))
        cpu.cet.pl_ssp[3] = cpu.cet.ssp;
    if (cet_at_level(cpu, level) & cet_bits::sh_stk_en)
        cpu.cet.ssp = ssp;
}

bool leave_shadow_stack(Cpu& cpu, ReturnKind kind, u16 cs, u64 lip, unsigned level, bool to64,
                        ShadowReturn& out) {
    const bool from = shadow_stack_enabled(cpu, cpu.cpl);
    const bool to = cet_at_level(cpu, level) & cet_bits::sh_stk_en;
    const bool outer = level != cpu.cpl, user = cpu.cpl == 3;
    if (!from && !to)
        return true;
    u64 ssp = cpu.cet.ssp, back = ssp;
    if (from) {
        if (ssp & 7)
            return control_protection(cpu);
        if (!outer || level != 3) {
            u64 saved_cs = 0, saved_lip = 0;
            if (!shadow_load(cpu, ssp + 16, 8, saved_cs, user) ||
                !shadow_load(cpu, ssp + 8, 8, saved_lip, user) || !shadow_load(cpu, ssp, 8, back, user))
                return false;
            if (saved_cs != cs || saved_lip != lip)
                return control_protection(cpu);
            ssp += 24;
        }
    }
    if (outer && level == 3)
        back = cpu.cet.pl_ssp[3];
    if (to && ((back & 3) || (!to64 && (back >> 32))))
        return control_protection(cpu);
    // The token above the frames of the stack that is left becomes free. At the same level only IRET from an
    // interrupt stack table entry leaves a stack.
    if (from && !user && (outer || (kind == ReturnKind::iret && back != ssp))) {
        bool found = false;
        if (!shadow_exchange(cpu, ssp, ssp | shadow_token_busy, ssp, false, found))
            return false;
    }
    out.ssp = back;
    out.restores = to;
    return true;
}

}  // namespace droste
