// SPDX-License-Identifier: Apache-2.0
// The machine: how runs end, what they report, and that equal runs are equal.
#include "machine/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cpu/model.h"
#include "machine/loader/loader.h"
#include "machine/loader_fixture.h"
#include "machine/program_version.h"
#include "machine/tiny_guest.h"

namespace droste {
namespace {

using ::testing::HasSubstr;

class TestConsole final : public HostConsole {
public:
    void put(u8 byte) override { printed.push_back(static_cast<char>(byte)); }
    void poll_input(std::vector<u8>& typed) override {
        if (++polls == give_at)
            typed.assign(input.begin(), input.end());
    }
    bool quit_requested() override { return quit_at != 0 && polls >= quit_at; }
    void progress(const RunProgress&) override {}
    bool wait_for_input() override { return false; }
    std::string printed, input;
    unsigned polls = 0, give_at = 0, quit_at = 0;
};

struct Ended {
    RunSummary summary;
    std::string printed;
};

Ended run_image(std::vector<u8> image, const std::vector<std::string>& sets = {}, TestConsole console = {}) {
    Options options;
    EXPECT_TRUE(options.set("memory.size=32MiB"));
    for (const std::string& s : sets)
        EXPECT_TRUE(options.set(s)) << s;
    Result<std::unique_ptr<Machine>> machine = Machine::create(options, console);
    if (!machine)
        throw std::runtime_error(machine.error().text);
    BootRequest request;
    request.kernel = {"tiny", std::move(image)};
    const Status loaded = (*machine)->load(request);
    if (!loaded)
        throw std::runtime_error(loaded.error().text);
    (*machine)->run();
    return {(*machine)->summary(), console.printed};
}

Ended run_guest(const TinyGuest& guest, const std::vector<std::string>& sets = {}, TestConsole console = {}) {
    return run_image(guest.image(), sets, std::move(console));
}

TEST(Machine, DebugExitGivesTheGuestsStatus) {
    const Ended r = run_guest(TinyGuest().print("hello\n").debug_exit(5).hlt());
    EXPECT_EQ(r.printed, "hello\n");
    EXPECT_EQ(r.summary.end.kind, EndKind::debug_exit);
    EXPECT_EQ(exit_status(r.summary.end), 11);
    EXPECT_EQ(r.summary.console_bytes, 6u);
    EXPECT_EQ(r.summary.console_sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
}

TEST(Machine, PowerOffIsStatusZero) {
    const Ended r = run_guest(TinyGuest().print("x").power_off());
    EXPECT_EQ(r.summary.end.kind, EndKind::powered_off);
    EXPECT_EQ(exit_status(r.summary.end), 0);
}

TEST(Machine, TripleFaultIsStatusThree) {
    // An empty IDT: the exception cannot be delivered, nor the faults that follow.
    const Ended r = run_guest(TinyGuest().bytes({0x0F, 0x0B}));
    EXPECT_EQ(r.summary.end.kind, EndKind::triple_fault);
    EXPECT_EQ(exit_status(r.summary.end), 3);
    EXPECT_THAT(r.summary.end.reason, HasSubstr("triple fault"));
}

TEST(Machine, ResetIsStatusThree) {
    const Ended r = run_guest(TinyGuest().out_al(0xCF9, 2).out_al(0xCF9, 6).hlt());
    EXPECT_EQ(r.summary.end.kind, EndKind::reset);
    EXPECT_EQ(exit_status(r.summary.end), 3);
}

TEST(Machine, HaltForGoodIsNoticed) {
    const Ended r = run_guest(TinyGuest().cli().hlt());
    EXPECT_EQ(r.summary.end.kind, EndKind::dead_halt);
    EXPECT_EQ(exit_status(r.summary.end), 3);
}

/// A guest that goes to real mode with the interrupt-vector table at 0 and runs `code` there, 16-bit code.
TinyGuest real_mode_guest(const TinyGuest& code) {
    constexpr u32 prologue = 38, stage = 0x7'0000;
    constexpr u8 stage_high = stage >> 16;
    TinyGuest real;
    real.bytes({0x0F, 0x20, 0xC0, 0x24, 0xFE, 0x0F, 0x22, 0xC0})  // CR0.PE = 0
        .bytes({0xEA, 0x0D, 0x00, 0x00, 0x70})                    // jmp 7000:000D
        .bytes({0xB8, 0x00, 0x70, 0x8E, 0xD0, 0x31, 0xE4})        // SS = 0x7000, SP = 0
        .code(code.code());
    const u32 tables = TinyGuest::entry + prologue + static_cast<u32>(real.code().size());
    TinyGuest guest;
    guest.bytes({0xBE}).imm32(TinyGuest::entry + prologue);                  // mov esi
    guest.bytes({0xBF}).imm32(stage).mov_ecx(0x100).bytes({0xF3, 0xA4});     // mov edi; rep movsb
    guest.bytes({0x0F, 0x01, 0x15}).imm32(tables);                           // lgdt
    guest.bytes({0x0F, 0x01, 0x1D}).imm32(tables + 6);                       // lidt
    guest.bytes({0xEA}).imm32(0).bytes({0x08, 0x00});                        // jmp 8:0
    guest.code(real.code());
    guest.bytes({0x0F, 0x00}).imm32(tables + 12);                            // GDTR: two descriptors
    guest.bytes({0xFF, 0x03}).imm32(0);                                      // IDTR
    guest.imm32(0).imm32(0);
    return guest.bytes({0xFF, 0xFF, 0x00, 0x00, stage_high, 0x9A, 0x00, 0x00});  // 16-bit code
}

TEST(Machine, AMultibootKernelFindsTheInterruptsOfABios) {
    TinyGuest real;
    real.bytes({0xFB, 0xF4, 0xF4, 0xFA})        // sti; hlt; hlt; cli: two periods of the timer
        .bytes({0xBA, 0xF8, 0x03})              // to the console:
        .bytes({0xE4, 0x21, 0xEE})              // the masks of the master
        .bytes({0xE4, 0xA1, 0xEE})              // and of the slave,
        .bytes({0xB0, 0xE2, 0xE6, 0x43})        // the timer's status without its output
        .bytes({0xE4, 0x40, 0x24, 0x7F, 0xEE})
        .bytes({0xCD, 0x11})                    // int 11h comes back
        .bytes({0xB0, 0xFB, 0xE6, 0x21})        // the timer off,
        .bytes({0xB0, 0xF7, 0xE6, 0xA1})        // IRQ 11 on
        .bytes({0xBA, 0x0B, 0x20})              // and twice: raise it, wait for it, lower it
        .bytes({0xB9, 0x02, 0x00})
        .bytes({0xB0, 0x01, 0xEE, 0xFB, 0xF4, 0xFA, 0x30, 0xC0, 0xEE, 0xE2, 0xF5})
        .bytes({0xB0, 0x2A, 0xBA, 0xF4, 0x00, 0xEE});
    const Ended r = run_guest(real_mode_guest(real), {"run.max_ticks=1000000"});
    EXPECT_EQ(r.summary.end.kind, EndKind::debug_exit) << r.summary.end.reason;
    EXPECT_EQ(r.summary.end.code, 0x2Au);
    EXPECT_EQ(r.printed, "\xFA\xFF\x34");
    EXPECT_EQ(r.summary.guest_ns / 10'000, 2 * 65536 * 100'000ull / 1'193'182);
}

TEST(Machine, APvhKernelFindsThe8259sMasked) {
    TinyGuest guest;
    guest.mov_edx(0x3F8).bytes({0xE4, 0x21, 0xEE, 0xE4, 0xA1, 0xEE}).debug_exit(0);
    const u32 at = 0x100'0000;
    const Ended r =
        run_image(make_elf64(at, {{.bytes = guest.code()}, {.type = 4, .bytes = pvh_note(at)}}));
    EXPECT_EQ(r.printed, "\xFF\xFF");
}

TEST(Machine, TicksAreRetiredInstructions) {
    // mov, 1000 turns of loop, mov, mov, out (which ends the run after it retired).
    const Ended r = run_guest(TinyGuest().spin(1000).debug_exit(0).hlt());
    EXPECT_EQ(r.summary.ticks, 1u + 1000 + 3);
}

TEST(Machine, TickLimitIsExact) {
    const Ended r = run_guest(TinyGuest().spin(1'000'000).debug_exit(0).hlt(), {"run.max_ticks=123457"});
    EXPECT_EQ(r.summary.end.kind, EndKind::out_of_ticks);
    EXPECT_EQ(exit_status(r.summary.end), 124);
    EXPECT_EQ(r.summary.ticks, 123'457u);
}

TEST(Machine, TimeoutEndsAnEndlessGuest) {
    const Ended r = run_guest(TinyGuest().bytes({0xEB, 0xFE}), {"run.timeout=50ms"});
    EXPECT_EQ(r.summary.end.kind, EndKind::out_of_time);
    EXPECT_EQ(exit_status(r.summary.end), 124);
}

TEST(Machine, UserCanQuit) {
    TestConsole console;
    console.quit_at = 2;
    const Ended r = run_guest(TinyGuest().bytes({0xEB, 0xFE}), {}, console);
    EXPECT_EQ(r.summary.end.kind, EndKind::quit);
}

TEST(Machine, EqualRunsAreEqualAndOthersAreNot) {
    const TinyGuest guest = TinyGuest().print("determinism").spin(300'000).power_off();
    const std::vector<std::string> sets = {"run.hash_interval=65536"};
    const Ended a = run_guest(guest, sets), b = run_guest(guest, sets);
    EXPECT_EQ(a.summary.state_hash, b.summary.state_hash);
    ASSERT_EQ(a.summary.hash_trail.size(), 4u);
    ASSERT_EQ(b.summary.hash_trail.size(), 4u);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(a.summary.hash_trail[i].tick, 65536 * (i + 1));
        EXPECT_EQ(a.summary.hash_trail[i].hash, b.summary.hash_trail[i].hash);
        if (i != 0) {
            EXPECT_NE(a.summary.hash_trail[i].hash, a.summary.hash_trail[i - 1].hash);
        }
    }
    const Ended c = run_guest(TinyGuest().print("determinisM").spin(300'000).power_off(), sets);
    EXPECT_NE(a.summary.state_hash, c.summary.state_hash);
}

TEST(Machine, InputReachesTheSerialPortAndIsLogged) {
    // wait: in al, 0x3FD; test al, 1; jz wait; read RBR and print it.
    TinyGuest guest;
    guest.mov_edx(0x3FD).bytes({0xEC, 0xA8, 1, 0x74, 0xFB});
    guest.mov_edx(0x3F8).bytes({0xEC, 0xEE}).power_off();
    TestConsole console;
    console.input = "Q";
    console.give_at = 3;
    const Ended r = run_guest(guest, {}, console);
    EXPECT_EQ(r.printed, "Q");
    ASSERT_EQ(r.summary.input.size(), 1u);
    EXPECT_EQ(r.summary.input[0].byte, 'Q');
    EXPECT_EQ(r.summary.input[0].time, 3u << 22);
}

TEST(Machine, SummaryIsJson) {
    const Ended r = run_guest(TinyGuest().print("x").power_off(), {"stack.name=tiny"});
    const auto j = nlohmann::json::parse(summary_json(r.summary));
    EXPECT_EQ(j["stack"], "tiny");
    EXPECT_EQ(j["end"]["kind"], "powered_off");
    EXPECT_EQ(j["end"]["status"], 0);
    EXPECT_EQ(j["console_bytes"], 1);
    EXPECT_EQ(j["ticks"], r.summary.ticks);
    EXPECT_THAT(std::vector<std::string>({"interpreter", "jit"}), ::testing::Contains(j["engine"].get<std::string>()));
    EXPECT_EQ(j["engine_counts"]["page walks"], r.summary.walks);
    EXPECT_EQ(j["timing"], "none");
    EXPECT_EQ(j["routing"], "sdm");
    EXPECT_TRUE(j["wall_seconds"].is_number());
    EXPECT_TRUE(j["mips"].is_number());
    EXPECT_EQ(j["unknown_exits"], 0);
    EXPECT_TRUE(j["exits"].empty());
    ASSERT_EQ(j["levels"].size(), 1u);
    EXPECT_EQ(j["levels"][0], (nlohmann::json{{"level", 0},
                                              {"first_seen_tick", 0},
                                              {"first_seen_cycle", 0},
                                              {"first_seen_ns", 0}}));
    EXPECT_EQ(j["version"], 2);
    EXPECT_EQ(j["program"], program_version());
    EXPECT_FALSE(program_version().empty());
    EXPECT_EQ(j["configuration"]["stack.name"], "tiny");
    EXPECT_FALSE(j["configuration"].contains("cpu.model")) << "at its default";
    EXPECT_THAT(summary_text(r.summary, false), HasSubstr("powered off"));
}

TEST(Machine, SummaryTellsFailedEntries) {
    RunSummary s;
    EntryFailureSummary f;
    f.check = "host IA32_EFER: reserved bits";
    f.section = "Some Section";
    f.outcome = "VMfailValid 8";
    f.count = 2;
    f.first_tick = 77;
    f.instruction = "VMRESUME";
    f.rip = 0x1234;
    f.vmcs = 0x5000;
    f.fields = {{.name = "a", .value = 1, .text = "0x1", .remedy = "clear bit 0", .writer = "written by me"},
                {.name = "b", .value = 2, .text = "0x2", .remedy = "", .writer = ""}};
    f.controls = {{.name = "c", .word = "w", .value = true, .decides = true, .writer = ""},
                  {.name = "d", .word = "w", .value = false, .decides = false, .writer = ""}};
    s.entry_failures.push_back(f);
    s.vm_fails.push_back({.error = 12,
                          .text = "t",
                          .count = 3,
                          .first_tick = 5,
                          .instruction = "VMREAD",
                          .rip = 9,
                          .vmcs = 1});
    s.death = {"it died"};
    const std::string text = summary_text(s, false);
    EXPECT_THAT(text, HasSubstr("VM entry failed at tick 77: VMRESUME at RIP 0x1234, VMCS 0x5000: "
                                "VMfailValid 8\n  host IA32_EFER: reserved bits (SDM \"Some Section\")\n"
                                "  a = 0x1: clear bit 0\n      written by me\n"
                                "  c is 1 in w: clearing it would pass\n"
                                "VM entry failed 2 times: host IA32_EFER: reserved bits\n"
                                "run again with --explain-entries"));
    EXPECT_THAT(text, HasSubstr("VMfailValid 12 (t) 3 times, first at tick 5: VMREAD at RIP 0x9\n"));
    EXPECT_THAT(text, HasSubstr("it died\n"));
    const auto j = nlohmann::json::parse(summary_json(s));
    const auto& failure = j["vm_entry_failures"][0];
    EXPECT_EQ(failure["count"], 2);
    EXPECT_EQ(failure["section"], "Some Section");
    EXPECT_EQ(failure["outcome"], "VMfailValid 8");
    EXPECT_EQ(failure["rip"], "0x1234");
    EXPECT_EQ(failure["vmcs"], "0x5000");
    EXPECT_EQ(failure["fields"][1]["name"], "b");
    EXPECT_EQ(failure["controls"][0]["decides"], true);
    EXPECT_EQ(failure["controls"][0]["word"], "w");
    EXPECT_EQ(j["vm_fails"][0]["error"], 12);
    EXPECT_EQ(j["vm_fails"][0]["rip"], "0x9");
    EXPECT_EQ(j["death"][0], "it died");
    s.writers_recorded = true;  // told as it happened
    EXPECT_THAT(summary_text(s, false), ::testing::Not(HasSubstr("at RIP 0x1234")));
}

TEST(Machine, AFailureThatNothingAloneCouldMendShowsAll) {
    EntryFailureSummary f;
    f.processor = 2;
    f.detail = "entry 3";
    f.fields = {{.name = "a", .value = 1, .text = "0x1", .remedy = "", .writer = ""}};
    f.controls = {{.name = "c", .word = "w", .value = false, .decides = false, .writer = ""}};
    EXPECT_THAT(failure_text(f), HasSubstr(" of processor 2"));
    EXPECT_THAT(failure_text(f), HasSubstr("  entry 3\n  a = 0x1\n  c is 0 in w\n"));
}

TEST(Machine, ChoicesOfTheConfigurationAreWhatTheProcessorHas) {
    const Options o;
    std::string choices;
    for (const std::string_view name : cpu_model_names()) {
        if (!choices.empty())
            choices += '|';
        choices += name;
    }
    EXPECT_EQ(o.find("cpu.model")->choices, choices);
}

// SDM "LZCNT", "TZCNT": without the feature the prefix is ignored. BSR of 8 is 3, LZCNT 28; BSF of 0 changes nothing.
TEST(Machine, OldProcessorsIgnoreThePrefixOfLzcntAndTzcnt) {
    TinyGuest g;
    g.mov_ecx(8).mov_eax(0).bytes({0xF3, 0x0F, 0xBD, 0xC1, 0xBB, 7, 0, 0, 0, 0x31, 0xC9, 0xF3, 0x0F, 0xBC, 0xD9});
    g.bytes({0x8D, 0x04, 0xD8}).mov_edx(0xF4).bytes({0xEF}).hlt();  // lea eax, [eax + 8 * ebx]; out
    EXPECT_EQ(run_guest(g, {"cpu.model=nehalem"}).summary.end.code, 3u + 8 * 7);
    EXPECT_EQ(run_guest(g, {"cpu.model=skylake-sp"}).summary.end.code, 28u + 8 * 32);
}

TEST(Machine, EveryProcessorModelRuns) {
    for (const std::string_view name : cpu_model_names()) {
        const Ended r = run_guest(TinyGuest().print("x").power_off(), {"cpu.model=" + std::string(name)});
        EXPECT_EQ(r.summary.end.kind, EndKind::powered_off) << name;
    }
}

TEST(Machine, BadFeatureNamesAreErrors) {
    TestConsole console;
    for (const char* bad : {"cpu.features=+nosuch", "vmx.capabilities=-nosuch"}) {
        Options o;
        ASSERT_TRUE(o.set(bad));
        const auto m = Machine::create(o, console);
        ASSERT_FALSE(m) << bad;
        EXPECT_THAT(m.error().text, ::testing::AllOf(HasSubstr("--set"), HasSubstr("nosuch")));
    }
}

TEST(Machine, BadOptionsAreErrors) {
    TestConsole console;
    Options odd;
    ASSERT_TRUE(odd.set("memory.size=17MiB"));
    const auto m = Machine::create(odd, console);
    ASSERT_FALSE(m);
    EXPECT_THAT(m.error().text, HasSubstr("choose 18MiB"));
    Options clock;
    ASSERT_TRUE(clock.set("timing.clock=cycles"));
    EXPECT_THAT(Machine::create(clock, console).error().text, HasSubstr("timing.model = \"table\""));
    Options none;
    auto machine = Machine::create(none, console);
    ASSERT_TRUE(machine);
    EXPECT_THAT((*machine)->load_boot_files().error().text, HasSubstr("droste boot --kernel"));
}

}  // namespace
}  // namespace droste
