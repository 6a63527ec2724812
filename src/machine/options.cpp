// SPDX-License-Identifier: Apache-2.0
// Options: setting and reading values by the rows of the table.
#include "machine/options.h"

#include "machine/routing_options.h"
#include "machine/vmx_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace droste {

namespace {

std::vector<std::string_view> split(std::string_view s, char at) {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t i = s.find(at);
        parts.push_back(s.substr(0, i));
        if (i == std::string_view::npos)
            return parts;
        s.remove_prefix(i + 1);
    }
}

std::string resolved(std::string_view file, const std::string& folder) {
    if (file.empty() || folder.empty() || std::filesystem::path(file).is_absolute())
        return std::string(file);
    return (std::filesystem::path(folder) / file).lexically_normal().string();
}

std::string shown_number(const OptionRow& row, u64 v) {
    switch (row.type) {
    case OptionType::size:
        return show_size(v);
    case OptionType::seconds:
        return v % 1000 == 0 ? fmt::format("{}", v / 1000) : fmt::format("{}ms", v);
    default:
        return fmt::format("{}", v);
    }
}

/// The number that `text` means for a row of type integer, size or seconds.
Result<u64> parse_number(const OptionRow& row, std::string_view text) {
    Result<u64> v = row.type == OptionType::size      ? parse_size(text)
                    : row.type == OptionType::seconds ? parse_milliseconds(text)
                                                      : parse_integer(text);
    if (!v)
        return v;
    if (*v >= row.min && *v <= row.max)
        return v;
    if (row.max == ~0ull)
        return Error{fmt::format("{} is out of range; the least is {}", text, shown_number(row, row.min))};
    if (row.min == row.max)
        return Error{
            fmt::format("{} is out of range; only {} is possible now", text, shown_number(row, row.min))};
    return Error{fmt::format("{} is out of range; choose a value from {} to {}", text,
                             shown_number(row, row.min), shown_number(row, row.max))};
}

Result<Options::Value> parse_value(const OptionRow& row, std::string_view text, const std::string& folder) {
    using Value = Options::Value;
    if (row.of_model && text == "model")
        return Value(std::string(text));
    switch (row.type) {
    case OptionType::text:
        return Value(std::string(text));
    case OptionType::name_or_file:
        return Value(text.ends_with(".toml") ? resolved(text, folder) : std::string(text));
    case OptionType::path:
        return Value(resolved(text, folder));
    case OptionType::paths: {
        std::vector<std::string> files;
        if (!text.empty())
            for (const std::string_view part : split(text, ','))
                files.push_back(resolved(part, folder));
        return Value(std::move(files));
    }
    case OptionType::boolean:
        if (text == "true" || text == "on" || text == "yes" || text == "1")
            return Value(true);
        if (text == "false" || text == "off" || text == "no" || text == "0")
            return Value(false);
        return Error{
            fmt::format("\"{}\" is neither true nor false{}", text, row.of_model ? " nor model" : "")};
    case OptionType::integer:
    case OptionType::size:
    case OptionType::seconds: {
        Result<u64> v = parse_number(row, text);
        if (!v)
            return v.error();
        return Value(*v);
    }
    case OptionType::choice: {
        const auto choices = split(row.choices, '|');
        if (std::find(choices.begin(), choices.end(), text) != choices.end())
            return Value(std::string(text));
        const auto best = std::min_element(choices.begin(), choices.end(), [&](auto a, auto b) {
            return edit_distance(a, text) < edit_distance(b, text);
        });
        const std::size_t far = edit_distance(*best, text);
        std::string all = fmt::format("{}", fmt::join(choices, ", "));
        const bool alike = far * 2 <= best->size();
        return Error{fmt::format("\"{}\" is none of {}{}", text, all,
                                 alike ? fmt::format("; did you mean \"{}\"?", *best) : "")};
    }
    }
    ASSERT(!"unknown type of option");
}

}  // namespace

std::vector<std::span<const OptionRow>> all_options() {
    return {machine_options(), vmx_options(), routing_options(), routing_reason_options()};
}

Options::Options(Tables tables) {
    for (const auto& table : tables)
        for (const OptionRow& row : table) {
            Result<Value> value = parse_value(row, row.default_text, "");
            ASSERT(value);  // a default must obey its own row
            ASSERT(slot_of(row.key) == nullptr);
            slots_.push_back(Slot{&row, std::move(*value)});
        }
}

