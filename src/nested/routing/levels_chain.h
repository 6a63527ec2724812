// SPDX-License-Identifier: Apache-2.0
// LevelsChain: the levels beneath a running guest, as the links of its VMCS tell, and what each says to an event.
//
//   running VMCS R_n --link--> R_(n-1) --link--> ... --> R_1       R_k: the VMCS by which level k really runs
//        | state                  | state
//        v                        v
//      S_n = V_n              S_(n-1) = V_(n-1)        V_1 = R_1   V_k: what the hypervisor of level k-1 keeps for k
#pragma once
#include <array>
#include <optional>

#include "nested/routing/design.h"
#include "vmx/routed_exit.h"

namespace droste {

class LevelsChain {
public:
    /// Follows the links from the current VMCS of `vmx`, at most `max_levels` levels.
    LevelsChain(const Vmx& vmx, Cpu& cpu, Field link, unsigned max_levels);

    /// Levels above root, counted by the links: 1 for a guest without any.
    unsigned running() const { return running_; }
    /// More levels than max_levels, or a cycle: nothing is known then.
    bool too_deep() const { return too_deep_; }
    /// R_k.
    const Vmcs& runs(unsigned level) const { return at(level).runs; }
    /// V_k.
    const Vmcs& kept(unsigned level) const { return level == 1 ? at(1).runs : at(level).state; }
    bool linked(unsigned level) const { return at(level).linked; }

    /// The hypervisor of level k-1 asks for the event of level n.
    bool wants(unsigned level, const ExitEvent& event) const;
    /// Fills `lacks` of each level for a guest-physical address of the running guest. Reads EPT tables only.
    void find_owner(const ExitEvent& event, RouteQuestion& question) const;
    /// Translates an address of level k (0: root) to a machine-physical one, without effects.
    std::optional<u64> machine(unsigned level, u64 address) const;
    std::optional<u8> read(unsigned level, u64 address) const;

private:
    struct Level {
        Vmcs runs, state;
        bool linked = false;
    };
    const Level& at(unsigned level) const { return levels_[running_ - level]; }
    const Vmx& vmx_;
    Cpu& cpu_;
    std::array<Level, most_routed_levels> levels_{};  // outermost last
    unsigned running_ = 1;
    bool too_deep_ = false;
};

/// The region is RAM and has the processor's revision identifier.
bool valid_link(const Vmcs& v, const VmxCapabilities& caps);

}  // namespace droste
