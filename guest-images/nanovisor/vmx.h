// SPDX-License-Identifier: Apache-2.0
// The VMX instructions, exit reasons and error numbers.
#pragma once

#include "fields.h"

namespace nano {

// How a VMX instruction ends. SDM "VMX Instruction Reference", "Conventions".
enum class Outcome : u8 { succeeded, fail_invalid, fail_valid };

inline Outcome outcome_of(bool carry, bool zero_flag)
{
    return carry ? Outcome::fail_invalid : zero_flag ? Outcome::fail_valid : Outcome::succeeded;
}

inline Outcome vmxon(u64 region)
{
    bool c, z;
    asm volatile("vmxon %2" : "=@ccc"(c), "=@ccz"(z) : "m"(region) : "memory");
    return outcome_of(c, z);
}

inline Outcome vmclear(u64 region)
{
    bool c, z;
    asm volatile("vmclear %2" : "=@ccc"(c), "=@ccz"(z) : "m"(region) : "memory");
    return outcome_of(c, z);
}

inline Outcome vmptrld(u64 region)
{
    bool c, z;
    asm volatile("vmptrld %2" : "=@ccc"(c), "=@ccz"(z) : "m"(region) : "memory");
    return outcome_of(c, z);
}

inline u64 vmptrst()
{
    u64 region;
    asm volatile("vmptrst %0" : "=m"(region) : : "memory");
    return region;
}

inline u64 vmread(u32 encoding)
{
    u64 value = 0;
    asm volatile("vmread %1, %0" : "=r"(value) : "r"(u64(encoding)) : "cc");
    return value;
}

inline Outcome vmwrite(u32 encoding, u64 value)
{
    bool c, z;
    asm volatile("vmwrite %3, %2" : "=@ccc"(c), "=@ccz"(z) : "r"(u64(encoding)), "r"(value));
    return outcome_of(c, z);
}

inline void invept(u64 type, u64 eptp)
{
    const u64 descriptor[2] = {eptp, 0};
    asm volatile("invept %0, %1" : : "m"(descriptor), "r"(type) : "cc", "memory");
}

inline void invvpid(u64 type, u64 vpid, u64 linear)
{
    const u64 descriptor[2] = {vpid, linear};
    asm volatile("invvpid %0, %1" : : "m"(descriptor), "r"(type) : "cc", "memory");
}

// SDM Appendix "VMX Basic Exit Reasons".
namespace reason {
constexpr u32 exception = 0, external_interrupt = 1, triple_fault = 2, init = 3, sipi = 4, interrupt_window = 7,
              nmi_window = 8, task_switch = 9, cpuid = 10, hlt = 12, invd = 13, invlpg = 14, rdpmc = 15, rdtsc = 16, vmcall = 18,
              vmclear = 19, vmlaunch = 20, vmptrld = 21, vmptrst = 22, vmread = 23, vmresume = 24, vmwrite = 25, vmxoff = 26,
              vmxon = 27, cr_access = 28, mov_dr = 29, io = 30, rdmsr = 31, wrmsr = 32, invalid_guest_state = 33,
              msr_loading = 34, mwait = 36, monitor_trap_flag = 37, monitor = 39, pause = 40, tpr_threshold = 43,
              apic_access = 44, eoi = 45, gdtr_idtr = 46, ldtr_tr = 47, ept_violation = 48, ept_misconfiguration = 49,
              invept = 50, rdtscp = 51, preemption_timer = 52, invvpid = 53, wbinvd = 54, xsetbv = 55, apic_write = 56,
              rdrand = 57, invpcid = 58, vmfunc = 59, rdseed = 61, xsaves = 63, xrstors = 64, umwait = 67, tpause = 68,
              count = 80;
} // namespace reason
constexpr u64 entry_failure = bit(31);

// SDM "VM Instruction Error Numbers".
namespace error {
constexpr u32 vmcall_in_root = 1, vmclear_address = 2, vmclear_vmxon = 3, vmlaunch_not_clear = 4, vmresume_not_launched = 5,
              entry_controls = 7, entry_host_state = 8, vmptrld_address = 9, vmptrld_vmxon = 10, vmptrld_revision = 11,
              unsupported_field = 12, read_only_field = 13, vmxon_in_root = 15, entry_mov_ss = 26, invalid_operand = 28;
} // namespace error

namespace vector {
constexpr u8 debug = 1, undefined = 6, general_protection = 13, page_fault = 14;
}

namespace msr {
constexpr u32 feature_control = 0x3a, bios_signature = 0x8b, vmx_first = 0x480, vmx_basic = 0x480, vmx_pin = 0x481,
              vmx_primary = 0x482, vmx_exit = 0x483, vmx_entry = 0x484, vmx_misc = 0x485, vmx_cr0_fixed0 = 0x486,
              vmx_cr0_fixed1 = 0x487, vmx_cr4_fixed0 = 0x488, vmx_cr4_fixed1 = 0x489, vmx_vmcs_enum = 0x48a,
              vmx_secondary = 0x48b, vmx_ept_vpid = 0x48c, vmx_true_pin = 0x48d, vmx_true_primary = 0x48e,
              vmx_true_exit = 0x48f, vmx_true_entry = 0x490, vmx_tertiary = 0x492, vmx_last = 0x493, efer = 0xc0000080,
              routing_capability = 0x40000f00;
} // namespace msr

constexpr u64 cr0_pe = bit(0), cr0_ne = bit(5), cr0_pg = bit(31), cr4_pae = bit(5), cr4_la57 = bit(12), cr4_vmxe = bit(13),
              cr4_osxsave = bit(18), cr4_pke = bit(22), efer_lme = bit(8), efer_lma = bit(10);

} // namespace nano
