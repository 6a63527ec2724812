// SPDX-License-Identifier: Apache-2.0
// nanovisor nests itself: every level takes the exits of the one above it, and pays a constant factor for that.
#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "system/program.h"

namespace droste::system_test {
namespace {

using ::testing::HasSubstr;

constexpr const char* kinds[] = {"vmcall", "cpuid", "rdmsr", "wrmsr", "out", "in",
                                 "hlt",    "cr_access", "ud", "gp", "pf", "ept_fault"};

Finished nanovisor(const std::string& words, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"boot", "--kernel", image("nanovisor/nanovisor.flat"), "--memory", "128MiB", "--append",
                               words, "--timeout", "120"});
    return droste(more, Report::json);
}

/// The median of each kind that this level printed.
std::map<std::string, unsigned long> rows(const Finished& f, unsigned level) {
    std::map<std::string, unsigned long> found;
    for (const std::string& line : lines_after(f.out, std::to_string(level) + " ")) {
        std::istringstream in(line);
        std::string name;
        unsigned long iterations = 0, median = 0;
        if (in >> name >> iterations >> median)
            found[name] = median;
    }
    return found;
}

/// The accounts' row of a reason at a level.
Json account(const Finished& f, unsigned level, const std::string& reason, unsigned owner) {
    for (const Json& row : f.report["exits"])
        if (row["level"] == level && row["reason"] == reason && row["owner"] == owner)
            return row;
    return nullptr;
}

class Nanovisor : public ::testing::Test {
protected:
    void SetUp() override { SKIP_WITHOUT_IMAGE("nanovisor/nanovisor.flat"); }
};

class NanovisorDepth : public ::testing::TestWithParam<unsigned> {
protected:
    void SetUp() override { SKIP_WITHOUT_IMAGE("nanovisor/nanovisor.flat"); }
};

TEST_P(NanovisorDepth, MeasuresEveryKind) {
    const unsigned depth = GetParam();
    const Finished f = nanovisor("depth=" + std::to_string(depth));
    ASSERT_EQ(f.status, 1) << f.out << f.err;
    const auto found = rows(f, depth);
    for (const char* kind : kinds)
        EXPECT_TRUE(found.contains(kind)) << kind << "\n" << f.out;
    EXPECT_EQ(found.size(), std::size(kinds));
    EXPECT_EQ(f.report["unknown_exits"], 0);
    EXPECT_EQ(f.report["levels"].size(), depth + 1);
    EXPECT_TRUE(f.report["vm_entry_failures"].empty());
    EXPECT_TRUE(f.report["vm_fails"].empty());
}

/// Exits that one handled exit (h) and one VMRESUME (s) of level n take, when each hypervisor below reflects by two VMPTRLD and a
/// VMRESUME of its own, and reads and writes VMCS fields without exits.
TEST_P(NanovisorDepth, TheHypervisorJustBelowTakesTheExit) {
    const unsigned depth = GetParam();
    const Finished f = nanovisor("depth=" + std::to_string(depth) + " workload=vmcall,ud iterations=21");
    ASSERT_EQ(f.status, 1) << f.out << f.err;
    std::vector<double> h{0, 1}, s{0, 1};
    for (unsigned n = 2; n <= depth; ++n) {
        double reflected = 1;
        for (unsigned j = 1; j + 2 <= n; ++j)
            reflected += 2 * h[j] + s[j];
        h.push_back(reflected + s[n - 1]);
        s.push_back(reflected + 2 * h[n - 1] + s[n - 1]);
    }
    const Json vmcall = account(f, depth, "vmcall", depth - 1);
    ASSERT_FALSE(vmcall.is_null()) << f.err;
    EXPECT_EQ(vmcall["count"], 22) << "21 and one to begin with";
    EXPECT_EQ(vmcall["amplification"], h[depth]);
    for (unsigned owner = 0; owner + 1 < depth; ++owner)
        EXPECT_TRUE(account(f, depth, "vmcall", owner).is_null()) << owner;
    EXPECT_GE(account(f, depth, "exception_or_nmi", depth - 1)["count"], 21) << "the last round trip may be open";
}

