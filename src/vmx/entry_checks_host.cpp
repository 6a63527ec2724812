// SPDX-License-Identifier: Apache-2.0
// SDM "Checks on Host-State Area". Failure: VMfailValid(8).
#include "cpu/msr_protection.h"
#include "vmx/entry_checks.h"

namespace droste {

bool valid_cet(const EntryContext& x, u64 value) {
    return valid_cet_control(x.cpu, sign_extend(value, x.cpu.model.linear_bits));
}

bool valid_fred(const EntryContext& x, Field config) {
    if (!valid_fred_config(x.cpu, x.v[config])) return false;
    for (unsigned i = 1; i < 4; ++i)
        if (!valid_fred_rsp(x.cpu, x.v[config + i]) || !valid_fred_ssp(x.cpu, x.v[config + (4 + i)])) return false;
    return true;
}

namespace {

using X = const EntryContext&;

bool host64(X x) { return x.c.has("host_address_space_size"_vmx); }

// "Checks on Host Control Registers, MSRs, and SSP"

bool cr0_fixed(X x) {
    const u64 cr0 = x.v["host_cr0"_f];
    return (x.caps.cr0_fixed0 & ~cr0) == 0 && (cr0 & ~x.caps.cr0_fixed1) == 0;
}
bool cr4_fixed(X x) {
    const u64 cr4 = x.v["host_cr4"_f];
    return (x.caps.cr4_fixed0 & ~cr4) == 0 && (cr4 & ~(x.caps.cr4_fixed1 | x.emulated_cr4)) == 0;
}
bool cet_needs_wp(X x) {
    return (x.v["host_cr4"_f] & cr4_bits::cet) == 0 || (x.v["host_cr0"_f] & cr0_bits::wp) != 0;
}
bool loads_cet(X x) { return x.c.has("exit_load_cet_state"_vmx); }
bool cet(X x) { return !loads_cet(x) || valid_cet(x, x.v["host_ia32_s_cet"_f]); }
bool ssp_aligned(X x) { return !loads_cet(x) || (x.v["host_ssp"_f] & 3) == 0; }
bool pkrs(X x) { return !x.c.has("exit_load_pkrs"_vmx) || (x.v["host_ia32_pkrs"_f] >> 32) == 0; }
bool fred(X x) { return !x.c.has("exit_load_ia32_fred"_vmx) || valid_fred(x, "host_ia32_fred_config"_f); }
bool spec_ctrl(X x) {
    return !x.c.has("exit_load_ia32_spec_ctrl"_vmx) || valid_spec_ctrl(x.cpu, x.v["host_ia32_spec_ctrl"_f]);
}
bool cr3_width(X x) { return x.caps.within_width(x.v["host_cr3"_f]); }
bool sysenter_canonical(X x) {
    return canonical(x, x.v["host_ia32_sysenter_esp"_f]) && canonical(x, x.v["host_ia32_sysenter_eip"_f]);
}
bool pat(X x) { return !x.c.has("exit_load_ia32_pat"_vmx) || valid_pat(x.v["host_ia32_pat"_f]); }
bool efer_reserved(X x) {
    return !x.c.has("exit_load_ia32_efer"_vmx) ||
           (x.v["host_ia32_efer"_f] & ~(x.cpu.model.valid_efer | efer_bits::lma)) == 0;
}
bool efer_long_mode(X x) {
    if (!x.c.has("exit_load_ia32_efer"_vmx)) return true;
    const u64 efer = x.v["host_ia32_efer"_f];
    return ((efer & efer_bits::lma) != 0) == host64(x) && ((efer & efer_bits::lme) != 0) == host64(x);
}

// "Checks on Host Segment and Descriptor-Table Registers"

bool selectors_rpl_ti(X x) {
    for (unsigned i = 0; i < 7; ++i)
        if ((x.v["host_es_selector"_f + i] & 7) != 0) return false;
    return true;
}
bool cs_not_null(X x) { return x.v["host_cs_selector"_f] != 0; }
bool tr_not_null(X x) { return x.v["host_tr_selector"_f] != 0; }
bool ss_not_null(X x) { return host64(x) || x.v["host_ss_selector"_f] != 0; }
bool bases_canonical(X x) {
    for (unsigned i = 0; i < 5; ++i)  // FS, GS, TR, GDTR, IDTR
        if (!canonical(x, x.v["host_fs_base"_f + i])) return false;
    return true;
}

// "Checks Related to Address-Space Size"

bool long_mode(X x) { return (x.cpu.efer & efer_bits::lma) != 0; }
bool legacy_host(X x) { return long_mode(x) || (!x.c.has("ia32e_mode_guest"_vmx) && !host64(x)); }
bool ia32e_host(X x) { return !long_mode(x) || host64(x); }
bool host32(X x) {
    return host64(x) || (!x.c.has("ia32e_mode_guest"_vmx) &&
                         (x.v["host_cr4"_f] & (cr4_bits::pcide | cr4_bits::fred)) == 0 &&
                         (x.v["host_rip"_f] >> 32) == 0);
}
bool host64_pae(X x) { return !host64(x) || (x.v["host_cr4"_f] & cr4_bits::pae) != 0; }
bool cet_width(X x) {
    if (!loads_cet(x)) return true;
    const u64 s_cet = x.v["host_ia32_s_cet"_f], ssp = x.v["host_ssp"_f];
    return host64(x) ? canonical(x, s_cet) && canonical(x, ssp) : (s_cet >> 32) == 0 && (ssp >> 32) == 0;
}
bool ssp_table(X x) { return !loads_cet(x) || canonical(x, x.v["host_ia32_interrupt_ssp_table_addr"_f]); }
bool host64_rip(X x) { return !host64(x) || canonical(x, x.v["host_rip"_f]); }

constexpr EntryCheck rows[] = {
    {"host CR0 obeys the fixed bits", Stage::host_state, cr0_fixed},
    {"host CR4 obeys the fixed bits", Stage::host_state, cr4_fixed},
    {"host CR4.CET needs CR0.WP", Stage::host_state, cet_needs_wp},
    {"host CR3 is within the physical-address width", Stage::host_state, cr3_width},
    {"host IA32_SYSENTER_ESP and EIP are canonical", Stage::host_state, sysenter_canonical},
    {"host IA32_PAT holds memory types", Stage::host_state, pat},
    {"host IA32_EFER: reserved bits", Stage::host_state, efer_reserved},
    {"host IA32_EFER.LMA and LME equal the host address-space size", Stage::host_state, efer_long_mode},
    {"host IA32_S_CET: reserved bits", Stage::host_state, cet},
    {"host SSP: bits 1:0 are 0", Stage::host_state, ssp_aligned},
    {"host IA32_PKRS: bits 63:32 are 0", Stage::host_state, pkrs},
    {"host FRED MSRs", Stage::host_state, fred},
    {"host IA32_SPEC_CTRL: reserved bits", Stage::host_state, spec_ctrl},
    {"host selectors: RPL and TI are 0", Stage::host_state, selectors_rpl_ti},
    {"host CS is not null", Stage::host_state, cs_not_null},
    {"host TR is not null", Stage::host_state, tr_not_null},
    {"host SS is not null for a 32-bit host", Stage::host_state, ss_not_null},
    {"host bases of FS, GS, TR, GDTR, IDTR are canonical", Stage::host_state, bases_canonical},
    {"outside IA-32e mode neither guest nor host are 64-bit", Stage::host_state, legacy_host},
    {"in IA-32e mode the host is 64-bit", Stage::host_state, ia32e_host},
    {"32-bit host: guest not IA-32e, CR4.PCIDE and FRED 0, RIP below 4 GiB", Stage::host_state, host32},
    {"64-bit host: CR4.PAE is 1", Stage::host_state, host64_pae},
    {"64-bit host: RIP is canonical", Stage::host_state, host64_rip},
    {"host IA32_S_CET and SSP fit the address-space size", Stage::host_state, cet_width},
    {"host IA32_INTERRUPT_SSP_TABLE_ADDR is canonical", Stage::host_state, ssp_table},
};

constexpr EntrySection sections[] = {
    {"host CR0 obeys the fixed bits", "Checks on Host Control Registers, MSRs, and SSP"},
    {"host selectors: RPL and TI are 0", "Checks on Host Segment and Descriptor-Table Registers"},
    {"outside IA-32e mode neither guest nor host are 64-bit", "Checks Related to Address-Space Size"},
};

static_assert(Field{"host_gs_base"_f} == "host_fs_base"_f + 1 &&
              Field{"host_idtr_base"_f} == "host_fs_base"_f + 4);
static_assert(Field{"host_tr_selector"_f} == "host_es_selector"_f + 6);

}  // namespace

std::span<const EntryCheck> host_entry_checks() { return rows; }
bool depends_on_mode(const EntryCheck& check) {
    return check.passes == legacy_host || check.passes == ia32e_host;
}
std::span<const EntrySection> host_entry_sections() { return sections; }

}  // namespace droste
