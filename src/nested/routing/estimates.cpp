// SPDX-License-Identifier: Apache-2.0
// The parts of round trips, and the cost of each design.
#include "nested/routing/estimates.h"

#include "vmx/exit_reasons.h"

namespace droste {

namespace {

using C = const CostTable&;
using T = const RoundTrip&;

u64 checked(C c) { return c[CostEvent::route_check]; }
u64 walk(C c, unsigned levels) { return u64{levels} * c[CostEvent::route_level]; }

/// An exit that the owner receives directly, and an entry by level 0.
u64 direct_exit(T t, C c) {
    return checked(c) + walk(c, t.level - t.owner) + c[CostEvent::direct_exit] + t.actual - t.to_owner;
}
bool parent_owns(T t) { return t.level >= 2 && t.owner == t.level - 1; }

u64 sdm(T t, C) { return t.actual; }
u64 links(T t, C c) { return parent_owns(t) ? direct_exit(t, c) : t.actual + checked(c); }
u64 links_direct_entry(T t, C c) {
    return parent_owns(t) ? direct_exit(t, c) - t.from_owner + c[CostEvent::direct_entry] : t.actual + checked(c);
}
u64 layered(T t, C c) {
    return t.owner >= 1 ? direct_exit(t, c) : t.actual + checked(c) + walk(c, t.level);
}
u64 deferred(T t, C c) {
    if (t.accesses == 0) return t.actual;
    const u64 each = u64{c[CostEvent::vmwrite]} + c[CostEvent::deferred_access];  // VMREADs as dear as VMWRITEs
    return t.actual - t.access_cycles + t.accesses * each + c[CostEvent::deferred_merge];
}
u64 parent_context(T t, C c) {
    if (!parent_owns(t) || t.reason != "vmcall"_exit->number) return t.actual + checked(c);
    return checked(c) + c[CostEvent::direct_exit] + t.in_owner + c[CostEvent::direct_entry];
}
u64 native(T t, C c) {
    if (t.owner == 0) return t.actual;
    return walk(c, t.level - t.owner) + c[CostEvent::direct_exit] + t.in_owner + c[CostEvent::direct_entry];
}

constexpr EstimatedDesign designs[] = {
    {"sdm", sdm},
    {"links", links},
    {"links, direct entry", links_direct_entry},
    {"layered", layered},
    {"deferred", deferred},
    {"parent-context", parent_context},
    {"native", native},
};

}  // namespace

std::span<const EstimatedDesign> estimated_designs() { return designs; }

void RouteEstimates::opened(u32 node, unsigned level, u16 reason, u64 cycles) {
    if (node >= open_.size()) open_.resize(node + 1);
    open_[node] = {true, level, reason, cycles, std::vector<Part>(level)};
}

void RouteEstimates::dropped(u32 node) {
    if (node < open_.size()) open_[node].open = false;
}

void RouteEstimates::exited(unsigned level, u16 reason, u64 cycles) {
    const bool access = reason == "vmread"_exit->number || reason == "vmwrite"_exit->number;
    for (Open& trip : open_) {
        if (!trip.open || level >= trip.level || !trip.by_level[level].ran) continue;
        Part& part = trip.by_level[level];
        part.cycles += cycles - part.last_entry;
        part.last_exit = cycles;
        part.accessing = access;
        part.accesses += access;
    }
}

void RouteEstimates::entered(unsigned level, u64 cycles) {
    for (Open& trip : open_) {
        if (!trip.open || level == 0 || level >= trip.level) continue;
        Part& part = trip.by_level[level];
        if (!part.ran) part.first_entry = cycles;
        part.ran = true;
        if (part.accessing) part.access_cycles += cycles - part.last_exit;
        part.accessing = false;
        part.last_entry = cycles;
    }
}

void RouteEstimates::closed(u32 node, unsigned owner, u64 end) {
    Open& trip = open_[node];
    RoundTrip t{.level = trip.level, .owner = owner, .reason = trip.reason, .actual = end - trip.start};
    if (owner >= 1) {
        const Part& part = trip.by_level[owner];
        t.to_owner = part.first_entry - trip.start;
        t.from_owner = end - part.last_exit;
        t.in_owner = part.cycles;
        t.accesses = part.accesses;
        t.access_cycles = part.access_cycles;
    }
    EstimateLine& line = lines_[{t.level, t.reason, t.owner}];
    line.estimated.resize(std::size(designs));
    ++line.count;
    line.actual += t.actual;
    for (std::size_t i = 0; i < std::size(designs); ++i) line.estimated[i] += designs[i].cost(t, costs_);
    trip.open = false;
}

void RouteEstimates::add(const RouteEstimates& other) {
    for (const auto& [key, from] : other.lines_) {
        EstimateLine& line = lines_[key];
        line.estimated.resize(std::size(designs));
        line.count += from.count;
        line.actual += from.actual;
        for (std::size_t i = 0; i < std::size(designs); ++i) line.estimated[i] += from.estimated[i];
    }
}

}  // namespace droste
