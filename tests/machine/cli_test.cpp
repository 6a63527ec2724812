// SPDX-License-Identifier: Apache-2.0
// The command line: exit statuses and messages of the built program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>

#include "machine/tiny_guest.h"

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string program = DROSTE_BUILD_DIR "/droste";

struct Finished {
    int status;
    std::string out, err;
};

class Cli : public ::testing::Test {
protected:
    void SetUp() override {
        if (!std::filesystem::exists(program))
            GTEST_SKIP() << program << " is not built";
        folder_ = std::filesystem::temp_directory_path() / ("droste-cli-" + std::to_string(getpid()));
        std::filesystem::create_directories(folder_);
    }
    void TearDown() override {
        if (!folder_.empty())
            std::filesystem::remove_all(folder_);
    }
    std::string file(const std::string& name) const { return (folder_ / name).string(); }
    std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(file(name), std::ios::binary) << text;
        return file(name);
    }
    std::string guest(const TinyGuest& g) const {
        const std::vector<u8> b = g.image();
        return write("guest", std::string(b.begin(), b.end()));
    }
    static std::string slurp(const std::string& path) {
        std::ostringstream text;
        text << std::ifstream(path, std::ios::binary).rdbuf();
        return text.str();
    }
    Finished droste(const std::string& arguments) const {
        const std::string command =
            program + " " + arguments + " </dev/null >" + file("out") + " 2>" + file("err");
        const int raw = std::system(command.c_str());
        return {WIFEXITED(raw) ? WEXITSTATUS(raw) : -1, slurp(file("out")), slurp(file("err"))};
    }

private:
    std::filesystem::path folder_;
};

TEST_F(Cli, HelpTeachesAndVersionIsNamed) {
    const Finished help = droste("--help");
    EXPECT_EQ(help.status, 0);
    EXPECT_THAT(help.out, AllOf(HasSubstr("droste run configs/kvm-stack.toml"), HasSubstr("Exit status")));
    EXPECT_THAT(droste("run --help").out, AllOf(HasSubstr("--depth"), HasSubstr("Ctrl-A x")));
    EXPECT_THAT(droste("boot --help").out, HasSubstr("--append"));
    const Finished version = droste("--version");
    EXPECT_EQ(version.status, 0);
    EXPECT_THAT(version.out, HasSubstr("droste "));
}

TEST_F(Cli, BadUsageIsStatusTwo) {
    for (const char* arguments : {"", "fly", "run", "run /nowhere.toml", "boot", "boot --kernel /nowhere",
                                  "config", "config explain no.such.key", "run --depth"})
        EXPECT_EQ(droste(arguments).status, 2) << arguments;
    EXPECT_THAT(droste("frob").err, AllOf(HasSubstr("droste: there is no command \"frob\""), HasSubstr("run, boot")));
    for (const char* arguments : {"", "frob", "run", "boot", "run --depth", "run x y"})
        EXPECT_THAT(droste(arguments).err, ::testing::StartsWith("droste: ")) << arguments;
    EXPECT_THAT(droste("boot --kernel /nowhere").err, AllOf(HasSubstr("boot.kernel"), HasSubstr("/nowhere")));
    EXPECT_THAT(droste("config explain memory.szie").err, HasSubstr("did you mean memory.size?"));
}

TEST_F(Cli, OptionsTakeOneValueEach) {
    const std::string stack = write("s.toml", "[boot]\nkernel = \"/nowhere\"\n");
    const Finished r = droste("run --set memory.size=32MiB " + stack);
    EXPECT_THAT(r.err, HasSubstr("/nowhere")) << "the stack file may follow";
    EXPECT_EQ(droste("run --set memory.size=32MiB --set memory.size=7 " + stack).status, 2);
}

TEST_F(Cli, DepthOutsideItsRangeIsStatusTwoWithRemedy) {
    const std::string stack = write("s.toml", "[boot]\nkernel = \"k\"\n");
    for (const char* depth : {"0", "33", "-1", "x"}) {
        const Finished r = droste("run " + stack + " --depth=" + depth);
        EXPECT_EQ(r.status, 2) << depth;
        EXPECT_THAT(r.err, AllOf(HasSubstr("--depth"), HasSubstr("stack.depth"))) << depth;
    }
    EXPECT_THAT(droste("run " + stack + " --depth 33").err, HasSubstr("1 to 32"));
}

