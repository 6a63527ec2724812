// SPDX-License-Identifier: Apache-2.0
// What the processor's VMX can do, and the part of it that a guest is offered. SDM Appendix "VMX Capability Reporting Facility".
#include "console.h"
#include "monitor.h"

namespace nano {

namespace {

struct WordMsrs {
    Word word;
    u32 plain, exact; // the "TRUE" form
    u32 offered;      // controls that merge.cpp and reflect.cpp carry through
};

constexpr WordMsrs word_msrs[] = {
    {Word::pin, msr::vmx_pin, msr::vmx_true_pin, 0x000000e9},
    {Word::primary, msr::vmx_primary, msr::vmx_true_primary, 0xfbf99e8c},
    {Word::exit, msr::vmx_exit, msr::vmx_true_exit, 0x007c8204},
    {Word::entry, msr::vmx_entry, msr::vmx_true_entry, 0x0000c204},
};
constexpr u64 offered_secondary = 0x06115fff, true_msrs = bit(55);
// Execute-only, 4 levels, UC, WB, 2 MiB, 1 GiB, INVEPT and INVVPID with their types.
constexpr u64 offered_ept = bit(0) | bit(6) | bit(8) | bit(14) | bit(16) | bit(17) | bit(20) | bit(25) | bit(26) | bit(32) |
                            bit(40) | bit(41) | bit(42) | bit(43);
constexpr u64 offered_misc = 0x1f | bit(5) | 7u << 6 | 0x1ffu << 16 | 7u << 25 | bit(29) | bit(30);

void find_fields(Capabilities& c)
{
    c.read.count = c.guest.count = c.control.count = c.address.count = c.information.count = 0;
    for (unsigned i = 0; i < field_count; ++i) {
        c.exists[i] = field_rows[i].needs.word == Word::none || c.has(field_rows[i].needs);
        if (!c.exists[i]) continue;
        const Rule rule = field_rows[i].rule;
        if (rule != Rule::information) c.read.add(u8(i));
        if (rule <= Rule::guest_efer) c.guest.add(u8(i));
        if (rule == Rule::control) c.control.add(u8(i));
        if (rule == Rule::address) c.address.add(u8(i));
        if (rule == Rule::information) c.information.add(u8(i));
    }
}

} // namespace

void read_capabilities(Capabilities& c)
{
    const u64 basic = rdmsr(msr::vmx_basic);
    c.revision = u32(basic) & 0x7fffffff;
    for (const WordMsrs& w : word_msrs) {
        const u64 v = rdmsr(basic & true_msrs ? w.exact : w.plain);
        c.allowed[unsigned(w.word)] = v >> 32;
        c.required[unsigned(w.word)] = u32(v);
    }
    if (c.has(control::secondary_controls)) {
        const u64 v = rdmsr(msr::vmx_secondary);
        c.allowed[unsigned(Word::secondary)] = v >> 32;
        c.required[unsigned(Word::secondary)] = u32(v);
    }
    if (c.has(control::ept)) c.ept_vpid = rdmsr(msr::vmx_ept_vpid);
    c.misc = rdmsr(msr::vmx_misc);
    c.cr0_fixed0 = rdmsr(msr::vmx_cr0_fixed0);
    c.cr0_fixed1 = rdmsr(msr::vmx_cr0_fixed1);
    c.cr4_fixed0 = rdmsr(msr::vmx_cr4_fixed0);
    c.cr4_fixed1 = rdmsr(msr::vmx_cr4_fixed1);
    find_fields(c);
    constexpr u64 needed_ept = bit(6) | bit(14) | bit(16) | bit(20);
    if (!c.has(control::ept) || !c.has(control::unrestricted_guest) || (c.ept_vpid & needed_ept) != needed_ept)
        panic("the processor has no EPT with 2 MiB pages, or no unrestricted guest; choose another CPU model", c.ept_vpid);
    if (!c.has(control::save_efer) || !c.has(control::entry_load_efer) || !c.has(control::entry_load_pat) || !(c.misc & bit(5)))
        panic("the processor does not save IA32_EFER on VM exits; choose another CPU model", c.misc);
}

Capabilities offered_capabilities(const Capabilities& real, bool shadow)
{
    Capabilities c = real;
    for (const WordMsrs& w : word_msrs) c.allowed[unsigned(w.word)] &= w.offered | real.required[unsigned(w.word)];
    c.allowed[unsigned(Word::secondary)] &= offered_secondary;
    if (!shadow) c.allowed[unsigned(Word::secondary)] &= ~bit(control::vmcs_shadowing.number);
    c.ept_vpid &= offered_ept;
    c.misc &= offered_misc;
    find_fields(c);
    return c;
}

u64 capability_msr(const Capabilities& c, u32 number)
{
    constexpr u64 basic_high = u64(page_size) << 32 | 6ull << 50 | bit(54) | true_msrs;
    // Bits that the plain forms report as 1. SDM "Reserved Controls and Default Settings".
    constexpr u32 defaults[] = {0, 0x16, 0x0401e172, 0, 0x00036dff, 0x000011ff};
    for (const WordMsrs& w : word_msrs) {
        const u64 allowed = c.allowed[unsigned(w.word)] << 32, required = c.required[unsigned(w.word)];
        if (number == w.exact) return allowed | required;
        if (number == w.plain) return allowed | required | defaults[unsigned(w.word)];
    }
    switch (number) {
    case msr::vmx_basic: return basic_high | c.revision;
    case msr::vmx_misc: return c.misc;
    case msr::vmx_cr0_fixed0: return c.cr0_fixed0;
    case msr::vmx_cr0_fixed1: return c.cr0_fixed1;
    case msr::vmx_cr4_fixed0: return c.cr4_fixed0;
    case msr::vmx_cr4_fixed1: return c.cr4_fixed1;
    case msr::vmx_vmcs_enum: {
        u64 highest = 0;
        for (unsigned i = 0; i < field_count; ++i)
            if (c.exists[i] && (field_rows[i].encoding & 0x3fe) > highest) highest = field_rows[i].encoding & 0x3fe;
        return highest;
    }
    case msr::vmx_secondary: return c.allowed[unsigned(Word::secondary)] << 32 | c.required[unsigned(Word::secondary)];
    case msr::vmx_ept_vpid: return c.ept_vpid;
    default: return 0;
    }
}

} // namespace nano
