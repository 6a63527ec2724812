// SPDX-License-Identifier: Apache-2.0
// A VM exit of a nested guest to the hypervisor that started it. SDM "VM Exits": information, guest state, host state.
#include "console.h"
#include "monitor.h"
#include "own_controls.h"

namespace nano {

namespace {

struct Information {
    u64 exit_reason, qualification;
    bool has_address;
    u64 guest_physical;
};

// Host state of VMCS12 becomes guest state of the VMCS by which the hypervisor at level - 1 runs. SDM "Loading Host State".
void load_host_state(Monitor& m, unsigned level, u64 pat, u64 efer)
{
    const FieldImage& v = m.level[level].context->vmcs12;
    Context& c = *m.level[level - 1].context;
    load(m, address_of(*c.region));
    // Bits of CR0 and CR4 that are not the guest hypervisor's keep their values; it reads its own.
    const u64 mask0 = c.in_region[slot(field::cr0_mask)], mask4 = c.in_region[slot(field::cr4_mask)];
    const u64 cr0 = v[slot(field::host_cr0)], cr4 = v[slot(field::host_cr4)];
    const u64 real0 = vmread(field::guest_cr0), real4 = vmread(field::guest_cr4);
    set(c, slot(field::guest_cr0), (cr0 & ~mask0) | (real0 & mask0));
    set(c, slot(field::guest_cr4), (cr4 & ~mask4) | (real4 & mask4));
    set(c, slot(field::cr0_shadow), cr0);
    set(c, slot(field::cr4_shadow), cr4);
    set(c, slot(field::guest_cr3), v[slot(field::host_cr3)]);
    constexpr u64 unusable = 0x10000, code_64 = 0xa09b, data = 0xc093, busy_task = 0x8b;
    for (u8 i = 0; i < 6; ++i) {
        const u64 selector = v[u8(slot(field::host_es_selector) + i)];
        set(c, u8(slot(field::guest_es_selector) + i), selector);
        set(c, u8(slot(field::guest_es_limit) + i), 0xffffffff);
        set(c, u8(slot(field::guest_es_access) + i), i == 1 ? code_64 : selector == 0 ? unusable : data);
        if (i < 4) set(c, u8(slot(field::guest_es_base) + i), 0);
    }
    set(c, slot(field::guest_fs_base), v[slot(field::host_fs_base)]);
    set(c, slot(field::guest_gs_base), v[slot(field::host_gs_base)]);
    set(c, slot(field::guest_ldtr_selector), 0);
    set(c, slot(field::guest_ldtr_access), unusable);
    set(c, slot(field::guest_tr_selector), v[slot(field::host_tr_selector)]);
    set(c, slot(field::guest_tr_base), v[slot(field::host_tr_base)]);
    set(c, slot(field::guest_tr_limit), 0x67);
    set(c, slot(field::guest_tr_access), busy_task);
    set(c, slot(field::guest_gdtr_base), v[slot(field::host_gdtr_base)]);
    set(c, slot(field::guest_idtr_base), v[slot(field::host_idtr_base)]);
    set(c, slot(field::guest_gdtr_limit), 0xffff);
    set(c, slot(field::guest_idtr_limit), 0xffff);
    set(c, slot(field::guest_sysenter_cs), v[slot(field::host_sysenter_cs)]);
    set(c, slot(field::guest_sysenter_esp), v[slot(field::host_sysenter_esp)]);
    set(c, slot(field::guest_sysenter_eip), v[slot(field::host_sysenter_eip)]);
    set(c, slot(field::guest_dr7), 0x400);
    set(c, slot(field::guest_debugctl), 0);
    set(c, slot(field::guest_rsp), v[slot(field::host_rsp)]);
    set(c, slot(field::guest_rip), v[slot(field::host_rip)]);
    set(c, slot(field::guest_rflags), 2);
    set(c, slot(field::interruptibility), 0);
    set(c, slot(field::activity), 0);
    set(c, slot(field::pending_debug), 0);
    set(c, slot(field::guest_pat), vmcs12_has(v, control::exit_load_pat) ? v[slot(field::host_pat)] : pat);
    set(c, slot(field::guest_efer),
        vmcs12_has(v, control::exit_load_efer) ? v[slot(field::host_efer)] : efer | efer_lme | efer_lma);
    set(c, slot(field::entry_controls), vmread(field::entry_controls) | bit(control::ia32e_guest.number));
    // Its list of MSRs is loaded by the entry that comes next.
    const u64 loads = v[slot(field::exit_msr_load_count)];
    if (loads) {
        set(c, slot(field::entry_msr_load_address), to_own(m, level - 1, v[slot(field::exit_msr_load_address)]));
        set(c, slot(field::entry_msr_load_count), loads);
    }
    // Without VPID in VMCS12 the guest hypervisor counts on transitions that flush.
    if (!vmcs12_has(v, control::vpid) && m.real.has(control::vpid)) invvpid(1, c.in_region[slot(field::vpid)], 0);
    m.running = level - 1;
}

void reflect_with(Monitor& m, unsigned level, const Information& information)
{
    Context& c = *m.level[level].context;
    FieldImage& v = c.vmcs12;
    FieldImage& now = c.in_region;
    // The VMCS02 is loaded: all that the exit left there, and what the guest hypervisor has VM exits save.
    u64 facts[field_count];
    for (const u8 s : m.offered.guest) now[s] = vmread(field_rows[s].encoding);
    for (const u8 s : m.offered.information) facts[s] = vmread(field_rows[s].encoding);
    c.guest_known = true;
    const u64 long_mode = vmread(field::entry_controls) & bit(control::ia32e_guest.number);
    facts[slot(field::exit_reason)] = information.exit_reason;
    facts[slot(field::qualification)] = information.qualification;
    if (information.has_address) facts[slot(field::guest_physical_address)] = information.guest_physical;

    open_vmcs12(m, c.source_region);
    // After an entry without this hypervisor the host state may be another one.
    if (!c.vmcs12_known)
        for (const u8 s : m.offered.read)
            if (field_rows[s].rule == Rule::host) v[s] = read_vmcs12(m, c.source_region, s);
    const auto save = [&](u8 s, u64 value) {
        if (c.vmcs12_known && v[s] == value) return;
        write_vmcs12(m, c.source_region, s, value);
        v[s] = value;
    };
    for (const u8 s : m.offered.guest) {
        if (c.vmcs12_known && now[s] == v[s]) continue;
        const Rule rule = field_rows[s].rule;
        const bool wanted = s == slot(field::timer_value)     ? vmcs12_has(v, control::save_timer)
                            : rule == Rule::guest_debug       ? vmcs12_has(v, control::save_debug)
                            : rule == Rule::guest_pat         ? vmcs12_has(v, control::save_pat)
                            : rule == Rule::guest_efer        ? vmcs12_has(v, control::save_efer)
                                                              : true;
        if (wanted) save(s, now[s]);
    }
    for (const u8 s : m.offered.information) {
        if (c.information_known && v[s] == facts[s]) continue;
        write_vmcs12(m, c.source_region, s, facts[s]);
        v[s] = facts[s];
    }
    c.information_known = true;
    if (v[slot(field::entry_event)] & bit(31)) save(slot(field::entry_event), v[slot(field::entry_event)] & ~bit(31));
    save(slot(field::entry_controls), (v[slot(field::entry_controls)] & ~bit(control::ia32e_guest.number)) | long_mode);
    load_host_state(m, level, now[slot(field::guest_pat)], now[slot(field::guest_efer)]);
}

} // namespace

void reflect(Monitor& m, unsigned level, u64 exit_reason)
{
    reflect_with(m, level, {exit_reason, vmread(field::qualification), false, 0});
}

void reflect_ept(Monitor& m, unsigned level, bool misconfigured)
{
    // The address is the guest's already: both tables begin at it. What is allowed there the guest hypervisor's tables say alone.
    const u64 qualification = misconfigured ? 0 : (vmread(field::qualification) & ~0x38ull) | m.fault_rights << 3;
    reflect_with(m, level, {misconfigured ? reason::ept_misconfiguration : reason::ept_violation, qualification, true,
                            vmread(field::guest_physical_address)});
}

void fail_entry(Monitor& m, unsigned level, u64 exit_reason)
{
    // SDM "VM-Entry Failures During or After Loading Guest State": nothing is saved.
    Context& c = *m.level[level].context;
    const u64 qualification = vmread(field::qualification), pat = vmread(field::guest_pat), efer = vmread(field::guest_efer);
    open_vmcs12(m, c.source_region);
    c.information_known = false;
    write_vmcs12(m, c.source_region, slot(field::exit_reason), exit_reason);
    write_vmcs12(m, c.source_region, slot(field::qualification), qualification);
    load_host_state(m, level, pat, efer);
}

} // namespace nano
