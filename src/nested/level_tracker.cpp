// SPDX-License-Identifier: Apache-2.0
// The tree of nodes and the resolution of entries.
#include "nested/level_tracker.h"

#include "base/archive.h"
#include "base/assert.h"

namespace droste {

LevelTracker::LevelTracker() { nodes_.emplace_back(); }

u32 LevelTracker::child(u32 parent, u64 vmcs) {
    for (const Node& n : nodes_)
        if (n.id != 0 && n.parent == parent && n.vmcs == vmcs) return n.id;
    Node n;
    n.id = static_cast<u32>(nodes_.size());
    n.parent = parent;
    n.level = nodes_[parent].level + 1;
    n.vmcs = vmcs;
    nodes_.push_back(std::move(n));
    return nodes_.back().id;
}

u32 LevelTracker::pending_guest(u32 hypervisor, u64 vmcs) const {
    const Node& h = nodes_[hypervisor];
    // Only one attempt can be the reason of this entry: the most recent one of a guest that is run through another
    // VMCS. Deeper guests count too: H handles their attempts when they are direct children's aliases.
    u32 found = 0;
    for (const auto& [address, use] : h.uses)
        if (address != vmcs && use.runs != 0 && !use.alias && nodes_[use.runs].pending) found = use.runs;
    return found;
}

u32 LevelTracker::resolve(u32 hypervisor, u64 vmcs) {
    const u32 guest = pending_guest(hypervisor, vmcs);
    const Node::Use before = nodes_[hypervisor].uses[vmcs];
    const bool may_change = before.runs == 0 || before.cleared || before.alias;
    Node::Use now = before;
    if (guest != 0 && may_change) {
        now.runs = resolve(guest, *nodes_[guest].pending);
        now.alias = true;
    } else if (before.runs == 0) {
        now.runs = child(hypervisor, vmcs);
        now.alias = false;
    }
    now.cleared = false;
    nodes_[hypervisor].uses[vmcs] = now;
    return now.runs;
}

void LevelTracker::vmxon(u32 who) {
    Node& n = nodes_[who];
    n.current = no_vmcs;
    n.pending.reset();
    n.uses.clear();
}

void LevelTracker::vmxoff(u32 who) { vmxon(who); }

void LevelTracker::vmptrld(u32 who, u64 vmcs) { nodes_[who].current = vmcs; }

void LevelTracker::vmclear(u32 who, u64 vmcs) {
    Node& n = nodes_[who];
    const auto use = n.uses.find(vmcs);
    if (use != n.uses.end()) use->second.cleared = true;
    if (n.current == vmcs) n.current = no_vmcs;
}

void LevelTracker::attempt_entry(u32 who) {
    ASSERT(who != 0);
    Node& n = nodes_[who];
    if (n.current == no_vmcs) return;  // will fail
    n.pending = n.current;
}

u32 LevelTracker::entered(u64 vmcs) {
    running_ = resolve(0, vmcs);
    nodes_[running_].pending.reset();
    return running_;
}

void LevelTracker::visit(Archive& a) {
    a.section("level tracker", 1);
    u64 count = nodes_.size();
    a.field("nodes", count);
    if (a.mode() == Archive::Mode::load) nodes_.assign(std::min<u64>(count, 1u << 16), Node{});
    for (Node& n : nodes_) {
        a.field("id", n.id);
        a.field("parent", n.parent);
        a.field("level", n.level);
        a.field("vmcs", n.vmcs);
        a.field("current", n.current);
        u64 pending = n.pending.value_or(no_vmcs);
        a.field("pending", pending);
        u64 uses = n.uses.size();
        a.field("uses", uses);
        if (a.mode() == Archive::Mode::load) {
            n.pending = pending == no_vmcs ? std::nullopt : std::optional(pending);
            n.uses.clear();
            for (u64 i = 0; i < uses && a.good(); ++i) {
                u64 address = 0;
                Node::Use use;
                a.field("address", address);
                a.field("runs", use.runs);
                a.field("alias", use.alias);
                a.field("cleared", use.cleared);
                if (use.runs < nodes_.size()) n.uses[address] = use;
            }
        } else {
            for (auto& [address, use] : n.uses) {
                u64 key = address;
                a.field("address", key);
                a.field("runs", use.runs);
                a.field("alias", use.alias);
                a.field("cleared", use.cleared);
            }
        }
    }
    a.field("running", running_);
}

}  // namespace droste
