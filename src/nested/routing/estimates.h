// SPDX-License-Identifier: Apache-2.0
// RouteEstimates: what the round trips of a run would have cost under each routing design. The run itself is that of
// `sdm`; the parts of a round trip that a design does without are left out, and its own costs are added.
//
//   level n exits ... level 0 reflects ...| owner runs, exits, runs ...| VMRESUME, level 0 merges, level n goes on
//   |<----------- to_owner -------------->|                            |<-------------- from_owner --------------->|
#pragma once
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "cpu/timing/costs.h"
#include "nested/exit_accounts.h"

namespace droste {

/// A closed round trip, in cycles.
struct RoundTrip {
    unsigned level = 0, owner = 0;
    u16 reason = 0;
    u64 actual = 0;
    u64 to_owner = 0;      ///< from the exit to the owner's first instruction
    u64 from_owner = 0;    ///< from the owner's last exit to the guest's next instruction
    u64 in_owner = 0;      ///< that the owner itself ran
    u64 accesses = 0;      ///< VMREADs and VMWRITEs of the owner that exited
    u64 access_cycles = 0; ///< from those exits to the owner's next instruction
};

struct EstimatedDesign {
    std::string_view name;
    u64 (*cost)(const RoundTrip&, const CostTable&);
};
std::span<const EstimatedDesign> estimated_designs();

struct EstimateLine {
    u64 count = 0;
    u64 actual = 0;
    std::vector<u64> estimated;  ///< in the order of estimated_designs()
};

class RouteEstimates final : public RoundTripListener {
public:
    explicit RouteEstimates(const CostTable& costs) : costs_(costs) {}

    void opened(u32 node, unsigned level, u16 reason, u64 cycles) override;
    void exited(unsigned level, u16 reason, u64 cycles) override;
    void entered(unsigned level, u64 cycles) override;
    void closed(u32 node, unsigned owner, u64 end) override;
    void dropped(u32 node) override;

    void add(const RouteEstimates& other);
    const std::map<ExitKey, EstimateLine>& lines() const { return lines_; }

private:
    struct Part {
        bool ran = false;
        u64 first_entry = 0, last_entry = 0, last_exit = 0, cycles = 0, accesses = 0, access_cycles = 0;
        bool accessing = false;
    };
    struct Open {
        bool open = false;
        unsigned level = 0;
        u16 reason = 0;
        u64 start = 0;
        std::vector<Part> by_level;
    };
    const CostTable& costs_;
    std::vector<Open> open_;  // by node
    std::map<ExitKey, EstimateLine> lines_;
};

}  // namespace droste
