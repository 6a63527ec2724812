// SPDX-License-Identifier: Apache-2.0
// `droste test` on the kernels of guest-images/test-kernels, built here, and on folders that are wrong.
#include <gmock/gmock.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

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
        const std::string command = source_file("guest-images/test-kernels/build") + " " +
                                    images_->file("k") + " >" + images_->file("log") + " 2>&1";
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
    EXPECT_THAT(xml, AllOf(HasSubstr("failures=\"0\" errors=\"0\""),
                           HasSubstr("<testcase classname=\"k\" name=\"vmx\""),
                           HasSubstr("PASS: VMLAUNCH enters")));
    EXPECT_THAT(slurp(logs_.file("logs/vmx.log")), AllOf(HasSubstr("PASS: VMXON"), HasSubstr("--- droste:")));
    EXPECT_THAT(slurp(logs_.file("logs/vmx.json")), HasSubstr("\"droste-run\""));
}

TEST_F(TestKernels, ChosenByGlobAndGroup) {
    EXPECT_EQ(droste(test({"--list", "--filter", "hello*", "--filter", "devices"})).out,
              "hello\nhello-fails\nhello-shuts-down\nhello-triple-fault\nhello-spins\ndevices\n");
    EXPECT_THAT(droste(test({"--list", "--group", "vmx"})).out,
                AllOf(HasSubstr("vmx\n"), Not(HasSubstr("hello"))));
    EXPECT_EQ(droste({"test", "--list", "--filter", "smp-2", kernels()}).out, "smp-2\n") << "the folder last";
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
    EXPECT_THAT(line("fails"),
                AllOf(HasSubstr("failed "), HasSubstr("status 3 instead of 1"), HasSubstr("FAILED")));
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

TEST_F(TestKernels, FailedEntriesAreExplained) {
    const auto boot = [](std::vector<std::string> more) {
        more.insert(more.begin(), {"boot", "--kernel", kernel("vmx"), "--memory", "64MiB"});
        return droste(more, Report::json);
    };
    const Finished plain = boot({}), told = boot({"--explain-entries"});
    EXPECT_EQ(plain.status, 1);
    EXPECT_EQ(told.status, 1);
    EXPECT_EQ(plain.report["state_hash"], told.report["state_hash"]) << "who asks changes nothing";
    EXPECT_EQ(plain.report["ticks"], told.report["ticks"]);
    EXPECT_THAT(plain.err, AllOf(HasSubstr("run again with --explain-entries"),
                                 HasSubstr("clear bit 0 and clear bit 1, or 0"),
                                 HasSubstr("vmcs_link_pointer = 0x123: all bits set would pass"),
                                 Not(HasSubstr("written at tick"))));
    EXPECT_THAT(told.err,
                AllOf(HasSubstr("VMLAUNCH at RIP 0x"),
                      HasSubstr("VMfailValid 7 (VM entry with invalid control field(s))"),
                      HasSubstr("VMfailValid 8 (VM entry with invalid host-state field(s))"),
                      HasSubstr("exit reason 0x80000021 (entry_failure_guest_state), qualification 4"),
                      HasSubstr("(SDM \"Checks on Guest Non-Register State\")"),
                      HasSubstr("guest_rflags = 0x0 (none set)"), HasSubstr("written at tick "),
                      HasSubstr("by level 0, RIP 0x"),
                      HasSubstr("virtual_nmis is 1 in pin_based_controls: clearing it would pass"),
                      HasSubstr("entry 1 at 0x"), HasSubstr("MSR 0xc0000100"),
                      HasSubstr("VMPTRLD failed at tick "), HasSubstr("VMfailInvalid (no current VMCS")));
    EXPECT_THAT(told.err, AllOf(HasSubstr("triple fault of a guest at tick "), HasSubstr("  first #UD\n"),
                                HasSubstr("IDT entry 8")));
    const Json& failures = told.report["vm_entry_failures"];
    ASSERT_EQ(failures.size(), 8u);
    EXPECT_EQ(failures[0]["check"], "CR3-target count is not above the number of targets");
    EXPECT_EQ(failures[0]["fields"][0]["name"], "cr3_target_count");
    EXPECT_EQ(failures[0]["fields"][0]["value"], "0xc8");
    EXPECT_EQ(failures[0]["fields"][0]["remedy"], "0 would pass");
    EXPECT_THAT(failures[0]["fields"][0]["writer"].get<std::string>(), HasSubstr("written at tick"));
    EXPECT_EQ(failures[0]["count"], 1);
    for (std::size_t i = 1; i < failures.size(); ++i)
        EXPECT_GT(failures[i]["first_tick"], failures[i - 1]["first_tick"]);
    ASSERT_EQ(told.report["vm_fails"].size(), 5u);
    EXPECT_EQ(told.report["vm_fails"][0]["error"], 5);
    EXPECT_EQ(told.report["vm_fails"][0]["instruction"], "VMRESUME");
    EXPECT_EQ(told.report["vm_fails"][4]["error"], 0);
    EXPECT_EQ(told.report["vm_fails"][4]["count"], 3);
}

TEST_F(TestKernels, AbortsAndTripleFaultsAreExplained) {
    const auto boot = [](const std::string& file, const std::string& argument) {
        return droste({"boot", "--kernel", kernel(file), "--memory", "64MiB", "--append", argument,
                       "--explain-entries"},
                      Report::json);
    };
    const Finished abort = boot("vmx", "abort");
    EXPECT_EQ(abort.status, 3);
    EXPECT_THAT(abort.err, AllOf(HasSubstr("VMX abort 4: a host's MSR could not be loaded"),
                                 HasSubstr("exit_msr_load_count = 0x1"), HasSubstr("written at tick"),
                                 HasSubstr("MSR 0xc0000100")));
    EXPECT_GE(abort.report["death"].size(), 3u);
    const Finished triple = boot("hello", "triple-fault");
    EXPECT_THAT(triple.err, AllOf(HasSubstr("first #UD"), HasSubstr("in the delivery of #DF")));
    EXPECT_EQ(triple.report["death"][0], "first #UD");
}

/// On a terminal a line tells what runs; Ctrl-C ends it all, and leaves no process behind.
TEST_F(TestKernels, ProgressAndInterruptAtATerminal) {
    const std::string list =
        logs_.write("tests.toml", "[[test]]\nname = \"spins\"\nmemory = \"64MiB\"\nfile = \"" +
                                      kernel("hello") + "\"\narguments = \"spin\"\n");
    int terminal = -1;
    const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
    if (child == 0) {
        execl(DROSTE_PROGRAM, "droste", "test", list.c_str(), nullptr);
        _exit(99);
    }
    std::string seen;
    const auto read_until = [&](const std::string& wanted) {
        char buffer[512];
        while (seen.find(wanted) == seen.npos) {
            const ssize_t n = read(terminal, buffer, sizeof buffer);
            if (n <= 0)
                return false;
            seen.append(buffer, static_cast<std::size_t>(n));
        }
        return true;
    };
    EXPECT_TRUE(read_until("\r\x1b[K0/1 done   running: spins")) << seen;
    EXPECT_EQ(write(terminal, "\x03", 1), 1);
    read_until("nothing says this");
    int raw = 0;
    ASSERT_EQ(waitpid(child, &raw, 0), child);
    EXPECT_TRUE(WIFEXITED(raw) && WEXITSTATUS(raw) == 130) << raw;
    close(terminal);
}

TEST_F(TestKernels, SeveralProcessors) {
    for (const char* n : {"2", "4"}) {
        const Finished f =
            droste({"boot", "--kernel", kernel("smp"), "--memory", "64MiB", "--append", n, "--cpus", n});
        EXPECT_EQ(f.status, 1) << f.out;
    }
}

}  // namespace
}  // namespace droste::system_test