const Options::Slot& Options::slot(std::string_view key) const {
    const Slot* s = const_cast<Options*>(this)->slot_of(key);
    ASSERT(s != nullptr);
    return *s;
}

Options::Slot* Options::slot_of(std::string_view key) {
    for (Slot& s : slots_)
        if (s.row->key == key)
            return &s;
    return nullptr;
}

const OptionRow* Options::find(std::string_view key) const {
    const Slot* s = const_cast<Options*>(this)->slot_of(key);
    return s == nullptr ? nullptr : s->row;
}

std::vector<const OptionRow*> Options::rows() const {
    std::vector<const OptionRow*> all;
    for (const Slot& s : slots_)
        all.push_back(s.row);
    return all;
}

std::string_view Options::nearest(std::string_view key) const {
    std::string_view best;
    std::size_t best_distance = ~std::size_t{0};
    for (const Slot& s : slots_) {
        const std::string_view known = s.row->key;
        std::size_t d = edit_distance(known, key);
        // A key without its section, or in another section, is near too: "model" for "cpu.model".
        const std::string_view tail = known.substr(known.rfind('.') + 1),
                               given = key.substr(key.rfind('.') + 1);
        if (tail == given && tail.size() >= 3)
            d = std::min<std::size_t>(d, 2);
        if (given == key && given.size() >= 4)
            d = std::min(d, edit_distance(tail, given));
        if (d < best_distance)
            best_distance = d, best = known;
    }
    return best_distance <= std::max<std::size_t>(2, key.size() / 3) ? best : std::string_view();
}

Error Options::unknown_key(std::string_view key, std::string_view place) const {
    const std::string_view near = nearest(key);
    return {fmt::format("{}: {}: there is no such key; {}", place, key,
                        near.empty() ? std::string("`droste config list` shows all keys")
                                     : fmt::format("did you mean {}?", near))};
}

Status Options::set(std::string_view assignment) {
    const std::size_t eq = assignment.find('=');
    if (eq == std::string_view::npos || eq == 0)
        return Error{
            fmt::format("--set {}: write KEY=VALUE, for instance --set memory.size=2GiB", assignment)};
    return set(assignment.substr(0, eq), assignment.substr(eq + 1), "--set");
}

Status Options::set(std::string_view key, std::string_view value, std::string_view origin,
                    const std::string& folder) {
    Slot* s = slot_of(key);
    if (s == nullptr)
        return unknown_key(key, origin);
    Result<Value> parsed = parse_value(*s->row, value, folder);
    if (!parsed)
        return Error{fmt::format("{}: {}: {} (`droste config explain {}` tells more)", origin, key,
                                 parsed.error().text, key)};
    s->value = std::move(*parsed);
    s->origin = origin;
    return {};
}

void Options::set_paths(std::string_view key, std::vector<std::string> values, std::string_view origin) {
    Slot* s = slot_of(key);
    ASSERT(s != nullptr && s->row->type == OptionType::paths);
    s->value = std::move(values);
    s->origin = origin;
}

const std::string& Options::text(std::string_view key) const {
    return std::get<std::string>(slot(key).value);
}
bool Options::flag(std::string_view key) const {
    return std::get<bool>(slot(key).value);
}
u64 Options::number(std::string_view key) const {
    return std::get<u64>(slot(key).value);
}
const std::vector<std::string>& Options::paths(std::string_view key) const {
    return std::get<std::vector<std::string>>(slot(key).value);
}
bool Options::left_to_model(std::string_view key) const {
    const Slot& s = slot(key);
    return s.row->of_model && std::holds_alternative<std::string>(s.value);
}
const std::string& Options::origin(std::string_view key) const {
    return slot(key).origin;
}

std::string Options::shown(std::string_view key) const {
    const Slot& s = slot(key);
    if (const auto* t = std::get_if<std::string>(&s.value))
        return *t;
    if (const auto* b = std::get_if<bool>(&s.value))
        return *b ? "true" : "false";
    if (const auto* n = std::get_if<u64>(&s.value))
        return shown_number(*s.row, *n);
    return fmt::format("{}", fmt::join(std::get<std::vector<std::string>>(s.value), ","));
}

}  // namespace droste
