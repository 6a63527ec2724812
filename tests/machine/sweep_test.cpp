// SPDX-License-Identifier: Apache-2.0
// Sweeps: what a plan unfolds to, what is refused, and what is made again.
#include "machine/sweep/sweep.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "machine/report/run_report.h"
#include "machine/sweep/digest.h"

namespace droste {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class SweepFiles : public ::testing::Test {
protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / fmt::format("droste-sweep-{}", getpid());
        fs::create_directories(folder_);
        write("k.flat", "kernel");
        write("stack.toml",
              "[stack]\nname = \"tiny\"\n[boot]\nkernel = \"k.flat\"\nappend = \"depth={depth}\"\n");
    }
    void TearDown() override { fs::remove_all(folder_); }
    std::string file(const std::string& name) const { return (folder_ / name).string(); }
    void write(const std::string& name, const std::string& text) const { std::ofstream(file(name)) << text; }
    std::string slurp(const std::string& name) const {
        std::ifstream in(file(name));
        return {std::istreambuf_iterator<char>(in), {}};
    }
    Result<std::vector<SweepRun>> plan(const std::string& text,
                                       const std::vector<std::string>& sets = {}) const {
        write("s.toml", text);
        return load_sweep_plan(file("s.toml"), sets);
    }
    std::string problem(const std::string& text) const {
        const auto p = plan(text);
        EXPECT_FALSE(p) << text;
        return p ? "" : p.error().text;
    }
    fs::path folder_;
};

const std::string head = "[sweep]\nkernel = \"k.flat\"\n";

std::vector<std::string> names(const std::vector<SweepRun>& runs) {
    std::vector<std::string> out;
    for (const SweepRun& r : runs)
        out.push_back(r.name);
    return out;
}

using SweepPlan = SweepFiles;

TEST_F(SweepPlan, UnfoldsTheGridInTheOrderOfTheFile) {
    const auto runs =
        plan("[sweep]\nstack = \"stack.toml\"\nname = \"my sweep\"\n[set]\nmemory.size = \"64MiB\"\n"
             "[grid]\nstack.depth = [1, 2]\n\"cpu.model\" = [\"haswell\", \"max\"]\n");
    ASSERT_TRUE(runs) << runs.error().text;
    EXPECT_THAT(names(*runs), ElementsAre("my_sweep.depth-1.model-haswell", "my_sweep.depth-1.model-max",
                                          "my_sweep.depth-2.model-haswell", "my_sweep.depth-2.model-max"));
    const SweepRun& third = (*runs)[2];
    EXPECT_EQ(third.options.number("stack.depth"), 2u);
    EXPECT_EQ(third.options.text("cpu.model"), "haswell");
    EXPECT_EQ(third.options.text("stack.name"), "tiny");
    EXPECT_EQ(third.options.number("memory.size"), 64u << 20);
    EXPECT_EQ(third.options.text("boot.kernel"), file("k.flat"));
    EXPECT_EQ(third.options.number("run.timeout"), 3'600'000u);
    EXPECT_EQ(third.settings, (std::vector<std::pair<std::string, std::string>>{{"stack.depth", "2"},
                                                                                {"cpu.model", "haswell"}}));
    EXPECT_FALSE(third.expect);
}

TEST_F(SweepPlan, WithoutAGridThereIsOneRun) {
    const auto runs =
        plan(head + "timeout = 7\nexpect = \"triple_fault\"\n", {"stack.depth=5", "memory.size=32MiB"});
    ASSERT_TRUE(runs) << runs.error().text;
    ASSERT_THAT(names(*runs), ElementsAre("s"));
    EXPECT_EQ((*runs)[0].options.number("run.timeout"), 7000u);
    EXPECT_EQ((*runs)[0].options.number("stack.depth"), 5u);
    EXPECT_EQ((*runs)[0].options.number("memory.size"), 32u << 20);
    EXPECT_EQ((*runs)[0].expect->end, "triple_fault");
}

