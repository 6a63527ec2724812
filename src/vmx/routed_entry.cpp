// SPDX-License-Identifier: Apache-2.0
// VMRESUME of a guest hypervisor without level 0: the merged VMCS by which its guest ran last is entered again.
#include <array>
#include <cstring>

#include "vmx/entry_checks.h"
#include "vmx/interruption.h"
#include "vmx/routed_exit.h"
#include "vmx/state_area.h"

namespace droste {

void copy_guest_state(const Vmcs& from, const Vmcs& to, const VmxCapabilities& caps) {
    const u64 kept0 = to["cr0_guest_host_mask"_f], kept4 = to["cr4_guest_host_mask"_f];
    const u64 cr0 = (from["guest_cr0"_f] & ~kept0) | (to["guest_cr0"_f] & kept0),
              cr4 = (from["guest_cr4"_f] & ~kept4) | (to["guest_cr4"_f] & kept4);
    for (u16 i = 0; i < vmcs_fields.size(); ++i) {
        const Field f{i};
        if (f->area() == FieldArea::guest && f->merge == Merge::from_guest && caps.field_exists(f)) to.set(f, from[f]);
    }
    to.set("guest_cr0"_f, cr0);
    to.set("guest_cr4"_f, cr4);
    for (const Field f : entry_event_fields)
        if (caps.field_exists(f)) to.set(f, from[f]);
    constexpr u64 ia32e = "ia32e_mode_guest"_vmx.mask();
    to.set("entry_controls"_f, (to["entry_controls"_f] & ~ia32e) | (from["entry_controls"_f] & ia32e));
}

namespace {

/// What `from` does not hold because its exits do not save it is what the processor has.
void complete(const Cpu& cpu, const Vmcs& from, const Vmcs& to) {
    const Controls c = controls_of(from);
    if (!c.has("entry_load_ia32_efer"_vmx)) {
        constexpr u64 long_mode = efer_bits::lma | efer_bits::lme;
        to.set("guest_ia32_efer"_f, (cpu.efer & ~long_mode) | (c.has("ia32e_mode_guest"_vmx) ? long_mode : 0));
    }
    if (!c.has("entry_load_ia32_pat"_vmx)) to.set("guest_ia32_pat"_f, cpu.pat);
    if (!c.has("load_debug_controls"_vmx)) {
        to.set("guest_dr7"_f, cpu.dr7);
        to.set("guest_ia32_debugctl"_f, cpu.debugctl);
    }
}

}  // namespace

bool Vmx::enter_from_non_root(const ExitEvent& event, const Vmcs& child, const Vmcs& state) {
    if (!child || !state || child.shadow() || child.launch_state() != LaunchState::launched ||
        cpu_.cpl != 0 ||
        (cpu_.interruptibility & interruptibility_bits::mov_ss) != 0 || state["entry_msr_load_count"_f] != 0 ||
        child["entry_msr_load_count"_f] != 0)
        return false;
    std::array<u8, vmcs_layout::size> before;
    u8* const region = cpu_.memory.host(child.address());
    std::memcpy(before.data(), region, before.size());
    copy_guest_state(state, child, caps_);
    complete(cpu_, state, child);
    const Controls c = controls_of(child);
    const EntryContext x{child, c, caps_, cpu_};
    // What a VM entry by level 0 would check: its host state is that of a 64-bit hypervisor here.
    bool passes = c.has("host_address_space_size"_vmx) && first_failing(guest_entry_checks(), x) == nullptr;
    const bool checked = checked_.has(child.address(), efer_bits::lma);
    for (const EntryCheck& check : control_entry_checks())
        passes = passes && ((checked && check.when == When::after_writes) || check.passes(x));
    for (const EntryCheck& check : host_entry_checks())
        passes = passes && (checked || depends_on_mode(check) || check.passes(x));
    if (!passes) {
        std::memcpy(region, before.data(), before.size());
        return false;
    }
    const EntryEvent entry{.vmcs = child.address(),
                           .launch = false,
                           .ticks = event.ticks,
                           .cycles_before = event.cycles_before,
                           .linear_rip = event.linear_rip};
    cpu_.memory.about_to_write(child.address(), vmcs_layout::size);
    timer_stopped_value_ = layer().timer.value();
    layer().timer.stop();
    // The hypervisor stands at its VMRESUME, as after an exit to level 0.
    save_guest_state(event, current_, controls_);
    const bool had_vpid = controls_.has("enable_vpid"_vmx);
    leave_non_root();
    if (!had_vpid) cpu_.mmu.invvpid_single(0, false);
    load_guest_area(cpu_, child, c);
    cpu_.unwatch_line();
    cpu_.debug_cause = 0;
    make_current(child);
    controls_ = c;
    cpu_.charge(CostEvent::direct_entry);
    const u32 injected = static_cast<u32>(get("entry_interruption_information"_f));
    start_non_root();
    for (VmxObserver* o : observers_) o->entered_from_non_root(entry);
    deliver_injected(injected);
    return true;
}

}  // namespace droste
