// SPDX-License-Identifier: Apache-2.0
// What the levels of a run have to tell: the exit table as text and as JSON.
#pragma once
#include <string>
#include <vector>

namespace droste {

class LevelObserver;

/// Both are empty when nothing ran in non-root operation.
std::string levels_json(const LevelObserver& observer);
std::string levels_table(const LevelObserver& observer);
/// The last exits, newest last, one line each.
std::vector<std::string> recent_exits(const LevelObserver& observer);

}  // namespace droste
