// SPDX-License-Identifier: Apache-2.0
// LevelTracker: which level of the stack runs, told from VMX events alone (no guest symbols, no hints).
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/types.h"

namespace droste {

class Archive;

inline constexpr u64 no_vmcs = ~0ull;  ///< the SDM's value of an invalid VMCS pointer

/// One guest context: (parent node, address of the VMCS that the parent keeps for it).
struct Node {
    u32 id = 0;          ///< index in the tracker; 0 is root
    u32 parent = 0;
    unsigned level = 0;  ///< 0 root
    u64 vmcs = no_vmcs;  ///< in the parent's address space
    // As a hypervisor:
    u64 current = no_vmcs;              ///< its current VMCS, in its own address space
    std::optional<u64> pending;         ///< it attempted to enter this VMCS, and has not run since
    u64 attempt = 0;                    ///< number of that attempt: a later one has a greater
    u32 exited_on = 0;                  ///< processor that it left last
    struct Use {
        u32 runs = 0;                   ///< node that an entry with this VMCS runs; 0 not yet known
        u32 via = 0;                    ///< of an alias: the guest whose attempt it served
        bool alias = false;             ///< the VMCS stands for a node deeper than a direct child
        bool cleared = true;            ///< VMCLEAR since its last entry: what it stands for may change
    };
    std::map<u64, Use> uses;            ///< by VMCS address
};

/// The rules, for a hypervisor H that enters its VMCS w:
///   1. If a guest M of H (run through another VMCS than w) attempted an entry that is still pending, and w is new,
///      cleared, or already stands for a deeper node: w now stands for what M wanted to run.
///   2. Else w keeps the node it stands for; a new w is a direct child of H.
///   3. A VMCS that stands for a guest hypervisor, and one that serves the attempts of another guest, is no candidate
///      for rule 1 on a machine with several processors: the attempt belongs to a guest that was preempted.
///   4. Of several pending attempts the latest counts. A guest that is itself run by an alias made an attempt that H emulates
///      in its place, when none of the guests between them attempted anything since: H serves several levels. Going back
///      to one of the hypervisors beneath that guest is no such entry: H passes the attempt on.
/// One tracker serves all processors, since guests migrate. Only an attempt that was made on the entering processor
/// counts. An attempt is pending until the node that made it runs again. H is root for entries that the hardware executes,
/// and any non-root node for entries it attempts; the rules are the same, so aliases resolve at any depth.
class LevelTracker {
public:
    explicit LevelTracker(unsigned processors = 1);

    // The hypervisor `who` (0: root, executed; else attempted, seen as an exit) did this.
    void vmxon(u32 who, unsigned processor = 0);
    void vmxoff(u32 who, unsigned processor = 0);
    void vmptrld(u32 who, u64 vmcs);
    void vmclear(u32 who, u64 vmcs);
    /// A non-root node attempted VMLAUNCH or VMRESUME with its current VMCS.
    void attempt_entry(u32 who);
    /// The hardware entered `vmcs`; returns the node that runs now.
    u32 entered(u64 vmcs, unsigned processor = 0);
    /// The processor went to the guest of `vmcs` by itself; returns the node that runs now.
    u32 came_back(u64 vmcs, unsigned processor = 0);
    /// The hardware is back in root; `running()` is 0 from now on.
    void left(unsigned processor = 0) {
        nodes_[running_[processor]].exited_on = processor;
        running_[processor] = 0;
    }

    /// What the hardware left was not left after all: `node` goes on.
    void resumed(u32 node, unsigned processor = 0) {
        running_[processor] = node;
        nodes_[node].pending.reset();
    }

    /// Native nesting: the node that `path` leads to, the VMCS pointers of the hypervisors from root on, each in its
    /// own address space. It runs now.
    u32 entered_along(std::span<const u64> path, unsigned processor = 0);
    /// The hypervisor of `level` beneath `node`.
    u32 hypervisor(u32 node, unsigned level) const {
        while (nodes_[node].level > level) node = nodes_[node].parent;
        return node;
    }

    u32 running(unsigned processor = 0) const { return running_[processor]; }
    unsigned level_of(u32 node) const { return nodes_[node].level; }
    const Node& node(u32 id) const { return nodes_[id]; }
    std::size_t node_count() const { return nodes_.size(); }
    void visit(Archive& archive);

private:
    u32 resolve(u32 hypervisor, u64 vmcs, unsigned processor);
    u32 child(u32 parent, u64 vmcs);
    /// A guest of `hypervisor` with a pending attempt, run through another VMCS than `vmcs`; 0 when there is none.
    u32 pending_guest(u32 hypervisor, u64 vmcs, unsigned processor) const;
    bool may_serve(const Node::Use& use, u32 guest) const;
    bool runs_by_alias(u32 hypervisor, u32 guest) const;
    bool is_beneath(u32 hypervisor, u32 guest) const;  ///< `hypervisor` is the guest itself, or one of those that run it
    u64 attempts_ = 0;
    std::vector<Node> nodes_;
    std::vector<u32> running_;       // by processor
    std::vector<u8> in_operation_;   // by processor: root executed VMXON
};

}  // namespace droste