TEST_F(SweepPlan, VariantsChangeSeveralKeysTogether) {
    const auto runs = plan(
        head + "[[variant]]\nname = \"as it is\"\n[[variant]]\nname = \"small\"\nmemory.size = \"32MiB\"\n"
               "cpu.model = \"haswell\"\n[grid]\nstack.depth = [1, 2]\n");
    ASSERT_TRUE(runs) << runs.error().text;
    EXPECT_THAT(names(*runs), ElementsAre("s.as_it_is.depth-1", "s.as_it_is.depth-2", "s.small.depth-1",
                                          "s.small.depth-2"));
    EXPECT_EQ((*runs)[3].variant, "small");
    EXPECT_THAT((*runs)[3].variant_keys, ElementsAre("memory.size", "cpu.model"));
    EXPECT_EQ((*runs)[3].options.number("memory.size"), 32u << 20);
    EXPECT_EQ((*runs)[1].options.number("memory.size"), 1u << 30);
    EXPECT_THAT((*runs)[1].variant_keys, IsEmpty());
}

TEST_F(SweepPlan, ExceptionsLeaveOut) {
    const std::string grid = "[grid]\nstack.depth = [1, 2, 3]\ncpu.model = [\"haswell\", \"max\"]\n";
    const auto runs = plan(
        head + grid + "[[except]]\nstack.depth = [2, 3]\ncpu.model = \"max\"\n[[except]]\nstack.depth = 1\n");
    ASSERT_TRUE(runs) << runs.error().text;
    EXPECT_THAT(names(*runs), ElementsAre("s.depth-2.model-haswell", "s.depth-3.model-haswell"));
    EXPECT_THAT(problem(head + grid + "[[except]]\nstack.depth = [1, 2, 3]\n"),
                HasSubstr("leaves out every run"));
    EXPECT_THAT(problem(head + grid + "[[except]]\nstack.depth = 4\n"),
                AllOf(HasSubstr("s.toml:7: stack.depth = 4"), HasSubstr("does not occur")));
    EXPECT_THAT(problem(head + grid + "[[except]]\nengine = \"jit\"\n"), HasSubstr("engine does not vary"));
}

TEST_F(SweepPlan, NamesOfFilesAreUnique) {
    const auto runs = plan(head + "[grid]\nboot.append = [\"a b\", \"a/b\"]\n");
    ASSERT_TRUE(runs) << runs.error().text;
    EXPECT_THAT(names(*runs), ElementsAre("s.append-a_b", "s.append-a_b-1"));
    const auto longer = plan(head + "[grid]\nboot.append = [\"" + std::string(300, 'x') + "\"]\n");
    ASSERT_TRUE(longer);
    EXPECT_LT((*longer)[0].name.size(), 120u);
}

