// SPDX-License-Identifier: Apache-2.0
// Every user-mode row of the instruction table against the host processor.
//
// DROSTE_FUZZ_SEED, DROSTE_FUZZ_CASES (per row) and DROSTE_FUZZ_ROW (mnemonic) widen or narrow a run; a failure prints
// the seed that repeats it.
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cpu/insns/tables.h"
#include "host_fuzz.h"

namespace droste::test {
namespace {

u64 from_environment(const char* name, u64 otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

struct Table {
    const char* name;
    RowSpan (*rows)();
};
void PrintTo(const Table& t, std::ostream* out) { *out << t.name; }

constexpr Table general_tables[] = {
    {"arithmetic", arithmetic_rows}, {"logic", logic_rows},   {"shift", shift_rows},   {"bit", bit_rows},
    {"move", move_rows},             {"stack", stack_rows},   {"string", string_rows}, {"branch", branch_rows},
    {"flag", flag_rows},             {"hint", hint_rows},     {"bcd", bcd_rows},
};
constexpr Table vector_tables[] = {
    {"sse", sse_rows}, {"avx", avx_rows}, {"mmx", mmx_rows}, {"x87", x87_rows}, {"crypto", crypto_rows},
};

void check(const Table& table, CodeSize size, unsigned cases) {
    HostFuzz fuzz(size);
    if (!fuzz.available()) GTEST_SKIP() << "this host does not run code of that size";
    const u64 seed = from_environment("DROSTE_FUZZ_SEED", 1);
    const u64 count = from_environment("DROSTE_FUZZ_CASES", cases);
    const char* only = std::getenv("DROSTE_FUZZ_ROW");
    unsigned rows = 0, failures = 0, host_lacks = 0;
    for (const InsnRow& row : table.rows()) {
        if (only != nullptr && row.mnemonic != only) continue;
        if (row.traits & (traits::not_user_fuzzed | traits::privileged)) continue;
        if (row.traits & (size == CodeSize::bits64 ? traits::no64 : traits::only64)) continue;
        if (size != CodeSize::bits64 && !row.encoding.vex && row.encoding.w == 1) continue;
        if (!host_has(row.needs)) {
            ++host_lacks;
            continue;
        }
        ++rows;
        const std::string difference = fuzz.check_row(row, seed, static_cast<unsigned>(count));
        if (!difference.empty()) {
            ++failures;
            ADD_FAILURE() << difference;
        }
        if (failures >= 40) break;
    }
    fmt::print("{}: {} rows, {} cases, {} with a fault, {} drawn anew, {} rows that this host lacks\n", table.name, rows,
               fuzz.tally.cases, fuzz.tally.faults, fuzz.tally.rejected, host_lacks);
}

std::string table_name(const testing::TestParamInfo<Table>& p) { return p.param.name; }

class General64 : public testing::TestWithParam<Table> {};
TEST_P(General64, AgreesWithHost) { check(GetParam(), CodeSize::bits64, 10000); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, General64, testing::ValuesIn(general_tables),
                         table_name);

class General32 : public testing::TestWithParam<Table> {};
TEST_P(General32, AgreesWithHost) { check(GetParam(), CodeSize::bits32, 3000); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, General32, testing::ValuesIn(general_tables),
                         table_name);

class General16 : public testing::TestWithParam<Table> {};
TEST_P(General16, AgreesWithHost) { check(GetParam(), CodeSize::bits16, 1000); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, General16, testing::ValuesIn(general_tables),
                         table_name);

class Vector64 : public testing::TestWithParam<Table> {};
TEST_P(Vector64, AgreesWithHost) { check(GetParam(), CodeSize::bits64, 10000); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, Vector64, testing::ValuesIn(vector_tables),
                         table_name);

class Vector32 : public testing::TestWithParam<Table> {};
TEST_P(Vector32, AgreesWithHost) { check(GetParam(), CodeSize::bits32, 300); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, Vector32, testing::ValuesIn(vector_tables),
                         table_name);

}  // namespace
}  // namespace droste::test
