// SPDX-License-Identifier: Apache-2.0
// Debian's unmodified kernel: the work of its processes against the host's own computation, its ends, its console.
#include <gmock/gmock.h>

#include <fstream>

#include "system/program.h"

namespace droste::system_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class LinuxBoot : public ::testing::Test {
protected:
    void SetUp() override { SKIP_WITHOUT_IMAGE("linux-boot/initramfs.cpio"); }

    /// The kernel unpacked by the loader, with `append` on its command line.
    static std::vector<std::string> boot(const std::string& append, std::vector<std::string> more = {}) {
        more.insert(more.begin(), {"boot", "--kernel", image("linux-boot/vmlinuz"), "--initrd",
                                   image("linux-boot/initramfs.cpio"), "--set", "boot.decompress=host", "--timeout",
                                   "300", "--append", "console=ttyS0 quiet cryptomgr.notests " + append});
        return more;
    }
};

/// The shipped stack file as it is; the kernel unpacks itself.
TEST_F(LinuxBoot, WorksComputesAndPowersOff) {
    const Finished f = droste({"run", source_file("configs/linux-boot.toml"), "--set", "run.timeout=300"}, Report::json);
    ASSERT_EQ(f.status, 0) << f.out << f.err;
    EXPECT_EQ(f.report["end"]["kind"], "powered_off");
    EXPECT_THAT(lines_after(f.out, "REACHED-USERSPACE "), SizeIs(1));
    std::vector<std::string> phases = lines_after(f.out, "PHASE ");
    for (std::string& p : phases)
        p.resize(p.find(' '));
    EXPECT_THAT(phases, ElementsAre("fork-exec", "shell-loop", "md5-gzip-sha256", "find-sort-awk"));

    // The guest digests the first 30 blocks of 64 KiB of its busybox.
    const std::string data =
        cpio_member(slurp(image("linux-boot/initramfs.cpio")), "bin/busybox").substr(0, 30u << 16);
    ASSERT_GT(data.size(), 100'000u);
    EXPECT_THAT(lines_after(f.out, "RESULT md5 "), ElementsAre(digest("MD5", data)));
    EXPECT_THAT(lines_after(f.out, "RESULT gunzip "), ElementsAre(digest("MD5", data)));
    EXPECT_THAT(lines_after(f.out, "RESULT sha256 "), ElementsAre(digest("SHA256", data)));
    ASSERT_THAT(lines_after(f.out, "RESULT awk "), SizeIs(1));
    EXPECT_GT(std::stoul(lines_after(f.out, "RESULT awk ")[0]), 1'000'000u);  // characters of all kernel symbols

    // The report is about this console, and nothing of it was unexpected to the kernel.
    EXPECT_EQ(f.report["console_sha256"], digest("SHA256", f.out));
    EXPECT_EQ(f.report["console_bytes"], f.out.size());
    for (const char* trouble : {"Oops", "BUG", "WARNING", "Call Trace", "unchecked MSR", "segfault", "lockup", "stall"})
        EXPECT_THAT(f.out, ::testing::Not(HasSubstr(trouble)));
}

TEST_F(LinuxBoot, TwoRunsAreEqual) {
    const auto arguments = boot("panic=-1 rdinit=/none", {"--set", "run.hash_interval=67108864"});
    const Finished a = droste(arguments, Report::json), b = droste(arguments, Report::json);
    // There is no such program, no root either: panic, and panic=-1 means reset at once.
    EXPECT_EQ(a.status, 3);
    EXPECT_THAT(a.out, HasSubstr("Kernel panic"));
    EXPECT_THAT(a.err, HasSubstr("the guest reset the machine"));
    EXPECT_EQ(a.report["end"]["kind"], "reset");
    EXPECT_GE(a.report["hash_trail"].size(), 3u);
    EXPECT_EQ(a.out, b.out);
    EXPECT_EQ(without_host_time(a.report), without_host_time(b.report));
}

/// Four processors do the work of one, and waiting for each other costs hardly an instruction.
TEST_F(LinuxBoot, FourProcessorsComeOnline) {
    const std::string work = "panic=-1 rdinit=/none";
    const Finished one = droste(boot(work), Report::json);
    const Finished a = droste(boot(work, {"--cpus", "4"}), Report::json),
                   b = droste(boot(work, {"--cpus", "4"}), Report::json);
    EXPECT_EQ(a.status, 3);
    EXPECT_THAT(a.out, HasSubstr("Kernel panic"));
    ASSERT_EQ(a.report["processors"].size(), 4u);
    for (const Json& processor : a.report["processors"])
        EXPECT_GT(processor["ticks"], 100'000) << "each took part";
    EXPECT_LE(a.report["ticks"].get<double>(), 1.3 * one.report["ticks"].get<double>());
    EXPECT_EQ(a.out, b.out);
    EXPECT_EQ(without_host_time(a.report), without_host_time(b.report));

    const Finished told = droste(boot("loglevel=7 ignore_loglevel " + work, {"--cpus", "4"}));
    EXPECT_THAT(told.out, HasSubstr("Brought up 1 node, 4 CPUs"));
    EXPECT_THAT(told.out, HasSubstr("Switched to clocksource tsc"));
    for (const char* trouble : {"Oops", "BUG", "WARNING", "unchecked MSR", "lockup", "stall", "TSC warp", "unstable"})
        EXPECT_THAT(told.out, ::testing::Not(HasSubstr(trouble)));
}

TEST_F(LinuxBoot, ShellTakesWhatIsTyped) {
    const std::string typed = "echo product $((641 * 6700417))\n/bin/busybox poweroff -f\n";
    bool sent = false;
    const Finished f = droste(boot("rdinit=/bin/busybox -- sh"), Report::json, [&](const std::string& printed) {
        const bool now = !sent && printed.find("# ") != std::string::npos;
        sent = sent || now;
        return now ? typed : "";
    });
    ASSERT_EQ(f.status, 0) << f.out << f.err;
    EXPECT_THAT(f.out, HasSubstr("\nproduct 4294967297\r\n"));
    EXPECT_THAT(f.report["input"], SizeIs(typed.size()));
}

TEST_F(LinuxBoot, EndsAtItsTickWithStatus124) {
    const Finished f = droste(boot("", {"--set", "run.max_ticks=50000000"}), Report::json);
    EXPECT_EQ(f.status, 124);
    EXPECT_EQ(f.report["ticks"], 50'000'000);
    EXPECT_THAT(f.err, AllOf(HasSubstr("run.max_ticks is 50000000"), HasSubstr("raise it")));
}

}  // namespace
}  // namespace droste::system_test