TEST_F(SweepPlan, BadOnesAreRefusedWithFileAndLine) {
    struct Row {
        std::string text;
        std::vector<const char*> said;
    };
    const Row rows[] = {
        {"", {"[sweep]", "stack ="}},
        {"x = [", {"s.toml:1:", "not TOML"}},
        {"[sweeep]\n", {"s.toml:1:", "sweeep", "sweep, set, grid"}},
        {"[sweep]\n", {"s.toml:1:", "one of the two"}},
        {"[sweep]\nstack = \"a\"\nkernel = \"b\"\n", {"one of the two"}},
        {"[sweep]\nstack = \"nowhere.toml\"\n", {"nowhere.toml: cannot be opened"}},
        {head + "depth = 3\n", {"s.toml:3:", "no key depth", "[grid]"}},
        {head + "expect = \"happiness\"\n", {"s.toml:3:", "powered_off"}},
        {head + "expect = 256\n", {"s.toml:3:"}},
        {head + "timeout = \"soon\"\n", {"s.toml:3:", "run.timeout"}},
        {head + "name = []\n", {"s.toml:3: name must be"}},
        {head + "[set]\nmemory.sise = 1\n", {"s.toml:4:", "did you mean memory.size?"}},
        {head + "[set]\nmemory.size = [1]\n", {"s.toml:4:", "several stand in [grid]"}},
        {head + "[grid]\nstack.dept = [1]\n", {"s.toml:4:", "did you mean stack.depth?"}},
        {head + "[grid]\nstack.depth = []\n", {"s.toml:4:", "list of values"}},
        {head + "[grid]\nstack.depth = [[1]]\n", {"s.toml:4:", "list of values"}},
        {head + "[grid]\nstack.depth = [1, 33]\n", {"s.toml:4:", "stack.depth", "1 to 32"}},
        {head + "[grid]\ncpu.model = [\"pentium\"]\n", {"s.toml:4:", "pentium"}},
        {head + "[[grid]]\nx = 1\n", {"section [grid]"}},
        {head + "[variant]\nname = \"x\"\n", {"[[variant]]"}},
        {head + "[[variant]]\nmemory.size = 1\n", {"s.toml:3:", "no name"}},
        {head + "[[variant]]\nname = \"x\"\nmemory.sise = 1\n", {"s.toml:5:", "memory.size?"}},
        {head + "[except]\nstack.depth = 1\n", {"[[except]]"}},
        {"[sweep]\nkernel = \"none.flat\"\n", {"s.toml:1:", "there is no file", "none.flat"}},
        {head + "[grid]\ntiming.clock = [\"cycles\"]\n",
         {"s.toml:4", "needs a timing model", "s.clock-cycles", "[[except]]"}},
        {head + "[grid]\nrdrand.seed = [" +
             [] {
                 std::string many = "1";
                 for (int i = 0; i < 10'001; ++i)
                     many += ", 1";
                 return many;
             }() +
             "]\n",
         {"more than 10000 runs"}},
    };
    for (const Row& row : rows) {
        const std::string said = problem(row.text);
        for (const char* part : row.said)
            EXPECT_THAT(said, HasSubstr(part)) << row.text.substr(0, 200);
    }
    EXPECT_THAT(load_sweep_plan(folder_.string()).error().text, HasSubstr("this is a folder"));
    EXPECT_THAT(load_sweep_plan(file("none.toml")).error().text, HasSubstr("none.toml: cannot be opened"));
}

TEST_F(SweepFiles, DigestsSeeConfigurationImagesAndProgram) {
    write("program", "1");
    Options o;
    ASSERT_TRUE(o.set("boot.kernel", file("k.flat"), "test"));
    const std::string first = RunDigests(file("program")).of(o);
    EXPECT_EQ(first.size(), 64u);
    EXPECT_EQ(RunDigests(file("program")).of(o), first);
    EXPECT_NE(RunDigests(file("program")).of(o, "more"), first);
    Options changed = o;
    ASSERT_TRUE(changed.set("rdrand.seed=7"));
    EXPECT_NE(RunDigests(file("program")).of(changed), first);
    fs::copy_file(file("k.flat"), file("copy.flat"));
    ASSERT_TRUE(o.set("boot.kernel", file("copy.flat"), "test"));
    EXPECT_EQ(RunDigests(file("program")).of(o), first) << "the same image elsewhere";
    write("copy.flat", "kernel 2");
    EXPECT_NE(RunDigests(file("program")).of(o), first);
    fs::remove(file("copy.flat"));
    EXPECT_NE(RunDigests(file("program")).of(o), first);
    ASSERT_TRUE(o.set("boot.kernel", file("k.flat"), "test"));
    o.set_paths("boot.modules", {file("k.flat") + " a"}, "test");
    const std::string module = RunDigests(file("program")).of(o);
    o.set_paths("boot.modules", {file("k.flat") + " b"}, "test");
    EXPECT_NE(RunDigests(file("program")).of(o), module);
    o.set_paths("boot.modules", {}, "test");
    write("program", "2");
    EXPECT_NE(RunDigests(file("program")).of(o), first);
    EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256_of_file(file("none")), "absent");
}

