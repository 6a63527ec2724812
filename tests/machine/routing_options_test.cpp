// SPDX-License-Identifier: Apache-2.0
// Sections [routing] and [routing.reasons], and what the machine makes of them.
#include "machine/routing_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine/machine_parts.h"
#include "machine/routing_report.h"
#include "nested/routing/estimates.h"

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Result<MachineConfig> made(std::initializer_list<std::string_view> assignments) {
    Options o;
    for (const std::string_view a : assignments)
        if (const Status s = o.set(a); !s) return s.error();
    return machine_config(o);
}
std::string problem(std::initializer_list<std::string_view> assignments) {
    const auto r = made(assignments);
    return r ? "" : r.error().text;
}

TEST(RoutingOptions, SdmAndAccountOfferNothing) {
    for (const char* design : {"routing.design=sdm", "routing.design=account"}) {
        const auto c = made({design, "cpu.model=max"});
        ASSERT_TRUE(c) << c.error().text;
        EXPECT_FALSE(c->vmx.has("exit_routing"_vmx));
        EXPECT_EQ(c->vmx.routing, 0u);
        EXPECT_EQ(c->routing.estimate, std::string_view(design).ends_with("account"));
    }
    EXPECT_EQ(made({})->routing.design->name, "sdm");
}

TEST(RoutingOptions, AProgrammableDesignComesWithItsControlAndMsr) {
    const auto c = made({"cpu.model=skylake-sp", "routing.design=layered", "routing.max_levels=16", "routing.direct_entry=true"});
    ASSERT_TRUE(c) << c.error().text;
    EXPECT_TRUE(c->vmx.has("exit_routing"_vmx));
    EXPECT_TRUE(c->vmx.has("activate_tertiary_controls"_vmx)) << "also in a model without tertiary controls";
    EXPECT_EQ(c->vmx.routing, 3u | 16u << 8 | 1u << 16);
}

TEST(RoutingOptions, TheControlComesWithADesignOnly) {
    EXPECT_THAT(problem({"vmx.exit_routing=true"}), AllOf(HasSubstr("vmx.exit_routing"), HasSubstr("routing.design")));
    EXPECT_THAT(problem({"vmx.exit_routing=false", "routing.design=links"}), HasSubstr("routing.design"));
    EXPECT_EQ(problem({"vmx.exit_routing=false"}), "");
}

TEST(RoutingOptions, PresetsAndReasons) {
    const auto c = made({"routing.design=links", "routing.preset=tdx", "routing.reasons.cpuid=level-2", "routing.reasons.rdmsr=design",
                         "routing.reasons.hlt=owner"});
    ASSERT_TRUE(c) << c.error().text;
    EXPECT_EQ(c->routing.policies[10], (RoutePolicy{Policy::level, 2}));
    EXPECT_EQ(c->routing.policies[12], (RoutePolicy{Policy::owner}));
    EXPECT_EQ(c->routing.policies[31], (RoutePolicy{Policy::top_down})) << "as the preset";
    EXPECT_EQ(c->routing.policies[18], (RoutePolicy{Policy::parent}));
    EXPECT_EQ(made({"routing.design=links"})->routing.policies[18], RoutePolicy{});
}

TEST(RoutingOptions, EachReasonAndEachPolicyHasItsName) {
    for (const ExitRow& row : exit_rows)
        for (const PolicyName& p : policy_names()) {
            Options o;
            ASSERT_TRUE(o.set("routing.design=layered"));
            ASSERT_TRUE(o.set("routing.reasons." + std::string(row.name) + "=" + std::string(p.name))) << row.name << p.name;
            const auto c = routing_config(o);
            ASSERT_TRUE(c);
            EXPECT_EQ(c->policies[row.number], p.policy) << row.name;
        }
    for (const RoutePreset& p : route_presets()) EXPECT_EQ(problem({"routing.design=links", "routing.preset=" + std::string(p.name)}), "");
}

TEST(RoutingOptions, ErrorsNamePlaceAndRemedy) {
    EXPECT_THAT(problem({"routing.reasons.cpui=parent"}), HasSubstr("did you mean routing.reasons.cpuid?"));
    EXPECT_THAT(problem({"routing.reasons.cpuid=parant"}), HasSubstr("did you mean \"parent\"?"));
    EXPECT_THAT(problem({"routing.design=link"}), HasSubstr("did you mean \"links\"?"));
    for (const char* key : {"routing.preset=kvm", "routing.max_levels=4", "routing.direct_entry=true", "routing.reasons.cpuid=parent"})
        EXPECT_THAT(problem({key}), AllOf(HasSubstr("--set"), HasSubstr("set routing.design to links"))) << key;
    EXPECT_THAT(problem({"routing.design=links", "routing.reasons.cpuid=level-7", "routing.max_levels=4"}),
                AllOf(HasSubstr("routing.max_levels is 4"), HasSubstr("choose a lower level")));
    EXPECT_THAT(problem({"routing.max_levels=1"}), HasSubstr("out of range"));
}

TEST(RoutingOptions, InAStackFile) {
    Options o;
    ASSERT_TRUE(o.load_text("[routing]\ndesign = \"links\"\nwalk_cycles = 40\n[routing.reasons]\ncpuid = \"parent\"\n", "s.toml", ""));
    const auto c = routing_config(o);
    ASSERT_TRUE(c);
    EXPECT_EQ(c->walk_cycles, 40u);
    EXPECT_EQ(c->policies[10], RoutePolicy{Policy::parent});
}

TEST(RoutingReport, RoutesAndFallbacks) {
    RouteAccounts a;
    a.routed({2, 10, 1, "reason bit is 1"});
    a.routed({2, 10, 1, "reason bit is 1"});
    a.routed({2, 30, 0, "host_state"});
    a.fell_back(RouteFallback::host_state);
    RunSummary s;
    report_routes(a, s);
    ASSERT_EQ(s.routes.size(), 2u);
    EXPECT_EQ(s.routes[0].reason, "cpuid");
    EXPECT_EQ(s.routes[0].count, 2u);
    EXPECT_EQ(s.route_fallbacks.size(), 1u);
    EXPECT_EQ(s.route_fallbacks[0].first, "host_state");
    const std::string json = summary_json(s);
    EXPECT_THAT(json, AllOf(HasSubstr("\"routes\""), HasSubstr("reason bit is 1"), HasSubstr("\"route_fallbacks\"")));
    EXPECT_THAT(summary_text(s, false), AllOf(HasSubstr("routed exit"), HasSubstr("fell back to level 0 1 time: host_state")));
    RunSummary without;
    EXPECT_THAT(summary_json(without), ::testing::Not(HasSubstr("routes")));
}

TEST(RoutingReport, Estimates) {
    CostTable costs;
    RouteEstimates e(costs);
    e.exited(2, 10, 100);
    e.opened(1, 2, 10, 100);
    e.entered(1, 400);
    e.exited(1, 24, 500);
    e.closed(1, 1, 1100);
    RunSummary s;
    report_estimates(e, s);
    ASSERT_EQ(s.estimates.size(), 1u);
    EXPECT_EQ(s.estimates[0].actual, 1000);
    EXPECT_THAT(summary_json(s), AllOf(HasSubstr("\"account\""), HasSubstr("\"links, direct entry\": 100.0")));
    EXPECT_THAT(summary_text(s, false), HasSubstr("mean cycles by design"));
}

}  // namespace
}  // namespace droste
