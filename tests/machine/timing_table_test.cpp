// SPDX-License-Identifier: Apache-2.0
// Timing tables: the shipped ones are whole, and damage is told with its place.
#include "machine/timing_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(TimingTable, ShippedTablesAreWholeAndMeetTheirRoundTrip) {
    struct Expected {
        const char* name;
        u32 round_trip;  // VMWRITE, VMRESUME to CPUID's exit, and five ticks
    };
    for (const Expected& e : {Expected{"skylake-sp", 536}, {"haswell", 543}, {"sapphire-rapids", 580}}) {
        const Result<CostTable> t = load_cost_table(e.name);
        ASSERT_TRUE(t) << t.error().text;
        EXPECT_EQ((*t)[CostEvent::vm_exit] + (*t)[CostEvent::vm_entry] + (*t)[CostEvent::vmwrite] + 5,
                  e.round_trip)
            << e.name;
    }
    EXPECT_EQ(shipped_timing_tables().size(), 3u);
}

TEST(TimingTable, ErrorsNamePlaceAndRemedy) {
    EXPECT_THAT(load_cost_table("skylake").error().text,
                AllOf(HasSubstr("skylake-sp"), HasSubstr("haswell")));
    EXPECT_THAT(load_cost_table("/nowhere/x.toml").error().text, HasSubstr("/nowhere/x.toml"));
    EXPECT_THAT(parse_cost_table("[cycles]\nvm_exti = 3\n", "t.toml").error().text,
                AllOf(HasSubstr("t.toml:2"), HasSubstr("did you mean vm_exit?")));
    EXPECT_THAT(parse_cost_table("[cycles]\nvm_exit = -3\n", "t.toml").error().text,
                HasSubstr("whole number"));
    EXPECT_THAT(parse_cost_table("[cycles]\nvm_exit = \"x\"\n", "t.toml").error().text,
                HasSubstr("whole number"));
    EXPECT_THAT(parse_cost_table("[cycles]\nvm_exit = 3\n", "t.toml").error().text,
                HasSubstr("has no value for vm_entry"));
    EXPECT_THAT(parse_cost_table("[other]\n", "t.toml").error().text, HasSubstr("t.toml:1"));
    EXPECT_THAT(parse_cost_table("", "t.toml").error().text, HasSubstr("[cycles] is missing"));
    EXPECT_THAT(parse_cost_table("[cycles", "t.toml").error().text, HasSubstr("not TOML"));
}

}  // namespace
}  // namespace droste