TEST_P(NanovisorDepth, EqualRunsAreEqual) {
    const std::string words = "depth=" + std::to_string(GetParam()) + " iterations=3";
    EXPECT_EQ(without_host_time(nanovisor(words).report), without_host_time(nanovisor(words).report));
}

INSTANTIATE_TEST_SUITE_P(Depths, NanovisorDepth, ::testing::Values(1u, 2u, 3u, 4u));

TEST_F(Nanovisor, EightLevels) {
    const Finished f = nanovisor("depth=8 workload=vmcall iterations=2");
    ASSERT_EQ(f.status, 1) << f.out << f.err;
    EXPECT_EQ(rows(f, 8).size(), 1u) << f.out;
    EXPECT_EQ(account(f, 8, "vmcall", 7)["amplification"], 2688);
    EXPECT_EQ(f.report["unknown_exits"], 0);
}

TEST_F(Nanovisor, EachLevelCostsAConstantFactor) {
    const Finished f = nanovisor("depth=5 measure=all workload=vmcall,rdmsr iterations=5");
    ASSERT_EQ(f.status, 1) << f.out << f.err;
    for (const char* kind : {"vmcall", "rdmsr"})
        for (unsigned level = 3; level <= 5; ++level) {
            const double factor = double(rows(f, level)[kind]) / double(rows(f, level - 1)[kind]);
            EXPECT_GT(factor, 2.5) << kind << " at level " << level << "\n" << f.out;
            EXPECT_LT(factor, 4.5) << kind << " at level " << level << "\n" << f.out;
        }
}

/// Without VMCS shadowing each VMREAD and VMWRITE of a guest hypervisor is an exit.
TEST_F(Nanovisor, VmcsShadowingSavesExits) {
    for (const bool hidden_by_processor : {false, true}) {
        const std::string words = "depth=3 workload=vmcall iterations=5";
        const Finished shadow = nanovisor(words);
        const Finished trap = hidden_by_processor ? nanovisor(words, {"--set", "vmx.vmcs_shadowing=false"})
                                                  : nanovisor(words + " vmcs=trap");
        ASSERT_EQ(trap.status, 1) << trap.out << trap.err;
        EXPECT_TRUE(account(shadow, 1, "vmread", 0).is_null()) << "no VMREAD exits";
        EXPECT_GT(account(trap, 1, "vmread", 0)["count"], 100);
        EXPECT_GT(rows(trap, 3)["vmcall"], 2 * rows(shadow, 3)["vmcall"]);
    }
}

TEST_F(Nanovisor, WithoutVpidAndOnOtherModels) {
    for (const char* set : {"vmx.enable_vpid=false", "cpu.model=max", "cpu.model=haswell", "vmx.ept_1g_pages=false"}) {
        const Finished f = nanovisor("depth=3 iterations=3", {"--set", set});
        EXPECT_EQ(f.status, 1) << set << f.out << f.err;
        EXPECT_EQ(rows(f, 3).size(), std::size(kinds)) << set;
    }
}

TEST_F(Nanovisor, SaysWhyItCannotGoOn) {
    const auto said = [](const std::string& words, std::vector<std::string> more) {
        const Finished f = nanovisor(words, std::move(more));
        EXPECT_EQ(f.status, 3) << f.out;
        return f.out;
    };
    EXPECT_THAT(said("depht=1", {}), HasSubstr("the command line has an unknown word"));
    EXPECT_THAT(said("workload=cpuidd", {}), HasSubstr("unknown workload"));
    EXPECT_THAT(said("depth=1", {"--set", "vmx.enable_ept=false"}), HasSubstr("choose another CPU model"));
    EXPECT_THAT(said("depth=40 workload=cpuid iterations=1", {"--set", "memory.size=24MiB"}), HasSubstr("memory is too small"));
}

