// SPDX-License-Identifier: Apache-2.0
// The command line of Droste.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "frontends/cli/report_command.h"
#include "frontends/cli/sweep_command.h"
#include "frontends/cli/terminal.h"
#include "frontends/cli/test_command.h"
#include "machine/machine.h"
#include "machine/program_version.h"

namespace {

using namespace droste;

constexpr int bad_usage = 2;

constexpr const char* top_examples = R"(Examples:
  droste run configs/kvm-stack.toml --depth 2      KVM in KVM in Droste, three kernels deep
  droste boot --kernel vmlinuz --initrd initrd.img --append "console=ttyS0"
  droste test guest-images/out/test-kernels        a folder of test kernels
  droste sweep configs/sweeps/kvm-depth.toml       a grid of configurations, on all processors
  droste report run.json                           what the exits of a run cost, by level
  droste config list                               every key, its default and its meaning
  droste config explain timing.model

Exit status: 0 the guest powered off; the guest's own with the debug-exit port; 2 bad usage or
configuration; 3 the guest died; 124 out of time.)";

constexpr const char* run_examples = R"(Examples:
  droste run configs/linux-boot.toml
  droste run configs/kvm-stack.toml --depth 3 --json run.json
  droste run configs/kvm-stack.toml --set boot.decompress=host --set run.timeout=10min

While the guest runs, Ctrl-A x ends it and Ctrl-A a sends Ctrl-A.)";

constexpr const char* boot_examples = R"(Examples:
  droste boot --kernel bzImage --initrd initramfs.cpio --append "console=ttyS0 panic=-1"
  droste boot --kernel vmx.flat --append "vmx_eoi_virt_test" --memory 2GiB --timeout 60
  droste boot --kernel vmx.flat --explain-entries
  droste boot --kernel xen --module "bzImage console=hvc0" --module initrd.img --append no-real-mode

The kernel may be a Linux bzImage, an ELF file with a PVH note, or a multiboot kernel.)";

int fail(const Error& error) {
    fmt::print(stderr, "droste: {}\n", error.text);
    return bad_usage;
}

struct Common {
    std::vector<std::string> sets;
    std::string json, progress_file, engine;
    bool quiet = false, explain_entries = false, stats = false;

    void add_to(CLI::App& command) {
        command.add_option("--set", sets, "Set a key of the configuration, KEY=VALUE; may be repeated")
            ->type_name("KEY=VALUE")
            ->allow_extra_args(false);
        command.add_option("--json", json, "Write the report of the run to FILE, \"-\" for standard output")
            ->type_name("FILE");
        command.add_flag("--explain-entries", explain_entries,
                         "Tell why each VM entry that fails does, and who wrote the fields");
        command
            .add_option("--progress-file", progress_file,
                        "Write deepest level, ticks and seconds to FILE four times a second, for a program that watches")
            ->type_name("FILE");
        command.add_option("--engine", engine, "What executes instructions; short for --set engine=NAME")
            ->type_name("NAME");
        command.add_flag("--stats", stats, "Tell at the end what the engine and the memory did, and how often");
        command.add_flag("--quiet,-q", quiet, "Nothing on standard error: no progress, no summary");
    }
};

Status write_text(const std::string& path, const std::string& text) {
    if (path == "-") {
        std::fwrite(text.data(), 1, text.size(), stdout);
        return {};
    }
    std::FILE* file = std::fopen(path.c_str(), "wb");
    const bool ok = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
    if (file != nullptr && std::fclose(file) == 0 && ok)
        return {};
    return Error{fmt::format("--json: {} cannot be written; name a file in a folder that exists", path)};
}

int run_machine(Options& options, const Common& common) {
    for (const std::string& assignment : common.sets)
        if (Status s = options.set(assignment); !s)
            return fail(s.error());
    if (!common.engine.empty())
        if (Status s = options.set("engine", common.engine, "--engine"); !s)
            return fail(s.error());
    if (common.explain_entries)
        if (Status s = options.set("run.explain_entries", "true", "--explain-entries"); !s)
            return fail(s.error());
    if (!common.json.empty())  // before the work, not after it
        if (Status s = write_text(common.json == "-" ? "/dev/null" : common.json, ""); !s)
            return fail(s.error());
    RunSummary summary;
    {
        Terminal terminal(common.quiet ? Terminal::Quiet::yes : Terminal::Quiet::no);
        terminal.write_progress_to(common.progress_file);
        Result<std::unique_ptr<Machine>> machine = Machine::create(options, terminal);
        if (!machine)
            return fail(machine.error());
        if (Status s = (*machine)->load_boot_files(); !s)
            return fail(s.error());
        (*machine)->run();
        terminal.flush();
        summary = (*machine)->summary();
    }
    if (common.stats)
        fmt::print(stderr, "{}", engine_text(summary));
    if (!common.quiet)
        fmt::print(stderr, "{}", summary_text(summary, isatty(STDERR_FILENO) != 0));
    if (!common.json.empty())
        if (Status s = write_text(common.json, summary_json(summary)); !s)
            return fail(s.error());
    return exit_status(summary.end);
}

/// `droste run`
struct RunCommand {
    std::string stack;
    std::string depth;
    CLI::Option* depth_option = nullptr;
    std::string cpus;
    CLI::Option* cpus_option = nullptr;
    Common common;

