// SPDX-License-Identifier: Apache-2.0
// Reads lists of tests.
#include "machine/testing/test_list.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <filesystem>

#include "machine/run_summary.h"
#include "machine/toml_file.h"

namespace droste {

namespace {

/// A key of a test that stands for a key of the configuration.
struct ShortKey {
    std::string_view name, key;
};
constexpr ShortKey short_keys[] = {
    {"file", "boot.kernel"},        {"arguments", "boot.append"}, {"initrd", "boot.initrd"},
    {"memory", "memory.size"},      {"cpus", "machine.cpus"},     {"cpu", "cpu.model"},
    {"features", "cpu.features"},   {"vmx", "vmx.capabilities"},  {"timeout", "run.timeout"},
    {"max_ticks", "run.max_ticks"},
};
constexpr std::string_view other_keys[] = {"name", "expect", "skip", "groups", "set"};
constexpr std::string_view default_timeout = "90";

const ShortKey* short_key(std::string_view name) {
    const auto* row = std::find_if(std::begin(short_keys), std::end(short_keys),
                                   [&](const ShortKey& k) { return k.name == name; });
    return row == std::end(short_keys) ? nullptr : row;
}

std::string known_keys() {
    std::vector<std::string_view> names(std::begin(other_keys), std::end(other_keys));
    for (const ShortKey& k : short_keys)
        names.push_back(k.name);
    std::sort(names.begin(), names.end());
    return fmt::format("{}", fmt::join(names, ", "));
}

std::string_view nearest_key(std::string_view name) {
    std::vector<std::string_view> names(std::begin(other_keys), std::end(other_keys));
    for (const ShortKey& k : short_keys)
        names.push_back(k.name);
    const auto best = std::min_element(names.begin(), names.end(), [&](auto a, auto b) {
        return edit_distance(a, name) < edit_distance(b, name);
    });
    return edit_distance(*best, name) <= std::max<std::size_t>(1, name.size() / 3) ? *best
                                                                                   : std::string_view();
}

/// A name is also that of the log file.
bool good_name(std::string_view name) {
    return !name.empty() && name.size() <= 100 && name.front() != '.' && name.front() != '-' &&
           std::all_of(name.begin(), name.end(), [](unsigned char c) {
               return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.' || c == '+';
           });
}

class ListReader {
public:
    ListReader(std::string name, std::string folder, const std::vector<std::string>& sets)
        : name_(std::move(name)), folder_(std::move(folder)), sets_(sets) {}

    Result<TestList> list(const toml::table& table) {
        TestList list{folder_, {}};
        const toml::table* defaults = nullptr;
        const toml::array* tests = nullptr;
        for (const auto& [key, node] : table) {
            if (key.str() == "defaults" && node.is_table())
                defaults = node.as_table();
            else if (key.str() == "test" && node.is_array())
                tests = node.as_array();
            else
                return Error{
                    fmt::format("{}: there is no section \"{}\" in a list of tests; write [[test]] for each "
                                "test, and [defaults] for what holds for all",
                                place(node), std::string_view(key.str()))};
        }
        if (tests == nullptr || tests->empty())
            return Error{
                fmt::format("{}: there is no test in this list; write a section [[test]] for each", name_)};
        for (const toml::node& node : *tests) {
            if (!node.is_table())
                return Error{fmt::format("{}: a test must be a section [[test]]", place(node))};
            Result<TestCase> test = one(*node.as_table(), defaults);
            if (!test)
                return test.error();
            for (const TestCase& other : list.tests)
                if (other.name == test->name)
                    return Error{fmt::format("{}: {} is the name of the test at {} too; choose another",
                                             test->place, test->name, other.place)};
            list.tests.push_back(std::move(*test));
        }
        return list;
    }

private:
    std::string place(const toml::node& node) const {
        return fmt::format("{}:{}", name_, node.source().begin.line);
    }

    Result<TestCase> one(const toml::table& table, const toml::table* defaults) {
        TestCase test;
        test.place = place(table);
        if (Status s = test.options.set("run.timeout", default_timeout, "default"); !s)
            return s.error();
        if (defaults != nullptr) {
            if (defaults->contains("name"))
                return Error{fmt::format("{}: [defaults] cannot give a name", place(*defaults))};
            if (Status s = keys(*defaults, test); !s)
                return s.error();
        }
        if (Status s = keys(table, test); !s)
            return s.error();
        if (test.name.empty())
            return Error{fmt::format("{}: the test has no name; write name = \"...\"", test.place)};
        if (test.options.text("boot.kernel").empty())
            return Error{fmt::format("{}: {} has no file; write file = \"KERNEL\"", test.place, test.name)};
        for (const char* key : {"boot.kernel", "boot.initrd"}) {
            const std::string& file = test.options.text(key);
            std::error_code ignored;
            if (!file.empty() && !std::filesystem::is_regular_file(file, ignored))
                return Error{
                    fmt::format("{}: {}: there is no file {}; build the kernels, or correct the list",
                                test.options.origin(key), test.name, file)};
        }
        for (const std::string& assignment : sets_)
            if (Status s = test.options.set(assignment); !s)
                return s.error();
        return test;
    }

