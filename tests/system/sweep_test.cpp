// SPDX-License-Identifier: Apache-2.0
// A sweep from its file to the report: what the designs cost at each depth.
#include <gmock/gmock.h>

#include <fstream>

#include "system/program.h"

namespace droste::system_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(NanovisorSweep, DesignsAreFlatterThanTheShippedArchitecture) {
    SKIP_WITHOUT_IMAGE("nanovisor/nanovisor.flat");
    const Folder folder;
    const std::vector<std::string> sweep = {"sweep", source_file("configs/sweeps/nanovisor-designs.toml"), "--out",
                                            folder.file("runs")};
    const Finished made = droste(sweep);
    ASSERT_EQ(made.status, 0) << made.out << made.err;
    EXPECT_THAT(made.out, HasSubstr("16 done, 0 failed, 0 waiting"));

    const Finished shown = droste({"report", folder.file("runs"), "--format", "json", "--reason", "vmcall"});
    ASSERT_EQ(shown.status, 0) << shown.err;
    std::map<std::string, double> p50;  // of the deepest level of each run
    const Json report = Json::parse(shown.out);
    for (const Json& run : report["runs"])
        for (const Json& e : run["exits"])
            if (e["level"] == run["depth"])
                p50[run["run"]] = e["p50"];
    ASSERT_EQ(p50.size(), 16u) << shown.out;
    for (const std::string depth : {"3", "4"}) {
        EXPECT_GT(p50["sdm, depth " + depth], 2.5 * p50["sdm, depth " + std::to_string(std::stoi(depth) - 1)])
            << "each level multiplies";
        for (const std::string design : {"links", "layered", "parent-context"})
            EXPECT_LT(p50[design + ", depth " + depth], 1.2 * p50[design + ", depth 2"]) << design << " is flat";
    }

    const Finished page = droste({"report", folder.file("runs"), "--html", folder.file("page.html")});
    EXPECT_EQ(page.status, 0) << page.err;
    EXPECT_THAT(slurp(folder.file("page.html")), HasSubstr("vmcall: p50"));
    const Finished again = droste(sweep);
    EXPECT_EQ(again.status, 0);
    EXPECT_THAT(again.err, Not(HasSubstr("done "))) << "all of it was there";
}

}  // namespace
}  // namespace droste::system_test
