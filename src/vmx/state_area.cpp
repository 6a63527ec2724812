// SPDX-License-Identifier: Apache-2.0
// Registers to and from the VMCS.
#include "vmx/state_area.h"

#include "cpu/debug.h"
#include "cpu/msr_protection.h"

namespace droste {

namespace {

/// Values of the activity-state field. MWAIT has none: it is saved as active.
u64 activity_number(Activity a) {
    switch (a) {
    case Activity::hlt: return 1;
    case Activity::shutdown: return 2;
    case Activity::wait_for_sipi: return 3;
    default: return 0;
    }
}
Activity activity_of(u64 number) {
    switch (number) {
    case 1: return Activity::hlt;
    case 2: return Activity::shutdown;
    case 3: return Activity::wait_for_sipi;
    default: return Activity::active;
    }
}

bool pae_paging(const Cpu& cpu) {
    return (cpu.cr0 & cr0_bits::pg) && (cpu.cr4 & cr4_bits::pae) && !(cpu.efer & efer_bits::lma);
}

/// The eight FRED fields stand in the same order in both areas: CONFIG, RSP1-3, STKLVLS, SSP1-3.
void load_fred(Cpu& cpu, const Vmcs& v, Field config) {
    FredState& f = cpu.fred;
    f.config = v[config];
    for (unsigned i = 1; i < 4; ++i) {
        f.rsp[i] = v[config + i];
        f.ssp[i] = v[config + (4 + i)];
    }
    f.stack_levels = v[config + 4];
}
void save_fred(const FredState& f, const Vmcs& v, Field config) {
    v.set(config, f.config);
    for (unsigned i = 1; i < 4; ++i) {
        v.set(config + i, f.rsp[i]);
        v.set(config + (4 + i), f.ssp[i]);
    }
    v.set(config + 4, f.stack_levels);
}
static_assert(Field{"guest_ia32_fred_stklvls"_f} == "guest_ia32_fred_config"_f + 4);
static_assert(Field{"guest_ia32_fred_ssp3"_f} == "guest_ia32_fred_config"_f + 7);
static_assert(Field{"host_ia32_fred_stklvls"_f} == "host_ia32_fred_config"_f + 4);
static_assert(Field{"host_ia32_fred_ssp3"_f} == "host_ia32_fred_config"_f + 7);

Segment host_segment(u16 selector, u64 base) {
    if (selector == 0) return {.selector = 0, .limit = 0, .access = Segment::unusable_bit, .base = base};
    return {.selector = selector, .limit = 0xFFFFFFFF, .access = 0xC093, .base = base};
}

}  // namespace

void save_guest_area(const Cpu& cpu, const Vmcs& v, const Controls& c, const VmxCapabilities& caps,
                     u64 rflags) {
    v.set("guest_cr0"_f, cpu.cr0);
    v.set("guest_cr3"_f, cpu.cr3);
    v.set("guest_cr4"_f, cpu.cr4);
    v.set("guest_ia32_sysenter_cs"_f, cpu.sysenter_cs);
    v.set("guest_ia32_sysenter_esp"_f, cpu.sysenter_esp);
    v.set("guest_ia32_sysenter_eip"_f, cpu.sysenter_eip);
    if (c.has("save_debug_controls"_vmx)) {
        v.set("guest_dr7"_f, cpu.dr7);
        v.set("guest_ia32_debugctl"_f, cpu.debugctl);
    }
    if (c.has("save_ia32_pat"_vmx)) v.set("guest_ia32_pat"_f, cpu.pat);
    if (c.has("save_ia32_efer"_vmx)) v.set("guest_ia32_efer"_f, cpu.efer);
    if (caps.has("load_ia32_bndcfgs"_vmx)) v.set("guest_ia32_bndcfgs"_f, cpu.bndcfgs);
    if (caps.has("entry_load_cet_state"_vmx)) {
        v.set("guest_ia32_s_cet"_f, cpu.cet.s_cet);
        v.set("guest_ssp"_f, cpu.cet.ssp);
        v.set("guest_ia32_interrupt_ssp_table_addr"_f, cpu.cet.ssp_table);
    }
    if (caps.has("entry_load_pkrs"_vmx)) v.set("guest_ia32_pkrs"_f, cpu.pkrs);
    if (caps.has("load_uinv"_vmx)) v.set("guest_uinv"_f, uinv(cpu));
    if (c.has("save_ia32_fred"_vmx)) save_fred(cpu.fred, v, "guest_ia32_fred_config"_f);
    if (caps.has("entry_load_ia32_spec_ctrl"_vmx)) v.set("guest_ia32_spec_ctrl"_f, cpu.spec_ctrl);
    for (unsigned i = 0; i < 8; ++i) {
        const Segment& s = cpu.seg[i];
        v.set("guest_es_selector"_f + i, s.selector);
        v.set("guest_es_limit"_f + i, s.limit);
        v.set("guest_es_access_rights"_f + i, s.access & 0x1F0FF);  // the reserved bits are always cleared
        v.set("guest_es_base"_f + i, s.base);
    }
    v.set("guest_gdtr_base"_f, cpu.gdtr.base);
    v.set("guest_gdtr_limit"_f, cpu.gdtr.limit);
    v.set("guest_idtr_base"_f, cpu.idtr.base);
    v.set("guest_idtr_limit"_f, cpu.idtr.limit);
    v.set("guest_rip"_f, cpu.rip);
    v.set("guest_rsp"_f, cpu.gpr[static_cast<unsigned>(Gpr::rsp)]);
    v.set("guest_rflags"_f, rflags);
    v.set("guest_activity_state"_f, activity_number(cpu.activity));
    v.set("guest_interruptibility_state"_f, cpu.interruptibility);
    v.set("guest_pending_debug_exceptions"_f, cpu.pending_debug & 0x500F);
    if (c.has("enable_ept"_vmx) && pae_paging(cpu))
        for (unsigned i = 0; i < 4; ++i) v.set("guest_pdpte0"_f + i, cpu.pdpte[i]);
}

void load_guest_area(Cpu& cpu, const Vmcs& v, const Controls& c) {
    cpu.cr0 = (cpu.cr0 & cr0_kept) | (v["guest_cr0"_f] & ~cr0_kept);
    cpu.cr3 = v["guest_cr3"_f];
    cpu.cr4 = v["guest_cr4"_f];
    if (c.has("load_debug_controls"_vmx)) {
        cpu.dr7 = (v["guest_dr7"_f] & 0xFFFF2FFF) | dr7_bits::fixed1;
        cpu.debugctl = v["guest_ia32_debugctl"_f];
    }
    cpu.sysenter_cs = v["guest_ia32_sysenter_cs"_f];
    cpu.sysenter_esp = v["guest_ia32_sysenter_esp"_f];
    cpu.sysenter_eip = v["guest_ia32_sysenter_eip"_f];
    const bool ia32e = c.has("ia32e_mode_guest"_vmx);
    if (c.has("entry_load_ia32_efer"_vmx)) {
        cpu.efer = v["guest_ia32_efer"_f];
    } else {
        cpu.efer = ia32e ? cpu.efer | efer_bits::lma : cpu.efer & ~efer_bits::lma;
        if (cpu.cr0 & cr0_bits::pg) cpu.efer = ia32e ? cpu.efer | efer_bits::lme : cpu.efer & ~efer_bits::lme;
    }
    if (c.has("entry_load_ia32_pat"_vmx)) cpu.pat = v["guest_ia32_pat"_f];
    if (c.has("load_ia32_bndcfgs"_vmx)) cpu.bndcfgs = v["guest_ia32_bndcfgs"_f];
    if (c.has("entry_load_cet_state"_vmx)) {
        cpu.cet.s_cet = v["guest_ia32_s_cet"_f];
        cpu.cet.ssp = v["guest_ssp"_f];
        cpu.cet.ssp_table = v["guest_ia32_interrupt_ssp_table_addr"_f];
    }
    if (c.has("entry_load_pkrs"_vmx)) cpu.pkrs = static_cast<u32>(v["guest_ia32_pkrs"_f]);
    if (c.has("load_uinv"_vmx)) set_uinv(cpu, static_cast<u8>(v["guest_uinv"_f]));
    if (c.has("entry_load_ia32_fred"_vmx)) load_fred(cpu, v, "guest_ia32_fred_config"_f);
    if (c.has("entry_load_ia32_spec_ctrl"_vmx)) cpu.spec_ctrl = v["guest_ia32_spec_ctrl"_f];
    for (unsigned i = 0; i < 8; ++i)
        cpu.seg[i] = {.selector = static_cast<u16>(v["guest_es_selector"_f + i]),
                      .limit = static_cast<u32>(v["guest_es_limit"_f + i]),
                      .access = static_cast<u32>(v["guest_es_access_rights"_f + i]),
                      .base = v["guest_es_base"_f + i]};
    // SDM "Loading Guest Segment Registers and Descriptor-Table Registers": what holds of unusable ones.
    for (const Seg s : {Seg::ss, Seg::ds, Seg::es})
        if (cpu.segment(s).unusable()) cpu.segment(s).base &= 0xFFFFFFF0;
    if (cpu.segment(Seg::ss).unusable()) cpu.segment(Seg::ss).access |= 0x4000;
    cpu.cpl = static_cast<u8>(cpu.segment(Seg::ss).dpl());
    cpu.gdtr = {v["guest_gdtr_base"_f], static_cast<u32>(v["guest_gdtr_limit"_f])};
    cpu.idtr = {v["guest_idtr_base"_f], static_cast<u32>(v["guest_idtr_limit"_f])};
    cpu.rip = v["guest_rip"_f];
    cpu.gpr[static_cast<unsigned>(Gpr::rsp)] = v["guest_rsp"_f];
    const u64 rflags = v["guest_rflags"_f];
    cpu.flags = flag_image::from_rflags(rflags);
    cpu.rflags = (rflags & ~rflags_bits::arithmetic) | rflags_bits::fixed1;
    cpu.activity = activity_of(v["guest_activity_state"_f]);
    cpu.interruptibility = static_cast<u32>(v["guest_interruptibility_state"_f]) & 0xF;
    cpu.pending_debug = v["guest_pending_debug_exceptions"_f] & 0x500F;
    if (pae_paging(cpu))
        for (unsigned i = 0; i < 4; ++i)
            cpu.pdpte[i] = c.has("enable_ept"_vmx) ? v["guest_pdpte0"_f + i]
                                                   : cpu.memory.read64((cpu.cr3 & 0xFFFFFFE0) + 8 * i);
}

void load_host_area(Cpu& cpu, const Vmcs& v, const Controls& c) {
    const bool host64 = c.has("host_address_space_size"_vmx);
    cpu.cr0 = (cpu.cr0 & cr0_kept) | (v["host_cr0"_f] & ~cr0_kept);
    cpu.cr3 = v["host_cr3"_f];
    cpu.cr4 = v["host_cr4"_f];
    if (host64) cpu.cr4 |= cr4_bits::pae;
    else cpu.cr4 &= ~(cr4_bits::pcide | cr4_bits::fred);
    cpu.dr7 = dr7_bits::fixed1;
    cpu.debugctl = 0;
    cpu.sysenter_cs = v["host_ia32_sysenter_cs"_f];
    cpu.sysenter_esp = v["host_ia32_sysenter_esp"_f];
    cpu.sysenter_eip = v["host_ia32_sysenter_eip"_f];
    if (c.has("exit_load_ia32_efer"_vmx)) cpu.efer = v["host_ia32_efer"_f];
    else
        cpu.efer = host64 ? cpu.efer | (efer_bits::lma | efer_bits::lme)
                          : cpu.efer & ~(efer_bits::lma | efer_bits::lme);
    if (c.has("exit_load_ia32_pat"_vmx)) cpu.pat = v["host_ia32_pat"_f];
    if (c.has("clear_ia32_bndcfgs"_vmx)) cpu.bndcfgs = 0;
    if (c.has("exit_load_cet_state"_vmx)) {
        cpu.cet.s_cet = v["host_ia32_s_cet"_f];
        cpu.cet.ssp = v["host_ssp"_f];
        cpu.cet.ssp_table = v["host_ia32_interrupt_ssp_table_addr"_f];
    }
    if (c.has("exit_load_pkrs"_vmx)) cpu.pkrs = static_cast<u32>(v["host_ia32_pkrs"_f]);
    if (c.has("clear_uinv"_vmx)) set_uinv(cpu, 0);
    if (c.has("exit_load_ia32_fred"_vmx)) load_fred(cpu, v, "host_ia32_fred_config"_f);
    if (c.has("exit_load_ia32_spec_ctrl"_vmx)) cpu.spec_ctrl = v["host_ia32_spec_ctrl"_f];

    const auto selector = [&](Seg s) {
        return static_cast<u16>(v["host_es_selector"_f + static_cast<unsigned>(s)]);
    };
    cpu.segment(Seg::cs) = {.selector = selector(Seg::cs), .limit = 0xFFFFFFFF,
                            .access = host64 ? 0xA09Bu : 0xC09Bu, .base = 0};
    for (const Seg s : {Seg::es, Seg::ss, Seg::ds}) cpu.segment(s) = host_segment(selector(s), 0);
    cpu.segment(Seg::fs) = host_segment(selector(Seg::fs), v["host_fs_base"_f]);
    cpu.segment(Seg::gs) = host_segment(selector(Seg::gs), v["host_gs_base"_f]);
    cpu.segment(Seg::tr) = {.selector = static_cast<u16>(v["host_tr_selector"_f]),
                            .limit = 0x67,
                            .access = 0x8B,
                            .base = v["host_tr_base"_f]};
    cpu.segment(Seg::ldtr) = {.selector = 0, .limit = 0, .access = Segment::unusable_bit, .base = 0};
    cpu.cpl = 0;
    cpu.gdtr = {v["host_gdtr_base"_f], 0xFFFF};
    cpu.idtr = {v["host_idtr_base"_f], 0xFFFF};
    cpu.rip = v["host_rip"_f];
    cpu.gpr[static_cast<unsigned>(Gpr::rsp)] = v["host_rsp"_f];
    cpu.flags = flag_image::from_rflags(0);
    cpu.rflags = rflags_bits::fixed1;
}

}  // namespace droste
