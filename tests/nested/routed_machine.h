// SPDX-License-Identifier: Apache-2.0
// RoutedMachine: level 2 runs above level 1 above root, with the VMCSs that an enlightened level 0 keeps.
//
//   vmcs_b (R_1)       root's for level 1                C, the control link of R_2
//   vmcs_a (R_2)       root's for level 2, merged        the current VMCS while level 2 runs
//   shadow_vmcs (S_2)  level 1's for level 2             the state link of R_2
#pragma once
#include <optional>

#include "nested/routing/routing_unit.h"
#include "vmx/vmx_machine.h"

namespace droste::test {

inline RoutingConfig config_of(std::string_view design) {
    RoutingConfig c;
    c.design = &routing_design(design);
    return c;
}

class RoutedMachine : public VmxMachine {
public:
    static constexpr u64 r1 = vmcs_b, r2 = vmcs_a, s2 = shadow_vmcs;
    static constexpr u64 level1_entry = 0x3A00, level1_stack = 0x7800;
    static constexpr u64 ept_of_level_1 = 0x22'0000;  ///< level 1's for level 2; identity, with its own tables

    explicit RoutedMachine(const RoutingConfig& config)
        : VmxMachine({"+exit_routing"}, config.capability()), unit(cpu, config, [] { return 2u; }), design(config.design) {
        vmx.set_router(&unit);
        poke<u64>(ept_of_level_1, (ept_of_level_1 + 0x1000) | 7);
        poke<u64>(ept_of_level_1 + 0x1000, (ept_of_level_1 + 0x2000) | 7);
        for (u64 i = 0; i < 512; ++i) poke<u64>(ept_of_level_1 + 0x2000 + 8 * i, (i << 21) | 0xB7);
    }

    Vmcs vmcs(u64 address) const { return Vmcs(memory, address); }
    Vmcs s() const { return vmcs(s2); }
    Vmcs c() const { return vmcs(r1); }
    Vmcs v() const { return vmcs(r2); }

    /// Writes a field of any of the three.
    void put(u64 address, Field f, u64 value) {
        vmcs(address).set(f, value);
        const u64 current = vmx.current() ? vmx.current().address() : Vmcs::none;
        if (current == address) vmx.written(f);
    }

    /// Level 1 has been entered and stands at an exit; its VMCS for level 2 and the merged one are filled, linked and
    /// current. `prepare` may change them before level 2 is entered.
    void build() {
        start(s2);
        enable_ept();
        set("eptp"_f, ept_of_level_1 | 0x5E);
        distinct_host_state();
        start(r1);
        enable_ept();
        enable("enable_vpid"_vmx);
        run_guest({0x0F, 0xA2});
        ASSERT(reason() == 10);
        cpu.activity = Activity::active;
        start(r2);
        enable_ept();
        enable("enable_vpid"_vmx);
        set("virtual_processor_identifier"_f, 2);
        enable("exit_routing"_vmx);
        for (const Field f : {Field{"state_link"_f}, Field{"control_link"_f}, Field{"parent_link"_f}}) set(f, ~0ull);
        set("state_link"_f, s2);
        set(design->link, r1);
        enable("save_debug_controls"_vmx);
        enable("save_ia32_pat"_vmx);
        enable("save_ia32_efer"_vmx);
        poke<u8>(level1_entry, 0xF4);
    }
    void route_reason(unsigned number) {
        add(number < 64 ? "reason_bitmap_0"_f : "reason_bitmap_1"_f, 1ull << (number % 64));
    }
    /// Sets a control in both VMCSs of level 2.
    void ask(Capability control) {
        enable(control);
        const Field f = word_field(control);
        s().set(f, s()[f] | control.mask());
        if (control.word == VmxWord::tertiary) ask("activate_tertiary_controls"_vmx);
    }
    void put_both(Field f, u64 value) {
        set(f, value);
        s().set(f, value);
    }

    /// Level 2 executes `bytes`; level 1 or root then halts. The level that did.
    unsigned run_level2(std::initializer_list<u8> bytes) {
        run_guest(bytes);
        if (!cpu.non_root) return 0;
        return vmx.current().address() == r1 ? 1 : 2;
    }

    RoutingUnit unit;
    const RoutingDesign* design;

private:
    void distinct_host_state() {
        set("host_rip"_f, level1_entry);
        set("host_rsp"_f, level1_stack);
        set("host_fs_base"_f, 0x1111'0000);
        set("host_gs_base"_f, 0x2222'0000);
        set("host_ia32_sysenter_esp"_f, 0x3333);
        set("host_ia32_sysenter_eip"_f, 0x4444);
        set("host_ia32_sysenter_cs"_f, 0x55);
        set("host_cr0"_f, cpu.cr0 ^ cr0_bits::ts);
        set("host_cr4"_f, cpu.cr4 ^ cr4_bits::pge);
        set("host_ia32_pat"_f, 0x0007'0406'0007'0406);
        for (unsigned i = 0; i < 6; ++i)
            if (i != 1) set("host_es_selector"_f + i, 0x20);
    }
};

}  // namespace droste::test
