// SPDX-License-Identifier: Apache-2.0
// Sweeps at the terminal.
#include "frontends/cli/sweep_command.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "frontends/cli/status_line.h"
#include "frontends/cli/this_program.h"
#include "machine/sweep/sweep.h"

namespace droste {

namespace {

constexpr const char* examples = R"(Examples:
  droste sweep configs/sweeps/kvm-depth.toml --list       the runs, and which are there
  droste sweep configs/sweeps/kvm-depth.toml --jobs 4     makes those that are not
  droste report sweep-kvm-depth --html depth.html       sets them side by side

A sweep that was stopped goes on where it was: a run is made again only when its configuration, its images or
the program changed. What stands in a sweep's file: docs/reports.md.

Exit status: 0 all runs are there; 1 a run failed; 2 bad usage, or a bad file; 130 ended by the user.)";

std::string shown_time(double seconds) {
    const auto s = static_cast<unsigned long>(seconds + 0.5);
    return s >= 3600 ? fmt::format("{} h {:02} min", s / 3600, s / 60 % 60)
                     : fmt::format("{}:{:02} min", s / 60, s % 60);
}

/// One line that changes on a terminal, one line for each run elsewhere.
class ProgressLine final : public SweepWatcher {
public:
    void progress(const SweepProgress& p) override {
        if (!line_.due())
            return;
        std::string line = fmt::format("{}/{} done", p.done, p.total);
        if (p.kept != 0)
            line += fmt::format(" ({} before)", p.kept);
        if (p.failed != 0)
            line += fmt::format(", {} failed", p.failed);
        if (p.seconds_left >= 0)
            line += fmt::format(", {} left", shown_time(p.seconds_left));
        for (std::size_t i = 0; i < p.running.size(); ++i)
            line += fmt::format("{}{}", i == 0 ? "   running: " : ", ", shown(p.running[i]));
        line_.show(line);
    }
    void finished(const SweepEntry& e) override {
        if (line_.on_terminal() && e.state == SweepState::done)
            return;
        line_.erase();
        fmt::print(stderr, "{} {} ({:.1f} s){}{}\n", e.state == SweepState::done ? "done" : "failed", e.name,
                   e.seconds, e.reason.empty() ? "" : ": ", e.reason);
    }
    bool stop() override { return interrupted(); }

private:
    static std::string shown(const ChildWatcher::Running& r) {
        const std::string_view name = r.name.substr(r.name.find('.') + 1);  // all of a sweep begin alike
        return r.level < 0 ? std::string(name) : fmt::format("{} (L{}, {:.0f} MIPS)", name, r.level, r.mips);
    }
    StatusLine line_{std::chrono::milliseconds(200)};
};

std::string default_folder(const std::vector<std::string>& files) {
    return "sweep-" + std::filesystem::path(files.front()).stem().string();
}

void print_table(const SweepManifest& manifest) {
    std::size_t width = 3;
    for (const SweepEntry& e : manifest.runs)
        width = std::max(width, e.name.size());
    for (const SweepEntry& e : manifest.runs) {
        const char* const state = e.state == SweepState::done     ? "done"
                                  : e.state == SweepState::failed ? "failed"
                                                                  : "waiting";
        const std::string seconds = e.seconds > 0 ? fmt::format("{:.1f} s", e.seconds) : "";
        fmt::print("{:<{}}  {:<7}  {:>9}{}{}\n", e.name, width, state, seconds, e.reason.empty() ? "" : "  ",
                   e.reason);
    }
}

}  // namespace

void SweepCommand::add_to(CLI::App& app) {
    CLI::App& c = *app.add_subcommand("sweep", "Make the runs of a grid of configurations");
    c.add_option("SWEEP", files_, "Files such as configs/sweeps/kvm-depth.toml")->required();
    c.add_option("--out,-o", out_, "Where reports, logs and the manifest go; default: sweep-NAME here")
        ->type_name("FOLDER");
    c.add_option("--jobs,-j", jobs_, "How many runs at a time; as many as the host has processors")
        ->type_name("N")
        ->check(CLI::Range(1u, 1024u));
    c.add_option("--set", sets_, "Set a key of the configuration for all runs; may be repeated")
        ->type_name("KEY=VALUE");
    c.get_option("--set")->allow_extra_args(false);
    c.add_flag("--list", list_, "Show the runs and which are there; run nothing");
    c.add_flag("--again", again_, "Make finished runs again too");
    c.footer(examples);
}

int SweepCommand::go() const {
    std::vector<SweepRun> runs;
    for (const std::string& file : files_) {
        Result<std::vector<SweepRun>> plan = load_sweep_plan(file, sets_);
        if (!plan)
            return fail(plan.error().text);
        std::move(plan->begin(), plan->end(), std::back_inserter(runs));
    }
    const unsigned processors = std::max(1u, std::thread::hardware_concurrency());
    const SweepConfig config{.program = this_program(),
                             .folder = out_.empty() ? default_folder(files_) : out_,
                             .jobs = jobs_ == 0 ? processors : jobs_,
                             .again = again_};
    if (list_) {
        Result<SweepManifest> state = sweep_state(runs, config);
        if (!state)
            return fail(state.error().text);
        print_table(*state);
        return 0;
    }
    catch_interrupts();
    Result<SweepManifest> manifest = SweepManifest{};
    {
        ProgressLine line;
        manifest = run_sweep(runs, config, line);
    }
    if (!manifest)
        return fail(manifest.error().text);
    print_table(*manifest);
    std::map<SweepState, std::size_t> counts;
    for (const SweepEntry& e : manifest->runs)
        ++counts[e.state];
    fmt::print("{} done, {} failed, {} waiting; `droste report {}` shows them\n", counts[SweepState::done],
               counts[SweepState::failed], counts[SweepState::waiting], config.folder);
    if (interrupted())
        return ended_by_user;
    return counts[SweepState::failed] != 0 ? some_failed : 0;
}

}  // namespace droste
