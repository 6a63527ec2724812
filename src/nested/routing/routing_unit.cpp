// SPDX-License-Identifier: Apache-2.0
// The steps that all designs share: gather, decide, charge, transfer, count.
#include "nested/routing/routing_unit.h"

#include "nested/routing/deferred_state.h"
#include "nested/routing/hidden_state.h"
#include "nested/routing/protected_context.h"
#include "vmx/interruption.h"
#include "vmx/routing_fields.h"

namespace droste {

u64 RoutingConfig::capability() const {
    if (design == nullptr || !design->programmable) return 0;
    return design->number | u64{max_levels} << 8 | (direct_entry ? 1u << 16 : 0);
}

RoutePolicy RoutingUnit::policy(const ExitEvent& e, const LevelsChain& chain) const {
    const u16 reason = e.row->number;
    const Vmcs& v = chain.runs(chain.running());
    if ((v["routing_controls"_f] & routing_controls::policy_table) != 0) {
        const u64 at = v["policy_table_pointer"_f] & ~0x3Full;
        const u8* page = cpu_.memory.host(at & ~0xFFFull);
        if (page != nullptr) {
            const u8 pair = page[(at & 0xFFF) + reason / 2];
            if (const RoutePolicy p = policy_of_nibble((pair >> (reason % 2 * 4)) & 0xF); p != RoutePolicy{}) return p;
        }
    }
    return config_.policies[reason];
}

RouteQuestion RoutingUnit::question(const ExitEvent& e, const LevelsChain& chain) const {
    RouteQuestion q;
    q.reason = e.row;
    if (e.row == "exception_or_nmi"_exit) {
        q.nmi = ((e.interruption_information >> 8) & 7) == interruption::nmi;
        q.vector = static_cast<u8>(e.interruption_information);
    }
    q.running = chain.running();
    q.policy = policy(e, chain);
    for (unsigned k = 1; k <= q.running; ++k) {
        const Vmcs& v = chain.runs(k);
        RouteQuestion::Level& level = q.level[k];
        level.linked = chain.linked(k);
        const u64 bitmap = v[e.row->number < 64 ? "reason_bitmap_0"_f : "reason_bitmap_1"_f];
        level.reason_bit = level.linked && ((bitmap >> (e.row->number % 64)) & 1) != 0;
        level.exception_bit =
            level.linked && q.vector < 32 && ((v["routing_exception_bitmap"_f] >> q.vector) & 1) != 0;
        level.wants = chain.wants(k, e);
    }
    if (e.has_guest_physical) chain.find_owner(e, q);
    return q;
}

Route RoutingUnit::route(const ExitEvent& e, Vmx& vmx) {
    if (config_.direct_entry && e.row == "vmresume"_exit && enter_directly(e, vmx)) {
        accounts_.routed({level_(), e.row->number, level_(), "direct entry"});
        return {.taken = true, .why = "direct entry"};
    }
    // A guest without links is level 0's, whatever the design.
    if (!vmx.controls().has("exit_routing"_vmx)) return {};
    const LevelsChain chain(vmx, cpu_, config_.design->link, config_.max_levels);
    if (chain.too_deep()) {
        accounts_.fell_back(RouteFallback::too_deep);
        accounts_.routed({level_(), e.row->number, 0, "too deep"});
        return {};
    }
    return carry_out(e, vmx, chain, decide(*config_.design, question(e, chain)));
}

// VM-entry event injection on behalf of a hypervisor further down than the guest's own.
bool RoutingUnit::induced(u32 information, u64 error_code, Vmx& vmx) {
    const u64 injector = (vmx.current()["routing_controls"_f] & routing_controls::injector) >> routing_controls::injector_shift;
    if (injector == 0 || !vmx.controls().has("exit_routing"_vmx)) return false;
    const unsigned type = (information >> 8) & 7;
    if (type != interruption::hardware_exception && !interruption::software(type)) return false;
    const LevelsChain chain(vmx, cpu_, config_.design->link, config_.max_levels);
    if (chain.too_deep()) return false;
    ExitEvent e;
    e.row = "exception_or_nmi"_exit;
    e.interruption_information = information & ~u32{1u << 12};
    e.interruption_error_code = static_cast<u32>(error_code);
    e.vmcs = vmx.current().address();
    e.ticks = cpu_.ticks();
    e.cycles_before = cpu_.cycles();
    e.linear_rip = cpu_.ea_base_cs() + cpu_.rip;
    RouteQuestion q = question(e, chain);
    q.injector = static_cast<unsigned>(injector - 1);
    const RouteDecision decision = decide(*config_.design, q);
    if (!decision.claimed || decision.destination == 0) return false;
    // The event that was to be delivered is what the hypervisor finds as IDT-vectoring information.
    cpu_.vectoring.active = true;
    cpu_.vectoring.vector = static_cast<u8>(information);
    cpu_.vectoring.type = static_cast<u8>(type);
    cpu_.vectoring.has_code = (information & interruption::has_code) != 0;
    cpu_.vectoring.code = static_cast<u32>(error_code);
    for (VmxObserver* o : vmx.observers()) o->exit_recognised(e);
    const Route r = carry_out(e, vmx, chain, decision);
    if (!r.taken) vmx.exit_to_root(e);
    return true;
}

Route RoutingUnit::carry_out(const ExitEvent& e, Vmx& vmx, const LevelsChain& chain, const RouteDecision& d) {
    cpu_.charge(CostEvent::route_check);
    for (unsigned i = 0; i < d.walked; ++i)
        if (config_.walk_cycles) cpu_.charge_cycles(*config_.walk_cycles);
        else cpu_.charge(CostEvent::route_level);
    const unsigned level = level_();
    if (d.destination == 0) {
        accounts_.routed({level, e.row->number, 0, d.why});
        return {.taken = false, .why = d.why};
    }
    const RouteFallback cause = transfer(e, vmx, chain, d.destination);
    if (cause != RouteFallback::none) {
        accounts_.fell_back(cause);
        accounts_.routed({level, e.row->number, 0, name_of(cause)});
        return {.taken = false, .why = name_of(cause)};
    }
    accounts_.routed({level, e.row->number, d.destination, d.why});
    return {.taken = true, .why = d.why};
}

RouteFallback RoutingUnit::transfer(ExitEvent e, Vmx& vmx, const LevelsChain& chain, unsigned destination) {
    const unsigned n = chain.running(), guest = destination + 1;
    ASSERT(destination >= 1 && guest <= n);
    for (unsigned k = guest; k <= n; ++k)
        if (!chain.linked(k)) return RouteFallback::no_link;
    RoutedExit to{.state = chain.kept(guest), .control = chain.runs(destination), .shown = {}, .own_state = {}};
    if (guest != n) {
        to.shown = chain.runs(guest);
        to.own_state = chain.kept(n);
    }
    const Vmcs running = chain.runs(n);
    const RouteFallback cause = vmx.exit_to_non_root(e, to);
    if (cause != RouteFallback::none) return cause;
    ASSERT(cpu_.non_root && vmx.current().address() == to.control.address());
    const bool remembers = config_.direct_entry && guest == n &&
                           (running["routing_controls"_f] & routing_controls::direct_entry) != 0;
    to.control.set_hidden(hidden::child, remembers ? running.address() : 0);
    if (remembers) {
        to.control.set_hidden(hidden::child_state, to.state.address());
        to.control.set_hidden(hidden::child_digest, hidden::merge_digest(to.state, running, vmx.capabilities()));
    }
    to.control.set_hidden(hidden::sealed, 0);  // its registers are those that it has now
    return cause;
}

// The hypervisor's own current VMCS is known where VMCS shadowing serves it: the link pointer leads there.
bool RoutingUnit::enter_directly(const ExitEvent& e, Vmx& vmx) {
    const Vmcs& control = vmx.current();
    const u64 at = control.hidden(hidden::child), of = control.hidden(hidden::child_state);
    if (at == 0 || control["vmcs_link_pointer"_f] != of) return false;
    const Vmcs child(cpu_.memory, at), state(cpu_.memory, of);
    if (!valid_link(child, vmx.capabilities()) || !valid_link(state, vmx.capabilities()) ||
        !controls_of(child).has("exit_routing"_vmx) || child["state_link"_f] != of ||
        child[config_.design->link] != control.address())
        return false;
    if (hidden::merge_digest(state, child, vmx.capabilities()) != control.hidden(hidden::child_digest)) return false;
    cpu_.charge(CostEvent::route_check);
    return vmx.enter_from_non_root(e, child, state);
}

void RoutingUnit::in_root(const ExitEvent&, Vmx& vmx) {
    if (is("parent-context")) seal(cpu_, vmx.current());
}

void RoutingUnit::entering(Vmx& vmx) {
    if (is("deferred") && merge_deferred(vmx.current(), Vmcs(cpu_.memory, vmx.current()["state_link"_f]), vmx.capabilities()))
        cpu_.charge(CostEvent::deferred_merge);
    if (is("parent-context")) unseal_fields(cpu_, vmx.current(), vmx.capabilities());
}

void RoutingUnit::entered(Vmx& vmx) {
    if (is("parent-context")) unseal_registers(cpu_, vmx.current());
}

void RoutingUnit::written_in_non_root(const Vmcs& vmcs, Field field) {
    if (!is("deferred")) return;
    mark_deferred(vmcs, field);
    cpu_.charge(CostEvent::deferred_access);
}

}  // namespace droste
