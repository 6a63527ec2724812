// SPDX-License-Identifier: Apache-2.0
// The manifest of a sweep as JSON.
#include "machine/sweep/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "machine/report/json_members.h"

namespace droste {

namespace {

namespace fs = std::filesystem;

constexpr const char* sweep_format = "droste-sweep";
constexpr u64 sweep_version = 1;
constexpr const char* state_names[] = {"waiting", "done", "failed"};  // by SweepState

SweepEntry entry_of(JsonMembers m) {
    SweepEntry e;
    e.name = m.text("name");
    e.file = m.text("file");
    if (fs::path(e.file).filename() != e.file)
        m.fail(m.path("file"), "the name of a file in this folder");
    const std::string state = m.text("state");
    const auto found = std::find(std::begin(state_names), std::end(state_names), state);
    if (found == std::end(state_names))
        m.fail(m.path("state"), "one of waiting, done, failed");
    else
        e.state = static_cast<SweepState>(found - std::begin(state_names));
    e.digest = m.text("digest");
    e.reason = m.text("reason");
    e.seconds = m.real("seconds");
    e.variant = m.text("variant");
    for (const FileJson& key : m.list("variant_keys"))
        if (key.is_string())
            e.variant_keys.push_back(key.get<std::string>());
    for (const auto& [key, value] : m.object("settings").json().items())
        if (value.is_string())
            e.settings.emplace_back(key, value.template get<std::string>());
    return e;
}

}  // namespace

const SweepEntry* SweepManifest::find(const std::string& name) const {
    const auto found =
        std::find_if(runs.begin(), runs.end(), [&](const SweepEntry& e) { return e.name == name; });
    return found == runs.end() ? nullptr : &*found;
}

std::string manifest_path(const std::string& folder) {
    return (fs::path(folder) / "manifest.json").string();
}

Result<SweepManifest> parse_manifest(const std::string& text, const std::string& file) {
    const FileJson json = FileJson::parse(text, nullptr, false);
    if (!json.is_object() || !json.contains("format") || json["format"] != sweep_format)
        return Error{
            fmt::format("{}: this is no manifest of a sweep; name a folder that `droste sweep` made", file)};
    if (!json.contains("version") || json["version"] != sweep_version)
        return Error{fmt::format(
            "{}: this manifest is of another version than {}; make the sweep again in a new folder", file,
            sweep_version)};
    Status status;
    JsonMembers members(json, file, "", status);
    SweepManifest manifest;
    manifest.program = members.text("program");
    const FileJson& runs = members.list("runs");
    for (std::size_t i = 0; i < runs.size(); ++i)
        manifest.runs.push_back(entry_of(members.element("runs", runs[i], i)));
    if (!status)
        return status.error();
    return manifest;
}

Result<SweepManifest> load_manifest(const std::string& folder) {
    const std::string file = manifest_path(folder);
    std::ifstream in(file, std::ios::binary);
    std::ostringstream text;
    if (in)
        text << in.rdbuf();
    if (!in)
        return Error{
            fmt::format("{}: there is no manifest.json in this folder; name one that `droste sweep` made, or "
                        "the reports themselves",
                        folder)};
    return parse_manifest(text.str(), file);
}

std::string manifest_json(const SweepManifest& manifest) {
    FileJson runs = FileJson::array();
    for (const SweepEntry& e : manifest.runs) {
        FileJson settings = FileJson::object();
        for (const auto& [key, value] : e.settings)
            settings[key] = value;
        FileJson run = {{"name", e.name},
                        {"file", e.file},
                        {"state", state_names[static_cast<unsigned>(e.state)]},
                        {"reason", e.reason},
                        {"seconds", e.seconds},
                        {"digest", e.digest},
                        {"variant", e.variant}};
        run["variant_keys"] = e.variant_keys;
        run["settings"] = std::move(settings);
        runs.push_back(std::move(run));
    }
    FileJson json = {{"format", sweep_format}, {"version", sweep_version}, {"program", manifest.program}};
    json["runs"] = std::move(runs);
    return json.dump(2) + "\n";
}

Status save_manifest(const SweepManifest& manifest, const std::string& folder) {
    const std::string file = manifest_path(folder), part = file + ".part";
    bool written = false;
    {
        std::ofstream out(part, std::ios::binary);
        out << manifest_json(manifest);
        written = static_cast<bool>(out.flush());
    }
    std::error_code problem;
    if (written)
        fs::rename(part, file, problem);
    if (!written || problem)
        return Error{fmt::format("{}: cannot be written; name another folder with --out", file)};
    return {};
}

}  // namespace droste