TEST_F(Cli, StackFileErrorsNameFileLineAndKey) {
    const std::string stack = write("s.toml", "[memory]\nsise = \"1GiB\"\n");
    const Finished r = droste("run " + stack);
    EXPECT_EQ(r.status, 2);
    EXPECT_THAT(r.err, AllOf(HasSubstr("s.toml:2"), HasSubstr("memory.sise"),
                             HasSubstr("did you mean memory.size?")));
}

TEST_F(Cli, ConfigListIsPlainInAFile) {
    const Finished r = droste("config list");
    EXPECT_EQ(r.status, 0);
    EXPECT_THAT(r.out, AllOf(HasSubstr("memory.size"), HasSubstr("timing.model"), Not(HasSubstr("\x1b"))));
}

TEST_F(Cli, GuestsEndWithTheirStatus) {
    const auto status = [&](const TinyGuest& g, const std::string& more = "") {
        return droste("boot --kernel " + guest(g) + " --memory 32MiB " + more);
    };
    const Finished off = status(TinyGuest().print("seen\n").power_off());
    EXPECT_EQ(off.status, 0) << off.err;
    EXPECT_EQ(off.out, "seen\n");
    EXPECT_THAT(off.err, HasSubstr("powered off"));
    EXPECT_EQ(status(TinyGuest().debug_exit(3).hlt()).status, 7);
    EXPECT_EQ(status(TinyGuest().bytes({0x0F, 0x0B})).status, 3);
    EXPECT_EQ(status(TinyGuest().bytes({0xEB, 0xFE}), "--timeout 0.2").status, 124);
    EXPECT_EQ(status(TinyGuest().power_off(), "--quiet").err, "");
}

TEST_F(Cli, JsonReportIsWritten) {
    const std::string report = file("run.json");
    const Finished r = droste("boot --kernel " + guest(TinyGuest().print("x").power_off()) +
                              " --memory 32MiB --json " + report);
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_THAT(slurp(report), AllOf(HasSubstr("\"console_sha256\""), HasSubstr("\"powered_off\"")));
    EXPECT_EQ(droste("boot --kernel " + guest(TinyGuest().power_off()) + " --json /nowhere/x.json").status,
              2);
}

