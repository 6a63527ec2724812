// SPDX-License-Identifier: Apache-2.0
// Reads a stack file: TOML whose tables and keys are the rows of the options.
#include <fmt/format.h>
#include <toml++/toml.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "machine/options.h"

namespace droste {

namespace {

std::string_view type_name(OptionType type) {
    switch (type) {
    case OptionType::text:
        return "a string";
    case OptionType::name_or_file:
        return "a name or a file name in quotes";
    case OptionType::path:
        return "a file name in quotes";
    case OptionType::paths:
        return "an array of file names";
    case OptionType::boolean:
        return "true or false";
    case OptionType::integer:
        return "a whole number";
    case OptionType::size:
        return "a size such as \"2GiB\"";
    case OptionType::seconds:
        return "a time such as 90 or \"10min\"";
    case OptionType::choice:
        return "a string";
    }
    return "?";
}

class Reader {
public:
    Reader(Options& options, std::string name, std::string folder)
        : options_(options), name_(std::move(name)), folder_(std::move(folder)) {}

    Status table(const toml::table& table, const std::string& prefix) {
        for (const auto& [name, node] : table) {
            const std::string key =
                prefix.empty() ? std::string(name.str()) : prefix + "." + std::string(name.str());
            const std::string place = fmt::format("{}:{}", name_, name.source().begin.line);
            Status s = node.is_table() ? section(*node.as_table(), key, place) : value(node, key, place);
            if (!s)
                return s;
        }
        return {};
    }

private:
    Status section(const toml::table& inner, const std::string& key, const std::string& place) {
        if (options_.find(key) != nullptr)
            return Error{fmt::format("{}: {} is a key, not a section; write {} = ...", place, key, key)};
        if (inner.empty() && !known_section(key))
            return Error{
                fmt::format("{}: there is no section [{}]; `droste config list` shows all keys", place, key)};
        return table(inner, key);
    }

    bool known_section(const std::string& key) const {
        for (const OptionRow* row : options_.rows())
            if (row->key.starts_with(key + "."))
                return true;
        return false;
    }

    Status value(const toml::node& node, const std::string& key, const std::string& place) {
        const OptionRow* row = options_.find(key);
        if (row == nullptr)
            return options_.set(key, "", place);  // says which key is near
        const Error ill{fmt::format("{}: {} must be {}; `droste config explain {}` tells more", place, key,
                                    type_name(row->type), key)};
        if (const auto* array = node.as_array()) {
            if (row->type != OptionType::paths)
                return ill;
            std::vector<std::string> files;
            for (const toml::node& element : *array) {
                const auto* text = element.as_string();
                if (text == nullptr)
                    return ill;
                files.push_back(resolve(text->get()));
            }
            options_.set_paths(key, std::move(files), place);
            return {};
        }
        const bool wants_number = row->type == OptionType::integer || row->type == OptionType::size ||
                                  row->type == OptionType::seconds;
        std::string text;
        if (const auto* s = node.as_string(); s != nullptr && (row->type != OptionType::boolean || row->of_model)) {
            if (row->type == OptionType::paths) {
                options_.set_paths(key, {resolve(s->get())}, place);
                return {};
            }
            text = s->get();
        } else if (const auto* i = node.as_integer(); i != nullptr && wants_number) {
            text = fmt::format("{}", i->get());
        } else if (const auto* f = node.as_floating_point();
                   f != nullptr && row->type == OptionType::seconds) {
            text = fmt::format("{:.9g}", f->get());
        } else if (const auto* b = node.as_boolean();
                   b != nullptr &&
                   (row->type == OptionType::boolean || row->choices.find("true") != row->choices.npos)) {
            text = b->get() ? "true" : "false";
        } else {
            return ill;
        }
        return options_.set(key, text, place, folder_);
    }

    std::string resolve(const std::string& file) const {
        if (file.empty() || folder_.empty() || file.front() == '/')
            return file;
        return (std::filesystem::path(folder_) / file).lexically_normal().string();
    }

    Options& options_;
    std::string name_;
    std::string folder_;
};

}  // namespace

Status Options::load_text(std::string_view text, const std::string& name, const std::string& folder) {
    toml::table table;
    try {  // the library as Debian builds it reports by exception
        table = toml::parse(text, name);
    } catch (const toml::parse_error& problem) {
        return Error{fmt::format("{}:{}:{}: this is not TOML: {}", name, problem.source().begin.line,
                                 problem.source().begin.column, problem.description())};
    }
    return Reader(*this, name, folder).table(table, "");
}

Status Options::load_file(const std::string& path) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored))
        return Error{
            fmt::format("{}: this is a folder; name a stack file such as configs/kvm-stack.toml", path)};
    std::ifstream file(path, std::ios::binary);
    if (!file)
        return Error{
            fmt::format("{}: cannot be opened; name a stack file such as configs/kvm-stack.toml", path)};
    std::ostringstream text;
    text << file.rdbuf();
    return load_text(text.str(), path, std::filesystem::path(path).parent_path().string());
}

}  // namespace droste
