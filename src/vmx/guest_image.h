// SPDX-License-Identifier: Apache-2.0
// GuestImage: all that VM transitions switch of a level's registers, outside of any VMCS; and the part of a VMCS
// region that no VMREAD reaches.
#pragma once
#include <array>

#include "cpu/cpu.h"
#include "vmx/capability_msrs.h"
#include "vmx/vmcs.h"

namespace droste {

namespace vmx_detail {
/// Fields of the guest-state area that are registers. The others belong to the VMCS alone.
constexpr bool guest_register(Field f) {
    constexpr Field kept[] = {"guest_interrupt_status"_f, "pml_index"_f, "vmcs_link_pointer"_f,
                              "vmx_preemption_timer_value"_f, "guest_deadline"_f, "guest_smbase"_f};
    for (const Field k : kept)
        if (k == f) return false;
    return f->area() == FieldArea::guest;
}
constexpr unsigned guest_register_count = [] {
    unsigned n = 0;
    for (u16 i = 0; i < vmcs_fields.size(); ++i) n += guest_register({i});
    return n;
}();
}  // namespace vmx_detail

/// The rows of vmcs_fields that a GuestImage holds, in their order.
inline constexpr auto guest_registers = [] {
    std::array<Field, vmx_detail::guest_register_count> rows{};
    unsigned n = 0;
    for (u16 i = 0; i < vmcs_fields.size(); ++i)
        if (vmx_detail::guest_register({i})) rows[n++] = {i};
    return rows;
}();

/// Registers as fields of a guest-state area, all of them whatever any control says.
struct GuestImage {
    std::array<u64, guest_registers.size()> value{};

    static consteval unsigned index(Field f) {
        for (unsigned i = 0; i < guest_registers.size(); ++i)
            if (guest_registers[i] == f) return i;
        throw "not a register of the guest-state area";
    }
    void from(const Vmcs& v) {
        for (unsigned i = 0; i < value.size(); ++i) value[i] = v[guest_registers[i]];
    }
    void to(const Vmcs& v) const {
        for (unsigned i = 0; i < value.size(); ++i) v.set(guest_registers[i], value[i]);
    }
};

/// What of an inner run waits while a level beneath it runs.
struct SuspendedRun {
    GuestImage image;
    Vectoring vectoring;          ///< event whose delivery was cut off
    u64 pending_exit = 0;         ///< trap-like: bit 63 present, 15:0 reason
    u64 pending_exit_qualification = 0;
    u64 monitor_trap = 0;         ///< bit 0 due
};

/// The hidden part of a VMCS region, in qwords from vmcs_layout::routing_data on. Whose magic number is missing, is
/// all 0.
class HiddenState {
public:
    explicit HiddenState(const Vmcs& v) : v_(v) {}
    enum Slot : u8 {
        magic,
        flags,
        // of the guest as a hypervisor; addresses are its own
        vmxon_pointer, revision, current, current_machine,
        entered,              ///< the VMCS that it is inside the VMLAUNCH or VMRESUME of
        timer,                ///< the VMX-preemption timer of this VMCS: bit 63 running, 31:0 what is left
        offered,              ///< accepted for the guest and not yet taken: bit 8 interrupt 7:0, bit 9 NMI
        vectoring, vectoring_code, vectoring_data,
        pending_exit, pending_exit_qualification, monitor_trap,
        own,                  ///< image of the guest at its VMLAUNCH or VMRESUME
        running = own + guest_registers.size(),  ///< image of the level that runs above it
        end = running + guest_registers.size()
    };
    static_assert(vmcs_layout::routing_data + 8 * end <= vmcs_layout::size);
    static constexpr u64 in_operation = 1, active = 2, presented_running = 4;

    bool present() const { return v_ && v_.hidden(magic) == number; }
    u64 get(Slot s) const { return present() ? v_.hidden(s) : 0; }
    void set(Slot s, u64 value) const {
        if (!present()) {
            for (unsigned i = flags; i < end; ++i) v_.set_hidden(i, 0);
            v_.set_hidden(magic, number);
        }
        v_.set_hidden(s, value);
    }
    bool has(u64 flag) const { return get(flags) & flag; }
    void put(u64 flag, bool on) const { set(flags, on ? get(flags) | flag : get(flags) & ~flag); }
    void save(Slot at, const GuestImage& image) const {
        for (unsigned i = 0; i < image.value.size(); ++i) set(static_cast<Slot>(at + i), image.value[i]);
    }
    void load(Slot at, GuestImage& image) const {
        for (unsigned i = 0; i < image.value.size(); ++i) image.value[i] = get(static_cast<Slot>(at + i));
    }
    void save(const SuspendedRun& run) const;
    void load(SuspendedRun& run) const;

private:
    static constexpr u64 number = 0x6C65'7665'6C73'2131;
    const Vmcs v_;
};

/// All controls that move registers between processor and VMCS, as far as the processor has the registers.
Controls full_controls(const VmxCapabilities& caps);
/// An exit with these controls saves the field.
bool saved_by_exit(Field f, const Controls& c, const VmxCapabilities& caps, const Cpu& cpu);

}  // namespace droste