/// Level 0 programs the processor's exit routing: designs, and how deep the links may go.
class NanovisorRouting : public ::testing::TestWithParam<const char*> {
protected:
    void SetUp() override { SKIP_WITHOUT_IMAGE("nanovisor/nanovisor.flat"); }
    Finished routed(unsigned depth, const std::string& words, const std::string& max_levels = "20") const {
        const std::string design = GetParam();
        return nanovisor("depth=" + std::to_string(depth) + " routing=" + design + " " + words,
                         {"--set", "routing.design=" + design, "--set", "routing.max_levels=" + max_levels});
    }
};

TEST_P(NanovisorRouting, SixteenLevels) {
    const Finished two = routed(2, ""), sixteen = routed(16, "iterations=3");
    for (const auto& [f, depth] : {std::pair{&two, 2u}, {&sixteen, 16u}}) {
        ASSERT_EQ(f->status, 1) << f->out << f->err;
        EXPECT_EQ(rows(*f, depth).size(), std::size(kinds)) << f->out;
        EXPECT_EQ(f->report["unknown_exits"], 0);
        EXPECT_TRUE(f->report["vm_entry_failures"].empty());
    }
    // One entry by level 0 for each exit, whatever the depth. (CPUID is a chain: each hypervisor executes it, too. EPT faults
    // walk the tables of all levels.)
    for (const char* kind : {"vmcall", "rdmsr", "wrmsr", "out", "in", "hlt", "cr_access", "ud", "gp", "pf"})
        EXPECT_LT(rows(sixteen, 16)[kind], 2 * rows(two, 2)[kind]) << kind;
}

TEST_P(NanovisorRouting, OneEntryByLevel0ForEachHypercall) {
    for (const unsigned depth : {2u, 3u, 7u}) {
        const Finished f = routed(depth, "workload=vmcall iterations=21");
        ASSERT_EQ(f.status, 1) << f.out << f.err;
        EXPECT_EQ(account(f, depth, "vmcall", depth - 1)["amplification"], 2) << "the exit, and the hypervisor's VMRESUME";
    }
}

TEST_P(NanovisorRouting, DeeperThanTheLinks) {
    const Finished f = routed(6, "iterations=3", "3");
    ASSERT_EQ(f.status, 1) << f.out << f.err;
    EXPECT_EQ(rows(f, 6).size(), std::size(kinds)) << "level 0 reflects what the processor cannot";
}

/// With direct entries level 0 takes no part in what guests and their hypervisors do with each other.
TEST_P(NanovisorRouting, DirectEntries) {
    const std::string design = GetParam();
    const auto run = [&](const std::string& words) {
        return nanovisor(words + " routing=" + design, {"--set", "routing.design=" + design, "--set", "routing.max_levels=20",
                                                        "--set", "routing.direct_entry=true"});
    };
    const Finished all = run("depth=5 iterations=5"), one = run("depth=1 iterations=5");
    ASSERT_EQ(all.status, 1) << all.out << all.err;
    EXPECT_EQ(rows(all, 5).size(), std::size(kinds));
    EXPECT_EQ(all.report["unknown_exits"], 0);
    EXPECT_LE(rows(all, 5)["vmcall"], rows(one, 1)["vmcall"]) << "a hypercall costs what it costs without nesting";
}

TEST_P(NanovisorRouting, EqualRunsAreEqual) {
    const std::string words = "iterations=3";
    EXPECT_EQ(without_host_time(routed(4, words).report), without_host_time(routed(4, words).report));
}

INSTANTIATE_TEST_SUITE_P(Designs, NanovisorRouting, ::testing::Values("links", "layered", "parent-context"),
                         [](const auto& i) {
                             std::string name = i.param;
                             std::erase(name, '-');
                             return name;
                         });