/// A stand-in for the program: writes a report whose end its command line asks for.
class Sweeping : public SweepFiles, public SweepWatcher {
protected:
    void SetUp() override {
        SweepFiles::SetUp();
        write("good.json", report(EndKind::powered_off, "off"));
        write("bad.json", report(EndKind::triple_fault, "triple fault"));
        write("exit.json", report(EndKind::debug_exit, "exit"));
        write("program", "#!/bin/sh\nreport=$5\nhere=" + folder_.string() + R"(
echo "$*" >> "$here/started"
case "$*" in
*boot.append=bad*) cp "$here/bad.json" "$report"; exit 3;;
*boot.append=exit*) cp "$here/exit.json" "$report"; exit 1;;
*boot.append=half*) head -c 200 "$here/good.json" > "$report"; exit 0;;
*boot.append=silent*) exit 0;;
*boot.append=crash*) kill -SEGV $$;;
*boot.append=hang*) : > "$report"; exec sleep 1000;;
esac
cp "$here/good.json" "$report"
)");
        fs::permissions(file("program"), fs::perms::owner_all);
    }
    static std::string report(EndKind kind, const char* reason) {
        RunSummary s;
        s.end.kind = kind;
        s.end.reason = reason;
        return summary_json(s);
    }
    SweepConfig config() const { return {.program = file("program"), .folder = file("out"), .jobs = 2}; }
    SweepManifest sweep(const std::string& appends, const std::string& more = "") {
        finished_.clear();
        const auto runs = plan(head + more + "[grid]\nboot.append = [" + appends + "]\n");
        EXPECT_TRUE(runs) << runs.error().text;
        Result<SweepManifest> m = run_sweep(*runs, config_ ? *config_ : config(), *this);
        EXPECT_TRUE(m) << m.error().text;
        const Result<SweepManifest> saved = load_manifest(file("out"));
        EXPECT_TRUE(saved) << saved.error().text;
        if (m && saved) {
            EXPECT_EQ(manifest_json(*m), manifest_json(*saved)) << "what is on disk is what is told";
        }
        return m ? *m : SweepManifest{};
    }
    static std::vector<SweepState> states(const SweepManifest& m) {
        std::vector<SweepState> out;
        for (const SweepEntry& e : m.runs)
            out.push_back(e.state);
        return out;
    }
    void progress(const SweepProgress& p) override { last_ = p; }
    void finished(const SweepEntry& e) override { finished_.push_back(e.name); }
    bool stop() override {
        return stop_at_ != 0 && finished_.size() >= stop_at_ && last_.running.size() >= wait_for_;
    }

    std::optional<SweepConfig> config_;
    std::vector<std::string> finished_;
    SweepProgress last_;
    std::size_t stop_at_ = 0, wait_for_ = 0;
};
constexpr SweepState done = SweepState::done, failed = SweepState::failed, waiting = SweepState::waiting;

TEST_F(Sweeping, MakesEachRunOnce) {
    const SweepManifest m = sweep("\"a\", \"b\", \"exit\"");
    EXPECT_THAT(states(m), ElementsAre(done, done, done));
    EXPECT_EQ(finished_.size(), 3u);
    EXPECT_TRUE(fs::exists(file("out/s.append-a.json")));
    EXPECT_TRUE(fs::exists(file("out/s.append-a.log")));
    EXPECT_THAT(slurp("started"),
                AllOf(HasSubstr("boot --kernel"), HasSubstr("boot.append=a"), HasSubstr("run.timeout=3600")));
    const SweepManifest again = sweep("\"a\", \"b\", \"exit\"");
    EXPECT_THAT(finished_, IsEmpty()) << "all of it is there";
    EXPECT_EQ(manifest_json(again), manifest_json(m));
    sweep("\"a\", \"b\", \"exit\", \"c\"");
    EXPECT_THAT(finished_, ElementsAre("s.append-c"));
    config_ = config();
    config_->again = true;
    sweep("\"a\", \"b\"");
    EXPECT_EQ(finished_.size(), 2u);
}