    Status keys(const toml::table& table, TestCase& test) {
        for (const auto& [key, node] : table)
            if (Status s = key_of(std::string(key.str()), node, test); !s)
                return s;
        return {};
    }

    Status key_of(const std::string& key, const toml::node& node, TestCase& test) {
        const auto ill = [&](std::string_view must) {
            return Error{fmt::format("{}: {} must be {}", place(node), key, must)};
        };
        if (const ShortKey* row = short_key(key)) {
            const std::optional<std::string> text = toml_scalar(node);
            if (!text)
                return ill("a string or a number");
            return test.options.set(row->key, *text, fmt::format("{} ({})", place(node), key), folder_);
        }
        if (key == "name") {
            const auto* text = node.as_string();
            if (text == nullptr || !good_name(text->get()))
                return ill("a word of letters, digits and the signs _ - . +");
            test.name = text->get();
            return {};
        }
        if (key == "groups") {
            const std::optional<std::vector<std::string>> words = toml_strings(node);
            if (!words)
                return ill("a list of names such as [\"vmx\", \"slow\"]");
            test.groups = *words;
            return {};
        }
        if (key == "expect") {
            const std::optional<TestExpectation> expect = expectation_of(toml_scalar(node).value_or(""));
            if (!expect)
                return ill(expectation_help());
            test.expect = *expect;
            return {};
        }
        if (key == "skip") {
            const auto* status = node.as_integer();
            if (status == nullptr || status->get() < 0 || status->get() > 255)
                return ill("an exit status from 0 to 255");
            test.skip_status = static_cast<int>(status->get());
            return {};
        }
        if (key == "set") {
            const std::optional<std::vector<std::string>> assignments = toml_strings(node);
            if (!assignments)
                return ill("a list such as [\"vmx.feature_control=locked\"]");
            for (const std::string& a : *assignments) {
                const std::size_t eq = a.find('=');
                if (eq == std::string::npos || eq == 0)
                    return Error{fmt::format("{}: set: \"{}\" is no KEY=VALUE", place(node), a)};
                if (Status s =
                        test.options.set(a.substr(0, eq), a.substr(eq + 1), place(node) + " (set)", folder_);
                    !s)
                    return s;
            }
            return {};
        }
        const std::string_view near = nearest_key(key);
        return Error{fmt::format("{}: a test has no key {}; {}", place(node), key,
                                 near.empty() ? "the keys are " + known_keys()
                                              : fmt::format("did you mean {}?", near))};
    }

    const std::string name_, folder_;
    const std::vector<std::string>& sets_;
};

}  // namespace

std::optional<TestExpectation> expectation_of(const std::string& text) {
    const std::vector<std::string> names = end_names();
    if (std::find(names.begin(), names.end(), text) != names.end())
        return TestExpectation{.end = text};
    const bool digits = !text.empty() && text.size() <= 3 && text.find_first_not_of("0123456789") == text.npos;
    if (!digits || std::stoi(text) > 255)
        return std::nullopt;
    return TestExpectation{.status = std::stoi(text), .end = ""};
}

std::string expectation_help() {
    return fmt::format("an exit status from 0 to 255, or one of {}", fmt::join(end_names(), ", "));
}

bool TestSelection::wants(const TestCase& test) const {
    const auto has = [&](const std::string& group) {
        return std::find(test.groups.begin(), test.groups.end(), group) != test.groups.end();
    };
    const bool named = std::any_of(names.begin(), names.end(), [&](const std::string& glob) {
        return fnmatch(glob.c_str(), test.name.c_str(), 0) == 0;
    });
    const bool grouped = std::any_of(groups.begin(), groups.end(), has);
    if ((!names.empty() && !named) || (!groups.empty() && !grouped))
        return false;
    return !has("nodefault") || named || grouped;
}

Result<TestList> load_test_list(const std::string& path, const std::vector<std::string>& sets) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    if (!fs::exists(path, ignored))
        return Error{
            fmt::format("{}: there is no such folder or list; name a folder with a tests.toml", path)};
    const fs::path file = fs::is_directory(path, ignored) ? fs::path(path) / "tests.toml" : fs::path(path);
    const Result<toml::table> table = read_toml_file(file.string(), "a folder of tests has a list tests.toml");
    if (!table)
        return table.error();
    const std::string folder = file.parent_path().empty() ? "." : file.parent_path().string();
    return ListReader(file.string(), folder, sets).list(*table);
}

}  // namespace droste
