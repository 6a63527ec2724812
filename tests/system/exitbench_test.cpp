// SPDX-License-Identifier: Apache-2.0
// exitbench at level 0: both its formats start, measure everything, and power off.
#include <gmock/gmock.h>

#include <fstream>

#include "system/exitbench_rows.h"
#include "system/program.h"

namespace droste::system_test {
namespace {

class Exitbench : public ::testing::TestWithParam<const char*> {
protected:
    void SetUp() override { SKIP_WITHOUT_IMAGE("exitbench/exitbench.elf"); }
};

TEST_P(Exitbench, MeasuresEverythingAndPowersOff) {
    const Finished f = droste({"boot", "--kernel", image(GetParam()), "--timeout", "60"}, Report::json);
    ASSERT_EQ(f.status, 0) << f.out << f.err;
    const std::map<std::string, unsigned long> rows = exitbench_rows(f.out);
    for (const char* name : exitbench_names)
        EXPECT_TRUE(rows.contains(name)) << name << "\n" << f.out;
    EXPECT_EQ(rows.size(), std::size(exitbench_names));
    EXPECT_EQ(f.report["end"]["kind"], "powered_off");
    EXPECT_EQ(f.report["vm_exits"], 0);
}

/// A tick is a cycle without a timing model: what is timed is an instruction count, known from the source.
TEST_P(Exitbench, CountsInstructionsWithoutATimingModel) {
    const Finished f = droste({"boot", "--kernel", image(GetParam()), "--timeout", "60"});
    std::map<std::string, unsigned long> rows = exitbench_rows(f.out);
    for (const char* name : {"cpuid", "rdmsr", "in", "out", "ept_fault"}) {
        EXPECT_GE(rows[name], 1u) << name;
        EXPECT_LE(rows[name], 5u) << name;
    }
}

INSTANTIATE_TEST_SUITE_P(Formats, Exitbench,
                         ::testing::Values("exitbench/exitbench.elf", "exitbench/exitbench.flat"));

}  // namespace
}  // namespace droste::system_test
