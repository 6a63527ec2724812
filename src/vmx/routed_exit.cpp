// SPDX-License-Identifier: Apache-2.0
// The transfer from non-root to non-root operation, in the order of SDM "VM Exits".
#include "vmx/routed_exit.h"

#include <array>

#include "vmx/entry_checks.h"
#include "vmx/ept_lookup.h"
#include "vmx/msr_area.h"
#include "vmx/state_area.h"

namespace droste {

namespace {

constexpr std::array<std::string_view, static_cast<std::size_t>(RouteFallback::count)> fallback_names = {
    "none",           "no_link",           "state_controls",   "host_state",    "host_mode", "control_fields",
    "control_registers", "area_translation", "area_contents", "too_deep", "view"};

struct ControlRegisters {
    u64 cr0, cr4;
};

/// What the hypervisor's CR0 and CR4 really are: bits that its own hypervisor keeps are as that one set them.
ControlRegisters composed(const Vmcs& state, const Vmcs& control) {
    const auto mix = [&](Field host, Field guest, Field mask) {
        return (state[host] & ~control[mask]) | (control[guest] & control[mask]);
    };
    return {mix("host_cr0"_f, "guest_cr0"_f, "cr0_guest_host_mask"_f),
            mix("host_cr4"_f, "guest_cr4"_f, "cr4_guest_host_mask"_f)};
}

bool valid_control_registers(const VmxCapabilities& caps, const Controls& c, const Vmcs& state,
                             const ControlRegisters& real) {
    const u64 relaxed = c.has("unrestricted_guest"_vmx) ? cr0_bits::pe | cr0_bits::pg : 0;
    if ((caps.cr0_fixed0 & ~relaxed & ~real.cr0) != 0 || (real.cr0 & ~caps.cr0_fixed1) != 0) return false;
    if ((caps.cr4_fixed0 & ~real.cr4) != 0 || (real.cr4 & ~caps.cr4_fixed1) != 0) return false;
    // The masks may change nothing that decides about the mode, or about what else is legal.
    constexpr u64 mode0 = cr0_bits::pe | cr0_bits::pg | cr0_bits::wp, mode4 = cr4_bits::pae | cr4_bits::la57;
    return ((real.cr0 ^ state["host_cr0"_f]) & mode0) == 0 && ((real.cr4 ^ state["host_cr4"_f]) & mode4) == 0 &&
           ((real.cr4 & cr4_bits::cet) == 0 || (real.cr0 & cr0_bits::wp) != 0);
}

/// An MSR area whose addresses are those of the guest of `control`.
struct Area {
    std::vector<u64> entries;  // machine-physical
    bool translated = true;
};
Area translate_area(const Cpu& cpu, const VmxCapabilities& caps, const Vmcs& control, const Controls& c,
                    u64 address, u64 count, bool write) {
    Area area;
    if (count > longest_msr_area) area.translated = false;
    for (u64 i = 0; i < count && area.translated; ++i, address += 16) {
        u64 at = address;
        if (c.has("enable_ept"_vmx)) {
            const EptLookup found = look_up_ept(cpu.memory, caps, control["eptp"_f], address, write);
            area.translated = found.end == WalkEnd::mapped && found.flagged;
            at = found.address;
        }
        if (!cpu.memory.host(at & ~0xFFFull)) area.translated = false;
        area.entries.push_back(at);
    }
    return area;
}

/// MSRs whose writing acts outside of the processor cannot be taken back.
bool reversible(u32 index) {
    constexpr u32 apic_base = 0x1B, tsc = 0x10, tsc_deadline = 0x6E0;
    return index != apic_base && index != tsc && index != tsc_deadline && (index >> 8) != 8;
}

}  // namespace

std::string_view name_of(RouteFallback cause) { return fallback_names[static_cast<std::size_t>(cause)]; }

u64 guest_view_of_cr(const Vmcs& running, const Vmcs& state, bool cr4, u64 real) {
    const Field mask = cr4 ? "cr4_guest_host_mask"_f : "cr0_guest_host_mask"_f;
    const u64 kept = running[mask], owned = state[mask];
    return (real & ~kept) | (state[cr4 ? "guest_cr4"_f : "guest_cr0"_f] & kept & owned) |
           (running[cr4 ? "cr4_read_shadow"_f : "cr0_read_shadow"_f] & kept & ~owned);
}

/// The first precondition that does not hold. Looks only.
RouteFallback Vmx::unfit_for_exit(const ExitEvent& e, const RoutedExit& to, const Controls& s,
                                  const Controls& c) const {
    if (!to.state || !to.control || to.control.shadow() || to.state.address() == to.control.address() ||
        to.control.launch_state() != LaunchState::launched || (to.shown && !to.own_state))
        return RouteFallback::no_link;
    // An instruction's exit says something about registers that the hypervisor further down does not see, and an
    // event whose delivery it cut off would be lost.
    if (to.shown && (e.row->kind != ExitKind::event || cpu_.vectoring.active)) return RouteFallback::view;
    if (!caps_.valid_control(VmxWord::exit, s[VmxWord::exit]) ||
        (s[VmxWord::secondary_exit] & ~caps_.may_be_one(VmxWord::secondary_exit)) != 0)
        return RouteFallback::state_controls;
    if (!s.has("host_address_space_size"_vmx)) return RouteFallback::host_mode;
    const EntryContext host{to.state, s, caps_, cpu_};
    for (const EntryCheck& check : host_entry_checks())
        if (!depends_on_mode(check) && !check.passes(host)) return RouteFallback::host_state;
    const u64 long_mode = efer_bits::lma;
    if (!checked_.has(to.control.address(), long_mode)) {
        const EntryContext x{to.control, c, caps_, cpu_};
        for (const EntryCheck& check : control_entry_checks())
            if (check.when == When::after_writes && !check.passes(x)) return RouteFallback::control_fields;
    }
    if (!valid_control_registers(caps_, c, to.state, composed(to.state, to.control)))
        return RouteFallback::control_registers;
    return RouteFallback::none;
}

/// One transfer, which either happens or leaves everything as it was.
class RoutedTransfer {
public:
    RoutedTransfer(Vmx& vmx, ExitEvent& event, const RoutedExit& to, const Controls& s, const Controls& c)
        : vmx_(vmx), cpu_(vmx.cpu_), event_(event), to_(to), s_(s), c_(c) {}

