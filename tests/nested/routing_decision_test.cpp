// SPDX-License-Identifier: Apache-2.0
// The decisions of the designs, policies and presets against literal tables: claims 1, 3 and 5 of US 10,146,570; the
// destinations of the layered patents; who receives what in KVM, Xen and the TDX module.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "nested/routing/design.h"

namespace droste {
namespace {

RouteQuestion question(const ExitRow* reason, unsigned running) {
    RouteQuestion q;
    q.reason = reason;
    q.running = running;
    return q;
}

TEST(RoutingDesigns, Table) {
    struct Row {
        std::string_view name;
        unsigned number;
        bool programmable;
    };
    constexpr Row rows[] = {{"sdm", 0, false},     {"account", 1, false},       {"links", 2, true},  {"layered", 3, true},
                            {"deferred", 4, true}, {"parent-context", 5, true}, {"native", 6, false}};
    ASSERT_EQ(routing_designs().size(), std::size(rows));
    for (const Row& r : rows) {
        const RoutingDesign& d = routing_design(r.name);
        EXPECT_EQ(d.number, r.number);
        EXPECT_EQ(d.programmable, r.programmable);
        EXPECT_EQ(d.decide != nullptr, r.programmable);
    }
    EXPECT_EQ(routing_design("links").link, Field{"control_link"_f});
    EXPECT_EQ(routing_design("layered").link, Field{"parent_link"_f});
    EXPECT_EQ(routing_design("deferred").link, Field{"control_link"_f});
    EXPECT_EQ(routing_design("parent-context").link, Field{"parent_link"_f});
}

// link, reason bit, reason is 0, exception bit -> level 1
TEST(LinksDecision, SixteenRows) {
    struct Row {
        bool link, reason_bit, exception, exception_bit, level1;
        std::string_view why;
    };
    constexpr Row rows[] = {
        {false, false, false, false, false, "no valid link"},
        {false, false, false, true, false, "no valid link"},
        {false, false, true, false, false, "no valid link"},
        {false, false, true, true, false, "no valid link"},
        {false, true, false, false, false, "no valid link"},
        {false, true, false, true, false, "no valid link"},
        {false, true, true, false, false, "no valid link"},
        {false, true, true, true, false, "no valid link"},
        {true, false, false, false, false, "reason bit is 0"},
        {true, false, false, true, false, "reason bit is 0"},
        {true, false, true, false, false, "reason bit is 0"},
        {true, false, true, true, false, "reason bit is 0"},
        {true, true, false, false, true, "reason bit is 1"},
        {true, true, false, true, true, "reason bit is 1"},
        {true, true, true, false, false, "exception bit is 0"},
        {true, true, true, true, true, "exception bit is 1"},
    };
    for (const Row& r : rows) {
        RouteQuestion q = question(r.exception ? "exception_or_nmi"_exit : "cpuid"_exit, 2);
        q.vector = 6;
        q.level[2] = {.linked = r.link, .reason_bit = r.reason_bit, .exception_bit = r.exception_bit};
        const RouteDecision d = decide(routing_design("links"), q);
        EXPECT_EQ(d.destination, r.level1 ? 1u : 0u) << r.why;
        EXPECT_EQ(d.why, r.why);
        EXPECT_TRUE(d.claimed);
    }
    // A chain: level 5 exits to level 4 by its own VMCS alone.
    RouteQuestion deep = question("cpuid"_exit, 5);
    deep.level[5] = {.linked = true, .reason_bit = true};
    EXPECT_EQ(decide(routing_design("links"), deep).destination, 4u);
}

TEST(LinksDecision, NmisAndMachineChecksHaveNoBit) {
    RouteQuestion q = question("exception_or_nmi"_exit, 2);
    q.level[2] = {.linked = true, .reason_bit = true, .exception_bit = true};
    q.nmi = true;
    q.vector = 2;
    EXPECT_EQ(decide(routing_design("links"), q).destination, 0u);
    q.nmi = false;
    EXPECT_EQ(decide(routing_design("links"), q).destination, 1u);
    q.vector = 18;
    EXPECT_EQ(decide(routing_design("links"), q).destination, 0u);
    EXPECT_EQ(decide(routing_design("links"), q).why, "always root");
    for (const ExitRow* r : {"init_signal"_exit, "startup_ipi"_exit}) {
        q.reason = r;
        q.policy = {Policy::parent};
        EXPECT_EQ(decide(routing_design("links"), q).destination, 0u) << r->name;
    }
}

constexpr unsigned unclaimed = 99;

// b3 b2 b1: V_k asks for the event. Destination of three orders.
TEST(LayeredDecision, TwentyFourCells) {
    struct Row {
        bool b3, b2, b1;
        unsigned top_down, bottom_up, induced0;
    };
    constexpr Row rows[] = {
        {0, 0, 0, unclaimed, unclaimed, unclaimed}, {0, 0, 1, 0, 0, unclaimed}, {0, 1, 0, 1, 1, 1}, {0, 1, 1, 1, 0, 1},
        {1, 0, 0, 2, 2, 2},                         {1, 0, 1, 2, 0, 2},         {1, 1, 0, 2, 1, 1}, {1, 1, 1, 2, 0, 1},
    };
    const RoutingDesign& layered = routing_design("layered");
    const auto destination = [](const RouteDecision& d) { return d.claimed ? d.destination : unclaimed; };
    for (const Row& r : rows) {
        SCOPED_TRACE(::testing::Message() << r.b3 << r.b2 << r.b1);
        RouteQuestion q = question("cpuid"_exit, 3);
        q.level[3].wants = r.b3, q.level[2].wants = r.b2, q.level[1].wants = r.b1;
        EXPECT_EQ(destination(decide(layered, q)), r.top_down);
        q.reason = "external_interrupt"_exit;
        EXPECT_EQ(destination(decide(layered, q)), r.bottom_up);
        q.reason = "exception_or_nmi"_exit;
        q.vector = 14;
        EXPECT_EQ(destination(decide(layered, q)), r.top_down);
        q.injector = 0;
        EXPECT_EQ(destination(decide(layered, q)), r.induced0);
        q.injector = 1;
        EXPECT_EQ(destination(decide(layered, q)), r.b3 ? 2u : unclaimed);
        q.injector = 2;
        EXPECT_EQ(destination(decide(layered, q)), unclaimed);
    }
}

TEST(LayeredDecision, CountsTheLevelsThatItAsks) {
    RouteQuestion q = question("cpuid"_exit, 4);
    q.level[2].wants = true;
    EXPECT_EQ(top_down(q).walked, 3u);
    EXPECT_EQ(bottom_up(q).walked, 2u);
    EXPECT_EQ(induced(q, 0).walked, 1u);
    q.level[4].wants = true;
    EXPECT_EQ(top_down(q).walked, 1u) << "the parent wins at once";
    EXPECT_EQ(induced(q, 2).walked, 1u);
    q.level[2].wants = q.level[4].wants = false;
    EXPECT_EQ(top_down(q).walked, 4u);
}

/// The class of each event: all but these are asked for from above.
TEST(LayeredDecision, Classes) {
    const std::set<std::string_view> from_below = {"external_interrupt", "vmx_preemption_timer_expired",
                                                   "page_modification_log_full", "bus_lock", "instruction_timeout"};
    for (const ExitRow& row : exit_rows) {
        if (row.kind == ExitKind::entry || row.name == "init_signal" || row.name == "startup_ipi") continue;
        if (row.name == "ept_violation" || row.name == "ept_misconfiguration") continue;
        RouteQuestion q = question(&row, 3);
        q.level[3].wants = q.level[1].wants = true;
        EXPECT_EQ(decide(routing_design("layered"), q).destination, from_below.contains(row.name) ? 0u : 2u) << row.name;
    }
    RouteQuestion nmi = question("exception_or_nmi"_exit, 3);
    nmi.nmi = true;
    nmi.vector = 2;
    nmi.level[3].wants = nmi.level[2].wants = true;
    EXPECT_EQ(decide(routing_design("layered"), nmi).destination, 1u) << "the outermost that asks";
}

TEST(EptOwner, IsTheInnermostWhoseTableLacksThePermission) {
    for (const ExitRow* r : {"ept_violation"_exit, "ept_misconfiguration"_exit})
        for (unsigned lacking = 0; lacking < 8; ++lacking) {
            RouteQuestion q = question(r, 3);
            for (unsigned k = 1; k <= 3; ++k) q.level[k].lacks = (lacking >> (k - 1)) & 1;
            const unsigned owner = lacking & 4 ? 2 : lacking & 2 ? 1 : 0;
            EXPECT_EQ(decide(routing_design("layered"), q).destination, owner) << lacking;
        }
}

TEST(ParentContext, HypercallsAlone) {
    for (const ExitRow& row : exit_rows) {
        if (row.kind == ExitKind::entry) continue;
        RouteQuestion q = question(&row, 3);
        q.level[3].linked = true;
        EXPECT_EQ(decide(routing_design("parent-context"), q).destination, row.name == "vmcall" ? 2u : 0u) << row.name;
        q.level[3].linked = false;
        EXPECT_EQ(decide(routing_design("parent-context"), q).destination, 0u) << row.name;
    }
}

TEST(Policies, EachByItsName) {
    struct Row {
        std::string_view name;
        unsigned nibble;
        unsigned destination;  ///< of level 4, when levels 3 and 2 of the hypervisors ask (V_3, V_2), and V_4 does not
    };
    constexpr Row rows[] = {{"root", 1, 0},    {"bitmap", 2, 3},  {"top-down", 3, 2}, {"bottom-up", 4, 1}, {"parent", 5, 3},
                            {"owner", 6, 0},   {"level-1", 9, 1}, {"level-2", 10, 2}, {"level-3", 11, 3}, {"level-4", 12, 0},
                            {"level-5", 13, 0}, {"level-6", 14, 0}, {"level-7", 15, 0}};
    EXPECT_EQ(policy_names().size(), std::size(rows) + 1);
    for (const Row& r : rows) {
        SCOPED_TRACE(r.name);
        const RoutePolicy p = policy_of_nibble(r.nibble);
        EXPECT_EQ(name_of(p), r.name);
        RouteQuestion q = question("cpuid"_exit, 4);
        q.level[4] = {.linked = true, .reason_bit = true};
        q.level[3].wants = q.level[2].wants = true;
        q.policy = p;
        EXPECT_EQ(decide(routing_design("layered"), q).destination, r.destination);
    }
    EXPECT_EQ(policy_of_nibble(0), RoutePolicy{});
    EXPECT_EQ(policy_of_nibble(7), RoutePolicy{}) << "reserved: as the design has it";
    EXPECT_EQ(policy_of_nibble(8), (RoutePolicy{Policy::level, 0}));
}

TEST(Policies, AnNmiIsNotAnException) {
    RouteQuestion q = question("exception_or_nmi"_exit, 2);
    q.nmi = true;
    q.vector = 2;
    q.level[2] = {.linked = true, .reason_bit = true, .exception_bit = true, .wants = true};
    q.level[1].wants = true;
    for (const Policy p : {Policy::top_down, Policy::parent, Policy::owner}) {
        q.policy = {p};
        EXPECT_EQ(decide(routing_design("links"), q).destination, 0u);
    }
}

// Who receives an exit of level 2, when level 1 asks for it by its controls, and when it does not; T: transcribed.
struct PresetRow {
    std::string_view reason;
    unsigned kvm[2], xen[2], tdx[2], skip[2], ras[2];  ///< {level 1 asks, it does not}
};
constexpr PresetRow preset_rows[] = {
    // reason                    kvm     xen     tdx     skip    ras
    {"external_interrupt",      {0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}},
    {"triple_fault",            {1, 0}, {1, 1}, {1, 1}, {1, 0}, {1, 0}},
    {"interrupt_window",        {1, 0}, {1, 0}, {1, 1}, {1, 0}, {1, 0}},
    {"task_switch",             {1, 0}, {1, 1}, {1, 1}, {1, 0}, {1, 0}},
    {"cpuid",                   {1, 0}, {1, 1}, {1, 1}, {1, 0}, {1, 0}},
    {"hlt",                     {1, 0}, {1, 0}, {1, 1}, {1, 0}, {1, 0}},
    {"invd",                    {1, 0}, {1, 1}, {1, 1}, {1, 0}, {1, 0}},
    {"rdtsc",                   {1, 0}, {1, 0}, {1, 1}, {1, 0}, {1, 0}},
    {"vmcall",                  {1, 0}, {1, 0}, {1, 1}, {1, 0}, {1, 0}},
    {"vmclear",                 {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"vmlaunch",                {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"vmptrld",                 {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"vmptrst",                 {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"vmread",                  {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"vmresume",                {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"vmwrite",                 {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"vmxoff",                  {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"vmxon",                   {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"invept",                  {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"invvpid",                 {1, 0}, {1, 0}, {1, 1}, {0, 0}, {1, 0}},
    {"control_register_access", {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}},
    {"io_instruction",          {1, 0}, {1, 0}, {1, 1}, {1, 0}, {1, 0}},
    {"rdmsr",                   {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}},
    {"wrmsr",                   {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}},
    {"vmx_preemption_timer_expired", {0, 0}, {1, 0}, {1, 1}, {1, 0}, {0, 0}},
    {"wbinvd",                  {1, 0}, {0, 0}, {1, 1}, {1, 0}, {1, 0}},
    {"xsetbv",                  {1, 0}, {1, 1}, {1, 1}, {1, 0}, {1, 0}},
    {"vmfunc",                  {0, 0}, {1, 0}, {1, 1}, {1, 0}, {1, 0}},
    {"page_modification_log_full", {0, 0}, {1, 0}, {0, 0}, {1, 0}, {0, 0}},
    {"bus_lock",                {0, 0}, {0, 0}, {0, 0}, {1, 0}, {0, 0}},
    {"instruction_timeout",     {0, 0}, {0, 0}, {0, 0}, {1, 0}, {0, 0}},
};

const ExitRow* row_named(std::string_view name) {
    for (const ExitRow& row : exit_rows)
        if (row.name == name) return &row;
    return nullptr;
}

TEST(Presets, AgainstTheTablesOfShippedHypervisors) {
    const std::map<std::string_view, const unsigned (PresetRow::*)[2]> columns = {{"kvm", &PresetRow::kvm},
                                                                                  {"xen", &PresetRow::xen},
                                                                                  {"tdx", &PresetRow::tdx},
                                                                                  {"skip-level", &PresetRow::skip},
                                                                                  {"firmware-ras", &PresetRow::ras}};
    ASSERT_EQ(route_presets().size(), columns.size());
    for (const RoutePreset& preset : route_presets()) {
        const RoutePolicies policies = preset.policies();
        for (const PresetRow& r : preset_rows)
            for (const bool asks : {true, false}) {
                RouteQuestion q = question(row_named(r.reason), 2);
                ASSERT_NE(q.reason, nullptr) << r.reason;
                q.policy = policies[q.reason->number];
                q.level[2] = {.linked = true, .wants = asks};
                q.level[1].wants = true;
                EXPECT_EQ(decide(routing_design("links"), q).destination, (r.*columns.at(preset.name))[!asks])
                    << preset.name << " " << r.reason << " " << asks;
            }
        // EPT: by whose table lacks the permission; the firmware's hypervisor has all of them first.
        RouteQuestion q = question("ept_violation"_exit, 2);
        q.policy = policies[48];
        q.level[2] = {.linked = true, .wants = true, .lacks = true};
        q.level[1].wants = true;
        const bool ras = preset.name == "firmware-ras";
        EXPECT_EQ(decide(routing_design("links"), q).destination, ras ? 0u : 1u) << preset.name;
        q.level[2].lacks = false;
        EXPECT_EQ(decide(routing_design("links"), q).destination, 0u) << preset.name;
        q.reason = "ept_misconfiguration"_exit;
        q.level[2].lacks = true;
        q.policy = policies[49];
        EXPECT_EQ(decide(routing_design("links"), q).destination, ras ? 0u : 1u) << preset.name;
    }
}

/// I1 of every decision: the destination is below the exiting level, and unless a policy forces it, it asked.
TEST(Decisions, StayBelowTheGuest) {
    u64 seed = 12345;
    const auto random = [&](unsigned below) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        return static_cast<unsigned>((seed >> 33) % below);
    };
    for (unsigned i = 0; i < 100'000; ++i) {
        RouteQuestion q = question(&exit_rows[random(exit_rows.size())], 1 + random(8));
        q.vector = static_cast<u8>(random(32));
        q.nmi = random(8) == 0;
        q.policy = policy_of_nibble(random(16));
        if (random(4) == 0) q.injector = random(8);
        for (unsigned k = 1; k <= q.running; ++k)
            q.level[k] = {.linked = random(4) != 0, .reason_bit = random(2) != 0, .exception_bit = random(2) != 0,
                          .wants = random(2) != 0, .lacks = random(2) != 0};
        for (const RoutingDesign& design : routing_designs()) {
            const RouteDecision d = decide(design, q);
            ASSERT_LT(d.destination, q.running);
            ASSERT_FALSE(d.why.empty());
            ASSERT_EQ(d, decide(design, q)) << "pure";
            if (!d.claimed) {
                ASSERT_EQ(d.destination, 0u);
            }
        }
    }
}

}  // namespace
}  // namespace droste
