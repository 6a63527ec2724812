// SPDX-License-Identifier: Apache-2.0
// The tree of nodes and the resolution of entries.
#include "nested/level_tracker.h"

#include <algorithm>

#include "base/archive.h"
#include "base/assert.h"

namespace droste {

LevelTracker::LevelTracker(unsigned processors) : running_(processors), in_operation_(processors) {
    nodes_.emplace_back();
}

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

u32 LevelTracker::pending_guest(u32 hypervisor, u64 vmcs, unsigned processor) const {
    const Node& h = nodes_[hypervisor];
    u32 found = 0;
    for (const auto& [address, use] : h.uses) {
        const Node& guest = nodes_[use.runs];
        if (address == vmcs || use.runs == 0 || !guest.pending || guest.exited_on != processor) continue;
        if (use.alias && running_.size() > 1) continue;
        if (found == 0 || guest.attempt > nodes_[found].attempt) found = use.runs;
    }
    return found;
}

bool LevelTracker::is_beneath(u32 hypervisor, u32 guest) const {
    while (guest != 0 && guest != hypervisor) guest = nodes_[guest].parent;
    return guest == hypervisor;
}

bool LevelTracker::runs_by_alias(u32 hypervisor, u32 guest) const {
    for (const auto& [address, use] : nodes_[hypervisor].uses)
        if (use.runs == guest && !use.alias) return false;
    return true;
}

bool LevelTracker::may_serve(const Node::Use& use, u32 guest) const {
    if (use.runs == 0) return true;
    if (running_.size() > 1) {
        if (use.alias && !use.cleared && use.via != guest) return false;
        if (!use.alias && nodes_[use.runs].current != no_vmcs) return false;
    }
    return use.cleared || use.alias;
}

u32 LevelTracker::resolve(u32 hypervisor, u64 vmcs, unsigned processor) {
    const u32 guest = pending_guest(hypervisor, vmcs, processor);
    const Node::Use before = nodes_[hypervisor].uses[vmcs];
    Node::Use now = before;
    const bool serves =
        guest != 0 && (runs_by_alias(hypervisor, guest)
                           ? before.runs == 0 || (before.alias && !is_beneath(before.runs, guest))
                           : may_serve(before, guest));
    if (serves) {
        now.runs = resolve(guest, *nodes_[guest].pending, processor);
        now.via = guest;
        now.alias = true;
    } else if (before.runs == 0) {
        now.runs = child(hypervisor, vmcs);
        now.alias = false;
    }
    now.cleared = false;
    nodes_[hypervisor].uses[vmcs] = now;
    return now.runs;
}

void LevelTracker::vmxon(u32 who, unsigned processor) {
    Node& n = nodes_[who];
    if (who == 0) {
        const bool others = std::count(in_operation_.begin(), in_operation_.end(), 1) > in_operation_[processor];
        in_operation_[processor] = 1;
        if (others) return;  // what the other processors use goes on
    }
    n.current = no_vmcs;
    n.pending.reset();
    n.uses.clear();
}

void LevelTracker::vmxoff(u32 who, unsigned processor) {
    vmxon(who, processor);
    if (who == 0) in_operation_[processor] = 0;
}

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
    n.attempt = ++attempts_;
}

u32 LevelTracker::came_back(u64 vmcs, unsigned processor) {
    const auto& uses = nodes_[0].uses;
    const auto use = uses.find(vmcs);
    if (use == uses.end() || use->second.runs == 0) return entered(vmcs, processor);
    resumed(use->second.runs, processor);
    return use->second.runs;
}

u32 LevelTracker::entered(u64 vmcs, unsigned processor) {
    const u32 node = resolve(0, vmcs, processor);
    running_[processor] = node;
    nodes_[node].pending.reset();
    return node;
}

u32 LevelTracker::entered_along(std::span<const u64> path, unsigned processor) {
    u32 node = 0;
    for (const u64 vmcs : path) node = child(node, vmcs);
    running_[processor] = node;
    nodes_[node].pending.reset();
    return node;
}

void LevelTracker::visit(Archive& a) {
    a.section("level tracker", 3);
    a.field("attempts", attempts_);
    u64 count = nodes_.size();
    a.field("nodes", count);
    if (a.mode() == Archive::Mode::load) nodes_.assign(std::min<u64>(count, 1u << 16), Node{});
    for (Node& n : nodes_) {
        a.field("id", n.id);
        a.field("parent", n.parent);
        a.field("level", n.level);
        a.field("vmcs", n.vmcs);
        a.field("current", n.current);
        a.field("exited_on", n.exited_on);
        a.field("attempt", n.attempt);
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
                a.field("via", use.via);
                a.field("alias", use.alias);
                a.field("cleared", use.cleared);
                if (use.runs < nodes_.size()) n.uses[address] = use;
            }
        } else {
            for (auto& [address, use] : n.uses) {
                u64 key = address;
                a.field("address", key);
                a.field("runs", use.runs);
                a.field("via", use.via);
                a.field("alias", use.alias);
                a.field("cleared", use.cleared);
            }
        }
    }
    for (u32& node : running_) a.field("running", node);
    for (u8& on : in_operation_) a.field("in_operation", on);
}

}  // namespace droste