TEST_F(Sweeping, ARunIsMadeAgainWhenSomethingOfItChanged) {
    sweep("\"a\", \"b\"");
    sweep("\"a\", \"b\"", "timeout = 99\n");
    EXPECT_EQ(finished_.size(), 2u) << "the configuration";
    write("k.flat", "another kernel");
    sweep("\"a\", \"b\"", "timeout = 99\n");
    EXPECT_EQ(finished_.size(), 2u) << "the image";
    write("out/s.append-a.json", slurp("good.json").substr(0, 300));
    sweep("\"a\", \"b\"", "timeout = 99\n");
    EXPECT_THAT(finished_, ElementsAre("s.append-a")) << "a report that is cut off";
    fs::remove(file("out/s.append-b.json"));
    sweep("\"a\", \"b\"", "timeout = 99\n");
    EXPECT_THAT(finished_, ElementsAre("s.append-b")) << "a report that is gone";
}

TEST_F(Sweeping, FailuresAreRecordedAndDoNotStopTheOthers) {
    const SweepManifest m = sweep("\"bad\", \"half\", \"silent\", \"crash\", \"a\"");
    EXPECT_THAT(states(m), ElementsAre(failed, failed, failed, failed, done));
    EXPECT_THAT(m.runs[0].reason, HasSubstr("triple fault"));
    EXPECT_THAT(m.runs[1].reason, HasSubstr("no report"));
    EXPECT_THAT(m.runs[2].reason, HasSubstr("no report"));
    EXPECT_THAT(m.runs[3].reason, HasSubstr("signal 11"));
    EXPECT_FALSE(fs::exists(file("out/s.append-bad.json")));
    EXPECT_TRUE(fs::exists(file("out/s.append-bad.failed.json")));
    std::vector<std::string> notes;
    const auto runs = load_run_reports({file("out")}, {}, notes);
    ASSERT_TRUE(runs) << runs.error().text;
    EXPECT_EQ(runs->size(), 1u);
    ASSERT_EQ(notes.size(), 4u);
    EXPECT_THAT(notes[0], AllOf(HasSubstr("s.append-bad failed"), HasSubstr("triple fault")));
    sweep("\"bad\", \"a\"");
    EXPECT_THAT(finished_, ElementsAre("s.append-bad")) << "a failed run is tried again";
    EXPECT_THAT(states(sweep("\"bad\"", "expect = \"triple_fault\"\n")), ElementsAre(done));
    EXPECT_THAT(load_run_reports({file("out")}, {}, notes)->at(0).end_kind, "triple_fault");
}

TEST_F(Sweeping, AHangingRunIsKilledByAStopAndLeavesNothing) {
    stop_at_ = 1;
    wait_for_ = 1;
    const SweepManifest m = sweep("\"a\", \"hang\", \"b\"");
    EXPECT_EQ(m.runs[0].state, done);
    EXPECT_EQ(m.runs[1].state, waiting);
    for (const auto& entry : fs::directory_iterator(file("out")))
        EXPECT_THAT(entry.path().filename().string(), AllOf(Not(HasSubstr("hang")), Not(HasSubstr(".part"))));
    stop_at_ = 0;
    sweep("\"a\", \"c\", \"b\"");
    EXPECT_THAT(finished_, Not(::testing::Contains("s.append-a"))) << "it goes on where it was";
}

TEST_F(Sweeping, WhatAKilledSweepLeftIsDiscarded) {
    sweep("\"a\"");
    for (const char* left : {"b.json.part", "b.err", "b.progress", "b.failed.json"})
        write(std::string("out/s.append-") + left, "half");
    sweep("\"a\", \"b\"");
    for (const char* left : {"b.json.part", "b.err", "b.progress", "b.failed.json"})
        EXPECT_FALSE(fs::exists(file(std::string("out/s.append-") + left))) << left;
    EXPECT_TRUE(fs::exists(file("out/s.append-b.json")));
}