    void add_to(CLI::App& app) {
        CLI::App& c = *app.add_subcommand("run", "Run a stack that a TOML file describes");
        c.add_option("STACK", stack, "The stack file")->required();
        depth_option =
            c.add_option("--depth", depth, "How many levels deep, 1 to 32; short for --set stack.depth=N")
                ->type_name("N");
        cpus_option = c.add_option("--cpus", cpus,
                                   "How many processors, 1 to 64; short for --set machine.cpus=N")
                          ->type_name("N");
        common.add_to(c);
        c.footer(run_examples);
    }
    int go() {
        Options options;
        if (Status s = options.load_file(stack); !s)
            return fail(s.error());
        if (depth_option->count() != 0)
            if (Status s = options.set("stack.depth", depth, "--depth"); !s)
                return fail(s.error());
        if (cpus_option->count() != 0)
            if (Status s = options.set("machine.cpus", cpus, "--cpus"); !s)
                return fail(s.error());
        return run_machine(options, common);
    }
};

/// `droste boot`
struct BootCommand {
    struct Row {
        const char* flag;
        const char* key;
        const char* type;
        const char* help;
        std::string value{};
        CLI::Option* option = nullptr;
    };
    std::vector<Row> rows = {
        {"--kernel", "boot.kernel", "FILE", "The kernel: bzImage, ELF with a PVH note, or multiboot"},
        {"--initrd", "boot.initrd", "FILE", "Initial RAM disk, or first module"},
        {"--append", "boot.append", "TEXT", "Kernel command line"},
        {"--memory", "memory.size", "SIZE", "RAM, for instance 2GiB"},
        {"--cpus", "machine.cpus", "N", "Number of processors, 1 to 64"},
        {"--cpu", "cpu.model", "MODEL", "Processor model"},
        {"--timeout", "run.timeout", "SECONDS", "End the run after so much host time, with status 124"},
    };
    std::vector<std::string> modules;
    Common common;

    void add_to(CLI::App& app) {
        CLI::App& c = *app.add_subcommand("boot", "Boot a kernel without a stack file");
        for (Row& r : rows)
            r.option = c.add_option(r.flag, r.value, r.help)->type_name(r.type);
        rows[0].option->required();
        c.add_option("--module", modules, "A further module, \"FILE [ARGUMENTS]\"; may be repeated")
            ->type_name("FILE")
            ->allow_extra_args(false);
        common.add_to(c);
        c.footer(boot_examples);
    }
    int go() {
        Options options;
        for (const Row& r : rows)
            if (r.option->count() != 0)
                if (Status s = options.set(r.key, r.value, r.flag); !s)
                    return fail(s.error());
        if (!modules.empty())
            options.set_paths("boot.modules", modules, "--module");
        return run_machine(options, common);
    }
};

/// `droste config`
struct ConfigCommand {
    CLI::App* list = nullptr;
    CLI::App* explain = nullptr;
    std::string key, stack;

    void add_to(CLI::App& app) {
        CLI::App& c = *app.add_subcommand("config", "Tell about the keys of the configuration");
        c.require_subcommand(1);
        list = c.add_subcommand("list", "All keys with their values");
        list->add_option("--stack", stack, "Show the values that this stack file gives")->type_name("FILE");
        explain = c.add_subcommand("explain", "All about one key, or the keys of a section");
        explain->add_option("KEY", key, "For instance memory.size, or timing")->required();
        explain->add_option("--stack", stack, "Show the value that this stack file gives")->type_name("FILE");
    }
    int go() {
        Options options;
        if (!stack.empty())
            if (Status s = options.load_file(stack); !s)
                return fail(s.error());
        if (list->parsed()) {
            fmt::print("{}", list_options(options, isatty(STDOUT_FILENO) != 0));
            return 0;
        }
        Result<std::string> text = explain_option(options, key);
        if (!text)
            return fail(text.error());
        fmt::print("{}", *text);
        return 0;
    }
};

}  // namespace

namespace {
std::vector<std::string> commands(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::App* c : app.get_subcommands([](const CLI::App*) { return true; }))
        names.push_back(c->get_name());
    return names;
}
}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Droste, a PC whose processor has VMX: hypervisors run in it, one inside the other.",
                 "droste");
    app.set_version_flag("--version", fmt::format("droste {}", program_version()));
    app.require_subcommand(1);
    app.footer(top_examples);
    RunCommand run;
    BootCommand boot;
    TestCommand test;
    SweepCommand sweep;
    ReportCommand report;
    ConfigCommand config;
    run.add_to(app);
    boot.add_to(app);
    test.add_to(app);
    sweep.add_to(app);
    report.add_to(app);
    config.add_to(app);
    const std::string word = argc > 1 ? argv[1] : "";
    const std::vector<std::string> known = commands(app);
    const bool is_command = std::find(known.begin(), known.end(), word) != known.end();
    if (!word.empty() && word[0] != '-' && !is_command)
        return fail(Error{fmt::format("there is no command \"{}\"; the commands are {}", word,
                                      fmt::join(known, ", "))});
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0)
            return app.exit(e);  // help or version
        return fail(Error{fmt::format("{}; `droste {}--help` tells more", e.what(), is_command ? word + " " : "")});
    }
    if (app.got_subcommand("run"))
        return run.go();
    if (app.got_subcommand("boot"))
        return boot.go();
    if (app.got_subcommand("test"))
        return test.go();
    if (app.got_subcommand("sweep"))
        return sweep.go();
    if (app.got_subcommand("report"))
        return report.go();
    return config.go();
}
