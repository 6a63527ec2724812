// SPDX-License-Identifier: Apache-2.0
// Reads sweeps and unfolds their grids.
#include "machine/sweep/sweep_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "machine/machine_parts.h"
#include "machine/toml_file.h"

namespace droste {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view sections[] = {"sweep", "set", "grid", "variant", "except"};
constexpr std::string_view sweep_keys[] = {"name", "stack", "kernel", "timeout", "expect"};
constexpr std::string_view default_timeout = "60min";
constexpr std::size_t most_runs = 10'000;
constexpr const char* variant_axis = "variant";

/// KEY = VALUE at a place of the file.
struct Assignment {
    std::string key, value, place;
};
/// One value of an axis.
struct AxisPoint {
    std::string value;  ///< as the user wrote it; of a variant its name
    std::vector<Assignment> assignments;
};
struct Axis {
    std::string key;
    std::vector<AxisPoint> points;
};
/// A combination to be left out: all of it must fit.
using Exception = std::vector<std::pair<std::string, std::vector<std::string>>>;

/// A leaf of a section, whose keys may be written with dots or in quotes.
struct Leaf {
    std::string key;
    const toml::node* node;
};

void flatten(const toml::table& table, const std::string& prefix, std::vector<Leaf>& to) {
    for (const auto& [name, node] : table) {
        const std::string key =
            prefix.empty() ? std::string(name.str()) : fmt::format("{}.{}", prefix, name.str());
        if (node.is_table())
            flatten(*node.as_table(), key, to);
        else
            to.push_back({key, &node});
    }
}

/// In the order of the file; the library keeps tables by the alphabet.
std::vector<Leaf> leaves(const toml::table& table) {
    std::vector<Leaf> list;
    flatten(table, "", list);
    std::stable_sort(list.begin(), list.end(), [](const Leaf& a, const Leaf& b) {
        const auto &x = a.node->source().begin, &y = b.node->source().begin;
        return x.line != y.line ? x.line < y.line : x.column < y.column;
    });
    return list;
}

/// What a name of a file may be made of.
std::string as_name(const std::string& text) {
    std::string out;
    for (const char c : text)
        out += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '+' || c == '_' ? c : '_';
    return out;
}

class PlanReader {
public:
    PlanReader(std::string path, const std::vector<std::string>& sets)
        : path_(std::move(path)), folder_(fs::path(path_).parent_path().string()), sets_(sets) {}

    Result<std::vector<SweepRun>> read(const toml::table& table) {
        for (const auto& [key, node] : table)
            if (std::find(std::begin(sections), std::end(sections), key.str()) == std::end(sections))
                return Error{fmt::format("{}: there is no section \"{}\" in a sweep; there are {}",
                                         place(node), key.str(), fmt::join(sections, ", "))};
        for (const Status& s : {head(table), set(table), variants(table), grid(table), exceptions(table)})
            if (!s)
                return s.error();
        return runs();
    }

private:
    std::string place(const toml::node& node) const {
        return fmt::format("{}:{}", path_, node.source().begin.line);
    }

    Status head(const toml::table& table) {
        name_ = fs::path(path_).stem().string();
        const toml::table* sweep = table["sweep"].as_table();
        if (sweep == nullptr)
            return Error{
                fmt::format("{}: what is to be run? Write [sweep] with stack = \"FILE.toml\" or kernel = "
                            "\"FILE\"",
                            path_)};
        if (Status s = base_.set("run.timeout", default_timeout, "default"); !s)
            return s;
        std::string stack, kernel, timeout, timeout_place;
        for (const auto& [key, node] : *sweep) {
            const std::optional<std::string> text = toml_scalar(node);
            if (std::find(std::begin(sweep_keys), std::end(sweep_keys), key.str()) == std::end(sweep_keys))
                return Error{
                    fmt::format("{}: [sweep] has no key {}; the keys are {}; keys of the configuration go to "
                                "[set] and [grid]",
                                place(node), key.str(), fmt::join(sweep_keys, ", "))};
            if (!text || text->empty())
                return Error{fmt::format("{}: {} must be a text or a number", place(node), key.str())};
            if (key == "name")
                name_ = as_name(*text);
            else if (key == "timeout")
                timeout = *text, timeout_place = place(node);
            else if (key == "expect") {
                expect_ = expectation_of(*text);
                if (!expect_)
                    return Error{fmt::format("{}: expect must be {}", place(node), expectation_help())};
            } else
                (key == "stack" ? stack : kernel) = *text;
        }
        if (stack.empty() == kernel.empty())
            return Error{fmt::format("{}: [sweep] needs a stack or a kernel, one of the two", place(*sweep))};
        if (!stack.empty())
            if (Status s = base_.load_file((fs::path(folder_) / stack).lexically_normal().string()); !s)
                return s;
        if (!kernel.empty())
            if (Status s = base_.set("boot.kernel", kernel, place(*sweep), folder_); !s)
                return s;
        return timeout.empty() ? Status{} : base_.set("run.timeout", timeout, timeout_place);
    }

