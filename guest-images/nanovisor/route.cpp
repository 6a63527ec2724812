// SPDX-License-Identifier: Apache-2.0
// Who gets an exit of a nested guest: one row for each exit reason, in the order that KVM has. What this hypervisor wants itself
// (EPT faults of its own tables) run.cpp asks first; what neither the guest hypervisor wants is handled here as for its own guest.
#include "console.h"
#include "monitor.h"
#include "own_controls.h"

namespace nano {

namespace {

enum class Ask : u8 { never, always, by_control, exception, msr_read, msr_write, io, cr, field_read, field_write };

struct RouteRow {
    u8 exit_reason;
    Ask ask;
    ControlBit by{};
    ControlBit or_by{};
};

// Reasons without a row are wanted.
constexpr RouteRow route_rows[] = {
    {reason::exception, Ask::exception},
    {reason::external_interrupt, Ask::by_control, control::external_interrupt_exiting},
    {reason::interrupt_window, Ask::by_control, control::interrupt_window},
    {reason::nmi_window, Ask::by_control, control::nmi_window},
    {reason::hlt, Ask::by_control, control::hlt_exiting},
    {reason::invlpg, Ask::by_control, control::invlpg_exiting},
    {reason::rdpmc, Ask::by_control, control::rdpmc_exiting},
    {reason::rdtsc, Ask::by_control, control::rdtsc_exiting},
    {reason::vmread, Ask::field_read},
    {reason::vmwrite, Ask::field_write},
    {reason::cr_access, Ask::cr},
    {reason::mov_dr, Ask::by_control, control::mov_dr_exiting},
    {reason::io, Ask::io},
    {reason::rdmsr, Ask::msr_read},
    {reason::wrmsr, Ask::msr_write},
    {reason::mwait, Ask::by_control, control::mwait_exiting},
    {reason::monitor_trap_flag, Ask::by_control, control::monitor_trap_flag},
    {reason::monitor, Ask::by_control, control::monitor_exiting},
    {reason::pause, Ask::by_control, control::pause_exiting, control::pause_loop},
    {reason::tpr_threshold, Ask::by_control, control::tpr_shadow},
    {reason::gdtr_idtr, Ask::by_control, control::descriptor_table},
    {reason::ldtr_tr, Ask::by_control, control::descriptor_table},
    {reason::rdtscp, Ask::by_control, control::rdtsc_exiting},
    {reason::preemption_timer, Ask::by_control, control::preemption_timer},
    {reason::wbinvd, Ask::by_control, control::wbinvd_exiting},
    {reason::rdrand, Ask::by_control, control::rdrand_exiting},
    {reason::invpcid, Ask::by_control, control::invlpg_exiting},
    {reason::rdseed, Ask::by_control, control::rdseed_exiting},
};

bool bit_of_page(Monitor& m, unsigned level, u64 page, unsigned n)
{
    const u64 own = to_own(m, level - 1, page);
    return own == no_address || (at<u8>(own + n / 8) >> n % 8 & 1);
}

bool wants_exception(const FieldImage& v)
{
    const u64 event = vmread(field::exit_event);
    if ((event >> 8 & 7) == 2) return vmcs12_has(v, control::nmi_exiting);
    const bool wanted = v[slot(field::exception_bitmap)] >> (event & 31) & 1;
    if ((event & 0xff) != vector::page_fault) return wanted;
    const bool match = (vmread(field::exit_event_error) & v[slot(field::page_fault_mask)]) == v[slot(field::page_fault_match)];
    return match == wanted;
}

bool wants_io(Monitor& m, unsigned level, const FieldImage& v)
{
    if (!vmcs12_has(v, control::io_bitmaps)) return vmcs12_has(v, control::unconditional_io);
    const u64 q = vmread(field::qualification);
    const unsigned size = unsigned(q & 7) + 1;
    for (unsigned port = unsigned(q >> 16 & 0xffff), i = 0; i < size; ++i, ++port) {
        if (port > 0xffff) return true;
        const u64 page = v[port < 0x8000 ? slot(field::io_bitmap_a) : slot(field::io_bitmap_b)];
        if (bit_of_page(m, level, page, port & 0x7fff)) return true;
    }
    return false;
}

bool wants_msr(Monitor& m, unsigned level, const FieldImage& v, bool write)
{
    if (!vmcs12_has(v, control::msr_bitmaps)) return true;
    const u32 number = u32(guest_registers.gpr[1]);
    const bool high = number >= 0xc0000000;
    if ((number & ~0xc0000000) >= 0x2000 || (number >> 30 != 0 && !high)) return true;
    return bit_of_page(m, level, v[slot(field::msr_bitmap)], (write ? 2048 * 8 : 0) + (high ? 1024 * 8 : 0) + (number & 0x1fff));
}

bool wants_cr(const FieldImage& v)
{
    const u64 q = vmread(field::qualification);
    const unsigned cr = q & 15, access = q >> 4 & 3;
    const u64 value = register_operand(q >> 8 & 15);
    const u64 mask0 = v[slot(field::cr0_mask)], shadow0 = v[slot(field::cr0_shadow)];
    switch (access) {
    case 0:
        if (cr == 0) return (mask0 & (value ^ shadow0)) != 0;
        if (cr == 4) return (v[slot(field::cr4_mask)] & (value ^ v[slot(field::cr4_shadow)])) != 0;
        return vmcs12_has(v, cr == 3 ? control::cr3_load_exiting : control::cr8_load_exiting);
    case 1: return vmcs12_has(v, cr == 3 ? control::cr3_store_exiting : control::cr8_store_exiting);
    case 2: return (mask0 & shadow0 & 8) != 0; // CLTS
    default: {                                 // LMSW cannot clear PE
        const u64 source = q >> 16 & 15;
        return (mask0 & 14 & (source ^ shadow0)) != 0 || (mask0 & 1 & source & ~shadow0) != 0;
    }
    }
}

bool wants_field(Monitor& m, unsigned level, const FieldImage& v, u8 bitmap)
{
    if (!vmcs12_has(v, control::vmcs_shadowing)) return true;
    const u64 encoding = register_operand(vmread(field::instruction_information) >> 28 & 15);
    return (encoding >> 15) != 0 || bit_of_page(m, level, v[bitmap], unsigned(encoding));
}

} // namespace

unsigned served_levels(const Monitor& m)
{
    if (does_not_nest(m, 0)) return 0;
    unsigned n = 1;
    while (n < max_levels - 1 && does_not_nest(m, n)) ++n; // what that one would refuse, the one below serves
    return n;
}

bool claims(const Monitor& m, unsigned level, u32 exit_reason)
{
    if (level > m.serves) return false;
    if ((exit_reason >= reason::vmclear && exit_reason <= reason::vmxon) || exit_reason == reason::invept ||
        exit_reason == reason::invvpid)
        return true;
    // A guest hypervisor that does not nest says that there is no VMX: level 0 answers its guest for it.
    if (level == 1 || !does_not_nest(m, level - 1)) return false;
    const u32 rax = u32(guest_registers.gpr[0]), rcx = u32(guest_registers.gpr[1]);
    if (exit_reason == reason::cpuid) return rax == 1;
    return exit_reason == reason::rdmsr && (rcx == msr::feature_control || (rcx >= msr::vmx_first && rcx <= msr::vmx_last));
}

bool wants(Monitor& m, unsigned level, u32 exit_reason)
{
    const FieldImage& v = m.level[level].context->vmcs12;
    for (const RouteRow& row : route_rows) {
        if (row.exit_reason != exit_reason) continue;
        switch (row.ask) {
        case Ask::never: return false;
        case Ask::always: return true;
        case Ask::by_control: return vmcs12_has(v, row.by) || (row.or_by.word != Word::none && vmcs12_has(v, row.or_by));
        case Ask::exception: return wants_exception(v);
        case Ask::io: return wants_io(m, level, v);
        case Ask::msr_read: return wants_msr(m, level, v, false);
        case Ask::msr_write: return wants_msr(m, level, v, true);
        case Ask::cr: return wants_cr(v);
        case Ask::field_read: return wants_field(m, level, v, slot(field::vmread_bitmap));
        case Ask::field_write: return wants_field(m, level, v, slot(field::vmwrite_bitmap));
        }
    }
    return true;
}

} // namespace nano