    RouteFallback run() {
        const Area store = area("exit_msr_store_address"_f, "exit_msr_store_count"_f, true);
        const Area load = area("exit_msr_load_address"_f, "exit_msr_load_count"_f, false);
        if (!store.translated || !load.translated) return RouteFallback::area_translation;
        std::vector<u64> stored;
        if (!read_stored(store, stored) || !loadable(load)) return RouteFallback::area_contents;
        if (load.entries.empty()) {
            transfer(store, stored);
            return RouteFallback::none;
        }
        // Loading an MSR may fail late: then the processor and both VMCSs are as they were.
        const CpuState before = cpu_;
        const auto before_s = copy(to_.state), before_c = copy(to_.control);
        const u64 tsc_multiplier = cpu_.tsc_multiplier;
        const RouteFallback cause = try_load(load);
        static_cast<CpuState&>(cpu_) = before;
        cpu_.tsc_multiplier = tsc_multiplier;
        restore(to_.state, before_s);
        restore(to_.control, before_c);
        cpu_.context_changed();
        if (cause != RouteFallback::none) return cause;
        transfer(store, stored);
        const bool loaded = load_all(load);
        ASSERT(loaded);  // it was tried
        for (std::size_t i = 0; i < load.entries.size(); ++i) cpu_.charge(CostEvent::msr_list_entry);
        cpu_.context_changed();
        return RouteFallback::none;
    }

private:
    using Region = std::array<u8, vmcs_layout::size>;
    Region copy(const Vmcs& v) const {
        Region r;
        std::memcpy(r.data(), cpu_.memory.host(v.address()), r.size());
        return r;
    }
    void restore(const Vmcs& v, const Region& r) { std::memcpy(cpu_.memory.host(v.address()), r.data(), r.size()); }

    Area area(Field address, Field count, bool write) const {
        return translate_area(cpu_, vmx_.caps_, to_.control, c_, to_.state[address], to_.state[count], write);
    }

    /// The values that the MSR-store area gets: the hypervisor's TSC, not the guest's.
    bool read_stored(const Area& store, std::vector<u64>& values) {
        const u64 offset = cpu_.tsc_offset, multiplier = cpu_.tsc_multiplier;
        set_hypervisors_tsc();
        bool good = true;
        for (const u64 at : store.entries) {
            const auto value = read_listed_msr(cpu_, at);
            if (!(good = value.has_value())) break;
            values.push_back(*value);
        }
        cpu_.tsc_offset = offset;
        cpu_.tsc_multiplier = multiplier;
        return good;
    }
    void set_hypervisors_tsc() {
        const bool offsetting = c_.has("use_tsc_offsetting"_vmx);
        cpu_.tsc_offset = offsetting ? to_.control["tsc_offset"_f] : 0;
        cpu_.tsc_multiplier =
            offsetting && c_.has("use_tsc_scaling"_vmx) ? to_.control["tsc_multiplier"_f] : 1ull << 48;
    }
    bool loadable(const Area& load) const {
        for (const u64 at : load.entries)
            if (!reversible(cpu_.memory.read32(at))) return false;
        return true;
    }
    bool load_all(const Area& load) {
        for (const u64 at : load.entries)
            if (!write_listed_msr(cpu_, at)) return false;
        return true;
    }
    /// Loads the host's state and the area, to see whether it can be done.
    RouteFallback try_load(const Area& load) {
        load_host_area(cpu_, to_.state, s_);
        return load_all(load) ? RouteFallback::none : RouteFallback::area_contents;
    }

