// SPDX-License-Identifier: Apache-2.0
// The tables of VMX row by row, against literal ones: bits of the capability MSRs, generations, dependencies,
// encodings of fields, numbers of exit reasons. SDM appendices "VMX Capability Reporting Facility",
// "Field Encoding in VMCS" and "VMX Basic Exit Reasons".
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "vmx_machine.h"

namespace droste::test {
namespace {

/// `asked`: of no model, there when it is asked for by name.
enum Model {
    nehalem, westmere, sandy_bridge, ivy_bridge, haswell, broadwell, skylake, icelake, sapphire_rapids, max,
    asked, never
};
constexpr std::string_view model_names[] = {"nehalem",    "westmere",   "sandy-bridge",    "ivy-bridge", "haswell",
                                            "broadwell",  "skylake-sp", "icelake-sp", "sapphire-rapids", "max"};
constexpr u8 timer_rates[] = {5, 7, 5, 5, 5, 5, 7, 5, 5, 5};

/// A model by name that has every CPU feature, so that the generation alone decides.
CpuModel with_all_features(Model which) {
    CpuModel m = vmx_model();
    m.name = model_names[which];
    return m;
}
VmxCapabilities capabilities(Model which, const std::vector<std::string>& changes = {}) {
    return make_vmx_capabilities(with_all_features(which), changes).value();
}

std::string changed(char sign, std::string_view name) {
    std::string text(1, sign);
    text.append(name);
    return text;
}
std::string off(std::string_view name) {
    return changed('-', name);
}
std::string on(std::string_view name) {
    return changed('+', name);
}

struct Row {
    std::string_view name;
    u32 msr;
    unsigned bit;  ///< of the MSR; allowed-1 settings stand in the upper half where there is a lower
    Model since;
};
constexpr Row rows[] = {
    {"external_interrupt_exiting", 0x481, 32, nehalem},
    {"nmi_exiting", 0x481, 35, nehalem},
    {"virtual_nmis", 0x481, 37, nehalem},
    {"activate_vmx_preemption_timer", 0x481, 38, nehalem},
    {"process_posted_interrupts", 0x481, 39, ivy_bridge},
    {"interrupt_window_exiting", 0x482, 34, nehalem},
    {"use_tsc_offsetting", 0x482, 35, nehalem},
    {"hlt_exiting", 0x482, 39, nehalem},
    {"invlpg_exiting", 0x482, 41, nehalem},
    {"mwait_exiting", 0x482, 42, nehalem},
    {"rdpmc_exiting", 0x482, 43, nehalem},
    {"rdtsc_exiting", 0x482, 44, nehalem},
    {"cr3_load_exiting", 0x482, 47, nehalem},
    {"cr3_store_exiting", 0x482, 48, nehalem},
    {"activate_tertiary_controls", 0x482, 49, sapphire_rapids},
    {"cr8_load_exiting", 0x482, 51, nehalem},
    {"cr8_store_exiting", 0x482, 52, nehalem},
    {"use_tpr_shadow", 0x482, 53, nehalem},
    {"nmi_window_exiting", 0x482, 54, nehalem},
    {"mov_dr_exiting", 0x482, 55, nehalem},
    {"unconditional_io_exiting", 0x482, 56, nehalem},
    {"use_io_bitmaps", 0x482, 57, nehalem},
    {"monitor_trap_flag", 0x482, 59, nehalem},
    {"use_msr_bitmaps", 0x482, 60, nehalem},
    {"monitor_exiting", 0x482, 61, nehalem},
    {"pause_exiting", 0x482, 62, nehalem},
    {"activate_secondary_controls", 0x482, 63, nehalem},
    {"virtualize_apic_accesses", 0x48B, 32, nehalem},
    {"enable_ept", 0x48B, 33, nehalem},
    {"descriptor_table_exiting", 0x48B, 34, westmere},
    {"enable_rdtscp", 0x48B, 35, nehalem},
    {"virtualize_x2apic_mode", 0x48B, 36, nehalem},
    {"enable_vpid", 0x48B, 37, nehalem},
    {"wbinvd_exiting", 0x48B, 38, nehalem},
    {"unrestricted_guest", 0x48B, 39, westmere},
    {"apic_register_virtualization", 0x48B, 40, ivy_bridge},
    {"virtual_interrupt_delivery", 0x48B, 41, ivy_bridge},
    {"pause_loop_exiting", 0x48B, 42, nehalem},
    {"rdrand_exiting", 0x48B, 43, ivy_bridge},
    {"enable_invpcid", 0x48B, 44, haswell},
    {"enable_vm_functions", 0x48B, 45, haswell},
    {"vmcs_shadowing", 0x48B, 46, haswell},
    {"enable_encls_exiting", 0x48B, 47, never},
    {"rdseed_exiting", 0x48B, 48, broadwell},
    {"enable_pml", 0x48B, 49, broadwell},
    {"ept_violation_ve", 0x48B, 50, broadwell},
    {"conceal_vmx_from_pt", 0x48B, 51, never},
    {"enable_xsaves_xrstors", 0x48B, 52, skylake},
    {"pasid_translation", 0x48B, 53, never},
    {"mode_based_execute_control_for_ept", 0x48B, 54, skylake},
    {"sub_page_write_permissions_for_ept", 0x48B, 55, icelake},
    {"intel_pt_uses_guest_physical_addresses", 0x48B, 56, never},
    {"use_tsc_scaling", 0x48B, 57, skylake},
    {"enable_user_wait_and_pause", 0x48B, 58, sapphire_rapids},
    {"enable_pconfig", 0x48B, 59, never},
    {"enable_enclv_exiting", 0x48B, 60, never},
    {"vmm_bus_lock_detection", 0x48B, 62, sapphire_rapids},
    {"instruction_timeout", 0x48B, 63, sapphire_rapids},
    {"loadiwkey_exiting", 0x492, 0, never},
    {"enable_hlat", 0x492, 1, max},
    {"ept_paging_write_control", 0x492, 2, max},
    {"guest_paging_verification", 0x492, 3, max},
    {"ipi_virtualization", 0x492, 4, sapphire_rapids},
    {"enable_msr_list_instructions", 0x492, 6, max},
    {"virtualize_ia32_spec_ctrl", 0x492, 7, max},
    {"apic_timer_virtualization", 0x492, 8, max},
    {"exit_routing", 0x492, 32, asked},
    {"save_debug_controls", 0x483, 34, nehalem},
    {"host_address_space_size", 0x483, 41, nehalem},
    {"exit_load_ia32_perf_global_ctrl", 0x483, 44, never},
    {"acknowledge_interrupt_on_exit", 0x483, 47, nehalem},
    {"save_ia32_pat", 0x483, 50, nehalem},
    {"exit_load_ia32_pat", 0x483, 51, nehalem},
    {"save_ia32_efer", 0x483, 52, nehalem},
    {"exit_load_ia32_efer", 0x483, 53, nehalem},
    {"save_vmx_preemption_timer_value", 0x483, 54, nehalem},
    {"clear_ia32_bndcfgs", 0x483, 55, skylake},
    {"exit_conceal_vmx_from_pt", 0x483, 56, never},
    {"clear_ia32_rtit_ctl", 0x483, 57, never},
    {"clear_ia32_lbr_ctl", 0x483, 58, never},
    {"clear_uinv", 0x483, 59, sapphire_rapids},
    {"exit_load_cet_state", 0x483, 60, sapphire_rapids},
    {"exit_load_pkrs", 0x483, 61, sapphire_rapids},
    {"save_ia32_perf_global_ctl", 0x483, 62, never},
    {"activate_secondary_exit_controls", 0x483, 63, max},
    {"save_ia32_fred", 0x493, 0, max},
    {"exit_load_ia32_fred", 0x493, 1, max},
    {"exit_load_ia32_spec_ctrl", 0x493, 2, max},
    {"prematurely_busy_shadow_stack", 0x493, 3, max},
    {"load_debug_controls", 0x484, 34, nehalem},
    {"ia32e_mode_guest", 0x484, 41, nehalem},
    {"entry_to_smm", 0x484, 42, never},
    {"deactivate_dual_monitor_treatment", 0x484, 43, never},
    {"entry_load_ia32_perf_global_ctrl", 0x484, 45, never},
    {"entry_load_ia32_pat", 0x484, 46, nehalem},
    {"entry_load_ia32_efer", 0x484, 47, nehalem},
    {"load_ia32_bndcfgs", 0x484, 48, skylake},
    {"entry_conceal_vmx_from_pt", 0x484, 49, never},
    {"load_ia32_rtit_ctl", 0x484, 50, never},
    {"load_uinv", 0x484, 51, sapphire_rapids},
    {"entry_load_cet_state", 0x484, 52, sapphire_rapids},
    {"load_guest_ia32_lbr_ctl", 0x484, 53, never},
    {"entry_load_pkrs", 0x484, 54, sapphire_rapids},
    {"entry_load_ia32_fred", 0x484, 55, max},
    {"entry_load_ia32_spec_ctrl", 0x484, 56, max},
    {"ept_execute_only", 0x48C, 0, nehalem},
    {"ept_walk_length_4", 0x48C, 6, nehalem},
    {"ept_walk_length_5", 0x48C, 7, icelake},
    {"ept_uncacheable", 0x48C, 8, nehalem},
    {"ept_write_back", 0x48C, 14, nehalem},
    {"ept_2m_pages", 0x48C, 16, nehalem},
    {"ept_1g_pages", 0x48C, 17, westmere},
    {"invept", 0x48C, 20, nehalem},
    {"ept_accessed_and_dirty_flags", 0x48C, 21, haswell},
    {"ept_violation_advanced_information", 0x48C, 22, skylake},
    {"ept_supervisor_shadow_stack", 0x48C, 23, sapphire_rapids},
    {"invept_single_context", 0x48C, 25, nehalem},
    {"invept_all_contexts", 0x48C, 26, nehalem},
    {"invvpid", 0x48C, 32, nehalem},
    {"invvpid_individual_address", 0x48C, 40, nehalem},
    {"invvpid_single_context", 0x48C, 41, nehalem},
    {"invvpid_all_contexts", 0x48C, 42, nehalem},
    {"invvpid_single_context_retaining_globals", 0x48C, 43, nehalem},
    {"store_efer_lma", 0x485, 5, westmere},
    {"activity_state_hlt", 0x485, 6, nehalem},
    {"activity_state_shutdown", 0x485, 7, nehalem},
    {"activity_state_wait_for_sipi", 0x485, 8, nehalem},
    {"intel_pt_in_vmx", 0x485, 14, never},
    {"rdmsr_smbase_in_smm", 0x485, 15, never},
    {"smm_monitor_ctl_bit_2", 0x485, 28, never},
    {"vmwrite_any_field", 0x485, 29, haswell},
    {"injection_with_zero_length", 0x485, 30, skylake},
    {"dual_monitor_treatment", 0x480, 49, never},
    {"ins_outs_information", 0x480, 54, nehalem},
    {"true_control_msrs", 0x480, 55, nehalem},
    {"injection_with_any_error_code", 0x480, 56, icelake},
    {"nested_exceptions", 0x480, 58, max},
    {"eptp_switching", 0x491, 0, haswell},
};

/// Default settings of 1 that later processors let software clear: turned off, they must be 1 again.
constexpr std::string_view clearable[] = {"cr3_load_exiting", "cr3_store_exiting", "save_debug_controls",
                                          "load_debug_controls"};
bool is_clearable(const Row& r) {
    return std::find(std::begin(clearable), std::end(clearable), r.name) != std::end(clearable);
}

bool set_in(const VmxCapabilities& c, const Row& r) {
    return capability_msr_exists(c, r.msr) && (capability_msr(c, r.msr) >> r.bit & 1);
}

TEST(CapabilityRows, OneLiteralRowForEach) {
    std::set<std::string_view> names;
    for (const Row& r : rows)
        EXPECT_TRUE(names.insert(r.name).second) << r.name;
    for (const CapabilityRow& r : capability_rows)
        EXPECT_EQ(names.erase(r.name), 1u) << r.name;
    EXPECT_TRUE(names.empty()) << *names.begin();
}

TEST(CapabilityRows, EachIsItsBitFromItsGenerationOn) {
    for (unsigned model = nehalem; model <= max; ++model) {
        const VmxCapabilities c = capabilities(static_cast<Model>(model));
        for (const Row& r : rows)
            EXPECT_EQ(set_in(c, r), r.since <= model) << r.name << " " << model_names[model];
    }
}

TEST(CapabilityRows, EachCanBeTurnedOffAlone) {
    for (const Row& r : rows) {
        if (r.since == never)
            continue;
        const VmxCapabilities c = capabilities(max, {off(r.name)});
        const u32 true_msr = r.msr == 0x482 ? 0x48E : r.msr == 0x483 ? 0x48F : 0x490;
        if (is_clearable(r))
            EXPECT_TRUE(capability_msr(c, true_msr) >> (r.bit - 32) & 1) << r.name;
        else
            EXPECT_FALSE(set_in(c, r)) << r.name;
    }
}

TEST(CapabilityRows, NothingElseIsOffered) {
    std::map<u32, u64> expected;
    for (const Row& r : rows)
        if (r.since <= max)
            expected[r.msr] |= 1ull << r.bit;
    const VmxCapabilities c = capabilities(max);
    // Default settings, allowed-0 and allowed-1 halves. SDM "Reserved Controls and Default Settings".
    expected[0x481] |= 0x16ull << 32 | 0x16;
    expected[0x482] |= 0x0401E172ull << 32 | 0x0401E172;
    expected[0x483] |= 0x00036DFFull << 32 | 0x00036DFF;
    expected[0x484] |= 0x000011FFull << 32 | 0x000011FF;
    expected[0x485] |= c.preemption_timer_rate | 4u << 16;
    expected[0x48C] |= 1ull << 48;  // the only HLAT prefix size whose behaviour is defined
    expected[0x480] |= 6ull << 50 | 4096ull << 32 | c.revision;
    for (const auto& [msr, value] : expected)
        EXPECT_EQ(capability_msr(c, msr), value) << std::hex << msr;
    // What TRUE controls let software clear: debug controls, CR3 accesses.
    EXPECT_EQ(capability_msr(c, 0x48D), capability_msr(c, 0x481));
    EXPECT_EQ(capability_msr(c, 0x48E), capability_msr(c, 0x482) & ~0x18000ull);
    EXPECT_EQ(capability_msr(c, 0x48F), capability_msr(c, 0x483) & ~4ull);
    EXPECT_EQ(capability_msr(c, 0x490), capability_msr(c, 0x484) & ~4ull);
}

/// A bit that is not offered fails VM entry; one that is offered does not fail as a reserved one.
class LastCheck final : public VmxObserver {
public:
    void entry_failed(const EntryEvent&, std::string_view check) override { name = check; }
    std::string_view name;
};

TEST(CapabilityRows, ControlsAreCheckedAgainstThem) {
    struct Word {
        u32 msr;
        VmxWord word;
        std::string_view check;
    };
    constexpr Word words[] = {
        {0x481, VmxWord::pin, "pin-based controls: reserved bits"},
        {0x482, VmxWord::primary, "primary processor-based controls: reserved bits"},
        {0x48B, VmxWord::secondary, "secondary processor-based controls: reserved bits"},
        {0x492, VmxWord::tertiary, "tertiary processor-based controls: reserved bits"},
        {0x483, VmxWord::exit, "VM-exit controls: reserved bits"},
        {0x493, VmxWord::secondary_exit, "secondary VM-exit controls: reserved bits"},
        {0x484, VmxWord::entry, "VM-entry controls: reserved bits"},
    };
    for (const Row& r : rows)
        for (const Word& w : words) {
            if (r.msr != w.msr)
                continue;
            const bool halves = r.msr != 0x492 && r.msr != 0x493;
            const Capability bit{w.word, static_cast<u8>(halves ? r.bit - 32 : r.bit)};
            for (const bool offered : {true, false}) {
                if (offered && r.since == never)
                    continue;
                SCOPED_TRACE(::testing::Message() << r.name << (offered ? " on" : " off"));
                VmxMachine m(!offered            ? std::vector<std::string>{off(r.name)}
                             : r.since == asked ? std::vector<std::string>{on(r.name)}
                                                : std::vector<std::string>{});
                LastCheck last;
                m.vmx.add_observer(last);
                m.start();
                if (!offered && is_clearable(r))
                    m.drop(VmxMachine::word_field(bit), bit.mask());
                else
                    m.add(VmxMachine::word_field(bit), bit.mask());
                // Words that an absent control cannot bring into force are not looked at.
                if (w.word == VmxWord::secondary)
                    m.enable("activate_secondary_controls"_vmx);
                if (w.word == VmxWord::tertiary)
                    m.enable("activate_tertiary_controls"_vmx);
                if (w.word == VmxWord::secondary_exit)
                    m.enable("activate_secondary_exit_controls"_vmx);
                const bool entered = m.enter();
                if (offered) {
                    EXPECT_NE(last.name, w.check);
                } else {
                    EXPECT_FALSE(entered);
                    EXPECT_EQ(m.error(), VmxError::entry_controls);
                    EXPECT_EQ(last.name, w.check);
                }
            }
        }
}

// ---- dependencies

struct Pair {
    std::string_view dependent, on;
};
constexpr Pair dependencies[] = {
    {"virtual_nmis", "nmi_exiting"},
    {"nmi_window_exiting", "virtual_nmis"},
    {"save_vmx_preemption_timer_value", "activate_vmx_preemption_timer"},
    {"unrestricted_guest", "enable_ept"},
    {"enable_pml", "enable_ept"},
    {"mode_based_execute_control_for_ept", "enable_ept"},
    {"sub_page_write_permissions_for_ept", "enable_ept"},
    {"enable_hlat", "enable_ept"},
    {"ept_paging_write_control", "enable_ept"},
    {"guest_paging_verification", "enable_ept"},
    {"ept_violation_ve", "enable_ept"},
    {"eptp_switching", "enable_ept"},
    {"virtualize_apic_accesses", "use_tpr_shadow"},
    {"virtualize_x2apic_mode", "use_tpr_shadow"},
    {"apic_register_virtualization", "use_tpr_shadow"},
    {"virtual_interrupt_delivery", "use_tpr_shadow"},
    {"ipi_virtualization", "use_tpr_shadow"},
    {"process_posted_interrupts", "virtual_interrupt_delivery"},
    {"apic_timer_virtualization", "virtual_interrupt_delivery"},
    {"ipi_virtualization", "process_posted_interrupts"},
    {"store_efer_lma", "unrestricted_guest"},
    {"enable_pml", "ept_accessed_and_dirty_flags"},
    {"enable_vm_functions", "eptp_switching"},
    {"eptp_switching", "enable_vm_functions"},
    {"nested_exceptions", "entry_load_ia32_fred"},
    {"entry_load_ia32_fred", "nested_exceptions"},
    {"entry_load_ia32_fred", "injection_with_any_error_code"},
    {"exit_load_ia32_pat", "entry_load_ia32_pat"},
    {"entry_load_ia32_pat", "exit_load_ia32_pat"},
    {"exit_load_ia32_efer", "entry_load_ia32_efer"},
    {"entry_load_ia32_efer", "exit_load_ia32_efer"},
    {"clear_ia32_bndcfgs", "load_ia32_bndcfgs"},
    {"load_ia32_bndcfgs", "clear_ia32_bndcfgs"},
    {"clear_uinv", "load_uinv"},
    {"load_uinv", "clear_uinv"},
    {"exit_load_cet_state", "entry_load_cet_state"},
    {"entry_load_cet_state", "exit_load_cet_state"},
    {"exit_load_pkrs", "entry_load_pkrs"},
    {"entry_load_pkrs", "exit_load_pkrs"},
    {"save_ia32_fred", "entry_load_ia32_fred"},
    {"exit_load_ia32_fred", "entry_load_ia32_fred"},
    {"entry_load_ia32_fred", "exit_load_ia32_fred"},
    {"entry_load_ia32_fred", "save_ia32_fred"},
    {"exit_load_ia32_spec_ctrl", "entry_load_ia32_spec_ctrl"},
    {"entry_load_ia32_spec_ctrl", "exit_load_ia32_spec_ctrl"},
};

Capability named(std::string_view name) {
    for (const CapabilityRow& r : capability_rows)
        if (r.name == name)
            return {r.word, r.bit};
    ADD_FAILURE() << name;
    return {};
}

/// The row that a refusal names: the first of `dependent` whose other part goes when `gone` does.
std::string_view first_missing(std::string_view dependent, std::string_view gone) {
    std::set<std::string_view> removed{gone};
    for (std::size_t before = 0; before != removed.size();) {
        before = removed.size();
        for (const Pair& d : dependencies)
            if (removed.contains(d.on))
                removed.insert(d.dependent);
    }
    for (const Pair& d : dependencies)
        if (d.dependent == dependent && removed.contains(d.on))
            return d.on;
    return "none";
}

TEST(CapabilityDependencies, GoTogetherAndAreNamed) {
    const VmxCapabilities all = capabilities(max);
    for (const Pair& d : dependencies) {
        SCOPED_TRACE(::testing::Message() << d.dependent << " on " << d.on);
        ASSERT_TRUE(all.has(named(d.dependent)));
        const VmxCapabilities without = capabilities(max, {off(d.on)});
        EXPECT_FALSE(without.has(named(d.dependent)));
        const auto wanted = make_vmx_capabilities(with_all_features(max), {off(d.on), on(d.dependent)});
        ASSERT_FALSE(wanted);
        const std::string sentence =
            std::string(d.dependent) + " needs " + std::string(first_missing(d.dependent, d.on)) + ",";
        EXPECT_NE(wanted.error().text.find(sentence), std::string::npos) << wanted.error().text << "\n" << sentence;
    }
    // and not the other way round, unless that is a row too
    for (const Pair& d : dependencies) {
        const auto mutual = [&](const Pair& e) { return e.dependent == d.on && e.on == d.dependent; };
        if (std::any_of(std::begin(dependencies), std::end(dependencies), mutual))
            continue;
        if (!all.has(named(d.on)) || d.on == "injection_with_any_error_code")
            continue;
        const VmxCapabilities without = capabilities(max, {off(d.dependent)});
        EXPECT_TRUE(without.has(named(d.on)) || d.dependent == "virtual_interrupt_delivery") << d.on;
    }
}

TEST(CapabilityDependencies, WordsComeAndGoWithTheirActivation) {
    struct Activation {
        std::string_view by;
        VmxWord word;
    };
    for (const Activation& a : {Activation{"activate_secondary_controls", VmxWord::secondary},
                                Activation{"activate_tertiary_controls", VmxWord::tertiary},
                                Activation{"activate_secondary_exit_controls", VmxWord::secondary_exit}}) {
        SCOPED_TRACE(a.by);
        const auto word = static_cast<unsigned>(a.word);
        const VmxCapabilities all = capabilities(max), without = capabilities(max, {off(a.by)});
        EXPECT_NE(all.supported[word], 0u);
        EXPECT_EQ(without.supported[word], 0u);
        EXPECT_FALSE(without.has(named(a.by)));
        std::vector<std::string> each;
        for (const CapabilityRow& r : capability_rows)
            if (r.word == a.word && all.has({r.word, r.bit}))
                each.push_back(off(r.name));
        EXPECT_FALSE(capabilities(max, each).has(named(a.by))) << "nothing is left to activate";
    }
}

TEST(CapabilityRows, PreemptionTimerRateOfTheGeneration) {
    for (unsigned model = nehalem; model <= max; ++model)
        EXPECT_EQ(capability_msr(capabilities(static_cast<Model>(model)), 0x485) & 0x1F, timer_rates[model])
            << model_names[model];
}

struct Need {
    std::string_view capability;
    Feature feature;
};
constexpr Need needs[] = {
    {"enable_rdtscp", Feature::rdtscp},
    {"enable_invpcid", Feature::invpcid},
    {"rdrand_exiting", Feature::rdrand},
    {"rdseed_exiting", Feature::rdseed},
    {"enable_xsaves_xrstors", Feature::xsaves},
    {"virtualize_x2apic_mode", Feature::x2apic},
    {"ept_1g_pages", Feature::page1gb},
    {"load_ia32_bndcfgs", Feature::mpx},
    {"load_uinv", Feature::uintr},
    {"entry_load_cet_state", Feature::cet_ss},
    {"entry_load_pkrs", Feature::pks},
    {"entry_load_ia32_fred", Feature::fred},
    {"virtualize_ia32_spec_ctrl", Feature::ibrs_ibpb},
    {"entry_load_ia32_spec_ctrl", Feature::ibrs_ibpb},
    {"enable_user_wait_and_pause", Feature::waitpkg},
    {"enable_msr_list_instructions", Feature::msrlist},
    {"prematurely_busy_shadow_stack", Feature::cet_ss},
    {"ept_supervisor_shadow_stack", Feature::cet_ss},
};

TEST(CapabilityDependencies, OfCpuFeatures) {
    for (const Need& n : needs) {
        SCOPED_TRACE(n.capability);
        CpuModel m = with_all_features(max);
        m.features.set(n.feature, false);
        EXPECT_FALSE(make_vmx_capabilities(m)->has(named(n.capability)));
        const auto wanted = make_vmx_capabilities(m, {on(n.capability)});
        EXPECT_FALSE(wanted);
    }
}

// ---- VMCS fields

constexpr Merge guest = Merge::from_guest, host = Merge::from_host, own = Merge::computed,
                either = Merge::bits_or;

struct FieldRow {
    u16 encoding;
    std::string_view name;
    Merge merge;
    std::string_view needs;  ///< "" always
};
constexpr FieldRow fields[] = {
    {0x0000, "virtual_processor_identifier", own, "enable_vpid"},
    {0x0002, "posted_interrupt_notification_vector", own, "process_posted_interrupts"},
    {0x0004, "eptp_index", own, "ept_violation_ve"},
    {0x0006, "hlat_prefix_size", own, "enable_hlat"},
    {0x0008, "last_pid_pointer_index", own, "ipi_virtualization"},
    {0x000A, "virtual_timer_vector", own, "apic_timer_virtualization"},
    {0x0800, "guest_es_selector", guest, ""},
    {0x0802, "guest_cs_selector", guest, ""},
    {0x0804, "guest_ss_selector", guest, ""},
    {0x0806, "guest_ds_selector", guest, ""},
    {0x0808, "guest_fs_selector", guest, ""},
    {0x080A, "guest_gs_selector", guest, ""},
    {0x080C, "guest_ldtr_selector", guest, ""},
    {0x080E, "guest_tr_selector", guest, ""},
    {0x0810, "guest_interrupt_status", guest, "virtual_interrupt_delivery"},
    {0x0812, "pml_index", host, "enable_pml"},
    {0x0814, "guest_uinv", guest, "load_uinv"},
    {0x0C00, "host_es_selector", host, ""},
    {0x0C02, "host_cs_selector", host, ""},
    {0x0C04, "host_ss_selector", host, ""},
    {0x0C06, "host_ds_selector", host, ""},
    {0x0C08, "host_fs_selector", host, ""},
    {0x0C0A, "host_gs_selector", host, ""},
    {0x0C0C, "host_tr_selector", host, ""},
    {0x2000, "io_bitmap_a_address", own, ""},
    {0x2002, "io_bitmap_b_address", own, ""},
    {0x2004, "msr_bitmap_address", own, "use_msr_bitmaps"},
    {0x2006, "exit_msr_store_address", own, ""},
    {0x2008, "exit_msr_load_address", host, ""},
    {0x200A, "entry_msr_load_address", own, ""},
    {0x200C, "executive_vmcs_pointer", host, ""},
    {0x200E, "pml_address", host, "enable_pml"},
    {0x2010, "tsc_offset", own, ""},
    {0x2012, "virtual_apic_address", own, "use_tpr_shadow"},
    {0x2014, "apic_access_address", own, "virtualize_apic_accesses"},
    {0x2016, "posted_interrupt_descriptor_address", own, "process_posted_interrupts"},
    {0x2018, "vm_function_controls", own, "enable_vm_functions"},
    {0x201A, "eptp", own, "enable_ept"},
    {0x201C, "eoi_exit_bitmap_0", guest, "virtual_interrupt_delivery"},
    {0x201E, "eoi_exit_bitmap_1", guest, "virtual_interrupt_delivery"},
    {0x2020, "eoi_exit_bitmap_2", guest, "virtual_interrupt_delivery"},
    {0x2022, "eoi_exit_bitmap_3", guest, "virtual_interrupt_delivery"},
    {0x2024, "eptp_list_address", own, "enable_vm_functions"},
    {0x2026, "vmread_bitmap_address", own, "vmcs_shadowing"},
    {0x2028, "vmwrite_bitmap_address", own, "vmcs_shadowing"},
    {0x202A, "virtualization_exception_information_address", own, "ept_violation_ve"},
    {0x202C, "xss_exiting_bitmap", either, "enable_xsaves_xrstors"},
    {0x202E, "encls_exiting_bitmap", either, "enable_encls_exiting"},
    {0x2030, "sub_page_permission_table_pointer", own, "sub_page_write_permissions_for_ept"},
    {0x2032, "tsc_multiplier", own, "use_tsc_scaling"},
    {0x2034, "tertiary_processor_based_controls", own, "activate_tertiary_controls"},
    {0x2036, "enclv_exiting_bitmap", either, "enable_enclv_exiting"},
    {0x2038, "low_pasid_directory_address", own, "pasid_translation"},
    {0x203A, "high_pasid_directory_address", own, "pasid_translation"},
    {0x203E, "pconfig_exiting_bitmap", either, "enable_pconfig"},
    {0x2040, "hlat_pointer", own, "enable_hlat"},
    {0x2042, "pid_pointer_table_address", own, "ipi_virtualization"},
    {0x2044, "secondary_exit_controls", host, "activate_secondary_exit_controls"},
    {0x204A, "ia32_spec_ctrl_mask", either, "virtualize_ia32_spec_ctrl"},
    {0x204C, "ia32_spec_ctrl_shadow", own, "virtualize_ia32_spec_ctrl"},
    {0x204E, "guest_deadline_shadow", own, "apic_timer_virtualization"},
    {0x2052, "injected_event_data", guest, "entry_load_ia32_fred"},
    {0x23C0, "state_link", own, "exit_routing"},
    {0x23C2, "control_link", own, "exit_routing"},
    {0x23C4, "parent_link", own, "exit_routing"},
    {0x23C6, "reason_bitmap_0", own, "exit_routing"},
    {0x23C8, "reason_bitmap_1", own, "exit_routing"},
    {0x23CA, "policy_table_pointer", own, "exit_routing"},
    {0x2400, "guest_physical_address", own, "enable_ept"},
    {0x2402, "msr_data", own, "enable_msr_list_instructions"},
    {0x2404, "original_event_data", own, "entry_load_ia32_fred"},
    {0x2800, "vmcs_link_pointer", host, ""},
    {0x2802, "guest_ia32_debugctl", guest, ""},
    {0x2804, "guest_ia32_pat", guest, "entry_load_ia32_pat"},
    {0x2806, "guest_ia32_efer", guest, "entry_load_ia32_efer"},
    {0x2808, "guest_ia32_perf_global_ctrl", guest, "entry_load_ia32_perf_global_ctrl"},
    {0x280A, "guest_pdpte0", guest, "enable_ept"},
    {0x280C, "guest_pdpte1", guest, "enable_ept"},
    {0x280E, "guest_pdpte2", guest, "enable_ept"},
    {0x2810, "guest_pdpte3", guest, "enable_ept"},
    {0x2812, "guest_ia32_bndcfgs", guest, "load_ia32_bndcfgs"},
    {0x2814, "guest_ia32_rtit_ctl", guest, "load_ia32_rtit_ctl"},
    {0x2816, "guest_ia32_lbr_ctl", guest, "load_guest_ia32_lbr_ctl"},
    {0x2818, "guest_ia32_pkrs", guest, "entry_load_pkrs"},
    {0x281A, "guest_ia32_fred_config", guest, "entry_load_ia32_fred"},
    {0x281C, "guest_ia32_fred_rsp1", guest, "entry_load_ia32_fred"},
    {0x281E, "guest_ia32_fred_rsp2", guest, "entry_load_ia32_fred"},
    {0x2820, "guest_ia32_fred_rsp3", guest, "entry_load_ia32_fred"},
    {0x2822, "guest_ia32_fred_stklvls", guest, "entry_load_ia32_fred"},
    {0x2824, "guest_ia32_fred_ssp1", guest, "entry_load_ia32_fred"},
    {0x2826, "guest_ia32_fred_ssp2", guest, "entry_load_ia32_fred"},
    {0x2828, "guest_ia32_fred_ssp3", guest, "entry_load_ia32_fred"},
    {0x282E, "guest_ia32_spec_ctrl", guest, "entry_load_ia32_spec_ctrl"},
    {0x2830, "guest_deadline", guest, "apic_timer_virtualization"},
    {0x2C00, "host_ia32_pat", host, "exit_load_ia32_pat"},
    {0x2C02, "host_ia32_efer", host, "exit_load_ia32_efer"},
    {0x2C04, "host_ia32_perf_global_ctrl", host, "exit_load_ia32_perf_global_ctrl"},
    {0x2C06, "host_ia32_pkrs", host, "exit_load_pkrs"},
    {0x2C08, "host_ia32_fred_config", host, "exit_load_ia32_fred"},
    {0x2C0A, "host_ia32_fred_rsp1", host, "exit_load_ia32_fred"},
    {0x2C0C, "host_ia32_fred_rsp2", host, "exit_load_ia32_fred"},
    {0x2C0E, "host_ia32_fred_rsp3", host, "exit_load_ia32_fred"},
    {0x2C10, "host_ia32_fred_stklvls", host, "exit_load_ia32_fred"},
    {0x2C12, "host_ia32_fred_ssp1", host, "exit_load_ia32_fred"},
    {0x2C14, "host_ia32_fred_ssp2", host, "exit_load_ia32_fred"},
    {0x2C16, "host_ia32_fred_ssp3", host, "exit_load_ia32_fred"},
    {0x2C1A, "host_ia32_spec_ctrl", host, "exit_load_ia32_spec_ctrl"},
    {0x4000, "pin_based_controls", either, ""},
    {0x4002, "primary_processor_based_controls", own, ""},
    {0x4004, "exception_bitmap", either, ""},
    {0x4006, "page_fault_error_code_mask", own, ""},
    {0x4008, "page_fault_error_code_match", own, ""},
    {0x400A, "cr3_target_count", own, ""},
    {0x400C, "exit_controls", host, ""},
    {0x400E, "exit_msr_store_count", own, ""},
    {0x4010, "exit_msr_load_count", host, ""},
    {0x4012, "entry_controls", own, ""},
    {0x4014, "entry_msr_load_count", own, ""},
    {0x4016, "entry_interruption_information", guest, ""},
    {0x4018, "entry_exception_error_code", guest, ""},
    {0x401A, "entry_instruction_length", guest, ""},
    {0x401C, "tpr_threshold", guest, "use_tpr_shadow"},
    {0x401E, "secondary_processor_based_controls", own, "activate_secondary_controls"},
    {0x4020, "ple_gap", host, "pause_loop_exiting"},
    {0x4022, "ple_window", host, "pause_loop_exiting"},
    {0x4024, "instruction_timeout_control", host, "instruction_timeout"},
    {0x43C0, "routing_exception_bitmap", own, "exit_routing"},
    {0x43C2, "routing_controls", own, "exit_routing"},
    {0x4400, "vm_instruction_error", own, ""},
    {0x4402, "exit_reason", own, ""},
    {0x4404, "exit_interruption_information", own, ""},
    {0x4406, "exit_interruption_error_code", own, ""},
    {0x4408, "idt_vectoring_information", own, ""},
    {0x440A, "idt_vectoring_error_code", own, ""},
    {0x440C, "exit_instruction_length", own, ""},
    {0x440E, "exit_instruction_information", own, ""},
    {0x4800, "guest_es_limit", guest, ""},
    {0x4802, "guest_cs_limit", guest, ""},
    {0x4804, "guest_ss_limit", guest, ""},
    {0x4806, "guest_ds_limit", guest, ""},
    {0x4808, "guest_fs_limit", guest, ""},
    {0x480A, "guest_gs_limit", guest, ""},
    {0x480C, "guest_ldtr_limit", guest, ""},
    {0x480E, "guest_tr_limit", guest, ""},
    {0x4810, "guest_gdtr_limit", guest, ""},
    {0x4812, "guest_idtr_limit", guest, ""},
    {0x4814, "guest_es_access_rights", guest, ""},
    {0x4816, "guest_cs_access_rights", guest, ""},
    {0x4818, "guest_ss_access_rights", guest, ""},
    {0x481A, "guest_ds_access_rights", guest, ""},
    {0x481C, "guest_fs_access_rights", guest, ""},
    {0x481E, "guest_gs_access_rights", guest, ""},
    {0x4820, "guest_ldtr_access_rights", guest, ""},
    {0x4822, "guest_tr_access_rights", guest, ""},
    {0x4824, "guest_interruptibility_state", guest, ""},
    {0x4826, "guest_activity_state", guest, ""},
    {0x4828, "guest_smbase", guest, ""},
    {0x482A, "guest_ia32_sysenter_cs", guest, ""},
    {0x482E, "vmx_preemption_timer_value", guest, "activate_vmx_preemption_timer"},
    {0x4C00, "host_ia32_sysenter_cs", host, ""},
    {0x6000, "cr0_guest_host_mask", either, ""},
    {0x6002, "cr4_guest_host_mask", either, ""},
    {0x6004, "cr0_read_shadow", own, ""},
    {0x6006, "cr4_read_shadow", own, ""},
    {0x6008, "cr3_target_value_0", own, ""},
    {0x600A, "cr3_target_value_1", own, ""},
    {0x600C, "cr3_target_value_2", own, ""},
    {0x600E, "cr3_target_value_3", own, ""},
    {0x6400, "exit_qualification", own, ""},
    {0x6402, "io_rcx", own, ""},
    {0x6404, "io_rsi", own, ""},
    {0x6406, "io_rdi", own, ""},
    {0x6408, "io_rip", own, ""},
    {0x640A, "guest_linear_address", own, ""},
    {0x6800, "guest_cr0", guest, ""},
    {0x6802, "guest_cr3", guest, ""},
    {0x6804, "guest_cr4", guest, ""},
    {0x6806, "guest_es_base", guest, ""},
    {0x6808, "guest_cs_base", guest, ""},
    {0x680A, "guest_ss_base", guest, ""},
    {0x680C, "guest_ds_base", guest, ""},
    {0x680E, "guest_fs_base", guest, ""},
    {0x6810, "guest_gs_base", guest, ""},
    {0x6812, "guest_ldtr_base", guest, ""},
    {0x6814, "guest_tr_base", guest, ""},
    {0x6816, "guest_gdtr_base", guest, ""},
    {0x6818, "guest_idtr_base", guest, ""},
    {0x681A, "guest_dr7", guest, ""},
    {0x681C, "guest_rsp", guest, ""},
    {0x681E, "guest_rip", guest, ""},
    {0x6820, "guest_rflags", guest, ""},
    {0x6822, "guest_pending_debug_exceptions", guest, ""},
    {0x6824, "guest_ia32_sysenter_esp", guest, ""},
    {0x6826, "guest_ia32_sysenter_eip", guest, ""},
    {0x6828, "guest_ia32_s_cet", guest, "entry_load_cet_state"},
    {0x682A, "guest_ssp", guest, "entry_load_cet_state"},
    {0x682C, "guest_ia32_interrupt_ssp_table_addr", guest, "entry_load_cet_state"},
    {0x6C00, "host_cr0", host, ""},
    {0x6C02, "host_cr3", host, ""},
    {0x6C04, "host_cr4", host, ""},
    {0x6C06, "host_fs_base", host, ""},
    {0x6C08, "host_gs_base", host, ""},
    {0x6C0A, "host_tr_base", host, ""},
    {0x6C0C, "host_gdtr_base", host, ""},
    {0x6C0E, "host_idtr_base", host, ""},
    {0x6C10, "host_ia32_sysenter_esp", host, ""},
    {0x6C12, "host_ia32_sysenter_eip", host, ""},
    {0x6C14, "host_rsp", host, ""},
    {0x6C16, "host_rip", host, ""},
    {0x6C18, "host_ia32_s_cet", host, "exit_load_cet_state"},
    {0x6C1A, "host_ssp", host, "exit_load_cet_state"},
    {0x6C1C, "host_ia32_interrupt_ssp_table_addr", host, "exit_load_cet_state"},
};

TEST(FieldRows, EncodingNameAndCondition) {
    ASSERT_EQ(std::size(fields), vmcs_fields.size());
    std::set<u16> encodings;
    for (const FieldRow& f : fields) {
        SCOPED_TRACE(f.name);
        EXPECT_TRUE(encodings.insert(f.encoding).second);
        Field field;
        ASSERT_TRUE(field_of(f.encoding, field));
        EXPECT_EQ(field->name, f.name);
        EXPECT_EQ(field->encoding, f.encoding);
        EXPECT_EQ(field->merge, f.merge);
        if (f.needs.empty())
            EXPECT_EQ(field->needs, VmcsField::always);
        else
            EXPECT_EQ(field->needs, named(f.needs));
    }
}

TEST(FieldRows, ThoseOfExitRoutingComeOnDemandAndMoveNothing) {
    const VmxCapabilities without = capabilities(max), with = capabilities(max, {"+exit_routing"});
    std::set<u16> places;
    for (u16 i = 0; i < vmcs_fields.size(); ++i) {
        places.insert(vmx_detail::field_place[i]);
        if (vmcs_fields[i].needs != named("exit_routing")) continue;
        EXPECT_FALSE(without.field_exists({i}));
        EXPECT_TRUE(with.field_exists({i}));
        EXPECT_GE(vmx_detail::field_place[i], vmcs_fields.size() - 8) << "behind all others";
    }
    EXPECT_EQ(places.size(), vmcs_fields.size());
    EXPECT_EQ(capability_msr(without, 0x48A), 0x52u) << "the highest index is that of the injected-event data";
    EXPECT_EQ(capability_msr(with, 0x48A), 0x1E5u << 1);
    Field f;
    EXPECT_FALSE(field_of(0x23CC, f)) << "no row";
    EXPECT_FALSE(field_of(0x2060, f)) << "index 48 is not that of the extension's first";
    EXPECT_FALSE(field_of(0x23E0, f)) << "index 1F0H";
}

TEST(FieldRows, ComeAndGoWithTheirControl) {
    const VmxCapabilities all = capabilities(max);
    for (const FieldRow& f : fields) {
        if (f.needs.empty() || !all.has(named(f.needs)))
            continue;
        SCOPED_TRACE(f.name);
        Field field;
        ASSERT_TRUE(field_of(f.encoding, field));
        EXPECT_TRUE(all.field_exists(field));
        EXPECT_FALSE(capabilities(max, {off(f.needs)}).field_exists(field));
    }
}

// ---- exit reasons

constexpr ExitRow reasons[] = {
    {0, "exception_or_nmi", ExitKind::event, Qualification::debug_or_linear, InfoFormat::none},
    {1, "external_interrupt", ExitKind::event, Qualification::none, InfoFormat::none},
    {2, "triple_fault", ExitKind::event, Qualification::none, InfoFormat::none},
    {3, "init_signal", ExitKind::event, Qualification::none, InfoFormat::none},
    {4, "startup_ipi", ExitKind::event, Qualification::sipi_vector, InfoFormat::none},
    {7, "interrupt_window", ExitKind::event, Qualification::none, InfoFormat::none},
    {8, "nmi_window", ExitKind::event, Qualification::none, InfoFormat::none},
    {9, "task_switch", ExitKind::event, Qualification::task_switch, InfoFormat::none},
    {10, "cpuid", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {11, "getsec", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {12, "hlt", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {13, "invd", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {14, "invlpg", ExitKind::instruction, Qualification::linear_address, InfoFormat::none},
    {15, "rdpmc", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {16, "rdtsc", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {18, "vmcall", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {19, "vmclear", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {20, "vmlaunch", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {21, "vmptrld", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {22, "vmptrst", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {23, "vmread", ExitKind::instruction, Qualification::displacement, InfoFormat::vmread_vmwrite},
    {24, "vmresume", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {25, "vmwrite", ExitKind::instruction, Qualification::displacement, InfoFormat::vmread_vmwrite},
    {26, "vmxoff", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {27, "vmxon", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {28, "control_register_access", ExitKind::instruction, Qualification::cr_access, InfoFormat::none},
    {29, "mov_dr", ExitKind::instruction, Qualification::mov_dr, InfoFormat::none},
    {30, "io_instruction", ExitKind::instruction, Qualification::io, InfoFormat::ins_outs},
    {31, "rdmsr", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {32, "wrmsr", ExitKind::instruction, Qualification::variant, InfoFormat::none},
    {33, "entry_failure_guest_state", ExitKind::entry, Qualification::entry_failure, InfoFormat::none},
    {34, "entry_failure_msr_loading", ExitKind::entry, Qualification::msr_index, InfoFormat::none},
    {36, "mwait", ExitKind::instruction, Qualification::mwait, InfoFormat::none},
    {37, "monitor_trap_flag", ExitKind::trap, Qualification::none, InfoFormat::none},
    {39, "monitor", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {40, "pause", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {43, "tpr_below_threshold", ExitKind::trap, Qualification::none, InfoFormat::none},
    {44, "apic_access", ExitKind::access, Qualification::apic_access, InfoFormat::none},
    {45, "virtualized_eoi", ExitKind::trap, Qualification::vector, InfoFormat::none},
    {46, "gdtr_or_idtr_access", ExitKind::instruction, Qualification::displacement, InfoFormat::gdtr_idtr},
    {47, "ldtr_or_tr_access", ExitKind::instruction, Qualification::displacement, InfoFormat::ldtr_tr},
    {48, "ept_violation", ExitKind::access, Qualification::ept_violation, InfoFormat::none},
    {49, "ept_misconfiguration", ExitKind::access, Qualification::none, InfoFormat::none},
    {50, "invept", ExitKind::instruction, Qualification::displacement, InfoFormat::inv},
    {51, "rdtscp", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {52, "vmx_preemption_timer_expired", ExitKind::event, Qualification::none, InfoFormat::none},
    {53, "invvpid", ExitKind::instruction, Qualification::displacement, InfoFormat::inv},
    {54, "wbinvd", ExitKind::instruction, Qualification::variant, InfoFormat::none},
    {55, "xsetbv", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {56, "apic_write", ExitKind::trap, Qualification::offset, InfoFormat::none},
    {57, "rdrand", ExitKind::instruction, Qualification::none, InfoFormat::rdrand},
    {58, "invpcid", ExitKind::instruction, Qualification::displacement, InfoFormat::inv},
    {59, "vmfunc", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {60, "encls", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {61, "rdseed", ExitKind::instruction, Qualification::none, InfoFormat::rdrand},
    {62, "page_modification_log_full", ExitKind::access, Qualification::nmi_unblocking, InfoFormat::none},
    {63, "xsaves", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {64, "xrstors", ExitKind::instruction, Qualification::displacement, InfoFormat::memory},
    {65, "pconfig", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {66, "sub_page_permission_event", ExitKind::access, Qualification::sub_page, InfoFormat::none},
    {67, "umwait", ExitKind::instruction, Qualification::none, InfoFormat::wait},
    {68, "tpause", ExitKind::instruction, Qualification::none, InfoFormat::wait},
    {69, "loadiwkey", ExitKind::instruction, Qualification::none, InfoFormat::loadiwkey},
    {70, "enclv", ExitKind::instruction, Qualification::none, InfoFormat::none},
    {72, "enqcmd_pasid_translation_failure", ExitKind::instruction, Qualification::displacement,
     InfoFormat::inv},
    {73, "enqcmds_pasid_translation_failure", ExitKind::instruction, Qualification::displacement,
     InfoFormat::inv},
    {74, "bus_lock", ExitKind::trap, Qualification::none, InfoFormat::none},
    {75, "instruction_timeout", ExitKind::event, Qualification::instruction_timeout, InfoFormat::none},
    {78, "rdmsrlist", ExitKind::instruction, Qualification::msr_address, InfoFormat::none},
    {79, "wrmsrlist", ExitKind::instruction, Qualification::msr_address, InfoFormat::none},
};

TEST(ExitReasonRows, NumbersNamesAndInformation) {
    ASSERT_EQ(std::size(reasons), exit_rows.size());
    for (const ExitRow& r : reasons) {
        const ExitRow* row = exit_row(r.number);
        ASSERT_NE(row, nullptr) << r.number;
        EXPECT_EQ(row->name, r.name);
        EXPECT_EQ(row->kind, r.kind) << r.name;
        EXPECT_EQ(row->qualification, r.qualification) << r.name;
        EXPECT_EQ(row->info, r.info) << r.name;
    }
}

// ---- VM-instruction errors and VMX aborts

struct Said {
    u32 number;
    std::string_view text;
};
constexpr Said errors[] = {
    {1, "VMCALL executed in VMX root operation"},
    {2, "VMCLEAR with invalid physical address"},
    {3, "VMCLEAR with VMXON pointer"},
    {4, "VMLAUNCH with non-clear VMCS"},
    {5, "VMRESUME with non-launched VMCS"},
    {7, "VM entry with invalid control field(s)"},
    {8, "VM entry with invalid host-state field(s)"},
    {9, "VMPTRLD with invalid physical address"},
    {10, "VMPTRLD with VMXON pointer"},
    {11, "VMPTRLD with incorrect VMCS revision identifier"},
    {12, "VMREAD/VMWRITE from/to unsupported VMCS component"},
    {13, "VMWRITE to read-only VMCS component"},
    {15, "VMXON executed in VMX root operation"},
    {26, "VM entry with events blocked by MOV SS"},
    {28, "Invalid operand to INVEPT/INVVPID"},
};
constexpr Said aborts[] = {
    {1, "a guest's MSR could not be stored"},
    {2, "the host's page-directory-pointer-table entries have reserved bits"},
    {3, "the current VMCS is corrupt"},
    {4, "a host's MSR could not be loaded"},
    {5, "a machine check during the VM exit"},
    {6, "the guest was in IA-32e mode, the host address-space size is 32 bits"},
};

TEST(ErrorRows, NumbersAndTexts) {
    ASSERT_EQ(vmx_error_rows.size(), std::size(errors));
    for (std::size_t i = 0; i < std::size(errors); ++i) {
        EXPECT_EQ(static_cast<u32>(vmx_error_rows[i].error), errors[i].number);
        EXPECT_EQ(vmx_error_rows[i].text, errors[i].text);
    }
    ASSERT_EQ(vmx_abort_rows.size(), std::size(aborts));
    for (std::size_t i = 0; i < std::size(aborts); ++i) {
        EXPECT_EQ(static_cast<u32>(vmx_abort_rows[i].abort), aborts[i].number);
        EXPECT_EQ(vmx_abort_rows[i].text, aborts[i].text);
    }
}

}  // namespace
}  // namespace droste::test
