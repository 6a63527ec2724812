// SPDX-License-Identifier: Apache-2.0
// Derives the capability MSRs from the set of capability rows that a CPU model offers.
#include "vmx/capability_msrs.h"

#include <algorithm>

#include "vmx/vmcs.h"

namespace droste {

namespace {

struct Generation {
    std::string_view model;  ///< CpuModel::name
    VmxSince since;
    u8 timer_rate;           ///< as measured on real parts
};
constexpr Generation generations[] = {
    {"nehalem", VmxSince::nehalem, 5},           {"westmere", VmxSince::westmere, 7},
    {"sandy-bridge", VmxSince::sandy_bridge, 5}, {"ivy-bridge", VmxSince::ivy_bridge, 5},
    {"haswell", VmxSince::haswell, 5},           {"broadwell", VmxSince::broadwell, 5},
    {"skylake-sp", VmxSince::skylake, 7},        {"icelake-sp", VmxSince::icelake, 5},
    {"sapphire-rapids", VmxSince::sapphire_rapids, 5},
};
constexpr Generation newest{"", VmxSince::newest, 5};

/// A capability that is of no use, or not legal, without another one.
struct Dependency {
    Capability dependent, on;
};
constexpr Dependency dependencies[] = {
    // SDM "Checks on VMX Controls": entry fails with the first and without the second.
    {"virtual_nmis"_vmx, "nmi_exiting"_vmx},
    {"nmi_window_exiting"_vmx, "virtual_nmis"_vmx},
    {"save_vmx_preemption_timer_value"_vmx, "activate_vmx_preemption_timer"_vmx},
    {"unrestricted_guest"_vmx, "enable_ept"_vmx},
    {"enable_pml"_vmx, "enable_ept"_vmx},
    {"mode_based_execute_control_for_ept"_vmx, "enable_ept"_vmx},
    {"sub_page_write_permissions_for_ept"_vmx, "enable_ept"_vmx},
    {"enable_hlat"_vmx, "enable_ept"_vmx},
    {"ept_paging_write_control"_vmx, "enable_ept"_vmx},
    {"guest_paging_verification"_vmx, "enable_ept"_vmx},
    {"ept_violation_ve"_vmx, "enable_ept"_vmx},
    {"eptp_switching"_vmx, "enable_ept"_vmx},
    {"virtualize_apic_accesses"_vmx, "use_tpr_shadow"_vmx},
    {"virtualize_x2apic_mode"_vmx, "use_tpr_shadow"_vmx},
    {"apic_register_virtualization"_vmx, "use_tpr_shadow"_vmx},
    {"virtual_interrupt_delivery"_vmx, "use_tpr_shadow"_vmx},
    {"ipi_virtualization"_vmx, "use_tpr_shadow"_vmx},
    {"process_posted_interrupts"_vmx, "virtual_interrupt_delivery"_vmx},
    {"apic_timer_virtualization"_vmx, "virtual_interrupt_delivery"_vmx},
    // Of no use without the other.
    {"ipi_virtualization"_vmx, "process_posted_interrupts"_vmx},
    {"guest_paging_verification"_vmx, "ept_paging_write_control"_vmx},
    {"store_efer_lma"_vmx, "unrestricted_guest"_vmx},
    {"enable_pml"_vmx, "ept_accessed_and_dirty_flags"_vmx},
    {"enable_vm_functions"_vmx, "eptp_switching"_vmx},
    {"eptp_switching"_vmx, "enable_vm_functions"_vmx},
    {"nested_exceptions"_vmx, "entry_load_ia32_fred"_vmx},
    {"entry_load_ia32_fred"_vmx, "nested_exceptions"_vmx},
    {"entry_load_ia32_fred"_vmx, "injection_with_any_error_code"_vmx},
    // Software that finds one control of a pair alone takes it for a defect.
    {"exit_load_ia32_pat"_vmx, "entry_load_ia32_pat"_vmx},
    {"entry_load_ia32_pat"_vmx, "exit_load_ia32_pat"_vmx},
    {"exit_load_ia32_efer"_vmx, "entry_load_ia32_efer"_vmx},
    {"entry_load_ia32_efer"_vmx, "exit_load_ia32_efer"_vmx},
    {"clear_ia32_bndcfgs"_vmx, "load_ia32_bndcfgs"_vmx},
    {"load_ia32_bndcfgs"_vmx, "clear_ia32_bndcfgs"_vmx},
    {"clear_uinv"_vmx, "load_uinv"_vmx},
    {"load_uinv"_vmx, "clear_uinv"_vmx},
    {"exit_load_cet_state"_vmx, "entry_load_cet_state"_vmx},
    {"entry_load_cet_state"_vmx, "exit_load_cet_state"_vmx},
    {"exit_load_pkrs"_vmx, "entry_load_pkrs"_vmx},
    {"entry_load_pkrs"_vmx, "exit_load_pkrs"_vmx},
    {"save_ia32_fred"_vmx, "entry_load_ia32_fred"_vmx},
    {"exit_load_ia32_fred"_vmx, "entry_load_ia32_fred"_vmx},
    {"entry_load_ia32_fred"_vmx, "exit_load_ia32_fred"_vmx},
    {"entry_load_ia32_fred"_vmx, "save_ia32_fred"_vmx},
    {"exit_load_ia32_spec_ctrl"_vmx, "entry_load_ia32_spec_ctrl"_vmx},
    {"entry_load_ia32_spec_ctrl"_vmx, "exit_load_ia32_spec_ctrl"_vmx},
};

/// A control whose instructions the model lacks is not offered.
struct FeatureNeed {
    Capability capability;
    Feature feature;
};
constexpr FeatureNeed feature_needs[] = {
    {"enable_rdtscp"_vmx, Feature::rdtscp},          {"enable_invpcid"_vmx, Feature::invpcid},
    {"rdrand_exiting"_vmx, Feature::rdrand},         {"rdseed_exiting"_vmx, Feature::rdseed},
    {"enable_xsaves_xrstors"_vmx, Feature::xsaves},  {"virtualize_x2apic_mode"_vmx, Feature::x2apic},
    {"ept_1g_pages"_vmx, Feature::page1gb},          {"load_ia32_bndcfgs"_vmx, Feature::mpx},
    {"load_uinv"_vmx, Feature::uintr},               {"entry_load_cet_state"_vmx, Feature::cet_ss},
    {"entry_load_pkrs"_vmx, Feature::pks},           {"entry_load_ia32_fred"_vmx, Feature::fred},
    {"virtualize_ia32_spec_ctrl"_vmx, Feature::ibrs_ibpb},
    {"entry_load_ia32_spec_ctrl"_vmx, Feature::ibrs_ibpb},
    {"enable_user_wait_and_pause"_vmx, Feature::waitpkg},
    {"enable_msr_list_instructions"_vmx, Feature::msrlist},
    {"prematurely_busy_shadow_stack"_vmx, Feature::cet_ss},
    {"ept_supervisor_shadow_stack"_vmx, Feature::cet_ss},
};

void set(VmxCapabilities& c, Capability what, bool on) {
    u64& word = c.supported[static_cast<unsigned>(what.word)];
    word = on ? word | what.mask() : word & ~what.mask();
}
void remove(VmxCapabilities& c, Capability what) { set(c, what, false); }

std::string name_of(Capability c) {
    for (const CapabilityRow& row : capability_rows)
        if (Capability{row.word, row.bit} == c) return std::string(row.name);
    return "?";
}

/// A word of controls that one control of another word brings into force: neither is of use alone.
struct Activation {
    Capability by;
    VmxWord word;
};
constexpr Activation activations[] = {
    {"activate_secondary_controls"_vmx, VmxWord::secondary},
    {"activate_tertiary_controls"_vmx, VmxWord::tertiary},
    {"activate_secondary_exit_controls"_vmx, VmxWord::secondary_exit},
};

void remove_dependents(VmxCapabilities& c) {
    for (bool changed = true; changed;) {
        changed = false;
        for (const Dependency& d : dependencies)
            if (c.has(d.dependent) && !c.has(d.on)) {
                remove(c, d.dependent);
                changed = true;
            }
        u64& ept_vpid = c.supported[static_cast<unsigned>(VmxWord::ept_vpid)];
        // SDM "VPID and EPT Capabilities": the low half reads 0 without EPT, the high half without VPID.
        if (!c.has("enable_ept"_vmx)) ept_vpid &= ~0xFFFFFFFFull;
        if (!c.has("enable_vpid"_vmx)) ept_vpid &= 0xFFFFFFFFull;
        for (const Activation& a : activations) {
            u64& word = c.supported[static_cast<unsigned>(a.word)];
            if (c.has(a.by) == (word != 0)) continue;
            remove(c, a.by);
            word = 0;
            changed = true;
        }
    }
}

/// Says what a capability that was asked for by name lacks in `c`, from which all dependents were removed; ""
/// when they are all there.
std::string unmet_need(const VmxCapabilities& c, const VmxCapabilities& added, const CpuModel& model) {
    const auto needs = [](Capability what, Capability on) {
        return "VMX capability " + name_of(what) + " needs " + name_of(on) + ", which is off; switch " +
               name_of(on) + " on too, or leave " + name_of(what) + " out";
    };
    for (const FeatureNeed& n : feature_needs)
        if (added.has(n.capability) && !model.features.has(n.feature))
            for (const FeatureRow& f : feature_rows())
                if (f.feature == n.feature)
                    return "VMX capability " + name_of(n.capability) + " needs the CPU feature " +
                           std::string(f.name) + ", which model " + model.name +
                           " does not have; switch the feature on too, or leave the capability out";
    for (const Dependency& d : dependencies)
        if (added.has(d.dependent) && !c.has(d.on)) return needs(d.dependent, d.on);
    for (const CapabilityRow& row : capability_rows) {
        const Capability what{row.word, row.bit};
        if (!added.has(what) || c.has(what)) continue;
        for (const Activation& a : activations)
            if (a.word == row.word) return needs(what, a.by);
        return needs(what, row.bit < 32 ? "enable_ept"_vmx : "enable_vpid"_vmx);  // of the EPT and VPID word
    }
    return "";
}

}  // namespace

u32 VmxCapabilities::must_be_one(VmxWord control, bool exact) const {
    u32 must = default1_bits[static_cast<unsigned>(control)];
    if (exact && has("true_control_msrs"_vmx))
        for (const CapabilityRow& row : capability_rows)
            if (row.word == control && row.default1 && has({row.word, row.bit})) must &= ~(1u << row.bit);
    return must;
}

u64 VmxCapabilities::may_be_one(VmxWord control) const {
    const auto w = static_cast<unsigned>(control);
    return supported[w] | default1_bits[w];
}

Result<VmxCapabilities> make_vmx_capabilities(const CpuModel& model,
                                              const std::vector<std::string>& changes) {
    VmxCapabilities c;
    const auto found = std::find_if(std::begin(generations), std::end(generations),
                                    [&](const Generation& g) { return g.model == model.name; });
    const Generation& generation = found == std::end(generations) ? newest : *found;
    for (const CapabilityRow& row : capability_rows)
        if (row.since <= generation.since) c.supported[static_cast<unsigned>(row.word)] |= 1ull << row.bit;
    for (const FeatureNeed& need : feature_needs)
        if (!model.features.has(need.feature)) remove(c, need.capability);
    VmxCapabilities added, removed;  // by name
    for (const std::string& change : changes) {
        const bool add = change.starts_with('+');
        const std::string_view name = std::string_view(change).substr(change.empty() ? 0 : 1);
        const auto row = std::find_if(capability_rows.begin(), capability_rows.end(),
                                      [&](const CapabilityRow& r) { return r.name == name; });
        if ((!add && !change.starts_with('-')) || row == capability_rows.end())
            return Error{"VMX capability '" + change +
                         "': write +name or -name with a control's SDM name in lower snake case, such as "
                         "-vmcs_shadowing"};
        if (add && row->since == VmxSince::unimplemented)
            return Error{"VMX capability " + std::string(name) + " is not implemented; leave it out"};
        const Capability capability{row->word, row->bit};
        set(c, capability, add);
        set(added, capability, add);
        set(removed, capability, !add);
    }
    // A word comes into force by itself with its first control.
    for (const Activation& a : activations)
        if (c.supported[static_cast<unsigned>(a.word)] != 0 && !removed.has(a.by)) set(c, a.by, true);
    remove_dependents(c);
    if (const std::string problem = unmet_need(c, added, model); !problem.empty()) return Error{problem};
    c.preemption_timer_rate = generation.timer_rate;
    c.maxphyaddr = model.maxphyaddr;
    c.cr4_fixed1 = model.valid_cr4 | c.cr4_fixed0;
    return c;
}

bool capability_msr_exists(const VmxCapabilities& c, u32 index) {
    if (index < first_capability_msr || index > last_capability_msr) return false;
    switch (index) {
    case 0x48B: return c.has("activate_secondary_controls"_vmx);
    case 0x48C: return c.has("enable_ept"_vmx) || c.has("enable_vpid"_vmx);
    case 0x48D: case 0x48E: case 0x48F: case 0x490: return c.has("true_control_msrs"_vmx);
    case 0x491: return c.has("enable_vm_functions"_vmx);
    case 0x492: return c.has("activate_tertiary_controls"_vmx);
    case 0x493: return c.has("activate_secondary_exit_controls"_vmx);
    default: return true;
    }
}

u64 capability_msr(const VmxCapabilities& c, u32 index) {
    const auto pair = [&](VmxWord w, bool exact) {
        return c.may_be_one(w) << 32 | c.must_be_one(w, exact);
    };
    switch (index) {
    case 0x480:  // IA32_VMX_BASIC: write-back VMCS
        return c.revision | u64{vmcs_layout::size} << 32 | 6ull << 50 |
               c.supported[static_cast<unsigned>(VmxWord::basic)];
    case 0x481: return pair(VmxWord::pin, false);
    case 0x482: return pair(VmxWord::primary, false);
    case 0x483: return pair(VmxWord::exit, false);
    case 0x484: return pair(VmxWord::entry, false);
    case 0x485:  // IA32_VMX_MISC
        return c.preemption_timer_rate | u64{c.cr3_targets} << 16 |
               c.supported[static_cast<unsigned>(VmxWord::misc)];
    case 0x486: return c.cr0_fixed0;
    case 0x487: return c.cr0_fixed1;
    case 0x488: return c.cr4_fixed0;
    case 0x489: return c.cr4_fixed1;
    case 0x48A: {  // IA32_VMX_VMCS_ENUM: highest index
        unsigned highest = 0;
        for (u16 i = 0; i < vmcs_fields.size(); ++i)
            if (c.field_exists({i})) highest = std::max(highest, vmcs_fields[i].index());
        return u64{highest} << 1;
    }
    case 0x48B: return pair(VmxWord::secondary, false);
    case 0x48C:
        return c.supported[static_cast<unsigned>(VmxWord::ept_vpid)] |
               (c.has("enable_hlat"_vmx) ? u64{c.hlat_prefix_size} << 48 : 0);
    case 0x48D: return pair(VmxWord::pin, true);
    case 0x48E: return pair(VmxWord::primary, true);
    case 0x48F: return pair(VmxWord::exit, true);
    case 0x490: return pair(VmxWord::entry, true);
    case 0x491: return c.supported[static_cast<unsigned>(VmxWord::vmfunc)];
    // 64 allowed-1 bits each; no bit must be 1
    case 0x492: return c.may_be_one(VmxWord::tertiary);
    case 0x493: return c.may_be_one(VmxWord::secondary_exit);
    default: return 0;
    }
}

}  // namespace droste
