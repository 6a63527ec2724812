// SPDX-License-Identifier: Apache-2.0
// Machine: construction from options, and what it tells about a run.
#include "machine/machine.h"

#include <fmt/format.h>

#include <filesystem>
#include <new>

#include "machine/host_check.h"
#include "machine/engine_report.h"
#include "machine/levels_report.h"
#include "machine/loader/loader.h"
#include "cpu/jit/jit.h"
#include "machine/machine_parts.h"
#include "machine/routing_options.h"
#include "machine/routing_report.h"
#include "machine/timing_table.h"
#include "machine/vmx_options.h"

namespace droste {

namespace {

/// The words of a list such as "+ept, -vmcs_shadowing".
std::vector<std::string> words(std::string_view text) {
    std::vector<std::string> out;
    for (std::size_t at = 0; (at = text.find_first_not_of(", ", at)) != std::string_view::npos;) {
        const std::size_t end = std::min(text.find_first_of(", ", at), text.size());
        out.emplace_back(text.substr(at, end - at));
        at = end;
    }
    return out;
}

std::vector<RowSpan> instruction_tables() {
    std::vector<RowSpan> tables = cpu_instruction_tables();
    tables.push_back(vmx_instruction_rows());
    return tables;
}

/// The value of a key for a report, which is the same wherever the files lie.
std::string configured(const Options& o, const OptionRow& row) {
    const bool file = row.type == OptionType::path || row.type == OptionType::paths ||
                      (row.type == OptionType::name_or_file && o.text(row.key).ends_with(".toml"));
    if (!file)
        return o.shown(row.key);
    std::string names;
    for (const std::string& path : row.type == OptionType::paths ? o.paths(row.key) : std::vector{o.text(row.key)})
        names += fmt::format("{}{}", names.empty() ? "" : ",", std::filesystem::path(path).filename().string());
    return names;
}

/// Section [vmx].
Result<VmxCapabilities> vmx_of_options(const CpuModel& model, const Options& o, const RoutingConfig& routing) {
    VmxChoices keys = vmx_choices(o);
    std::vector<std::string> changes = words(o.text("vmx.capabilities"));
    std::string places = keys.places;
    if (!changes.empty())
        places = fmt::format("vmx.capabilities ({}){}{}", o.origin("vmx.capabilities"),
                             places.empty() ? "" : ", ", places);
    if (routing.capability() != 0) changes.emplace_back("+exit_routing");
    changes.insert(changes.end(), keys.changes.begin(), keys.changes.end());
    Result<VmxCapabilities> vmx = make_vmx_capabilities(model, changes);
    if (!vmx)
        return Error{fmt::format("{}: {}", places, vmx.error().text)};
    if (vmx->has("exit_routing"_vmx) != (routing.capability() != 0))
        return Error{fmt::format("{}: vmx.exit_routing comes and goes with routing.design, which is {}; leave it to the "
                                 "model, and choose a design",
                                 places, o.text("routing.design"))};
    vmx->routing = routing.capability();
    if (!o.left_to_model("vmx.preemption_timer_rate"))
        vmx->preemption_timer_rate = static_cast<u8>(o.number("vmx.preemption_timer_rate"));
    vmx->cr3_targets = static_cast<u8>(o.number("vmx.cr3_targets"));
    vmx->hlat_prefix_size = static_cast<u8>(o.number("vmx.hlat_prefix_size"));
    return vmx;
}

}  // namespace

Result<MachineConfig> machine_config(const Options& o) {
    MachineConfig c;
    Result<CpuModel> model = make_cpu_model(o.text("cpu.model"), words(o.text("cpu.features")));
    if (!model)
        return Error{fmt::format("cpu.model ({}), cpu.features ({}): {}", o.origin("cpu.model"),
                                 o.origin("cpu.features"), model.error().text)};
    c.model = std::move(*model);
    Result<RoutingConfig> routing = routing_config(o);
    if (!routing)
        return routing.error();
    c.routing = std::move(*routing);
    Result<VmxCapabilities> vmx = vmx_of_options(c.model, o, c.routing);
    if (!vmx)
        return vmx.error();
    c.vmx = std::move(*vmx);
    c.master_hz = o.number("clock.tsc_hz");
    c.model.tsc_hz = c.master_hz;
    c.model.crystal_hz = o.number("clock.bus_hz");
    if (o.text("timing.model") == "table") {
        Result<CostTable> costs = load_cost_table(
            o.text("timing.table"), fmt::format("timing.table ({})", o.origin("timing.table")));
        if (!costs)
            return costs.error();
        c.costs = *costs;
    }
    c.clock_follows_cycles = o.text("timing.clock") == "cycles";
    if (c.clock_follows_cycles && o.text("timing.model") == "none")
        return Error{
            fmt::format("timing.clock ({}): \"cycles\" needs a timing model; set timing.model = \"table\" or "
                        "timing.clock = \"ticks\"",
                        o.origin("timing.clock"))};
    c.board = {.bus_hz = c.model.crystal_hz,
               .max_phys_addr_bits = c.model.maxphyaddr,
               .rtc_epoch = static_cast<i64>(o.number("rtc.epoch"))};
    c.memory_bytes = o.number("memory.size");
    if (c.memory_bytes % 0x20'0000 != 0)
        return Error{fmt::format("memory.size ({}): {} is not a multiple of 2MiB; choose {}",
                                 o.origin("memory.size"), o.shown("memory.size"),
                                 show_size((c.memory_bytes / 0x20'0000 + 1) * 0x20'0000))};
    c.processors = static_cast<unsigned>(o.number("machine.cpus"));
    c.quantum = o.number("machine.quantum");
    c.feature_control_locked = o.text("vmx.feature_control") == "locked";
    c.rdrand_seed = o.number("rdrand.seed");
    c.max_ticks = o.number("run.max_ticks");
    c.timeout_ms = o.number("run.timeout");
    c.hash_interval = o.number("run.hash_interval");
    c.realtime = o.flag("run.realtime");
    c.explain_entries = o.flag("run.explain_entries");
    return c;
}

Machine::Parts::Parts(const Options& o, MachineConfig machine_config, HostConsole& the_host)
    : options(o), config(std::move(machine_config)), host(the_host),
      turns(events, config.master_hz, config.quantum), memory(config.memory_bytes, mmio),
      apic_pages(mmio, turns), isa(instruction_tables()), msrs({cpu_msr_rows(), Vmx::msr_rows()}),
      tracker(config.processors), processors(make_processors()), explainers(make_explainers()), console(the_host),
      board(config.board, {.events = events,
                           .time = turns,
                           .processors = wires(),
                           .ports = ports,
                           .mmio = mmio,
                           .memory = memory,
                           .platform = *this,
                           .console = console}) {
    events.watch(turns);
    for (std::size_t i = 1; i < processors.size(); ++i)
        processors[i]->cpu.activity = Activity::wait_for_sipi;
}

std::vector<std::unique_ptr<Processor>> Machine::Parts::make_processors() {
    std::vector<std::unique_ptr<Processor>> made;
    for (unsigned i = 0; i < config.processors; ++i) {
        ApicWindow& window = apic_pages.add();
        made.push_back(std::make_unique<Processor>(
            window,
            CpuParts{.memory = memory,
                     .ports = ports,
                     .interrupts = window,
                     .events = events,
                     .isa = isa,
                     .model = config.model,
                     .master_hz = config.master_hz,
                     .clock_follows_cycles = config.clock_follows_cycles,
                     .processors = config.processors,
                     .blocks = made.empty() ? nullptr : made.front()->cpu.blocks,
                     .machine_time = config.processors == 1 ? nullptr : &turns},
            config.vmx, tracker, config.routing, i));
        Processor& p = *made.back();
        turns.add(p.cpu);
        p.cpu.msrs = &msrs;
        p.cpu.costs = config.costs;
        // Each processor draws its own numbers; the first one's are those of a machine with one.
        constexpr u64 stream = 0xD1B5'4A32'D192'ED03;
        p.cpu.rng_state = config.rdrand_seed + i * stream;
        constexpr u64 locked_with_vmx = 5;
        if (config.feature_control_locked)
            p.cpu.feature_control = locked_with_vmx;
    }
    return made;
}

std::vector<std::unique_ptr<Explainer>> Machine::Parts::make_explainers() {
    std::vector<std::unique_ptr<Explainer>> made;
    for (const auto& p : processors) {
        const auto number = static_cast<unsigned>(made.size());
        HostConsole* const notes = config.explain_entries ? &host : nullptr;
        made.push_back(std::make_unique<Explainer>(*p, number, field_writers, notes));
    }
    return made;
}

std::vector<ProcessorWires> Machine::Parts::wires() {
    std::vector<ProcessorWires> w;
    for (const auto& p : processors)
        w.push_back({p->cpu, p->cpu.tsc_offset_host, p->window});
    return w;
}

Machine::Machine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Machine::~Machine() = default;

Result<std::unique_ptr<Machine>> Machine::create(const Options& options, HostConsole& console) {
    Result<MachineConfig> config = machine_config(options);
    if (!config)
        return config.error();
    if (Status s = check_host(); !s)
        return s.error();
    try {  // the host may refuse the address range of a large memory
        auto parts = std::make_unique<Parts>(options, std::move(*config), console);
        const std::string engine = options.text("engine");
        if (engine == "jit" || (engine == "auto" && Jit::worthwhile())) {
            auto jit = Jit::make(parts->processors[0]->cpu, {.cache_bytes = options.number("jit.cache"),
                                              .threshold = static_cast<u32>(options.number("jit.threshold"))});
            if (!jit)
                return Error{fmt::format("engine ({}): {}", options.origin("engine"), jit.error().text)};
            for (const auto& p : parts->processors)
                p->cpu.use_jit(*jit);
        }
        return std::unique_ptr<Machine>(new Machine(std::move(parts)));
    } catch (const std::bad_alloc&) {
        return Error{fmt::format("memory.size ({}): the host cannot reserve {}; choose less",
                                 options.origin("memory.size"), options.shown("memory.size"))};
    }
}

Status Machine::load_boot_files() {
    Result<BootRequest> request = boot_request(parts_->options);
    if (!request)
        return request.error();
    return load(*request);
}

Status Machine::load(const BootRequest& request) {
    return load_into(*parts_, request);
}

RunEnd Machine::run() {
    parts_->run(~0ull);
    return *parts_->end;
}

bool Machine::run_until(u64 tick) {
    parts_->run(tick);
    return !parts_->end;
}

u64 Machine::state_hash() {
    return parts_->state_hash();
}
unsigned Machine::processors() const {
    return static_cast<unsigned>(parts_->processors.size());
}
Cpu& Machine::cpu(unsigned number) {
    return parts_->processors[number]->cpu;
}
PhysicalMemory& Machine::memory() {
    return parts_->memory;
}

RunSummary Machine::summary() const {
    Parts& p = *parts_;
    const Options& o = p.options;
    RunSummary s;
    s.end = p.end.value_or(RunEnd{EndKind::quit, 0, "still running"});
    s.stack = o.text("stack.name");
    if (s.stack.empty())
        s.stack = std::filesystem::path(o.text("boot.kernel")).filename().string();
    const Options defaults;
    for (const OptionRow* row : o.rows())
        if (o.shown(row->key) != defaults.shown(row->key))
            s.configuration.emplace_back(row->key, configured(o, *row));
    s.depth = o.number("stack.depth");
    s.cpu_model = o.text("cpu.model");
    s.features_left_out = p.config.model.left_out;
    s.engine = p.processors[0]->cpu.jit != nullptr ? "jit" : "interpreter";
    s.timing_model = o.text("timing.model");
    s.timing_table = o.text("timing.table");
    s.timing_clock = o.text("timing.clock");
    s.routing_design = o.text("routing.design");
    s.memory_bytes = p.config.memory_bytes;
    s.ticks = p.turns.ticks();
    s.cycles = p.turns.cycles();
    s.guest_ns = static_cast<u64>(u128(p.turns.latest()) * 1'000'000'000 / p.config.master_hz);
    s.host_seconds = p.host_seconds;
    s.console_bytes = p.console.bytes();
    s.console_sha256 = p.console.sha256();
    s.state_hash = p.state_hash();
    s.hash_trail = p.hash_trail;
    s.input = p.input_log;
    std::vector<const LevelObserver*> levels;
    for (const auto& processor : p.processors) {
        const Cpu& cpu = processor->cpu;
        s.processors.push_back({cpu.ticks(), cpu.cycles()});
        s.walks += cpu.mmu.counters.walks;
        s.walk_references += cpu.mmu.counters.references;
        s.ept_references += cpu.mmu.counters.ept_references;
        levels.push_back(&processor->levels);
    }
    report_levels(levels, p.config.master_hz, s);
    RouteAccounts routes;
    RouteEstimates estimates(p.config.costs);
    for (const auto& processor : p.processors) {
        routes.add(processor->routes.accounts());
        estimates.add(processor->estimates);
    }
    report_routes(routes, s);
    report_estimates(estimates, s);
    s.engine_counts = engine_counts(p.processors[0]->cpu, s);
    std::vector<const VmxFailures*> failures;
    for (const auto& explainer : p.explainers)
        failures.push_back(&explainer->failures);
    s.entry_failures = failed_entries(failures);
    s.vm_fails = failed_instructions(failures);
    s.writers_recorded = p.config.explain_entries;
    if (s.end.kind == EndKind::triple_fault)
        s.death = triple_fault_lines(p.in_turn().cpu);
    if (s.end.kind == EndKind::vmx_abort)
        s.death = p.explainers[p.turns.running_processor()]->failures.abort();
    s.last_exits = recent_exits(levels);
    return s;
}

}  // namespace droste