TEST_F(Sweeping, FoldersOfOthersAreLeftAlone) {
    const auto runs = plan(head);
    ASSERT_TRUE(runs);
    fs::create_directories(file("mine"));
    write("mine/thesis.txt", "");
    SweepConfig c = config();
    c.folder = file("mine");
    EXPECT_THAT(run_sweep(*runs, c, *this).error().text, HasSubstr("holds other things"));
    write("mine/manifest.json", "{}");
    EXPECT_THAT(run_sweep(*runs, c, *this).error().text, HasSubstr("no manifest of a sweep"));
    c.folder = "/proc/x";
    EXPECT_THAT(run_sweep(*runs, c, *this).error().text, HasSubstr("cannot be written"));
    std::vector<SweepRun> twice = *runs;
    twice.push_back(twice[0]);
    EXPECT_THAT(run_sweep(twice, config(), *this).error().text, HasSubstr("two sweeps have a run s"));
}

TEST_F(Sweeping, StateShowsWithoutRunning) {
    const auto runs = plan(head + "[grid]\nboot.append = [\"a\", \"b\"]\n");
    ASSERT_TRUE(runs);
    const auto before = sweep_state(*runs, config());
    ASSERT_TRUE(before);
    EXPECT_THAT(states(*before), ElementsAre(waiting, waiting));
    EXPECT_FALSE(fs::exists(file("out")));
    EXPECT_FALSE(fs::exists(file("started")));
}

/// Whoever changes a key notices the sweeps that use it; the images need not be built.
TEST(ShippedSweeps, NameKeysThatAreThere) {
    unsigned files = 0;
    for (const auto& entry : fs::directory_iterator(DROSTE_SOURCE_DIR "/configs/sweeps")) {
        ++files;
        const auto runs = load_sweep_plan(entry.path().string());
        if (!runs) {
            EXPECT_THAT(runs.error().text, HasSubstr("there is no file")) << entry.path();
        }
    }
    EXPECT_GE(files, 2u);
}

TEST(Manifest, IsReadBackAndDamageIsRefused) {
    SweepManifest m;
    m.program = "1.2";
    SweepEntry& e = m.runs.emplace_back();
    e.name = "n";
    e.file = "n.json";
    e.state = failed;
    e.digest = "d";
    e.reason = "why";
    e.seconds = 1.5;
    e.variant = "v";
    e.variant_keys = {"a.b"};
    e.settings = {{"stack.depth", "2"}};
    const std::string text = manifest_json(m);
    const auto back = parse_manifest(text, "m");
    ASSERT_TRUE(back) << back.error().text;
    EXPECT_EQ(manifest_json(*back), text);
    EXPECT_EQ(back->runs[0].state, failed);
    EXPECT_EQ(back->runs[0].variant_keys[0], "a.b");
    const auto damaged = [&](const std::string& from, const std::string& to) {
        std::string t = text;
        t.replace(t.find(from), from.size(), to);
        const auto r = parse_manifest(t, "m");
        return r ? "" : r.error().text;
    };
    EXPECT_THAT(damaged("droste-sweep", "droste-run"), HasSubstr("no manifest of a sweep"));
    EXPECT_THAT(damaged("\"version\": 1", "\"version\": 2"), HasSubstr("another version"));
    EXPECT_THAT(damaged("\"failed\"", "\"lost\""),
                HasSubstr("runs[0].state is not one of waiting, done, failed"));
    EXPECT_THAT(damaged("n.json", "../n.json"), HasSubstr("runs[0].file"));
    EXPECT_THAT(damaged("1.5", "\"x\""), HasSubstr("runs[0].seconds"));
    for (std::size_t n = 0; n + 1 < text.size(); ++n)
        EXPECT_FALSE(parse_manifest(text.substr(0, n), "m"));
}

}  // namespace
}  // namespace droste
