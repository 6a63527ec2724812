// SPDX-License-Identifier: Apache-2.0
// Lists of tests: what is read from them, what is refused, and which tests are chosen.
#include "machine/testing/test_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TestListFile : public ::testing::Test {
protected:
    void SetUp() override {
        folder_ = std::filesystem::temp_directory_path() / ("droste-list-" + std::to_string(getpid()));
        std::filesystem::create_directories(folder_);
        std::ofstream(folder_ / "a.flat") << "kernel";
        std::ofstream(folder_ / "env") << "A=1";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    Result<TestList> load(const std::string& text, const std::vector<std::string>& sets = {}) {
        std::ofstream(folder_ / "tests.toml") << text;
        return load_test_list(folder_.string(), sets);
    }
    std::string problem(const std::string& text) {
        const Result<TestList> list = load(text);
        EXPECT_FALSE(list) << text;
        return list ? "" : list.error().text;
    }
    std::filesystem::path folder_;
};

TEST_F(TestListFile, SaysHowToRunEachTest) {
    const auto list = load(R"([defaults]
memory = "64MiB"
groups = ["all"]
[[test]]
name = "one"
file = "a.flat"
[[test]]
name = "two"
file = "a.flat"
arguments = "x -y"
initrd = "env"
memory = "32MiB"
timeout = 1.5
max_ticks = 1000
cpu = "icelake-sp"
features = "-avx2"
vmx = "-enable_pml"
cpus = 3
expect = 7
skip = 9
groups = ["slow", "vmx"]
set = ["vmx.feature_control=locked", "boot.append=z"]
)");
    ASSERT_TRUE(list) << list.error().text;
    ASSERT_EQ(list->tests.size(), 2u);
    const TestCase &one = list->tests[0], &two = list->tests[1];
    EXPECT_EQ(list->folder, folder_.string());
    EXPECT_EQ(one.name, "one");
    EXPECT_THAT(one.place, HasSubstr("tests.toml:4"));
    EXPECT_EQ(one.options.text("boot.kernel"), (folder_ / "a.flat").string());
    EXPECT_EQ(one.options.number("memory.size"), 64u << 20);
    EXPECT_EQ(one.options.number("run.timeout"), 90'000u);
    EXPECT_EQ(one.expect.status, 1);
    EXPECT_EQ(one.expect.end, "");
    EXPECT_EQ(one.skip_status, 155);
    EXPECT_THAT(one.groups, ElementsAre("all"));
    EXPECT_EQ(two.options.text("boot.append"), "z") << "set comes after arguments, by the alphabet";
    EXPECT_EQ(two.options.text("boot.initrd"), (folder_ / "env").string());
    EXPECT_EQ(two.options.number("memory.size"), 32u << 20);
    EXPECT_EQ(two.options.number("run.timeout"), 1500u);
    EXPECT_EQ(two.options.number("run.max_ticks"), 1000u);
    EXPECT_EQ(two.options.number("machine.cpus"), 3u);
    EXPECT_EQ(two.options.text("cpu.model"), "icelake-sp");
    EXPECT_EQ(two.options.text("cpu.features"), "-avx2");
    EXPECT_EQ(two.options.text("vmx.capabilities"), "-enable_pml");
    EXPECT_EQ(two.options.text("vmx.feature_control"), "locked");
    EXPECT_EQ(two.expect.status, 7);
    EXPECT_EQ(two.skip_status, 9);
    EXPECT_THAT(two.groups, ElementsAre("slow", "vmx"));
}

TEST_F(TestListFile, ArgumentsBecomeTheCommandLine) {
    const auto list = load("[[test]]\nname = \"t\"\nfile = \"a.flat\"\narguments = \"x -y\"\n");
    ASSERT_TRUE(list) << list.error().text;
    EXPECT_EQ(list->tests[0].options.text("boot.append"), "x -y");
}

TEST_F(TestListFile, SetsOfTheCommandLineComeLast) {
    const auto list =
        load("[[test]]\nname = \"t\"\nfile = \"a.flat\"\ncpu = \"icelake-sp\"\n", {"cpu.model=max"});
    ASSERT_TRUE(list) << list.error().text;
    EXPECT_EQ(list->tests[0].options.text("cpu.model"), "max");
    const auto bad = load("[[test]]\nname = \"t\"\nfile = \"a.flat\"\n", {"cpu.modle=max"});
    ASSERT_FALSE(bad);
    EXPECT_THAT(bad.error().text, AllOf(HasSubstr("--set"), HasSubstr("did you mean cpu.model?")));
}

TEST_F(TestListFile, EndsMayBeExpected) {
    const auto list = load("[[test]]\nname = \"t\"\nfile = \"a.flat\"\nexpect = \"triple_fault\"\n");
    ASSERT_TRUE(list) << list.error().text;
    EXPECT_EQ(list->tests[0].expect.end, "triple_fault");
}

TEST_F(TestListFile, AListMayBeNamedItself) {
    std::ofstream(folder_ / "mine.toml") << "[[test]]\nname = \"t\"\nfile = \"a.flat\"\n";
    const auto list = load_test_list((folder_ / "mine.toml").string());
    ASSERT_TRUE(list) << list.error().text;
    EXPECT_EQ(list->folder, folder_.string());
}

TEST_F(TestListFile, RefusalsNamePlaceAndRemedy) {
    const std::string test = "[[test]]\nname = \"t\"\nfile = \"a.flat\"\n";
    EXPECT_THAT(problem("[[test\n"), AllOf(HasSubstr("tests.toml:1"), HasSubstr("not TOML")));
    EXPECT_THAT(problem(""), HasSubstr("no test in this list"));
    EXPECT_THAT(problem("test = []\n"), HasSubstr("no test in this list"));
    EXPECT_THAT(problem("test = [1]\n"), HasSubstr("must be a section [[test]]"));
    EXPECT_THAT(problem("[tests]\n"),
                AllOf(HasSubstr("tests.toml:1"), HasSubstr("\"tests\""), HasSubstr("[[test]]")));
    EXPECT_THAT(problem("[[test]]\nfile = \"a.flat\"\n"),
                AllOf(HasSubstr("tests.toml:1"), HasSubstr("no name")));
    EXPECT_THAT(problem("[[test]]\nname = \"t\"\n"), AllOf(HasSubstr("t has no file"), HasSubstr("file = ")));
    EXPECT_THAT(problem("[[test]]\nname = \"t\"\nfile = \"b.flat\"\n"),
                AllOf(HasSubstr("tests.toml:3"), HasSubstr("b.flat"), HasSubstr("build the kernels")));
    EXPECT_THAT(problem(test + "initrd = \"none\"\n"), AllOf(HasSubstr("tests.toml:4"), HasSubstr("none")));
    EXPECT_THAT(problem("[[test]]\nname = \"../t\"\nfile = \"a.flat\"\n"), HasSubstr("letters, digits"));
    EXPECT_THAT(problem("[[test]]\nname = \"\"\nfile = \"a.flat\"\n"), HasSubstr("letters, digits"));
    EXPECT_THAT(problem("[defaults]\nname = \"t\"\n" + test), HasSubstr("[defaults] cannot give a name"));
    EXPECT_THAT(problem(test + test), AllOf(HasSubstr("tests.toml:4"), HasSubstr("tests.toml:1")));
    EXPECT_THAT(problem(test + "timout = 3\n"),
                AllOf(HasSubstr("tests.toml:4"), HasSubstr("did you mean timeout?")));
    EXPECT_THAT(problem(test + "frobnicate = 3\n"),
                AllOf(HasSubstr("frobnicate"), HasSubstr("arguments, cpu, ")));
    EXPECT_THAT(problem(test + "timeout = \"soon\"\n"),
                AllOf(HasSubstr("tests.toml:4 (timeout)"), HasSubstr("soon")));
    EXPECT_THAT(problem(test + "timeout = [1]\n"), HasSubstr("timeout must be a string or a number"));
    EXPECT_THAT(problem(test + "cpu = \"zen\"\n"), AllOf(HasSubstr("cpu.model"), HasSubstr("zen")));
    EXPECT_THAT(problem(test + "expect = 256\n"), AllOf(HasSubstr("tests.toml:4"), HasSubstr("0 to 255")));
    EXPECT_THAT(problem(test + "expect = -1\n"), HasSubstr("0 to 255"));
    EXPECT_THAT(problem(test + "expect = \"fine\"\n"),
                AllOf(HasSubstr("triple_fault"), HasSubstr("powered_off")));
    EXPECT_THAT(problem(test + "skip = 256\n"), HasSubstr("skip must be"));
    EXPECT_THAT(problem(test + "skip = \"x\"\n"), HasSubstr("skip must be"));
    EXPECT_THAT(problem(test + "groups = \"vmx\"\n"), HasSubstr("groups must be a list"));
    EXPECT_THAT(problem(test + "groups = [1]\n"), HasSubstr("groups must be a list"));
    EXPECT_THAT(problem(test + "set = [\"a\"]\n"), HasSubstr("no KEY=VALUE"));
    EXPECT_THAT(problem(test + "set = [\"=a\"]\n"), HasSubstr("no KEY=VALUE"));
    EXPECT_THAT(problem(test + "set = \"a=b\"\n"), HasSubstr("set must be a list"));
    EXPECT_THAT(problem(test + "set = [\"memory.sise=1\"]\n"),
                AllOf(HasSubstr("tests.toml:4 (set)"), HasSubstr("did you mean memory.size?")));
    std::filesystem::remove(folder_ / "tests.toml");
    EXPECT_THAT(load_test_list(folder_.string()).error().text, HasSubstr("has a list tests.toml"));
    EXPECT_THAT(load_test_list("/nowhere").error().text, HasSubstr("no such folder"));
}

TEST(TestSelection, GlobsAndGroups) {
    TestCase plain, slow;
    plain.name = "vmx_entry";
    plain.groups = {"vmx"};
    slow.name = "vmx_all";
    slow.groups = {"vmx", "nodefault"};
    EXPECT_TRUE(TestSelection().wants(plain));
    EXPECT_FALSE(TestSelection().wants(slow)) << "unless it is asked for";
    const auto by_name = [](std::vector<std::string> globs) { return TestSelection{std::move(globs), {}}; };
    const auto by_group = [](std::vector<std::string> groups) {
        return TestSelection{{}, std::move(groups)};
    };
    EXPECT_TRUE(by_name({"vmx*"}).wants(plain));
    EXPECT_TRUE(by_name({"vmx*"}).wants(slow));
    EXPECT_TRUE(by_name({"apic", "vmx_[ae]ll"}).wants(slow));
    EXPECT_FALSE(by_name({"vmx"}).wants(plain));
    EXPECT_TRUE(by_group({"vmx"}).wants(slow));
    EXPECT_FALSE(by_group({"apic"}).wants(plain));
    EXPECT_FALSE((TestSelection{{"vmx*"}, {"apic"}}).wants(plain)) << "both must hold";
}

}  // namespace
}  // namespace droste