/// Runs an endless guest on a pseudo terminal, ends it by `ending`, and looks at the terminal's modes before
/// and after.
void expect_terminal_restored(const std::string& kernel, const std::function<void(pid_t, int)>& ending,
                              int status) {
    int master = -1, slave = -1;
    ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
    termios before{};
    ASSERT_EQ(tcgetattr(slave, &before), 0);
    const pid_t child = fork();
    if (child == 0) {
        setsid();
        for (int fd : {0, 1, 2})
            dup2(slave, fd);
        execl(program.c_str(), "droste", "boot", "--kernel", kernel.c_str(), "--memory", "32MiB", nullptr);
        _exit(99);
    }
    termios now{};
    for (unsigned i = 0; i < 500; ++i) {  // until raw mode is on
        ASSERT_EQ(tcgetattr(slave, &now), 0);
        if ((now.c_lflag & ICANON) == 0)
            break;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(now.c_lflag & (ICANON | ECHO | ISIG), 0u);
    ending(child, master);
    int raw = 0;
    ASSERT_EQ(waitpid(child, &raw, 0), child);
    if (status >= 0) {
        EXPECT_TRUE(WIFEXITED(raw));
        EXPECT_EQ(WEXITSTATUS(raw), status);
    } else {
        EXPECT_TRUE(WIFSIGNALED(raw));
    }
    termios after{};
    ASSERT_EQ(tcgetattr(slave, &after), 0);
    EXPECT_EQ(after.c_lflag, before.c_lflag);
    EXPECT_EQ(after.c_iflag, before.c_iflag);
    close(master);
    close(slave);
}

TEST_F(Cli, ReportsAreShownSideBySide) {
    const std::string kernel = guest(TinyGuest().print("hi").power_off());
    for (const char* depth : {"1", "2"})
        ASSERT_EQ(droste("boot -q --kernel " + kernel + " --set stack.depth=" + depth + " --json " + file(depth)).status,
                  0);
    const Finished one = droste("report " + file("1"));
    EXPECT_EQ(one.status, 0) << one.err;
    EXPECT_THAT(one.out, AllOf(HasSubstr("Whole run"), HasSubstr("powered_off"), Not(HasSubstr("\x1b"))));
    EXPECT_THAT(droste("report " + file("1") + " " + file("2")).out, HasSubstr("2  depth 2"));
    EXPECT_THAT(droste("report --depth 2 " + file("1") + " " + file("2")).out,
                AllOf(HasSubstr("1   guest  2 "), Not(HasSubstr("guest  1 "))));
    EXPECT_THAT(droste("report --format json " + file("1")).out, HasSubstr("droste-comparison"));
    EXPECT_THAT(droste("report --format csv --table levels " + file("1")).out, HasSubstr(",0,0,0,0,"));
    EXPECT_EQ(droste("report --html " + file("page.html") + " " + file("1")).status, 0);
    EXPECT_THAT(slurp(file("page.html")), HasSubstr("<!DOCTYPE html>"));
    const Finished cut = droste("report " + write("cut", slurp(file("1")).substr(0, 500)));
    EXPECT_EQ(cut.status, 2);
    EXPECT_EQ(cut.out, "");
    EXPECT_THAT(cut.err, HasSubstr("cut: this is not JSON (at byte 501)"));
    EXPECT_THAT(droste("report --format xml " + file("1")).err, HasSubstr("--format"));
    EXPECT_EQ(droste("report --html /nowhere/x.html " + file("1")).status, 2);
}

TEST_F(Cli, SweepsResumeAndTellWhatFailed) {
    guest(TinyGuest().print("hi").power_off());
    write("s.toml", "[sweep]\nkernel = \"guest\"\n[grid]\nstack.depth = [1, 2]\n");
    const std::string sweep = "sweep " + file("s.toml") + " --out " + file("runs");
    EXPECT_THAT(droste(sweep + " --list").out, HasSubstr("s.depth-1  waiting"));
    const Finished first = droste(sweep);
    EXPECT_EQ(first.status, 0) << first.err;
    EXPECT_THAT(first.out, HasSubstr("2 done, 0 failed, 0 waiting"));
    EXPECT_THAT(first.err, HasSubstr("done s.depth-2"));
    const Finished again = droste(sweep);
    EXPECT_EQ(again.status, 0);
    EXPECT_EQ(again.err, "") << "nothing was left to do";
    EXPECT_THAT(droste("report " + file("runs")).out, HasSubstr("2  depth 2"));
    const Finished dies = droste(sweep + " --set run.max_ticks=3");
    EXPECT_EQ(dies.status, 1);
    EXPECT_THAT(dies.out, HasSubstr("0 done, 2 failed"));
    EXPECT_EQ(droste("report " + file("runs")).status, 2);
    EXPECT_EQ(droste("sweep " + write("t.toml", "[sweep]\n")).status, 2);
}

/// Ctrl-C goes to the sweep and to its runs.
TEST_F(Cli, AnInterruptedSweepKeepsWhatIsDone) {
    guest(TinyGuest().bytes({0xEB, 0xFE}));
    write("s.toml", "[sweep]\nkernel = \"guest\"\n");
    const std::string out = file("runs"), plan = file("s.toml");
    const pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        if (std::freopen("/dev/null", "w", stdout) == nullptr || std::freopen("/dev/null", "w", stderr) == nullptr)
            _exit(126);
        execl(program.c_str(), "droste", "sweep", plan.c_str(), "--out", out.c_str(), nullptr);
        _exit(127);
    }
    const std::string started = out + "/s.progress";  // the run has ticked
    for (int i = 0; i < 2000 && !std::filesystem::exists(started); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(std::filesystem::exists(started));
    kill(-child, SIGINT);
    int raw = 0;
    ASSERT_EQ(waitpid(child, &raw, 0), child);
    EXPECT_TRUE(WIFEXITED(raw));
    EXPECT_EQ(WEXITSTATUS(raw), 130);
    EXPECT_THAT(slurp(out + "/manifest.json"), HasSubstr("\"waiting\""));
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(out)) {
        ++files;
        EXPECT_THAT(entry.path().filename().string(), ::testing::AnyOf("manifest.json", "lock"));
    }
    EXPECT_EQ(files, 2u);
}

TEST_F(Cli, TerminalIsRestoredOnEveryWayOut) {
    const std::string kernel = guest(TinyGuest().bytes({0xEB, 0xFE}));
    expect_terminal_restored(
        kernel, [](pid_t, int master) { EXPECT_EQ(::write(master, "\x01x", 2), 2); }, 130);
    expect_terminal_restored(
        kernel, [](pid_t child, int) { kill(child, SIGTERM); }, 130);
    expect_terminal_restored(
        kernel, [](pid_t child, int) { kill(child, SIGSEGV); }, -1);
    expect_terminal_restored(
        kernel, [](pid_t child, int) { kill(child, SIGABRT); }, -1);
}

}  // namespace
}  // namespace droste
