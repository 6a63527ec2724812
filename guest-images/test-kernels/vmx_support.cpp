// SPDX-License-Identifier: Apache-2.0
// VMX operation and a VMCS that passes every check of VM entry.
#include "vmx.h"

extern "C" int vmx_enter(int launch);
extern "C" char gdt[], task_state[];

namespace kernel::vmx {

namespace {

constexpr u32 feature_control = 0x3a, vmx_basic = 0x480, cr0_fixed0 = 0x486, cr0_fixed1 = 0x487, cr4_fixed0 = 0x488,
              cr4_fixed1 = 0x489, ia32_efer = 0xc0000080;
constexpr u64 locked = 1, vmx_outside_smx = 4;

Page vmxon_page;
Page guest_stack[2];

u64 cr0()
{
    u64 v;
    asm volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}
u64 cr3()
{
    u64 v;
    asm volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}
u64 cr4()
{
    u64 v;
    asm volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

Result result_of(bool invalid, bool valid)
{
    return invalid ? Result::fail_invalid : valid ? Result::fail_valid : Result::succeeded;
}

// The wanted bits, as far as the capability MSR lets them be, and those that must be 1.
u64 allowed(u32 msr, u32 true_msr, u32 wanted)
{
    const u64 capability = rdmsr(rdmsr(vmx_basic) >> 55 & 1 ? true_msr : msr);
    return (wanted & (capability >> 32)) | u32(capability);
}

} // namespace

bool available()
{
    u32 a = 1, b, c = 0, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return c >> 5 & 1;
}

Page& vmxon_region() { return vmxon_page; }

void on()
{
    asm volatile("mov %0, %%cr0" : : "r"((cr0() | rdmsr(cr0_fixed0)) & rdmsr(cr0_fixed1)));
    asm volatile("mov %0, %%cr4" : : "r"((cr4() | rdmsr(cr4_fixed0)) & rdmsr(cr4_fixed1)));
    if (!(rdmsr(feature_control) & locked)) wrmsr(feature_control, locked | vmx_outside_smx);
    vmxon_page.words[0] = u32(rdmsr(vmx_basic)) & 0x7fffffff;
    u64 at = vmxon_page.address();
    bool bad;
    asm volatile("vmxon %1" : "=@ccbe"(bad) : "m"(at) : "memory");
    check(!bad, "VMXON");
}

void off() { asm volatile("vmxoff" : : : "cc", "memory"); }

Result clear(const Page& vmcs)
{
    u64 at = vmcs.address();
    bool invalid, valid;
    asm volatile("vmclear %2" : "=@ccc"(invalid), "=@ccz"(valid) : "m"(at) : "memory");
    return result_of(invalid, valid);
}

Result load(const Page& vmcs)
{
    u64 at = vmcs.address();
    bool invalid, valid;
    asm volatile("vmptrld %2" : "=@ccc"(invalid), "=@ccz"(valid) : "m"(at) : "memory");
    return result_of(invalid, valid);
}

u64 read(u32 field)
{
    u64 v = 0;
    asm volatile("vmread %1, %0" : "=r"(v) : "r"(u64(field)) : "cc");
    return v;
}

Result write(u32 field, u64 value)
{
    bool invalid, valid;
    asm volatile("vmwrite %3, %2" : "=@ccc"(invalid), "=@ccz"(valid) : "r"(u64(field)), "r"(value));
    return result_of(invalid, valid);
}

void prepare(Page& vmcs, void (*guest)())
{
    using namespace field;
    constexpr u32 hlt_exiting = 1u << 7, host_address_space_size = 1u << 9, ia32e_mode_guest = 1u << 9;
    vmcs.words[0] = u32(rdmsr(vmx_basic)) & 0x7fffffff;
    clear(vmcs);
    load(vmcs);
    write(pin_controls, allowed(0x481, 0x48d, 0));
    write(primary_controls, allowed(0x482, 0x48e, hlt_exiting));
    write(exit_controls, allowed(0x483, 0x48f, host_address_space_size));
    write(entry_controls, allowed(0x484, 0x490, ia32e_mode_guest));
    for (const u32 zero : {exception_bitmap, cr3_target_count, exit_msr_store_count, exit_msr_load_count,
                           entry_msr_load_count, entry_interruption_information})
        write(zero, 0);
    struct [[gnu::packed]] {
        u16 limit;
        u64 base;
    } gdtr, idtr;
    asm volatile("sgdt %0" : "=m"(gdtr));
    asm volatile("sidt %0" : "=m"(idtr));
    const u64 task = reinterpret_cast<u64>(task_state);

    write(host_cr0, cr0());
    write(host_cr3, cr3());
    write(host_cr4, cr4());
    for (u32 i = 0; i < 6; ++i) write(host_es_selector + 2 * i, i == 1 ? 0x08 : 0x10);
    write(host_tr_selector, 0x18);
    write(host_fs_base, 0);
    write(host_gs_base, 0);
    write(host_tr_base, task);
    write(host_gdtr_base, gdtr.base);
    write(host_idtr_base, idtr.base);
    for (const u32 sysenter : {0x4c00u, 0x6c10u, 0x6c12u}) write(sysenter, 0);

    write(guest_cr0, cr0());
    write(guest_cr3, cr3());
    write(guest_cr4, cr4());
    for (u32 i = 0; i < 6; ++i) {
        write(guest_es_selector + 2 * i, i == 1 ? 0x08 : 0x10);
        write(guest_es_limit + 2 * i, 0xffffffff);
        write(guest_es_access + 2 * i, i == 1 ? 0xa09b : 0xc093);
        write(guest_es_base + 2 * i, 0);
    }
    constexpr u32 unusable = 0x10000, busy_tss = 0x8b;
    write(guest_ldtr_selector, 0);
    write(guest_ldtr_access, unusable);
    write(0x480c, 0);
    write(0x6812, 0);
    write(guest_tr_selector, 0x18);
    write(guest_tr_access, busy_tss);
    write(0x480e, 0x67);
    write(guest_tr_base, task);
    write(guest_gdtr_base, gdtr.base);
    write(guest_gdtr_limit, gdtr.limit);
    write(guest_idtr_base, idtr.base);
    write(guest_idtr_limit, idtr.limit);
    write(guest_dr7, 0x400);
    write(guest_rflags, 2);
    write(guest_rip, reinterpret_cast<u64>(guest));
    write(guest_rsp, guest_stack[1].address() + sizeof(Page) - 8);
    write(guest_interruptibility, 0);
    write(guest_activity, 0);
    write(guest_pending_debug, 0);
    write(guest_debugctl, 0);
    write(link_pointer, ~0ull);
    for (const u32 sysenter : {0x482au, 0x6824u, 0x6826u}) write(sysenter, 0);
}

Result launch() { return static_cast<Result>(vmx_enter(1)); }
Result resume() { return static_cast<Result>(vmx_enter(0)); }

} // namespace kernel::vmx