/// Where the processor nests by itself, hypervisors that know nothing of it pay nothing for depth.
TEST_F(Nanovisor, NativeNestingCostsNoDepth) {
    const Finished one = nanovisor("depth=1"), eight = nanovisor("depth=8", {"--set", "routing.design=native"});
    ASSERT_EQ(eight.status, 1) << eight.out << eight.err;
    EXPECT_EQ(rows(eight, 8).size(), std::size(kinds));
    for (const char* kind : {"vmcall", "rdmsr", "out", "hlt", "ud", "pf", "ept_fault"})
        EXPECT_LE(rows(eight, 8)[kind], rows(one, 1)[kind] + 20) << kind;
}

/// Sixteen alike hypervisors keep their EPTs at like addresses: a walk through all of them must stay short.
TEST_F(Nanovisor, SixteenLevelsNestNatively) {
    const Finished f = nanovisor("depth=16 workload=vmcall",
                                 {"--set", "routing.design=native", "--set", "routing.max_levels=20"});
    ASSERT_EQ(f.status, 1) << f.out << f.err;
    EXPECT_LE(rows(f, 16)["vmcall"], rows(nanovisor("depth=1 workload=vmcall"), 1)["vmcall"] + 20);
}

TEST_F(Nanovisor, RoutingNeedsTheProcessors) {
    EXPECT_THAT(nanovisor("depth=2 routing=links").out, HasSubstr("this machine has no exit routing"));
    EXPECT_THAT(nanovisor("depth=2 routing=links", {"--set", "routing.design=layered"}).out,
                HasSubstr("this machine's routing.design is another"));
}

/// The first hypervisor moves failing pages while guests check their memory; what is lost its owner hears of.
TEST_F(Nanovisor, MovesFailingPagesUnderARunningGuest) {
    const std::vector<std::string> errors = {"--set", "machine.test_device=true"};
    for (const unsigned depth : {1u, 2u, 3u}) {
        const std::string n = std::to_string(depth);
        const Finished f = nanovisor("depth=" + n + " scenario=ras iterations=8", errors);
        ASSERT_EQ(f.status, 1) << f.out << f.err;
        std::istringstream guest(lines_after(f.out, "ras level " + n + " checked ").at(0)),
            first(lines_after(f.out, "ras level 0 corrected ").at(0));
        std::string word;
        unsigned long checked = 0, lost = 1, heard = 0, corrected = 0, moved = 0, forwarded = 0;
        guest >> checked >> word >> lost >> word >> heard;
        first >> corrected >> word >> moved >> word >> forwarded;
        EXPECT_EQ(checked, 8u << 21);
        EXPECT_EQ(lost, 0u) << f.out;
        EXPECT_GT(moved, 50u) << f.out;
        EXPECT_GE(corrected, moved);
        EXPECT_GT(forwarded, 5u);
        EXPECT_EQ(heard, forwarded) << "each lost page is heard of once, by whoever runs deepest";
        // Hypervisors in between take no part in errors that the first one corrects.
        for (unsigned level = 1; level < depth; ++level)
            EXPECT_TRUE(account(f, level + 1, "exception_or_nmi", level).is_null());
    }
    EXPECT_THAT(nanovisor("depth=1 scenario=ras").out, HasSubstr("give it machine.test_device=true"));
}