    Result<Assignment> assignment(const Leaf& leaf) const {
        const std::optional<std::string> text = toml_scalar(*leaf.node);
        if (!text)
            return Error{fmt::format("{}: {} must be one value; several stand in [grid]", place(*leaf.node),
                                     leaf.key)};
        return Assignment{leaf.key, *text, place(*leaf.node)};
    }

    Status set(const toml::table& table) {
        const toml::node_view section = table["set"];
        if (!section)
            return {};
        if (!section.is_table())
            return Error{fmt::format("{}: write a section [set]", place(*section.node()))};
        for (const Leaf& leaf : leaves(*section.as_table())) {
            Result<Assignment> a = assignment(leaf);
            if (!a)
                return a.error();
            if (Status s = base_.set(a->key, a->value, a->place, folder_); !s)
                return s;
        }
        return {};
    }

    Status variants(const toml::table& table) {
        const toml::node_view section = table["variant"];
        if (!section)
            return {};
        const toml::array* list = section.as_array();
        Axis axis{variant_axis, {}};
        for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
            const toml::table* one = list->get(i)->as_table();
            if (one == nullptr)
                break;
            AxisPoint point;
            for (const Leaf& leaf : leaves(*one)) {
                Result<Assignment> a = assignment(leaf);
                if (!a)
                    return a.error();
                if (a->key == "name")
                    point.value = a->value;
                else
                    point.assignments.push_back(std::move(*a));
            }
            if (point.value.empty())
                return Error{fmt::format("{}: the variant has no name; write name = \"...\"", place(*one))};
            axis.points.push_back(std::move(point));
        }
        if (list == nullptr || axis.points.size() != list->size())
            return Error{fmt::format("{}: a variant must be a section [[variant]]", place(*section.node()))};
        axes_.push_back(std::move(axis));
        return {};
    }

    Status grid(const toml::table& table) {
        const toml::node_view section = table["grid"];
        if (!section)
            return {};
        if (!section.is_table())
            return Error{fmt::format("{}: write a section [grid]", place(*section.node()))};
        for (const Leaf& leaf : leaves(*section.as_table())) {
            Axis axis{leaf.key, {}};
            if (base_.find(leaf.key) == nullptr)
                return base_.set(leaf.key, "", place(*leaf.node));  // says which key is near
            for (const std::string& value : values(*leaf.node))
                axis.points.push_back({value, {{leaf.key, value, place(*leaf.node)}}});
            if (axis.points.empty())
                return Error{fmt::format("{}: {} must be a list of values such as [1, 2, 3]",
                                         place(*leaf.node), leaf.key)};
            axes_.push_back(std::move(axis));
        }
        return {};
    }

    /// Of a list or of one value; empty: neither.
    static std::vector<std::string> values(const toml::node& node) {
        std::vector<std::string> out;
        if (const std::optional<std::string> one = toml_scalar(node))
            return {*one};
        if (const toml::array* list = node.as_array())
            for (const toml::node& element : *list) {
                const std::optional<std::string> text = toml_scalar(element);
                if (!text)
                    return {};
                out.push_back(*text);
            }
        return out;
    }

