// SPDX-License-Identifier: Apache-2.0
// The names of policies, and the presets.
#include "nested/routing/policy.h"

namespace droste {

namespace {

constexpr RoutePolicy root{Policy::root}, parent{Policy::parent}, own{Policy::top_down},
    bottom_up{Policy::bottom_up}, owner{Policy::owner};

constexpr PolicyName names[] = {
    {"design", {}},           {"root", root},           {"bitmap", {Policy::bitmap}},
    {"top-down", own},        {"bottom-up", bottom_up}, {"parent", parent},
    {"owner", owner},         {"level-1", {Policy::level, 1}}, {"level-2", {Policy::level, 2}},
    {"level-3", {Policy::level, 3}}, {"level-4", {Policy::level, 4}}, {"level-5", {Policy::level, 5}},
    {"level-6", {Policy::level, 6}}, {"level-7", {Policy::level, 7}},
};

using Row = RoutePreset::Row;

// What KVM (Linux 6.1) keeps to itself; the rest goes to the guest hypervisor whose controls ask for it.
constexpr Row kvm[] = {
    {"external_interrupt"_exit, root},
    {"vmx_preemption_timer_expired"_exit, root},
    {"page_modification_log_full"_exit, root},
    {"vmfunc"_exit, root},
    {"bus_lock"_exit, root},
    {"instruction_timeout"_exit, root},
    {"ept_violation"_exit, owner},
    {"ept_misconfiguration"_exit, owner},
};

// Xen: what KVM keeps, and WBINVD.
constexpr Row xen[] = {
    {"external_interrupt"_exit, root},
    {"triple_fault"_exit, parent},
    {"task_switch"_exit, parent},
    {"cpuid"_exit, parent},
    {"invd"_exit, parent},
    {"ept_violation"_exit, owner},
    {"ept_misconfiguration"_exit, owner},
    {"wbinvd"_exit, root},
    {"xsetbv"_exit, parent},
    {"bus_lock"_exit, root},
    {"instruction_timeout"_exit, root},
};

// The TDX module: all but what the host or the module itself must have goes to the guest hypervisor.
constexpr Row tdx[] = {
    {"external_interrupt"_exit, root},
    {"control_register_access"_exit, own},
    {"rdmsr"_exit, own},
    {"wrmsr"_exit, own},
    {"ept_violation"_exit, owner},
    {"ept_misconfiguration"_exit, owner},
    {"page_modification_log_full"_exit, root},
    {"bus_lock"_exit, root},
    {"instruction_timeout"_exit, root},
};

// Level 0 serves the VMX instructions of all levels; a hypervisor between, which has no nesting, never sees one.
constexpr Row skip_level[] = {
    {"external_interrupt"_exit, bottom_up},
    {"vmclear"_exit, root},
    {"vmlaunch"_exit, root},
    {"vmptrld"_exit, root},
    {"vmptrst"_exit, root},
    {"vmread"_exit, root},
    {"vmresume"_exit, root},
    {"vmwrite"_exit, root},
    {"vmxoff"_exit, root},
    {"vmxon"_exit, root},
    {"ept_violation"_exit, owner},
    {"ept_misconfiguration"_exit, owner},
    {"invept"_exit, root},
    {"invvpid"_exit, root},
};

// Management events go to the hypervisor that the firmware started, which decides whether another one needs them.
constexpr Row firmware_ras[] = {
    {"external_interrupt"_exit, bottom_up},
    {"ept_violation"_exit, bottom_up},
    {"ept_misconfiguration"_exit, bottom_up},
    {"vmx_preemption_timer_expired"_exit, bottom_up},
    {"page_modification_log_full"_exit, bottom_up},
    {"bus_lock"_exit, bottom_up},
    {"instruction_timeout"_exit, bottom_up},
};

constexpr RoutePreset presets[] = {
    {"kvm", "KVM (Linux 6.1): level 0 first for what concerns the host, then whoever asks.", own, kvm},
    {"xen", "Xen: as KVM, but WBINVD is level 0's.", own, xen},
    {"tdx", "The TDX module: unconditionally the guest hypervisor, but for what is the host's.", parent, tdx},
    {"skip-level", "Level 0 serves the VMX instructions of all levels.", own, skip_level},
    {"firmware-ras", "Events of the platform go to level 0, first of all.", own, firmware_ras},
};

}  // namespace

std::span<const PolicyName> policy_names() { return names; }

std::string_view name_of(RoutePolicy policy) {
    for (const PolicyName& n : names)
        if (n.policy == policy) return n.name;
    return "level-0";
}

std::span<const RoutePreset> route_presets() { return presets; }

RoutePolicies RoutePreset::policies() const {
    RoutePolicies all;
    all.fill(others);
    for (const Row& row : rows) all[row.reason->number] = row.policy;
    return all;
}

}  // namespace droste
