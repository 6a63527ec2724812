// SPDX-License-Identifier: Apache-2.0
// Opening and closing of round trips.
#include "nested/exit_accounts.h"

#include <algorithm>

namespace droste {

void ExitAccounts::advance(unsigned level, u64 cycles) {
    in_level_[running_level_] += cycles - last_cycles_;
    last_cycles_ = cycles;
    running_level_ = std::min(level, max_levels);
}

void ExitAccounts::exit(u32 node, unsigned level, u16 reason, const Meters& now) {
    ++total_;
    advance(0, now.cycles);
    if (node >= open_.size()) open_.resize(node + 1);
    Open& trip = open_[node];
    if (listener_ != nullptr) listener_->exited(std::min(level, max_levels), reason, now.cycles);
    if (trip.open && trip.entered) {
        // It went on when it retired something since; otherwise this exit belongs to the same trip. The entering
        // VMLAUNCH or VMRESUME is itself a tick that the reading at the entry does not include.
        if (now.ticks > trip.end.ticks + 1) close(node);
        else trip.entered = false;
    }
    if (trip.open) return;
    trip.open = true;
    trip.entered = false;
    trip.key = {std::min(level, max_levels), reason, 0};
    trip.start = now;
    trip.in_level = in_level_;
    if (listener_ != nullptr) listener_->opened(node, trip.key.level, reason, now.cycles);
}

void ExitAccounts::entry(u32 node, unsigned level, const Meters& now) {
    advance(level, now.cycles);
    if (listener_ != nullptr) listener_->entered(std::min(level, max_levels), now.cycles);
    // Whoever runs now takes part in the open round trips of the levels above it.
    for (Open& other : open_)
        if (other.open && !other.entered && level < other.key.level) other.key.owner = std::max(other.key.owner, level);
    if (node >= open_.size()) open_.resize(node + 1);
    Open& trip = open_[node];
    if (trip.open) {
        trip.entered = true;
        trip.end = now;
        trip.in_level_end = in_level_;
    }
}

void ExitAccounts::add(const ExitAccounts& other) {
    for (const auto& [key, from] : other.lines_) {
        ExitLine& line = lines_[key];
        line.count += from.count;
        line.round_trip.add(from.round_trip);
        if (line.cycles_by_level.size() < from.cycles_by_level.size())
            line.cycles_by_level.resize(from.cycles_by_level.size());
        for (std::size_t i = 0; i < from.cycles_by_level.size(); ++i) line.cycles_by_level[i] += from.cycles_by_level[i];
        line.exits += from.exits;
        line.entries += from.entries;
        line.vmreads += from.vmreads;
        line.vmwrites += from.vmwrites;
        line.walk_references += from.walk_references;
    }
    for (std::size_t i = 0; i < other.in_level_.size(); ++i) in_level_[i] += other.in_level_[i];
    total_ += other.total_;
    unknown_ += other.unknown_;
}

void ExitAccounts::close(u32 node) {
    Open& trip = open_[node];
    if (listener_ != nullptr) listener_->closed(node, trip.key.owner, trip.end.cycles + 1);
    ExitLine& line = lines_[trip.key];
    ++line.count;
    line.round_trip.add(trip.end.cycles + 1 - trip.start.cycles);  // + 1: the instruction that is retired
    if (line.cycles_by_level.size() < trip.in_level_end.size()) line.cycles_by_level.resize(trip.in_level_end.size());
    for (std::size_t i = 0; i < trip.in_level_end.size(); ++i)
        line.cycles_by_level[i] += trip.in_level_end[i] - trip.in_level[i];
    line.exits += trip.end.exits - trip.start.exits;
    line.entries += trip.end.entries - trip.start.entries;
    line.vmreads += trip.end.vmreads - trip.start.vmreads;
    line.vmwrites += trip.end.vmwrites - trip.start.vmwrites;
    line.walk_references += trip.end.walk_references - trip.start.walk_references;
    trip.open = trip.entered = false;
}

}  // namespace droste
