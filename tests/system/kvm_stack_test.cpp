// SPDX-License-Identifier: Apache-2.0
// Unmodified KVM in Droste, one and two deep: levels, exit accounts, and what the guest itself measures.
#include <gmock/gmock.h>

#include <fstream>

#include "system/exitbench_rows.h"
#include "system/program.h"

namespace droste::system_test {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

Finished run_stack(int depth, std::vector<std::string> more = {}) {
    more.insert(more.begin(),
                {"run", source_file("configs/kvm-stack.toml"), "--depth", std::to_string(depth), "--set",
                 "boot.decompress=host", "--set", "timing.clock=cycles", "--set", "run.timeout=800"});
    return droste(more, Report::json);
}

/// The LEVEL lines without their times.
std::vector<std::string> level_lines(const std::string& console) {
    std::vector<std::string> lines = lines_after(console, "LEVEL ");
    for (std::string& line : lines)
        line.resize(line.rfind(' '));
    return lines;
}

/// What the levels say from the first to come up to the last to go down. The amounts of memory are the recipe's.
std::vector<std::string> expected_levels(int depth) {
    std::vector<std::string> lines;
    const auto say = [&](int level, const std::string& text) {
        lines.push_back(std::to_string(level) + " " + text);
    };
    for (int level = 0; level < depth; ++level) {
        say(level, "up");
        const int amount = 128 + 208 * (depth - level - 1);
        say(level, "starts level " + std::to_string(level + 1) + " with " + std::to_string(amount) + " MiB at");
    }
    say(depth, "up");
    say(depth, "sha");
    say(depth, "done");
    say(depth - 1, "starts exitbench at level " + std::to_string(depth) + " at");
    for (int level = depth - 1; level >= 0; --level)
        say(level, "done");
    return lines;
}

const Json* account_of(const Json& report, int level, const std::string& reason) {
    const Json* most = nullptr;  // an exit may have several owners; the one that handled most of them
    for (const Json& e : report["exits"])
        if (e["level"] == level && e["reason"] == reason && (most == nullptr || e["count"] > (*most)["count"]))
            most = &e;
    return most;
}

/// Each depth runs once for all tests of this process.
const Finished& run(int depth) {
    static std::map<int, Finished> runs;
    if (!runs.contains(depth))
        runs[depth] = run_stack(depth);
    return runs[depth];
}

class KvmStack : public ::testing::TestWithParam<int> {
protected:
    void SetUp() override { SKIP_WITHOUT_IMAGE("kvm-stack/initramfs.cpio"); }
};

TEST_P(KvmStack, ComesUpLevelByLevelAndPowersOff) {
    const Finished& f = run(GetParam());
    ASSERT_EQ(f.status, 0) << f.out << f.err;
    EXPECT_EQ(f.report["end"]["kind"], "powered_off");
    EXPECT_THAT(level_lines(f.out), ElementsAreArray(expected_levels(GetParam())));
    EXPECT_THAT(f.out, HasSubstr("sha " + digest("SHA256", std::string(1u << 20, '\0'))));
    const auto rows = exitbench_rows(f.out);
    for (const char* name : exitbench_names)
        EXPECT_TRUE(rows.contains(name)) << name << "\n" << f.out;
    for (const char* trouble : {"Oops", "BUG", "WARNING", "Call Trace", "unchecked MSR", "failed"})
        EXPECT_THAT(f.out, ::testing::Not(HasSubstr(trouble)));
}

TEST_P(KvmStack, ReportHasItsKeys) {
    const Json& r = run(GetParam()).report;
    for (const char* key : {"wall_seconds", "mips", "ticks", "cycles", "unknown_exits", "vm_exits"})
        EXPECT_TRUE(r[key].is_number()) << key;
    for (const char* key : {"state_hash", "engine", "timing", "routing", "console_sha256"})
        EXPECT_TRUE(r[key].is_string() && r[key] != "") << key;
    ASSERT_EQ(r["levels"].size(), static_cast<std::size_t>(GetParam()) + 1);
    for (std::size_t i = 0; i < r["levels"].size(); ++i) {
        EXPECT_EQ(r["levels"][i]["level"], i);
        if (i > 0) {
            EXPECT_GT(r["levels"][i]["first_seen_tick"], r["levels"][i - 1]["first_seen_tick"]);
            EXPECT_GT(r["levels"][i]["first_seen_cycle"], r["levels"][i]["first_seen_tick"]);
            EXPECT_GT(r["levels"][i]["first_seen_ns"], r["levels"][i - 1]["first_seen_ns"]);
        }
    }
    ASSERT_FALSE(r["exits"].empty());
    for (const Json& e : r["exits"]) {
        for (const char* key : {"level", "owner", "count", "amplification", "vmreads", "vmwrites"})
            EXPECT_TRUE(e[key].is_number()) << key;
        EXPECT_TRUE(e["reason"].is_string());
        EXPECT_GE(e["level"], 1);
        EXPECT_GE(e["owner"], 0);
        EXPECT_LT(e["owner"], e["level"]);
        EXPECT_GE(e["amplification"], 1.0);
        EXPECT_EQ(e["cycles_by_level"].size(), r["levels"].size());
        const Json& t = e["round_trip"];
        EXPECT_LE(t["min"], t["p50"]);
        EXPECT_LE(t["p50"], t["p99"]);
        EXPECT_LE(t["p99"], t["max"]);
        EXPECT_LE(t["min"], t["mean"]);
        EXPECT_LE(t["mean"], t["max"]);
    }
    EXPECT_EQ(r["console_sha256"], digest("SHA256", run(GetParam()).out));
}

TEST_P(KvmStack, ExitsAreAttributed) {
    const Json& r = run(GetParam()).report;
    const double all = r["vm_exits"];
    EXPECT_GT(all, 3'000);
    EXPECT_LE(r["unknown_exits"].get<double>() / all, 0.001);
    // Every hardware exit opens at most one round trip and lies within at least one: in that of its level, and in
    // those of deeper levels that it serves. The last ones may still be open at power-off.
    double opened = 0, within = 0;
    for (const Json& e : r["exits"]) {
        opened += e["count"].get<double>();
        within += e["count"].get<double>() * e["amplification"].get<double>();
    }
    EXPECT_LE(opened, all);
    EXPECT_GE(within / all, 0.999);
    if (GetParam() == 1) {
        EXPECT_LE(within, all);
    }
    // Every level above 0 exits, and a level's hypervisor owns the exits of the one above it.
    for (int level = 1; level <= GetParam(); ++level) {
        const Json* cpuid = account_of(r, level, "cpuid");
        ASSERT_NE(cpuid, nullptr) << level;
        EXPECT_EQ((*cpuid)["owner"], level - 1);
    }
    if (GetParam() > 1) {
        const Json *outer = account_of(r, 1, "cpuid"), *inner = account_of(r, GetParam(), "cpuid");
        EXPECT_GT((*inner)["amplification"], (*outer)["amplification"]);
        EXPECT_GT((*inner)["round_trip"]["p50"], (*outer)["round_trip"]["p50"]);
    }
    EXPECT_TRUE(r["vm_entry_failures"].empty());
}

/// With timing.clock = "cycles" the guest's TSC counts what the accounts count: the two measurements, made by
/// different means, must agree.
TEST_P(KvmStack, GuestMeasuresWhatTheAccountsSay) {
    const Finished& f = run(GetParam());
    const Json* vmcall = account_of(f.report, GetParam(), "vmcall");
    ASSERT_NE(vmcall, nullptr);
    EXPECT_GE((*vmcall)["count"], 101);
    const double account = (*vmcall)["round_trip"]["p50"];
    const double guest = static_cast<double>(exitbench_rows(f.out)["hypercall"]);
    EXPECT_NEAR(guest / account, 1.0, 0.05) << guest << " in the guest, " << account << " in the accounts";
}

INSTANTIATE_TEST_SUITE_P(Depth, KvmStack, ::testing::Values(1, 2));

/// Level 0 and level 1 with two processors each, two deep.
TEST(KvmStackTwice, TwoProcessorsRunEqually) {
    SKIP_WITHOUT_IMAGE("kvm-stack/initramfs.cpio");
    const std::vector<std::string> two = {"--cpus", "2", "--set", "stack.cpus=2"};
    const Finished a = run_stack(2, two);
    ASSERT_EQ(a.status, 0) << a.out << a.err;
    EXPECT_THAT(a.out, HasSubstr("LEVEL 0 has 2 processors"));
    EXPECT_THAT(a.out, HasSubstr("LEVEL 1 has 2 processors"));
    EXPECT_THAT(a.out, HasSubstr("LEVEL 2 has 1 processors"));
    EXPECT_THAT(a.out, HasSubstr("LEVEL 2 sha " + digest("SHA256", std::string(1u << 20, '\0'))));
    ASSERT_EQ(a.report["levels"].size(), 3u);
    EXPECT_LE(a.report["unknown_exits"].get<double>() / a.report["vm_exits"].get<double>(), 0.001);
    for (const Json& e : a.report["exits"])
        EXPECT_LT(e["owner"], e["level"]);
    const Finished b = run_stack(2, two);
    EXPECT_EQ(a.out, b.out);
    EXPECT_EQ(without_host_time(a.report), without_host_time(b.report));
}

TEST(KvmStackTwice, RunsAreEqual) {
    SKIP_WITHOUT_IMAGE("kvm-stack/initramfs.cpio");
    const Finished second = run_stack(1);
    EXPECT_EQ(run(1).out, second.out);
    EXPECT_EQ(without_host_time(run(1).report), without_host_time(second.report));
}

}  // namespace
}  // namespace droste::system_test
