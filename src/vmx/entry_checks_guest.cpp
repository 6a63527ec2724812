// SPDX-License-Identifier: Apache-2.0
// SDM "Checks on the Guest State Area". Failure: VM-entry failure, basic exit reason 33.
#include "vmx/entry_checks.h"
#include "vmx/interruption.h"

namespace droste {

bool valid_pdptes(const std::array<u64, 4>& pdptes, unsigned maxphyaddr) {
    const u64 reserved = ~((1ull << maxphyaddr) - 1) | 0x1E6;
    for (const u64 pdpte : pdptes)
        if ((pdpte & 1) != 0 && (pdpte & reserved) != 0) return false;
    return true;
}

namespace {

using X = const EntryContext&;

bool ia32e_guest(X x) { return x.c.has("ia32e_mode_guest"_vmx); }
bool unrestricted(X x) { return x.c.has("unrestricted_guest"_vmx); }
bool v86(X x) { return (x.v["guest_rflags"_f] & rflags_bits::vm) != 0; }

/// The guest's segment register as the VMCS describes it.
Segment segment(X x, Seg s) {
    const auto n = static_cast<unsigned>(s);
    return {.selector = static_cast<u16>(x.v["guest_es_selector"_f + n]),
            .limit = static_cast<u32>(x.v["guest_es_limit"_f + n]),
            .access = static_cast<u32>(x.v["guest_es_access_rights"_f + n]),
            .base = x.v["guest_es_base"_f + n]};
}
static_assert(Field{"guest_tr_selector"_f} == "guest_es_selector"_f + 7);
static_assert(Field{"guest_tr_limit"_f} == "guest_es_limit"_f + 7);
static_assert(Field{"guest_tr_access_rights"_f} == "guest_es_access_rights"_f + 7);
static_assert(Field{"guest_tr_base"_f} == "guest_es_base"_f + 7);

constexpr Seg code_and_data[] = {Seg::cs, Seg::ss, Seg::ds, Seg::es, Seg::fs, Seg::gs};
constexpr Seg data[] = {Seg::ds, Seg::es, Seg::fs, Seg::gs};

/// CS counts always, the others when usable.
bool counts(Seg s, const Segment& d) { return s == Seg::cs || !d.unusable(); }

// "Checks on Guest Control Registers, Debug Registers, and MSRs"

bool cr0_fixed(X x) {
    const u64 cr0 = x.v["guest_cr0"_f];
    const u64 free = unrestricted(x) ? cr0_bits::pe | cr0_bits::pg : 0;
    return (x.caps.cr0_fixed0 & ~free & ~cr0) == 0 && (cr0 & ~x.caps.cr0_fixed1) == 0;
}
bool cr0_paging_needs_protection(X x) {
    const u64 cr0 = x.v["guest_cr0"_f];
    return (cr0 & cr0_bits::pg) == 0 || (cr0 & cr0_bits::pe) != 0;
}
bool cr4_fixed(X x) {
    const u64 cr4 = x.v["guest_cr4"_f];
    return (x.caps.cr4_fixed0 & ~cr4) == 0 && (cr4 & ~(x.caps.cr4_fixed1 | x.emulated_cr4)) == 0;
}
bool cet_needs_wp(X x) {
    return (x.v["guest_cr4"_f] & cr4_bits::cet) == 0 || (x.v["guest_cr0"_f] & cr0_bits::wp) != 0;
}
bool debugctl(X x) {
    return !x.c.has("load_debug_controls"_vmx) || (x.v["guest_ia32_debugctl"_f] & ~valid_debugctl(x.cpu)) == 0;
}
bool ia32e_paging(X x) {
    return !ia32e_guest(x) ||
           ((x.v["guest_cr0"_f] & cr0_bits::pg) != 0 && (x.v["guest_cr4"_f] & cr4_bits::pae) != 0);
}
bool pcide_needs_ia32e(X x) { return ia32e_guest(x) || (x.v["guest_cr4"_f] & cr4_bits::pcide) == 0; }
bool fred_transitions(X x) { return (x.v["guest_cr4"_f] & cr4_bits::fred) != 0; }
bool fred_needs_ia32e(X x) { return ia32e_guest(x) || !fred_transitions(x); }
bool loads_cet(X x) { return x.c.has("entry_load_cet_state"_vmx); }
bool cet_canonical(X x) {
    return !loads_cet(x) || (canonical(x, x.v["guest_ia32_s_cet"_f]) &&
                             canonical(x, x.v["guest_ia32_interrupt_ssp_table_addr"_f]));
}
bool cet(X x) { return !loads_cet(x) || valid_cet(x, x.v["guest_ia32_s_cet"_f]); }
bool bndcfgs(X x) {
    const u64 value = x.v["guest_ia32_bndcfgs"_f];
    return !x.c.has("load_ia32_bndcfgs"_vmx) || ((value & 0xFFC) == 0 && canonical(x, value & ~0xFFFull));
}
bool pkrs(X x) { return !x.c.has("entry_load_pkrs"_vmx) || (x.v["guest_ia32_pkrs"_f] >> 32) == 0; }
bool uinv(X x) { return !x.c.has("load_uinv"_vmx) || (x.v["guest_uinv"_f] >> 8) == 0; }
bool fred(X x) { return !x.c.has("entry_load_ia32_fred"_vmx) || valid_fred(x, "guest_ia32_fred_config"_f); }
bool spec_ctrl(X x) {
    return !x.c.has("entry_load_ia32_spec_ctrl"_vmx) || valid_spec_ctrl(x.cpu, x.v["guest_ia32_spec_ctrl"_f]);
}
bool cr3_width(X x) { return x.caps.within_width(x.v["guest_cr3"_f]); }
bool dr7_high(X x) { return !x.c.has("load_debug_controls"_vmx) || (x.v["guest_dr7"_f] >> 32) == 0; }
bool sysenter_canonical(X x) {
    return canonical(x, x.v["guest_ia32_sysenter_esp"_f]) && canonical(x, x.v["guest_ia32_sysenter_eip"_f]);
}
bool pat(X x) { return !x.c.has("entry_load_ia32_pat"_vmx) || valid_pat(x.v["guest_ia32_pat"_f]); }
bool efer_reserved(X x) {
    return !x.c.has("entry_load_ia32_efer"_vmx) ||
           (x.v["guest_ia32_efer"_f] & ~(x.cpu.model.valid_efer | efer_bits::lma)) == 0;
}
bool efer_long_mode(X x) {
    if (!x.c.has("entry_load_ia32_efer"_vmx)) return true;
    const u64 efer = x.v["guest_ia32_efer"_f];
    const bool lma = efer & efer_bits::lma, lme = efer & efer_bits::lme;
    return lma == ia32e_guest(x) && ((x.v["guest_cr0"_f] & cr0_bits::pg) == 0 || lma == lme);
}

// "Checks on Guest Segment Registers"

bool tr_selector(X x) { return (segment(x, Seg::tr).selector & 4) == 0; }
bool ldtr_selector(X x) {
    const Segment ldtr = segment(x, Seg::ldtr);
    return ldtr.unusable() || (ldtr.selector & 4) == 0;
}
bool ss_selector(X x) {
    return v86(x) || unrestricted(x) ||
           ((segment(x, Seg::ss).selector ^ segment(x, Seg::cs).selector) & 3) == 0;
}
bool bases_v86(X x) {
    if (!v86(x)) return true;
    for (const Seg s : code_and_data) {
        const Segment d = segment(x, s);
        if (d.base != u64{d.selector} << 4) return false;
    }
    return true;
}
bool bases_canonical(X x) {
    const Segment ldtr = segment(x, Seg::ldtr);
    return canonical(x, segment(x, Seg::tr).base) && canonical(x, segment(x, Seg::fs).base) &&
           canonical(x, segment(x, Seg::gs).base) && (ldtr.unusable() || canonical(x, ldtr.base));
}
bool bases_32_bit(X x) {
    for (const Seg s : {Seg::cs, Seg::ss, Seg::ds, Seg::es}) {
        const Segment d = segment(x, s);
        if (counts(s, d) && (d.base >> 32) != 0) return false;
    }
    return true;
}
bool limits_v86(X x) {
    if (!v86(x)) return true;
    for (const Seg s : code_and_data)
        if (segment(x, s).limit != 0xFFFF) return false;
    return true;
}
bool access_v86(X x) {
    if (!v86(x)) return true;
    for (const Seg s : code_and_data)
        if (segment(x, s).access != 0xF3) return false;
    return true;
}
bool cs_type(X x) {
    if (v86(x)) return true;
    const unsigned type = segment(x, Seg::cs).type();
    return type == 9 || type == 11 || type == 13 || type == 15 || (type == 3 && unrestricted(x));
}
bool ss_type(X x) {
    const Segment ss = segment(x, Seg::ss);
    return v86(x) || ss.unusable() || ss.type() == 3 || ss.type() == 7;
}
bool data_types(X x) {
    if (v86(x)) return true;
    for (const Seg s : data) {
        const Segment d = segment(x, s);
        if (d.unusable()) continue;
        if ((d.type() & 1) == 0 || ((d.type() & 8) != 0 && (d.type() & 2) == 0)) return false;
    }
    return true;
}
bool code_or_data(X x) {
    if (v86(x)) return true;
    for (const Seg s : code_and_data) {
        const Segment d = segment(x, s);
        if (counts(s, d) && d.system()) return false;
    }
    return true;
}
bool cs_dpl(X x) {
    if (v86(x)) return true;
    const Segment cs = segment(x, Seg::cs), ss = segment(x, Seg::ss);
    switch (cs.type()) {
    case 3: return cs.dpl() == 0;
    case 9: case 11: return cs.dpl() == ss.dpl();
    default: return cs.dpl() <= ss.dpl();
    }
}
bool ss_dpl(X x) {
    if (v86(x)) return true;
    const Segment cs = segment(x, Seg::cs), ss = segment(x, Seg::ss);
    if (!unrestricted(x) && ss.dpl() != (ss.selector & 3u)) return false;
    return !(cs.type() == 3 || (x.v["guest_cr0"_f] & cr0_bits::pe) == 0) || ss.dpl() == 0;
}
bool data_dpl(X x) {
    if (v86(x) || unrestricted(x)) return true;
    for (const Seg s : data) {
        const Segment d = segment(x, s);
        if (!d.unusable() && d.type() <= 11 && d.dpl() < (d.selector & 3u)) return false;
    }
    return true;
}
bool segments_present(X x) {
    if (v86(x)) return true;
    for (const Seg s : code_and_data) {
        const Segment d = segment(x, s);
        if (counts(s, d) && !d.present()) return false;
    }
    return true;
}
bool access_reserved(X x) {
    if (v86(x)) return true;
    for (const Seg s : code_and_data) {
        const Segment d = segment(x, s);
        if (counts(s, d) && (d.access & 0xFFFE0F00) != 0) return false;
    }
    return true;
}
bool cs_default_size(X x) {
    const Segment cs = segment(x, Seg::cs);
    return v86(x) || !ia32e_guest(x) || !cs.l() || !cs.db();
}
/// G must be 0 when a low limit bit is 0, and 1 when a high limit bit is 1.
bool granularity_fits(const Segment& d) {
    return !((d.limit & 0xFFF) != 0xFFF && d.g()) && !((d.limit & 0xFFF00000) != 0 && !d.g());
}
bool granularity(X x) {
    if (v86(x)) return true;
    for (const Seg s : code_and_data) {
        const Segment d = segment(x, s);
        if (counts(s, d) && !granularity_fits(d)) return false;
    }
    return true;
}
bool tr_access(X x) {
    const Segment tr = segment(x, Seg::tr);
    const bool type = tr.type() == 11 || (tr.type() == 3 && !ia32e_guest(x));
    return type && tr.system() && tr.present() && (tr.access & 0xFFFE0F00) == 0 && !tr.unusable() &&
           granularity_fits(tr);
}
bool ldtr_access(X x) {
    const Segment ldtr = segment(x, Seg::ldtr);
    return ldtr.unusable() || (ldtr.type() == 2 && ldtr.system() && ldtr.present() &&
                               (ldtr.access & 0xFFFE0F00) == 0 && granularity_fits(ldtr));
}

/// SS.DPL with FRED transitions: privilege levels 0 and 3 alone, level 0 in 64-bit mode.
bool ss_dpl_fred(X x) {
    if (!fred_transitions(x)) return true;
    const unsigned dpl = segment(x, Seg::ss).dpl();
    if (dpl == 0) return segment(x, Seg::cs).l();
    return dpl == 3 && (x.v["guest_rflags"_f] & rflags_bits::iopl) == 0 &&
           (x.v["guest_interruptibility_state"_f] & interruptibility_bits::sti) == 0;
}

// "Checks on Guest Descriptor-Table Registers"

bool tables_canonical(X x) {
    return canonical(x, x.v["guest_gdtr_base"_f]) && canonical(x, x.v["guest_idtr_base"_f]);
}
bool tables_limit(X x) {
    return (x.v["guest_gdtr_limit"_f] >> 16) == 0 && (x.v["guest_idtr_limit"_f] >> 16) == 0;
}

// "Checks on Guest RIP, RFLAGS, and SSP"

bool code64(X x) { return ia32e_guest(x) && segment(x, Seg::cs).l(); }
bool rip(X x) {
    const u64 value = x.v["guest_rip"_f];
    if (!code64(x)) return (value >> 32) == 0;
    return nearly_canonical(x, value);
}
bool ssp(X x) {
    const u64 value = x.v["guest_ssp"_f];
    return !loads_cet(x) || ((value & 3) == 0 && nearly_canonical(x, value));
}
bool rflags_reserved(X x) {
    const u64 f = x.v["guest_rflags"_f];
    return (f & ~0x3FFFFFull) == 0 && (f & 0x8028) == 0 && (f & rflags_bits::fixed1) != 0;
}
bool rflags_vm(X x) {
    return !v86(x) || (!ia32e_guest(x) && (x.v["guest_cr0"_f] & cr0_bits::pe) != 0);
}
bool rflags_if(X x) {
    return !(x.injects() && x.injected_type() == interruption::external) ||
           (x.v["guest_rflags"_f] & rflags_bits::if_) != 0;
}

// "Checks on Guest Non-Register State"

enum GuestActivity : u64 { activity_active, activity_hlt, activity_shutdown, activity_wait_for_sipi };
constexpr u64 blocking_sti = interruptibility_bits::sti, blocking_mov_ss = interruptibility_bits::mov_ss,
              blocking_smi = interruptibility_bits::smi, blocking_nmi = interruptibility_bits::nmi;
u64 interruptibility(X x) { return x.v["guest_interruptibility_state"_f]; }
u64 activity(X x) { return x.v["guest_activity_state"_f]; }

bool activity_supported(X x) {
    switch (activity(x)) {
    case activity_active: return true;
    case activity_hlt: return x.caps.has("activity_state_hlt"_vmx);
    case activity_shutdown: return x.caps.has("activity_state_shutdown"_vmx);
    case activity_wait_for_sipi: return x.caps.has("activity_state_wait_for_sipi"_vmx);
    default: return false;
    }
}
bool hlt_at_cpl0(X x) { return activity(x) != activity_hlt || segment(x, Seg::ss).dpl() == 0; }
bool blocking_needs_active(X x) {
    return (interruptibility(x) & (blocking_sti | blocking_mov_ss)) == 0 || activity(x) == activity_active;
}
bool activity_takes_event(X x) {
    if (!x.injects()) return true;
    const unsigned type = x.injected_type(), vector = x.injected_vector();
    const bool machine_check = type == interruption::hardware_exception && vector == 18;
    switch (activity(x)) {
    case activity_hlt:
        return type == interruption::external || type == interruption::nmi || machine_check ||
               (type == interruption::hardware_exception && vector == 1) || type == interruption::other_event;
    case activity_shutdown: return type == interruption::nmi || machine_check;
    case activity_wait_for_sipi: return false;
    default: return true;
    }
}
bool interruptibility_reserved(X x) { return (interruptibility(x) & ~0xFull) == 0; }
bool sti_and_mov_ss(X x) {
    return (interruptibility(x) & (blocking_sti | blocking_mov_ss)) != (blocking_sti | blocking_mov_ss);
}
bool sti_needs_if(X x) {
    return (interruptibility(x) & blocking_sti) == 0 || (x.v["guest_rflags"_f] & rflags_bits::if_) != 0;
}
bool injected_interrupt_not_blocked(X x) {
    return !(x.injects() && x.injected_type() == interruption::external) ||
           (interruptibility(x) & (blocking_sti | blocking_mov_ss)) == 0;
}
bool injects_nmi(X x) { return x.injects() && x.injected_type() == interruption::nmi; }
bool injected_nmi_mov_ss(X x) { return !injects_nmi(x) || (interruptibility(x) & blocking_mov_ss) == 0; }
bool no_smi_blocking(X x) { return (interruptibility(x) & blocking_smi) == 0; }
bool injected_nmi_sti(X x) { return !injects_nmi(x) || (interruptibility(x) & blocking_sti) == 0; }
bool injected_nmi_not_blocked(X x) {
    return !(injects_nmi(x) && x.c.has("virtual_nmis"_vmx)) || (interruptibility(x) & blocking_nmi) == 0;
}
bool pending_debug_reserved(X x) {
    return (x.v["guest_pending_debug_exceptions"_f] & ~0x500Full) == 0;
}
bool pending_debug_single_step(X x) {
    const bool held =
        (interruptibility(x) & (blocking_sti | blocking_mov_ss)) != 0 || activity(x) == activity_hlt;
    if (!held) return true;
    const bool steps =
        (x.v["guest_rflags"_f] & rflags_bits::tf) != 0 && (x.v["guest_ia32_debugctl"_f] & 2) == 0;
    return ((x.v["guest_pending_debug_exceptions"_f] >> 14) & 1) == u64{steps};
}
bool link_pointer(X x) {
    const u64 link = x.v["vmcs_link_pointer"_f];
    if (link == ~0ull) return true;
    if (!structure_address(x, link, 12) || link == x.v.address()) return false;
    const u32 first = static_cast<u32>(x.memory(link, Width::dword));
    return (first & 0x7FFFFFFF) == x.caps.revision && (first >> 31) == u32{x.c.has("vmcs_shadowing"_vmx)} &&
           Vmcs(x.cpu.memory, x.reach(link));
}

// "Checks on Guest Page-Directory-Pointer-Table Entries"

bool pdptes(X x) {
    const bool pae = (x.v["guest_cr0"_f] & cr0_bits::pg) != 0 && (x.v["guest_cr4"_f] & cr4_bits::pae) != 0 &&
                     !ia32e_guest(x);
    if (!pae) return true;
    std::array<u64, 4> entries{};
    for (unsigned i = 0; i < 4; ++i)
        entries[i] = x.c.has("enable_ept"_vmx)
                         ? x.v["guest_pdpte0"_f + i]
                         : x.memory((x.v["guest_cr3"_f] & 0xFFFFFFE0) + 8 * i, Width::qword);
    return valid_pdptes(entries, x.caps.maxphyaddr);
}

constexpr EntryCheck rows[] = {
    {"guest CR0 obeys the fixed bits", Stage::guest_state, cr0_fixed},
    {"guest CR0.PG needs CR0.PE", Stage::guest_state, cr0_paging_needs_protection},
    {"guest CR4 obeys the fixed bits", Stage::guest_state, cr4_fixed},
    {"guest CR4.CET needs CR0.WP", Stage::guest_state, cet_needs_wp},
    {"guest IA32_DEBUGCTL: reserved bits", Stage::guest_state, debugctl},
    {"IA-32e mode guest needs CR0.PG and CR4.PAE", Stage::guest_state, ia32e_paging},
    {"guest CR4.PCIDE needs IA-32e mode", Stage::guest_state, pcide_needs_ia32e},
    {"guest CR4.FRED needs IA-32e mode", Stage::guest_state, fred_needs_ia32e},
    {"guest CR3 is within the physical-address width", Stage::guest_state, cr3_width},
    {"guest DR7: bits 63:32 are 0", Stage::guest_state, dr7_high},
    {"guest IA32_SYSENTER_ESP and EIP are canonical", Stage::guest_state, sysenter_canonical},
    {"guest IA32_S_CET and IA32_INTERRUPT_SSP_TABLE_ADDR are canonical", Stage::guest_state, cet_canonical},
    {"guest IA32_PAT holds memory types", Stage::guest_state, pat},
    {"guest IA32_EFER: reserved bits", Stage::guest_state, efer_reserved},
    {"guest IA32_EFER.LMA equals the IA-32e mode guest control, and LME with paging", Stage::guest_state,
     efer_long_mode},
    {"guest IA32_BNDCFGS: reserved bits and address", Stage::guest_state, bndcfgs},
    {"guest IA32_S_CET: reserved bits", Stage::guest_state, cet},
    {"guest IA32_PKRS: bits 63:32 are 0", Stage::guest_state, pkrs},
    {"guest UINV: bits 15:8 are 0", Stage::guest_state, uinv},
    {"guest FRED MSRs", Stage::guest_state, fred},
    {"guest IA32_SPEC_CTRL: reserved bits", Stage::guest_state, spec_ctrl},
    {"guest TR selector: TI is 0", Stage::guest_state, tr_selector},
    {"guest LDTR selector: TI is 0", Stage::guest_state, ldtr_selector},
    {"guest SS selector: RPL equals that of CS", Stage::guest_state, ss_selector},
    {"virtual-8086 guest: bases are selector * 16", Stage::guest_state, bases_v86},
    {"guest bases of TR, FS, GS, LDTR are canonical", Stage::guest_state, bases_canonical},
    {"guest bases of CS, SS, DS, ES are below 4 GiB", Stage::guest_state, bases_32_bit},
    {"virtual-8086 guest: limits are FFFFH", Stage::guest_state, limits_v86},
    {"virtual-8086 guest: access rights are F3H", Stage::guest_state, access_v86},
    {"guest CS: type", Stage::guest_state, cs_type},
    {"guest SS: type", Stage::guest_state, ss_type},
    {"guest DS, ES, FS, GS: type", Stage::guest_state, data_types},
    {"guest segments are code or data (S)", Stage::guest_state, code_or_data},
    {"guest CS: DPL", Stage::guest_state, cs_dpl},
    {"guest SS: DPL", Stage::guest_state, ss_dpl},
    {"guest SS: DPL with FRED transitions", Stage::guest_state, ss_dpl_fred},
    {"guest DS, ES, FS, GS: DPL", Stage::guest_state, data_dpl},
    {"guest segments are present", Stage::guest_state, segments_present},
    {"guest segments: reserved access-rights bits", Stage::guest_state, access_reserved},
    {"guest CS: D and L", Stage::guest_state, cs_default_size},
    {"guest segments: G fits the limit", Stage::guest_state, granularity},
    {"guest TR: access rights and limit", Stage::guest_state, tr_access},
    {"guest LDTR: access rights and limit", Stage::guest_state, ldtr_access},
    {"guest GDTR and IDTR bases are canonical", Stage::guest_state, tables_canonical},
    {"guest GDTR and IDTR limits: bits 31:16 are 0", Stage::guest_state, tables_limit},
    {"guest RIP", Stage::guest_state, rip},
    {"guest RFLAGS: reserved bits", Stage::guest_state, rflags_reserved},
    {"guest RFLAGS.VM", Stage::guest_state, rflags_vm},
    {"guest RFLAGS.IF is 1 when an external interrupt is injected", Stage::guest_state, rflags_if},
    {"guest SSP", Stage::guest_state, ssp},
    {"guest activity state is supported", Stage::guest_state, activity_supported},
    {"guest activity state HLT needs CPL 0", Stage::guest_state, hlt_at_cpl0},
    {"guest blocking by STI or MOV SS needs the active state", Stage::guest_state, blocking_needs_active},
    {"guest activity state takes the injected event", Stage::guest_state, activity_takes_event},
    {"guest interruptibility: reserved bits", Stage::guest_state, interruptibility_reserved},
    {"guest is not blocked by both STI and MOV SS", Stage::guest_state, sti_and_mov_ss},
    {"guest blocking by STI needs RFLAGS.IF", Stage::guest_state, sti_needs_if},
    {"injected external interrupt is not blocked", Stage::guest_state, injected_interrupt_not_blocked},
    {"injected NMI is not blocked by MOV SS", Stage::guest_state, injected_nmi_mov_ss},
    {"guest is not blocked by SMI", Stage::guest_state, no_smi_blocking},
    {"injected NMI is not blocked by STI", Stage::guest_state, injected_nmi_sti, EntryFailure::nmi_injection},
    {"injected NMI is not blocked by an NMI", Stage::guest_state, injected_nmi_not_blocked},
    {"guest pending debug exceptions: reserved bits", Stage::guest_state, pending_debug_reserved},
    {"guest pending debug exceptions: BS fits TF", Stage::guest_state, pending_debug_single_step},
    {"VMCS link pointer", Stage::guest_state, link_pointer, EntryFailure::vmcs_link_pointer},
    {"guest PDPTEs: reserved bits", Stage::guest_state, pdptes, EntryFailure::pdpte},
};

constexpr EntrySection sections[] = {
    {"guest CR0 obeys the fixed bits", "Checks on Guest Control Registers, Debug Registers, and MSRs"},
    {"guest TR selector: TI is 0", "Checks on Guest Segment Registers"},
    {"guest GDTR and IDTR bases are canonical", "Checks on Guest Descriptor-Table Registers"},
    {"guest RIP", "Checks on Guest RIP, RFLAGS, and SSP"},
    {"guest activity state is supported", "Checks on Guest Non-Register State"},
    {"guest PDPTEs: reserved bits", "Checks on Guest Page-Directory-Pointer-Table Entries"},
};

}  // namespace

std::span<const EntryCheck> guest_entry_checks() { return rows; }
std::span<const EntrySection> guest_entry_sections() { return sections; }

}  // namespace droste
