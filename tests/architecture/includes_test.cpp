// SPDX-License-Identifier: Apache-2.0
// Folders include downward only, and every source file carries its licence and its purpose.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;

/// What each folder may include, itself aside.
const std::map<std::string, std::set<std::string>> allowed = {
    {"base", {}},
    {"mmu", {"base"}},
    {"cpu", {"base", "mmu"}},
    {"vmx", {"base", "mmu", "cpu"}},
    {"nested", {"base", "mmu", "cpu", "vmx"}},
    {"devices", {"base"}},
    {"machine", {"base", "mmu", "cpu", "vmx", "nested", "devices"}},
    {"frontends", {"base", "machine"}},
};

template <class Visit> void each_source(const fs::path& root, Visit visit) {
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
        const auto extension = entry.path().extension();
        if (entry.is_regular_file() && (extension == ".h" || extension == ".cpp")) visit(entry.path());
    }
}

TEST(Includes, PointDownward) {
    const fs::path src = fs::path(DROSTE_SOURCE_DIR) / "src";
    unsigned files = 0;
    each_source(src, [&](const fs::path& path) {
        ++files;
        const std::string folder = fs::relative(path, src).begin()->string();
        ASSERT_TRUE(allowed.contains(folder)) << path << " lies in a folder that has no place in the design";
        std::ifstream in(path);
        std::string line;
        for (unsigned number = 1; std::getline(in, line); ++number) {
            if (line.rfind("#include \"", 0) != 0) continue;
            const std::string target = line.substr(10, line.find('"', 10) - 10);
            const std::string to = target.substr(0, target.find('/'));
            EXPECT_TRUE(to == folder || allowed.at(folder).contains(to))
                << path.string() << ":" << number << " includes " << target << ", which is not below " << folder;
        }
    });
    EXPECT_GT(files, 50u);
}

TEST(Sources, CarryLicenceAndPurpose) {
    for (const char* folder : {"src", "tests", "benchmarks"}) {
        const fs::path root = fs::path(DROSTE_SOURCE_DIR) / folder;
        if (!fs::exists(root)) continue;
        each_source(root, [&](const fs::path& path) {
            std::ifstream in(path);
            std::string first, second;
            std::getline(in, first);
            std::getline(in, second);
            EXPECT_EQ(first, "// SPDX-License-Identifier: Apache-2.0") << path;
            EXPECT_EQ(second.rfind("// ", 0), 0u) << path << " lacks its one sentence of purpose";
        });
    }
}

}  // namespace
