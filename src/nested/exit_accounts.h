// SPDX-License-Identifier: Apache-2.0
// ExitAccounts: what each exit cost, by level, reason and owner.
#pragma once
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/types.h"
#include "nested/distribution.h"

namespace droste {

/// Deepest level that is accounted for on its own; deeper ones are booked here.
inline constexpr unsigned max_levels = 40;

/// Running totals of the machine, read when a round trip opens and when it closes.
struct Meters {
    u64 cycles = 0;             ///< Cpu::cycles()
    u64 ticks = 0;
    u64 exits = 0;              ///< hardware exits
    u64 entries = 0;            ///< VM entries of the hardware
    u64 vmreads = 0, vmwrites = 0;
    u64 walk_references = 0;    ///< memory reads of page-table and EPT entries
};

/// One line of the exit table.
struct ExitLine {
    u64 count = 0;              ///< closed round trips
    Distribution round_trip;    ///< cycles from the exit's recognition to the level's next retired instruction
    std::vector<u64> cycles_by_level;  ///< cycles spent in each level within the round trips, summed
    u64 exits = 0;              ///< hardware exits within them, the first included: exits / count is the amplification
    u64 entries = 0;            ///< VM entries within them, the last included
    u64 vmreads = 0, vmwrites = 0, walk_references = 0;
};

struct ExitKey {
    unsigned level = 0;         ///< of the guest that exited
    u16 reason = 0;             ///< basic exit reason
    unsigned owner = 0;         ///< the deepest hypervisor that ran before the guest went on
    friend auto operator<=>(const ExitKey&, const ExitKey&) = default;
};

/// Hears of round trips as they happen. All times are cycles.
class RoundTripListener {
public:
    virtual ~RoundTripListener() = default;
    virtual void opened(u32 node, unsigned level, u16 reason, u64 cycles) = 0;
    virtual void exited(unsigned level, u16 reason, u64 cycles) = 0;  ///< every exit; before `opened`
    virtual void entered(unsigned level, u64 cycles) = 0;             ///< every entry
    virtual void closed(u32 node, unsigned owner, u64 end) = 0;
    virtual void dropped(u32 node) = 0;                               ///< it will not be closed
};

/// Fed by the tracker's adapter with exits and entries in order; keeps one open round trip a node.
class ExitAccounts {
public:
    /// Null: nobody listens.
    void set_listener(RoundTripListener* listener) { listener_ = listener; }
    /// Node `node` of `level` left non-root operation at `now` (read before the exit was charged).
    void exit(u32 node, unsigned level, u16 reason, const Meters& now);
    /// Node `node` of `level` was entered; `now` was read after the entry was charged.
    void entry(u32 node, unsigned level, const Meters& now);
    /// The run ends at `cycles`: books what passed since the last exit or entry.
    void settle(u64 cycles) { advance(running_level_, cycles); }
    /// Node `node` has run, and hands over to its guest without an exit: its own round trip is over.
    void handed_over(u32 node) {
        if (node < open_.size() && open_[node].open && open_[node].entered) close(node);
    }
    /// Node `node` runs here after an exit on another processor.
    void migrated(u32 node) {
        if (node >= open_.size()) return;
        open_[node].open = open_[node].entered = false;
        if (listener_ != nullptr) listener_->dropped(node);
    }
    /// Adds the closed round trips and the totals of another processor's accounts.
    void add(const ExitAccounts& other);
    /// An exit whose level the tracker could not tell.
    void unknown_exit() { ++unknown_; }

    const std::map<ExitKey, ExitLine>& lines() const { return lines_; }
    u64 exits() const { return total_; }
    u64 unknown_exits() const { return unknown_; }
    /// Cycles spent in each level since the start.
    const std::vector<u64>& cycles_in_level() const { return in_level_; }

private:
    struct Open {
        bool open = false;
        bool entered = false;       ///< the node was entered again; the trip closes when it retires an instruction
        ExitKey key{};
        Meters start{}, end{};
        std::vector<u64> in_level;  ///< in_level_ at the start
        std::vector<u64> in_level_end;
    };
    void advance(unsigned level, u64 cycles);
    void close(u32 node);
    RoundTripListener* listener_ = nullptr;
    std::map<ExitKey, ExitLine> lines_;
    std::vector<Open> open_;        // by node
    std::vector<u64> in_level_ = std::vector<u64>(max_levels + 1);
    u64 last_cycles_ = 0;
    unsigned running_level_ = 0;
    u64 total_ = 0, unknown_ = 0;
};

}  // namespace droste
