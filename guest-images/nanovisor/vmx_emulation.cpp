// SPDX-License-Identifier: Apache-2.0
// VMX instructions of guests. SDM "VMX Instruction Reference".
#include "console.h"
#include "monitor.h"

namespace nano {

namespace {

constexpr u64 arithmetic_flags = 0x8d5, carry_flag = 1, zero_flag = 0x40;
constexpr u32 shadow_indicator = 1u << 31;

void end(u64 flags)
{
    const u64 old = vmread(field::guest_rflags), now = (old & ~arithmetic_flags) | flags;
    if (now != old) vmwrite(field::guest_rflags, now);
    skip_instruction();
}

void succeed() { end(0); }

void fail(Monitor& m, u32 number) { fail_instruction(m, number); }


// The pointer in a memory operand. False: a fault was injected.
bool pointer_operand(Monitor& m, u64& pointer)
{
    const u64 own = own_of_linear(m, linear_of_operand(vmread(field::instruction_information)));
    if (own == no_address) return false;
    pointer = at<u64>(own);
    return true;
}

// Where a page that a VMX instruction names lies; no_address: not one that the instruction accepts.
u64 region_of(Monitor& m, u64 pointer) { return pointer & (page_size - 1) ? no_address : to_own(m, m.running, pointer); }

void set_current(Monitor& m, Level& l, u64 pointer, u64 region)
{
    l.current = pointer;
    l.current_region = region;
    if (m.hardware_shadow) set(*l.context, slot(field::link_pointer), region); // all ones: none
}

void emulate_vmxon(Monitor& m)
{
    Level& l = m.level[m.running];
    if (l.vmx_on) return fail(m, error::vmxon_in_root);
    if (!(l.context->in_region[slot(field::cr4_shadow)] & cr4_vmxe)) return inject(vector::undefined, false);
    u64 pointer;
    if (!pointer_operand(m, pointer)) return;
    const u64 region = region_of(m, pointer);
    if (region == no_address || at<u32>(region) != m.offered.revision) return end(carry_flag);
    l.vmx_on = true;
    l.vmxon = pointer;
    set_current(m, l, no_address, no_address);
    succeed();
}

void emulate_vmclear(Monitor& m)
{
    Level& l = m.level[m.running];
    u64 pointer;
    if (!pointer_operand(m, pointer)) return;
    const u64 region = region_of(m, pointer);
    if (region == no_address) return fail(m, error::vmclear_address);
    if (pointer == l.vmxon) return fail(m, error::vmclear_vmxon);
    if (l.current == pointer) set_current(m, l, no_address, no_address);
    if (m.hardware_shadow) {
        vmclear(region); // its data are in memory now
        if (m.loaded == region) m.loaded = no_address;
    }
    if (Tracked* t = find_tracked(m, m.running, pointer)) {
        if (t->marked) at<u32>(region) &= ~shadow_indicator;
        *t = {no_address, 0, false, false};
    }
    succeed();
}

void emulate_vmptrld(Monitor& m)
{
    Level& l = m.level[m.running];
    u64 pointer;
    if (!pointer_operand(m, pointer)) return;
    const u64 region = region_of(m, pointer);
    if (region == no_address) return fail(m, error::vmptrld_address);
    if (pointer == l.vmxon) return fail(m, error::vmptrld_vmxon);
    const Tracked* t = find_tracked(m, m.running, pointer);
    if (!t) {
        const u32 word = at<u32>(region);
        if ((word & ~shadow_indicator) != m.offered.revision || ((word & shadow_indicator) && !m.offered.has(control::vmcs_shadowing)))
            return fail(m, error::vmptrld_revision);
        track(m, m.running, pointer);
    }
    set_current(m, l, pointer, region);
    succeed();
}

void emulate_vmptrst(Monitor& m)
{
    const u64 own = own_of_linear(m, linear_of_operand(vmread(field::instruction_information)));
    if (own == no_address) return;
    at<u64>(own) = m.level[m.running].current;
    succeed();
}

// VMREAD and VMWRITE come here without VMCS shadowing, and for fields that do not exist.
void emulate_field_access(Monitor& m, bool write)
{
    Level& l = m.level[m.running];
    if (l.current == no_address) return end(carry_flag);
    const u64 information = vmread(field::instruction_information);
    const u64 encoding = register_operand(information >> 28 & 15);
    const u8 s = find_slot(encoding);
    if (s == no_slot || !m.offered.exists[s]) return fail(m, error::unsupported_field);
    if (write && is_read_only(u32(encoding)) && !(m.offered.misc & bit(29))) return fail(m, error::read_only_field);
    const bool in_register = information & bit(10);
    u64 own = 0;
    if (!in_register) {
        own = own_of_linear(m, linear_of_operand(information));
        if (own == no_address) return;
    }
    u64 value = 0;
    if (write) value = in_register ? register_operand(information >> 3 & 15) : at<u64>(own);
    open_vmcs12(m, l.current_region);
    if (write) write_vmcs12(m, l.current_region, s, value & field_mask(u32(encoding)));
    else value = read_vmcs12(m, l.current_region, s);
    load(m, address_of(*l.context->region));
    if (!write) {
        if (!in_register) at<u64>(own) = value;
        else if ((information >> 3 & 15) == 4) vmwrite(field::guest_rsp, value);
        else guest_registers.gpr[information >> 3 & 15] = value;
    }
    succeed();
}

void emulate_entry(Monitor& m, bool launch)
{
    const unsigned level = m.running;
    Level& l = m.level[level];
    if (l.current == no_address) return end(carry_flag);
    if (level + 1 > max_levels) panic("more levels than this hypervisor has room for", level);
    if (vmread(field::interruptibility) & 2) return fail(m, error::entry_mov_ss);
    Tracked& t = track(m, level, l.current);
    if (m.hardware_shadow && !t.marked) return fail(m, error::entry_controls); // a shadow VMCS
    if (launch && t.launched) return fail(m, error::vmlaunch_not_clear);
    if (!launch && !t.launched) return fail(m, error::vmresume_not_launched);
    Level& above = m.level[level + 1];
    if (!above.context || above.context->parent != level || above.context->source != l.current) {
        const u64 here = address_of(*l.context->region);
        above.context = &context_for(m, level, l.current, l.current_region);
        forget_translations(m);
        load(m, here);
    }
    above.context->age = ++m.clock;
    if (const u32 wrong = merge(m, level + 1)) {
        load(m, address_of(*l.context->region));
        return fail(m, wrong);
    }
    t.launched = true; // taken back when the entry fails
    m.running = level + 1;
    m.entering = launch ? Entering::by_launch : Entering::by_resume;
}

void emulate_invept(Monitor& m)
{
    const u64 information = vmread(field::instruction_information);
    const u64 type = register_operand(information >> 28 & 15);
    const u64 own = own_of_linear(m, linear_of_operand(information));
    if (own == no_address) return;
    if (type != 1 && type != 2) return fail(m, error::invalid_operand);
    drop_contexts(m, m.running, type == 1 ? at<u64>(own) : no_address);
    succeed();
}

void emulate_invvpid(Monitor& m)
{
    const u64 information = vmread(field::instruction_information);
    const u64 type = register_operand(information >> 28 & 15);
    const u64 own = own_of_linear(m, linear_of_operand(information));
    if (own == no_address) return;
    const u64 vpid = at<u64>(own), linear = at<u64>(own + 8);
    if (type > 3 || (type != 2 && (vpid == 0 || vpid > 0xffff))) return fail(m, error::invalid_operand);
    if (type == 2) invvpid(2, 0, 0);
    else if (vpid != 0xffff) invvpid(type, vpid + 1, linear);
    succeed();
}

} // namespace

// SDM "Conventions": VMfailValid when there is a current VMCS, else VMfailInvalid.
void fail_instruction(Monitor& m, u32 number)
{
    Level& l = m.level[m.running];
    if (l.current == no_address) return end(carry_flag);
    end(zero_flag);
    open_vmcs12(m, l.current_region);
    write_vmcs12(m, l.current_region, slot(field::instruction_error), number);
    load(m, address_of(*l.context->region));
}

void emulate_vmx(Monitor& m, u32 exit_reason)
{
    const Level& l = m.level[m.running];
    if (exit_reason != reason::vmxon && !l.vmx_on) return inject(vector::undefined, false);
    constexpr u64 dpl = 3u << 5;
    if (vmread(field::guest_ss_access) & dpl) return inject(vector::general_protection, true);
    switch (exit_reason) {
    case reason::vmxon: return emulate_vmxon(m);
    case reason::vmxoff:
        m.level[m.running].vmx_on = false;
        set_current(m, m.level[m.running], no_address, no_address);
        return succeed();
    case reason::vmclear: return emulate_vmclear(m);
    case reason::vmptrld: return emulate_vmptrld(m);
    case reason::vmptrst: return emulate_vmptrst(m);
    case reason::vmread: return emulate_field_access(m, false);
    case reason::vmwrite: return emulate_field_access(m, true);
    case reason::vmlaunch: return emulate_entry(m, true);
    case reason::vmresume: return emulate_entry(m, false);
    case reason::invept: return emulate_invept(m);
    default: return emulate_invvpid(m);
    }
}

} // namespace nano
