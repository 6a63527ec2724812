// SPDX-License-Identifier: Apache-2.0
// `droste test` on the kernels of guest-images/test-kernels, built here, and on folders that are wrong.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "system/program.h"

namespace droste::system_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TestKernels : public ::testing::Test {
protected:
    /// Once for all tests: about two seconds of compiling.
    static void SetUpTestSuite() {
        images_ = new Folder;
        const std::string command = source_file("guest-images/test-kernels/build") + " " + images_->file("k") + " >" +
                                    images_->file("log") + " 2>&1";
        ASSERT_EQ(std::system(command.c_str()), 0) << slurp(images_->file("log"));
    }
    static void TearDownTestSuite() {
        delete images_;
        images_ = nullptr;
    }
    static std::string kernels() { return images_->file("k"); }
    static std::string kernel(const std::string& name) { return kernels() + "/" + name + ".flat"; }
    std::vector<std::string> test(std::vector<std::string> more) const {
        more.insert(more.begin(), {"test", kernels(), "--logs", logs_.file("logs")});
        return more;
    }
    const Folder logs_;

private:
    static inline Folder* images_ = nullptr;
};

TEST_F(TestKernels, AllPass) {
    const std::string junit = logs_.file("junit.xml");
    const Finished f = droste(test({"--junit", junit}));
    EXPECT_EQ(f.status, 0) << f.out;
    EXPECT_THAT(f.out, AllOf(HasSubstr("devices "), HasSubstr("vmx-abort"), Not(HasSubstr("failed ")),
                             Not(HasSubstr("\x1b"))));
    const std::string xml = slurp(junit);
    EXPECT_THAT(xml, AllOf(HasSubstr("failures=\"0\" errors=\"0\""), HasSubstr("<testcase classname=\"k\" name=\"vmx\""),
                           HasSubstr("PASS: VMLAUNCH enters")));
    EXPECT_THAT(slurp(logs_.file("logs/vmx.log")), AllOf(HasSubstr("PASS: VMXON"), HasSubstr("--- droste:")));
    EXPECT_THAT(slurp(logs_.file("logs/vmx.json")), HasSubstr("\"droste-run\""));
}

TEST_F(TestKernels, ChosenByGlobAndGroup) {
    EXPECT_EQ(droste(test({"--list", "--filter", "hello*", "--filter", "devices"})).out,
              "hello\nhello-fails\nhello-shuts-down\nhello-triple-fault\nhello-spins\ndevices\n");
    EXPECT_THAT(droste(test({"--list", "--group", "vmx"})).out, AllOf(HasSubstr("vmx\n"), Not(HasSubstr("hello"))));
    const Finished f = droste(test({"--filter", "hello", "--jobs", "1"}));
    EXPECT_EQ(f.status, 0);
    EXPECT_THAT(f.out, HasSubstr("1 passed;"));
}

TEST_F(TestKernels, EveryWayToFail) {
    const std::string list = logs_.write("tests.toml", R"([defaults]
memory = "64MiB"
file = ")" + kernel("hello") + R"("
[[test]]
name = "good"
[[test]]
name = "fails"
arguments = "fail"
[[test]]
name = "skips"
arguments = "skip"
[[test]]
name = "dies"
arguments = "triple-fault"
[[test]]
name = "spins"
arguments = "spin"
timeout = 0.5
[[test]]
name = "refused"
set = ["memory.size=17MiB"]
)");
    const Finished f = droste({"test", list, "--junit", logs_.file("j.xml")});
    EXPECT_EQ(f.status, 1);
    const auto line = [&](const std::string& name) { return lines_after(f.out, name + " ").at(0); };
    EXPECT_THAT(line("good"), HasSubstr(" passed "));
    EXPECT_THAT(line("fails"), AllOf(HasSubstr("failed "), HasSubstr("status 3 instead of 1"), HasSubstr("FAILED")));
    EXPECT_THAT(line("skips"), AllOf(HasSubstr("skipped "), HasSubstr("SKIP: asked to")));
    EXPECT_THAT(line("dies"), AllOf(HasSubstr("failed "), HasSubstr("triple fault")));
    EXPECT_THAT(line("spins"), AllOf(HasSubstr("timeout "), HasSubstr("out of time")));
    EXPECT_THAT(line("refused"), AllOf(HasSubstr("refused "), HasSubstr("memory.size")));
    EXPECT_THAT(f.out, HasSubstr("1 passed, 2 failed, 1 skipped, 1 timeout, 1 refused;"));
    EXPECT_THAT(slurp(logs_.file("j.xml")), HasSubstr("failures=\"3\" errors=\"1\" skipped=\"1\""));
    EXPECT_TRUE(std::filesystem::exists(logs_.file("logs/fails.log"))) << "beside the list";
}

TEST_F(TestKernels, BadUsage) {
    const auto refused = [](const std::vector<std::string>& arguments) {
        const Finished f = droste(arguments);
        EXPECT_EQ(f.status, 2);
        EXPECT_EQ(f.out, "");
        return f.err;
    };
    EXPECT_THAT(refused({"test", "/nowhere"}), HasSubstr("droste: /nowhere: there is no such folder"));
    EXPECT_THAT(refused({"test", logs_.file("")}), HasSubstr("tests.toml"));
    EXPECT_THAT(refused(test({"--filter", "nothing"})), HasSubstr("--list shows them"));
    EXPECT_THAT(refused(test({"--set", "memory.sise=1"})), HasSubstr("did you mean memory.size?"));
    EXPECT_THAT(refused(test({"--junit", "/nowhere/j.xml"})), HasSubstr("--junit"));
    EXPECT_THAT(refused({"test", kernels(), "--logs", "/proc/x"}), HasSubstr("--logs"));
    EXPECT_EQ(droste(test({"--jobs", "0"})).status, 2);
    EXPECT_EQ(droste({"test"}).status, 2);
}

TEST_F(TestKernels, EqualRunsAreEqual) {
    const auto report = [&] {
        EXPECT_EQ(droste(test({"--filter", "devices"})).status, 0);
        return without_host_time(Json::parse(slurp(logs_.file("logs/devices.json"))));
    };
    EXPECT_EQ(report(), report());
}

}  // namespace
}  // namespace droste::system_test