    Status exceptions(const toml::table& table) {
        const toml::node_view section = table["except"];
        if (!section)
            return {};
        const toml::array* list = section.as_array();
        for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
            const toml::table* one = list->get(i)->as_table();
            if (one == nullptr)
                break;
            Exception e;
            for (const Leaf& leaf : leaves(*one)) {
                const auto axis = std::find_if(axes_.begin(), axes_.end(),
                                               [&](const Axis& a) { return a.key == leaf.key; });
                if (axis == axes_.end())
                    return Error{
                        fmt::format("{}: {} does not vary in this sweep, so nothing can be left out by it",
                                    place(*leaf.node), leaf.key)};
                e.emplace_back(leaf.key, values(*leaf.node));
                for (const std::string& value : e.back().second)
                    if (std::none_of(axis->points.begin(), axis->points.end(),
                                     [&](const AxisPoint& p) { return p.value == value; }))
                        return Error{fmt::format("{}: {} = {} does not occur in this sweep",
                                                 place(*leaf.node), leaf.key, value)};
            }
            exceptions_.push_back(std::move(e));
        }
        if (list == nullptr || exceptions_.size() != list->size())
            return Error{
                fmt::format("{}: what is left out must be a section [[except]]", place(*section.node()))};
        return {};
    }

    bool left_out(const SweepRun& run) const {
        const auto fits = [&](const auto& part) {
            const auto at = std::find_if(run.settings.begin(), run.settings.end(),
                                         [&](const auto& s) { return s.first == part.first; });
            return at != run.settings.end() &&
                   std::find(part.second.begin(), part.second.end(), at->second) != part.second.end();
        };
        return std::any_of(exceptions_.begin(), exceptions_.end(),
                           [&](const Exception& e) { return std::all_of(e.begin(), e.end(), fits); });
    }

    Result<std::vector<SweepRun>> runs() {
        std::size_t size = 1;
        for (const Axis& a : axes_) {
            size *= a.points.size();
            if (size > most_runs)
                return Error{fmt::format("{}: the grid has more than {} runs; split it", path_, most_runs)};
        }
        std::vector<SweepRun> list;
        std::set<std::string> names;
        for (std::size_t number = 0; number < size; ++number) {
            Result<SweepRun> run = one(number, size);
            if (!run)
                return run.error();
            if (left_out(*run))
                continue;
            if (Status s = check(*run); !s)
                return s.error();
            if (!names.insert(run->name).second) {
                run->name += fmt::format("-{}", number);
                names.insert(run->name);
            }
            list.push_back(std::move(*run));
        }
        if (list.empty())
            return Error{fmt::format("{}: [[except]] leaves out every run", path_)};
        return list;
    }

    Result<SweepRun> one(std::size_t number, std::size_t size) const {
        SweepRun run{.name = name_,
                     .options = base_,
                     .expect = expect_,
                     .variant = "",
                     .variant_keys = {},
                     .settings = {}};
        for (const Axis& axis : axes_) {
            size /= axis.points.size();
            const AxisPoint& point = axis.points[number / size % axis.points.size()];
            run.settings.emplace_back(axis.key, point.value);
            const bool variant = axis.key == variant_axis;
            const std::string what = variant ? "" : axis.key.substr(axis.key.rfind('.') + 1) + "-";
            run.name += fmt::format(".{}{}", as_name(what), as_name(point.value));
            for (const Assignment& a : point.assignments) {
                if (Status s = run.options.set(a.key, a.value, a.place, folder_); !s)
                    return s.error();
                if (variant)
                    run.variant_keys.push_back(a.key);
            }
            if (variant)
                run.variant = point.value;
        }
        constexpr std::size_t longest = 100;
        if (run.name.size() > longest)
            run.name = fmt::format("{}-{}", run.name.substr(0, longest), number);
        for (const std::string& assignment : sets_)
            if (Status s = run.options.set(assignment); !s)
                return s.error();
        return run;
    }

    /// A run that could not even start would be a bad surprise after hours.
    Status check(const SweepRun& run) const {
        for (const char* key : {"boot.kernel", "boot.initrd"}) {
            const std::string& file = run.options.text(key);
            std::error_code ignored;
            if (!file.empty() && !fs::is_regular_file(file, ignored))
                return Error{fmt::format("{}: there is no file {}; build the images, or correct the key {}",
                                         run.options.origin(key), file, key)};
        }
        if (run.options.text("boot.kernel").empty())
            return Error{fmt::format("{}: {}: boot.kernel is not set; name a stack or a kernel in [sweep]",
                                     path_, run.name)};
        const Result<MachineConfig> config = machine_config(run.options);
        if (!config)
            return Error{
                fmt::format("{} (the run {}; [[except]] can leave it out)", config.error().text, run.name)};
        return {};
    }

    const std::string path_, folder_;
    const std::vector<std::string>& sets_;
    std::string name_;
    Options base_;
    std::optional<TestExpectation> expect_;
    std::vector<Axis> axes_;
    std::vector<Exception> exceptions_;
};

}  // namespace

Result<std::vector<SweepRun>> load_sweep_plan(const std::string& path, const std::vector<std::string>& sets) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored))
        return Error{
            fmt::format("{}: this is a folder; name a sweep such as configs/sweeps/kvm-depth.toml", path)};
    const Result<toml::table> table =
        read_toml_file(path, "name a sweep such as configs/sweeps/kvm-depth.toml");
    if (!table)
        return table.error();
    return PlanReader(path, sets).read(*table);
}

}  // namespace droste
