// SPDX-License-Identifier: Apache-2.0
// Exits that this hypervisor handles itself: what they do to the guest that is running.
#include "console.h"
#include "monitor.h"
#include "own_controls.h"
#include "ras.h"

namespace nano {

namespace {

constexpr u64 unlocked_outside_smx = 5; // IA32_FEATURE_CONTROL: locked, VMX outside SMX

u64 value_of_edx_eax() { return u32(guest_registers.gpr[0]) | guest_registers.gpr[2] << 32; }

void result_in_edx_eax(u64 value)
{
    guest_registers.gpr[0] = u32(value);
    guest_registers.gpr[2] = value >> 32;
}

bool serves_nested(const Monitor& m)
{
    return m.running <= m.serves;
}

void emulate_cpuid(Monitor& m)
{
    u64* r = guest_registers.gpr;
    const u32 leaf = u32(r[0]), subleaf = u32(r[1]);
    CpuidLeaf c = cpuid(leaf, subleaf);
    const u64 cr4 = vmread(field::guest_cr4);
    const auto mirror = [](u32& reg, unsigned n, bool on) { reg = on ? reg | 1u << n : reg & ~(1u << n); };
    // What CPUID says by CR4 it says by the guest's. SDM "CPUID".
    if (leaf == 1) {
        mirror(c.ecx, 27, cr4 & cr4_osxsave);
        if (!serves_nested(m)) mirror(c.ecx, 5, false);
    } else if (leaf == 7 && subleaf == 0) mirror(c.ecx, 4, cr4 & cr4_pke);
    r[0] = c.eax;
    r[3] = c.ebx;
    r[1] = c.ecx;
    r[2] = c.edx;
    skip_instruction();
}

void emulate_rdmsr(Monitor& m)
{
    const u32 number = u32(guest_registers.gpr[1]);
    if (number == msr::feature_control) result_in_edx_eax(serves_nested(m) ? unlocked_outside_smx : 1);
    else if (number >= msr::vmx_first && number <= msr::vmx_last && serves_nested(m))
        result_in_edx_eax(capability_msr(m.offered, number));
    else return inject(vector::general_protection, true);
    skip_instruction();
}

void emulate_wrmsr()
{
    // The locked IA32_FEATURE_CONTROL faults, and what stands outside of the bitmap does not exist.
    if (u32(guest_registers.gpr[1]) != msr::bios_signature) return inject(vector::general_protection, true);
    skip_instruction();
}

// Only a change of CR0.NE or CR4.VMXE comes here. SDM "Restrictions on VMX Operation".
void emulate_cr_access(Monitor& m)
{
    const u64 q = vmread(field::qualification);
    const unsigned cr = q & 15, access = q >> 4 & 3;
    if (access != 0 || (cr != 0 && cr != 4)) panic("a control-register access that nobody asked for", q);
    const u64 value = register_operand(q >> 8 & 15);
    const Level& l = m.level[m.running];
    if (cr == 4) {
        if (l.vmx_on && !(value & cr4_vmxe)) return inject(vector::general_protection, true);
        if (value & ~m.real.cr4_fixed1) return inject(vector::general_protection, true);
        set(*l.context, slot(field::guest_cr4), value | cr4_vmxe);
        set(*l.context, slot(field::cr4_shadow), value);
    } else {
        if ((l.vmx_on && !(value & cr0_ne)) || ((value & cr0_pg) && !(value & cr0_pe)))
            return inject(vector::general_protection, true);
        const u64 old = vmread(field::guest_cr0), efer = vmread(field::guest_efer);
        set(*l.context, slot(field::guest_cr0), value | cr0_ne);
        set(*l.context, slot(field::cr0_shadow), value);
        if ((old ^ value) & cr0_pg && efer & efer_lme) { // paging on or off is long mode on or off
            const u64 controls = vmread(field::entry_controls), mode = bit(control::ia32e_guest.number);
            set(*l.context, slot(field::guest_efer), value & cr0_pg ? efer | efer_lma : efer & ~efer_lma);
            set(*l.context, slot(field::entry_controls), value & cr0_pg ? controls | mode : controls & ~mode);
        }
    }
    skip_instruction();
}

void emulate_xsetbv()
{
    const u64 value = value_of_edx_eax();
    const u32 index = u32(guest_registers.gpr[1]);
    const CpuidLeaf c = cpuid(13, 0);
    const u64 allowed = c.eax | u64(c.edx) << 32;
    if (index != 0 || (value & ~allowed) || !(value & 1) || ((value & 4) && !(value & 2)) || !(read_cr4() & cr4_osxsave))
        return inject(vector::general_protection, true);
    xsetbv(index, value);
    skip_instruction();
}

void emulate_io(Monitor& m)
{
    const u64 q = vmread(field::qualification);
    if ((q >> 16 & 0xffff) != test_port || (q & 0x37) != 0) panic("a port access that nobody asked for", q);
    (void)m;
    if (q & 8) guest_registers.gpr[0] = (guest_registers.gpr[0] & ~0xffull) | 0x5a;
    skip_instruction();
}

// Hypercalls with a number are for the first hypervisor; 0 does nothing.
void emulate_vmcall(Monitor& m)
{
    const u64 call = m.options.ras ? guest_registers.gpr[0] : 0;
    if (call == watch_call) m.watching = true;
    if (call != 0 && m.options.level > 0) hypercall(call);
    else if (call == watch_call) watch_memory(m);
    else if (call == report_call) report_ras(m);
    skip_instruction();
}

// The workload keeps in R15 where it goes on after an exception that it causes; any other is the guest's own.
void handle_exception(Monitor& m)
{
    const u64 event = vmread(field::exit_event);
    const bool has_error = event & bit(11);
    if (m.running != 1 || m.options.linux_guest) {
        if ((event & 0xff) == vector::page_fault) asm volatile("mov %0, %%cr2" : : "r"(vmread(field::qualification)));
        return inject(u8(event), has_error, has_error ? u32(vmread(field::exit_event_error)) : 0);
    }
    vmwrite(field::guest_rip, guest_registers.gpr[15]);
}

} // namespace

void inject(u8 vector_number, bool has_error, u32 error_code)
{
    Context& c = *monitor.level[monitor.running].context;
    set(c, slot(field::entry_event), bit(31) | 3u << 8 | (has_error ? bit(11) : 0) | vector_number);
    set(c, slot(field::entry_error_code), error_code);
}

void skip_instruction()
{
    vmwrite(field::guest_rip, vmread(field::guest_rip) + vmread(field::instruction_length));
    const u64 blocking = vmread(field::interruptibility);
    if (blocking & 3) vmwrite(field::interruptibility, blocking & ~3ull);
}

void handle(Monitor& m, u32 exit_reason)
{
    switch (exit_reason) {
    case reason::exception: return handle_exception(m);
    case reason::triple_fault: panic("its guest's triple fault at", vmread(field::guest_rip));
    case reason::cpuid: return emulate_cpuid(m);
    case reason::hlt: return skip_instruction(); // as though an event were there at once
    case reason::invd: return skip_instruction();
    case reason::vmcall: return emulate_vmcall(m);
    case reason::cr_access: return emulate_cr_access(m);
    case reason::io: return emulate_io(m);
    case reason::rdmsr: return emulate_rdmsr(m);
    case reason::wrmsr: return emulate_wrmsr();
    case reason::xsetbv: return emulate_xsetbv();
    case reason::vmclear: case reason::vmlaunch: case reason::vmptrld: case reason::vmptrst: case reason::vmread:
    case reason::vmresume: case reason::vmwrite: case reason::vmxoff: case reason::vmxon: case reason::invept:
    case reason::invvpid:
        if (!serves_nested(m)) return inject(vector::undefined, false);
        return emulate_vmx(m, exit_reason);
    default: panic("an exit that nobody asked for, reason", exit_reason);
    }
}

} // namespace nano
