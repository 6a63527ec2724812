// SPDX-License-Identifier: Apache-2.0
// Estimates of the design `account`: the parts of a round trip, and each design's sum of them.
#include "nested/routing/estimates.h"

#include <gtest/gtest.h>

#include <map>

#include "vmx/exit_reasons.h"

namespace droste {
namespace {

CostTable costs() {
    CostTable c;
    const auto set = [&](CostEvent e, u32 cycles) { c.cycles[static_cast<std::size_t>(e)] = cycles; };
    set(CostEvent::route_check, 3);
    set(CostEvent::route_level, 5);
    set(CostEvent::direct_exit, 300);
    set(CostEvent::direct_entry, 200);
    set(CostEvent::vmwrite, 2);
    set(CostEvent::deferred_access, 5);
    set(CostEvent::deferred_merge, 11);
    return c;
}

std::map<std::string_view, u64> estimate(const RouteEstimates& e, ExitKey key) {
    std::map<std::string_view, u64> out;
    const EstimateLine& line = e.lines().at(key);
    for (std::size_t i = 0; i < line.estimated.size(); ++i) out[estimated_designs()[i].name] = line.estimated[i];
    return out;
}

const u16 cpuid = "cpuid"_exit->number, vmcall = "vmcall"_exit->number, vmread = "vmread"_exit->number,
          vmresume = "vmresume"_exit->number;
using Expected = std::map<std::string_view, u64>;

/// Level 2 exits; level 0 reflects for 1000 cycles; level 1 runs 100, reads a field by an exit of 400, runs 50, resumes;
/// level 0 merges for 2000.
void round_trip(RouteEstimates& e, u16 reason, u64 at) {
    e.exited(2, reason, at);
    e.opened(7, 2, reason, at);
    e.entered(1, at + 1000);
    e.exited(1, vmread, at + 1100);
    e.entered(1, at + 1500);
    e.exited(1, vmresume, at + 1550);
    e.entered(2, at + 3550);
    e.closed(7, 1, at + 3550);
}

TEST(RouteEstimates, OfAnExitThatTheParentOwns) {
    const CostTable c = costs();
    RouteEstimates e(c);
    round_trip(e, cpuid, 10'000);
    const Expected expected = {{"sdm", 3550},
                               {"links", 3 + 5 + 300 + 2550},
                               {"links, direct entry", 3 + 5 + 300 + 550 + 200},
                               {"layered", 3 + 5 + 300 + 2550},
                               {"deferred", 3550 - 400 + 7 + 11},
                               {"parent-context", 3550 + 3},
                               {"native", 5 + 300 + 150 + 200}};
    EXPECT_EQ(estimate(e, {2, cpuid, 1}), expected);
    round_trip(e, vmcall, 90'000);
    EXPECT_EQ(estimate(e, {2, vmcall, 1}).at("parent-context"), 3u + 300 + 150 + 200);
    EXPECT_EQ(e.lines().at({2, vmcall, 1}).actual, 3550u);
}

TEST(RouteEstimates, OfExitsThatLevel0Owns) {
    const CostTable c = costs();
    RouteEstimates e(c);
    e.exited(3, cpuid, 100);
    e.opened(1, 3, cpuid, 100);
    e.entered(3, 600);
    e.closed(1, 0, 600);
    const Expected expected = {{"sdm", 500}, {"links", 503}, {"links, direct entry", 503}, {"layered", 503 + 15},
                               {"deferred", 500}, {"parent-context", 503}, {"native", 500}};
    EXPECT_EQ(estimate(e, {3, cpuid, 0}), expected);
}

/// Level 1 takes part on the way to level 2, which owns the exit of level 3.
TEST(RouteEstimates, ThreeLevels) {
    const CostTable c = costs();
    RouteEstimates e(c);
    e.exited(3, cpuid, 0);
    e.opened(9, 3, cpuid, 0);
    e.entered(1, 500);
    e.exited(1, vmresume, 600);
    e.entered(2, 1000);
    e.exited(2, vmresume, 1200);
    e.entered(1, 1500);
    e.exited(1, vmresume, 1800);
    e.entered(3, 2500);
    e.closed(9, 2, 2501);
    Expected got = estimate(e, {3, cpuid, 2});
    EXPECT_EQ(got.at("sdm"), 2501u);
    EXPECT_EQ(got.at("links"), 3u + 5 + 300 + 2501 - 1000);
    EXPECT_EQ(got.at("links, direct entry"), 3u + 5 + 300 + 200 + 200);
    EXPECT_EQ(got.at("layered"), 3u + 5 + 300 + 1501);
    EXPECT_EQ(got.at("native"), 5u + 300 + 200 + 200);
    // Owned by level 1: layered reaches it past level 2, links does not.
    e.exited(3, cpuid, 5000);
    e.opened(9, 3, cpuid, 5000);
    e.entered(1, 5500);
    e.exited(1, vmresume, 5600);
    e.entered(3, 6000);
    e.closed(9, 1, 6000);
    got = estimate(e, {3, cpuid, 1});
    EXPECT_EQ(got.at("links"), 1003u);
    EXPECT_EQ(got.at("layered"), 3u + 2 * 5 + 300 + 500);
    EXPECT_EQ(got.at("native"), 2u * 5 + 300 + 100 + 200);
}

TEST(RouteEstimates, AddUpAndDrop) {
    const CostTable c = costs();
    RouteEstimates a(c), b(c);
    round_trip(a, cpuid, 0);
    round_trip(b, cpuid, 50);
    b.exited(2, cpuid, 9000);
    b.opened(7, 2, cpuid, 9000);
    b.dropped(7);
    b.entered(1, 9500);
    a.add(b);
    EXPECT_EQ(a.lines().size(), 1u);
    EXPECT_EQ(a.lines().begin()->second.count, 2u);
    EXPECT_EQ(a.lines().begin()->second.actual, 7100u);
}

/// The accounts tell the listener all of it.
TEST(RouteEstimates, FedByTheAccounts) {
    const CostTable c = costs();
    RouteEstimates e(c);
    ExitAccounts accounts;
    accounts.set_listener(&e);
    const auto at = [](u64 cycles, u64 ticks) { return Meters{.cycles = cycles, .ticks = ticks}; };
    accounts.exit(2, 2, cpuid, at(0, 0));
    accounts.entry(1, 1, at(1000, 10));
    accounts.exit(1, 1, vmresume, at(1100, 20));
    accounts.entry(2, 2, at(1600, 30));
    EXPECT_TRUE(e.lines().empty());
    accounts.exit(2, 2, cpuid, at(1700, 50));
    EXPECT_EQ(estimate(e, {2, cpuid, 1}).at("native"), 5u + 300 + 100 + 200);
    EXPECT_EQ(e.lines().begin()->second.actual, 1601u) << "with the instruction that is retired";
    accounts.migrated(2);
    accounts.entry(2, 2, at(5000, 60));
    EXPECT_EQ(e.lines().size(), 1u);
}

}  // namespace
}  // namespace droste
