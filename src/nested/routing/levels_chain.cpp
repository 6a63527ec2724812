// SPDX-License-Identifier: Apache-2.0
// Following links, and looking through the tables and controls of levels that do not run.
#include "nested/routing/levels_chain.h"

#include "nested/routing/wants.h"
#include "vmx/ept_lookup.h"

namespace droste {

bool valid_link(const Vmcs& v, const VmxCapabilities& caps) {
    return v && (v.revision() & 0x7FFFFFFF) == caps.revision;
}

LevelsChain::LevelsChain(const Vmx& vmx, Cpu& cpu, Field link, unsigned max_levels) : vmx_(vmx), cpu_(cpu) {
    Vmcs v = vmx.current();
    for (unsigned depth = 0;; ++depth) {
        Level& level = levels_[depth];
        level.runs = v;
        running_ = depth + 1;
        if (!controls_of(v).has("exit_routing"_vmx) || v[link] == Vmcs::none || v["state_link"_f] == Vmcs::none) return;
        const Vmcs beneath(cpu.memory, v[link]);
        level.state = Vmcs(cpu.memory, v["state_link"_f]);
        level.linked = valid_link(beneath, vmx.capabilities()) && valid_link(level.state, vmx.capabilities()) &&
                       !beneath.shadow() && beneath.launch_state() == LaunchState::launched;
        if (!level.linked) return;
        for (unsigned i = 0; i <= depth; ++i) too_deep_ |= levels_[i].runs.address() == beneath.address();
        too_deep_ |= depth + 1 >= max_levels || depth + 1 >= most_routed_levels;
        if (too_deep_) return;
        v = beneath;
    }
}

std::optional<u64> LevelsChain::machine(unsigned level, u64 address) const {
    if (level == 0) return address;
    const Vmcs& v = runs(level);
    if (!controls_of(v).has("enable_ept"_vmx)) return address;
    const EptLookup found = look_up_ept(cpu_.memory, vmx_.capabilities(), v["eptp"_f], address, false);
    if (found.end != WalkEnd::mapped) return std::nullopt;
    return found.address;
}

std::optional<u8> LevelsChain::read(unsigned level, u64 address) const {
    const std::optional<u64> at = machine(level, address);
    if (!at) return std::nullopt;
    const u8* host = cpu_.memory.host(*at & ~0xFFFull);
    if (host == nullptr) return std::nullopt;
    return host[*at & 0xFFF];
}

bool LevelsChain::wants(unsigned level, const ExitEvent& event) const {
    const Vmcs& v = kept(level);
    const Controls c = controls_of(v);
    const std::function<std::optional<u8>(u64)> bytes = [&](u64 address) { return read(level - 1, address); };
    return droste::wants({v, c, event, cpu_, bytes});
}

void LevelsChain::find_owner(const ExitEvent& event, RouteQuestion& q) const {
    u64 address = event.guest_physical.value;
    const bool write = event.row == "ept_violation"_exit && (event.qualification & 2) != 0;
    for (unsigned k = running_; k >= 1; --k) {
        const Vmcs& v = kept(k);
        if (!controls_of(v).has("enable_ept"_vmx)) continue;
        bool reachable = true;
        const EptLookup found = look_up_ept(cpu_.memory, vmx_.capabilities(), v["eptp"_f], address, write,
                                            [&](u64 at, u64& where) {
                                                const std::optional<u64> m = machine(k - 1, at);
                                                reachable = m && cpu_.memory.host(*m & ~0xFFFull) != nullptr;
                                                if (reachable) where = *m;
                                                return reachable;
                                            });
        if (!reachable) return;  // level 0 has yet to map the tables
        const u64 needed = event.row == "ept_violation"_exit ? event.qualification & 7 : 0;
        q.level[k].lacks = found.end != WalkEnd::mapped || (found.rights & needed) != needed;
        if (q.level[k].lacks) return;
        address = found.address;
    }
}

}  // namespace droste
