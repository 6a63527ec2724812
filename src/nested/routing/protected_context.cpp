// SPDX-License-Identifier: Apache-2.0
// Sealing and unsealing.
#include "nested/routing/protected_context.h"

#include "cpu/cpu.h"
#include "nested/routing/hidden_state.h"
#include "nested/routing/levels_chain.h"
#include "vmx/exit_reasons.h"
#include "vmx/routing_fields.h"

namespace droste {

namespace {

/// RAX, RCX, RDX, RBX carry what is asked of level 0; RSP is a field.
constexpr unsigned first_sealed_gpr = 5, gprs = 16;

constexpr bool sealed_field(const VmcsField& f) {
    if (f.area() != FieldArea::guest || f.merge != Merge::from_guest) return false;
    for (const std::string_view open : {"guest_cr0", "guest_cr4", "guest_ia32_efer", "guest_interruptibility_state",
                                        "guest_activity_state", "guest_interrupt_status", "vmx_preemption_timer_value"})
        if (f.name == open) return false;
    return true;
}
constexpr std::size_t sealed_fields = [] {
    std::size_t n = 0;
    for (const VmcsField& f : vmcs_fields) n += sealed_field(f);
    return n;
}();
static_assert(hidden::gprs + gprs <= hidden::fields && hidden::fields + sealed_fields <= vmcs_layout::hidden_words);

bool is_protected(const Vmcs& v) {
    return controls_of(v).has("exit_routing"_vmx) &&
           (v["routing_controls"_f] & routing_controls::protected_context) != 0;
}

template <class Do> void each_sealed_field(Do&& act) {
    unsigned word = hidden::fields;
    for (u16 i = 0; i < vmcs_fields.size(); ++i)
        if (sealed_field(vmcs_fields[i])) act(Field{i}, word++);
}

bool left_to_enter(const Vmcs& v) {
    const u64 reason = v["exit_reason"_f];
    return reason == "vmlaunch"_exit->number || reason == "vmresume"_exit->number;
}

}  // namespace

void seal(Cpu& cpu, const Vmcs& v) {
    if (!v || !is_protected(v)) return;
    for (unsigned i = first_sealed_gpr; i < gprs; ++i) {
        v.set_hidden(hidden::gprs + i, cpu.gpr[i]);
        cpu.gpr[i] = 0;
    }
    each_sealed_field([&](Field f, unsigned word) {
        v.set_hidden(word, v[f]);
        v.set(f, 0);
    });
    v.set_hidden(hidden::sealed, 1);
}

void unseal_fields(const Cpu& cpu, const Vmcs& v, const VmxCapabilities& caps) {
    if (!is_protected(v)) return;
    if (v.launch_state() == LaunchState::clear) {  // a new context: what is there is what level 0 wrote
        v.set_hidden(hidden::sealed, 0);
        return;
    }
    if (v.hidden(hidden::sealed) == 1) {
        const u64 skipped = v["guest_rip"_f];
        each_sealed_field([&](Field f, unsigned word) { v.set(f, v.hidden(word)); });
        v.set("guest_rip"_f, v["guest_rip"_f] + skipped);
        return;
    }
    const Vmcs state(cpu.memory, v["state_link"_f]);
    if (valid_link(state, caps)) copy_guest_state(state, v, caps);
}

void unseal_registers(Cpu& cpu, const Vmcs& v) {
    if (!is_protected(v)) return;
    Vmcs from = v;
    if (v.hidden(hidden::sealed) != 1) {
        from = Vmcs(cpu.memory, v["parent_link"_f]);
        if (!from || from.hidden(hidden::sealed) != 1 || !left_to_enter(from)) return;
    }
    for (unsigned i = first_sealed_gpr; i < gprs; ++i) cpu.gpr[i] = from.hidden(hidden::gprs + i);
    v.set_hidden(hidden::sealed, 0);
}

}  // namespace droste