/// Level 1 does not nest: level 0 serves VMX to level 2, and level 1 neither sees it nor runs for level 3.
TEST_F(Nanovisor, SkipsALevelThatDoesNotNest) {
    const std::vector<std::pair<std::string, std::vector<std::string>>> ways = {
        {"", {}},
        {" routing=links", {"--set", "routing.design=links"}},
        {" routing=layered", {"--set", "routing.design=layered"}}};
    for (const auto& [words, set] : ways) {
        const Finished f = nanovisor("depth=3 not-nested=1 workload=vmcall,cpuid,rdmsr,ud,ept_fault" + words, set);
        ASSERT_EQ(f.status, 1) << f.out << f.err;
        EXPECT_EQ(rows(f, 3).size(), 5u);
        const Json vmcall = account(f, 3, "vmcall", 2);
        EXPECT_EQ(vmcall["count"], 12);
        EXPECT_EQ(vmcall["amplification"], 2);
        EXPECT_EQ(vmcall["cycles_by_level"][1], 0) << "level 1 takes no part";
        for (const char* reason : {"vmxon", "vmptrld", "vmclear", "vmlaunch", "vmresume"}) {
            EXPECT_FALSE(account(f, 2, reason, 0).is_null()) << reason;
            EXPECT_TRUE(account(f, 2, reason, 1).is_null()) << reason;
        }
        EXPECT_FALSE(account(f, 2, "cpuid", 1).is_null()) << "all but leaf 1 is level 1's";
        EXPECT_FALSE(account(f, 2, "cpuid", 0).is_null());
        EXPECT_EQ(f.report["unknown_exits"], 0);
    }
    EXPECT_EQ(nanovisor("depth=2 not-nested=1 iterations=3").status, 1) << "the workload above it needs no VMX";
    const Finished two = nanovisor("depth=5 not-nested=1 not-nested=2 iterations=3");
    EXPECT_EQ(rows(two, 5).size(), std::size(kinds)) << two.out;
    EXPECT_EQ(two.report["levels"].size(), 6u);
    EXPECT_THAT(nanovisor("depth=2 not-nested=0 iterations=3").out, HasSubstr("level 1 cannot go on: the processor has no VMX"));
}

/// Debian's kernel as nanovisor's guest: its KVM works by nanovisor's emulation of VMX, and Linux and exitbench run at level 2.
struct LinuxCase {
    const char* name;
    const char* design;
    bool direct_entry;
};
class NanovisorLinux : public ::testing::TestWithParam<LinuxCase> {};

TEST_P(NanovisorLinux, KvmRunsLinuxAboveIt) {
    SKIP_WITHOUT_IMAGE("nanovisor/nanovisor.flat");
    SKIP_WITHOUT_IMAGE("kvm-stack/vmlinuz");
    const std::string design = GetParam().design;
    std::vector<std::string> arguments{
        "boot", "--kernel", image("nanovisor/nanovisor.flat"), "--module", image("kvm-stack/vmlinuz"), "--module",
        image("kvm-stack/initramfs.cpio"), "--memory", "1GiB", "--timeout", "600", "--set", "routing.design=" + design, "--append",
        "guest=linux routing=" + design + " -- console=ttyS0 quiet cryptomgr.notests panic=-1 level=0 depth=1"};
    if (GetParam().direct_entry)
        for (const char* word : {"--set", "routing.direct_entry=true"})
            arguments.emplace_back(word);
    const Finished f = droste(arguments, Report::json);
    ASSERT_EQ(f.status, 0) << f.out << f.err;
    for (const char* line : {"LEVEL 0 up", "LEVEL 1 up", "LEVEL 1 sha 30e14955ebf1352266dc2ff8067e6810", "LEVEL 1 done",
                             "exitbench hypercall", "exitbench ept_fault", "LEVEL 0 done"})
        EXPECT_THAT(f.out, HasSubstr(line));
    EXPECT_EQ(f.report["end"]["kind"], "powered_off");
    EXPECT_EQ(f.report["levels"].size(), 3u);
    EXPECT_EQ(f.report["unknown_exits"], 0);
    EXPECT_TRUE(f.report["vm_entry_failures"].empty()) << f.report["vm_entry_failures"];
    for (const char* reason : {"cpuid", "vmcall", "hlt", "io_instruction", "external_interrupt"})
        EXPECT_GT(account(f, 2, reason, 1)["count"], 10) << reason;
}

INSTANTIATE_TEST_SUITE_P(Designs, NanovisorLinux,
                         ::testing::Values(LinuxCase{"sdm", "sdm", false}, LinuxCase{"links", "links", false},
                                           LinuxCase{"direct_entry", "links", true}),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace droste::system_test