    void transfer(const Area& store, const std::vector<u64>& stored) {
        const Vmcs v = vmx_.current_;
        const Vmcs &state = to_.state, &control = to_.control;
        cpu_.memory.about_to_write(state.address(), vmcs_layout::size);
        vmx_.timer_stopped_value_ = vmx_.layer().timer.value();
        vmx_.layer().timer.stop();
        vmx_.record_exit_information(event_, state, s_);
        save_state(v);
        for (std::size_t i = 0; i < stored.size(); ++i) {
            cpu_.memory.about_to_write(store.entries[i] & ~0xFFFull, 4096);
            cpu_.memory.write64(store.entries[i] + 8, stored[i]);
            cpu_.charge(CostEvent::msr_list_entry);
        }
        const bool guest_had_vpid = vmx_.controls_.has("enable_vpid"_vmx);
        // With virtual NMIs the blocking was the guest's alone.
        const u32 blocking_by_nmi = vmx_.controls_.has("virtual_nmis"_vmx)
                                        ? 0u
                                        : cpu_.interruptibility & interruptibility_bits::nmi;
        vmx_.leave_non_root();
        if (!guest_had_vpid) cpu_.mmu.invvpid_single(0, false);
        load_hypervisor(control, blocking_by_nmi);
        vmx_.make_current(control);
        vmx_.controls_ = c_;
        vmx_.start_non_root();
        cpu_.charge(CostEvent::direct_exit);
        event_.cycles_after = cpu_.cycles();
        event_.vmcs_after = control.address();
    }

    void save_state(const Vmcs& v) {
        if (!to_.shown) {
            save_running(v, to_.state, s_);
            return;
        }
        Controls own = controls_of(to_.own_state);
        cpu_.memory.about_to_write(to_.own_state.address(), vmcs_layout::size);
        save_running(v, to_.own_state, own);
        show();
    }
    /// The hypervisor's guest as it stands at its VMLAUNCH or VMRESUME.
    void show() {
        const Vmcs &from = to_.shown, &state = to_.state;
        const u64 cr0 = guest_view_of_cr(from, state, false, from["guest_cr0"_f]),
                  cr4 = guest_view_of_cr(from, state, true, from["guest_cr4"_f]);
        for (u16 i = 0; i < vmcs_fields.size(); ++i) {
            const Field f{i};
            if (f->area() == FieldArea::guest && f->merge == Merge::from_guest && vmx_.caps_.field_exists(f))
                state.set(f, from[f]);
        }
        state.set("guest_cr0"_f, cr0);
        state.set("guest_cr4"_f, cr4);
    }
    void save_running(const Vmcs& v, const Vmcs& state, Controls& controls) {
        const u64 cr0 = guest_view_of_cr(v, state, false, cpu_.cr0), cr4 = guest_view_of_cr(v, state, true, cpu_.cr4);
        vmx_.save_guest_state(event_, state, controls);
        state.set("guest_cr0"_f, cr0);
        state.set("guest_cr4"_f, cr4);
        if (controls.has("virtual_interrupt_delivery"_vmx))
            state.set("guest_interrupt_status"_f, v["guest_interrupt_status"_f]);
    }

    void load_hypervisor(const Vmcs& control, u32 blocking_by_nmi) {
        const ControlRegisters real = composed(to_.state, control);
        load_host_area(cpu_, to_.state, s_);
        cpu_.cr0 = (cpu_.cr0 & cr0_kept) | (real.cr0 & ~cr0_kept);
        cpu_.cr4 = real.cr4;
        control.set("cr0_read_shadow"_f, to_.state["host_cr0"_f]);
        control.set("cr4_read_shadow"_f, to_.state["host_cr4"_f]);
        // SDM "Updating Non-Register State"
        cpu_.activity = Activity::active;
        cpu_.interruptibility = blocking_by_nmi;
        cpu_.pending_debug = 0;
        cpu_.debug_cause = 0;
        cpu_.unwatch_line();
        cpu_.iret_unblocked_nmi = false;
    }

    Vmx& vmx_;
    Cpu& cpu_;
    ExitEvent& event_;
    const RoutedExit& to_;
    Controls s_;
    const Controls& c_;
};

RouteFallback Vmx::exit_to_non_root(ExitEvent& e, const RoutedExit& to) {
    if (!to.state || !to.control) return RouteFallback::no_link;
    const Controls s = controls_of(to.state), c = controls_of(to.control);
    if (const RouteFallback cause = unfit_for_exit(e, to, s, c); cause != RouteFallback::none) return cause;
    if (const RouteFallback cause = RoutedTransfer(*this, e, to, s, c).run(); cause != RouteFallback::none)
        return cause;
    for (VmxObserver* o : observers_) o->exited_to_non_root(e);
    return RouteFallback::none;
}

}  // namespace droste
