// SPDX-License-Identifier: Apache-2.0
// SweepManifest: the file manifest.json of a sweep's folder, which says what each run is and what has become
// of it.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace droste {

enum class SweepState : unsigned char { waiting, done, failed };

struct SweepEntry {
    std::string name;  ///< also of its files
    std::string file;  ///< the report, within the folder
    SweepState state = SweepState::waiting;
    std::string digest;  ///< of the configuration, the images and the program; empty while it waits
    std::string reason;  ///< why it failed
    double seconds = 0;  ///< of the host
    std::string variant;
    std::vector<std::string> variant_keys;                      ///< keys that the variant stands for
    std::vector<std::pair<std::string, std::string>> settings;  ///< its place in the grid
};

struct SweepManifest {
    std::string program;  ///< its version
    std::vector<SweepEntry> runs;
    const SweepEntry* find(const std::string& name) const;
};

/// Reads the manifest of a folder.
Result<SweepManifest> load_manifest(const std::string& folder);
Result<SweepManifest> parse_manifest(const std::string& json, const std::string& file);
/// Replaces the manifest of a folder, wholly or not at all.
Status save_manifest(const SweepManifest& manifest, const std::string& folder);
std::string manifest_json(const SweepManifest& manifest);
std::string manifest_path(const std::string& folder);

}  // namespace droste
